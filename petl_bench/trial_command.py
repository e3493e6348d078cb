"""The command that would run one recorded trial again, with every value spelled out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from petl_bench.comparison import text_of


def command_of(trial: Mapping[str, Any]) -> str:
    """The command for the trial of a record (the fields of `petl_bench.trial.Trial`)."""
    return shlex.join(["petl-bench", "run", *_flags(trial)])


def _flags(trial: Mapping[str, Any]) -> Iterator[str]:
    yield from ("--methods", trial["method"], "--setting", trial["setting"])
    yield from ("--datasets", trial["dataset"], "--backbone", trial["backbone"])
    if trial["weights"] != "packaged":
        yield from ("--weights", trial["weights"])
    yield from ("--seeds", str(trial["seed"]))
    if trial["split"]:
        yield from ("--splits", trial["split"])
    if trial["shots"]:
        yield from ("--shots", str(trial["shots"]))
    if trial["decoder"] != "auto":
        yield from ("--decoder", trial["decoder"])
    for plugin, values in _values(trial):
        for name, value in values.items():
            if value is not None:
                yield from ("--set", f"{plugin}.{name}={text_of(value)}")


def _values(trial: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield trial["method"], trial["hyper_parameters"]
    yield trial["setting"], trial["setting_options"]
    yield trial["dataset"], trial["dataset_options"]
    yield "training", trial["training"]
    yield from trial.get("locations", {}).items()
