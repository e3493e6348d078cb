"""The command that would run recorded trials again, with every value spelled out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from petl_bench.comparison import text_of
from petl_bench.registry import DATASETS, METHODS

#: What the user has to put in the place of these: records do not say where files lie on whatever machine.
_DIR, _FILE = "DIR", "FILE.py"
#: The setting of what `petl-bench cost` records (`petl_bench.costs.recording.SETTING`), which `run` cannot make.
_MEASURED = "cost"


def commands_of(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """The commands for the trials of some records (the fields of `petl_bench.trial.Trial`); one for all seeds."""
    commands: list[str] = []
    seeds: dict[tuple[str, ...], list[int]] = {}
    for trial in trials:
        if trial["setting"] == _MEASURED:
            commands.append(shlex.join(["petl-bench", "cost", *_cost_flags(trial)]))
        else:
            seeds.setdefault(tuple(_flags(trial)), []).append(trial["seed"])
    for flags, found in seeds.items():
        commands.append(shlex.join(["petl-bench", "run", *flags, "--seeds", ",".join(map(str, sorted(found)))]))
    return commands


def places_of(methods: Sequence[str], dataset: str) -> list[str]:
    """The flags that say where files lie, with words for the user to replace: `--data-root DIR` for a data set that
    needs it, `--plugin FILE.py` where a method is not installed."""
    needs_root = dataset in DATASETS.names() and DATASETS.get(dataset).needs_root
    plugins = [method for method in methods if method not in METHODS.names()]
    return [*(["--data-root", _DIR] if needs_root else []), *(["--plugin", _FILE] if plugins else [])]


def _cost_flags(trial: Mapping[str, Any]) -> Iterator[str]:
    options = trial["setting_options"]
    yield from ("--methods", trial["method"], "--backbone", trial["backbone"])
    yield from ("--batch-sizes", str(options["batch_size"]), "--precision", options["precision"])
    yield from ("--classes", str(options["classes"]))
    for plugin, values in ((trial["method"], trial["hyper_parameters"]), *trial.get("locations", {}).items()):
        for name, value in values.items():
            if value is not None:
                yield from ("--set", f"{plugin}.{name}={text_of(value)}")


def _flags(trial: Mapping[str, Any]) -> Iterator[str]:
    yield from ("--methods", trial["method"], "--setting", trial["setting"])
    yield from ("--datasets", trial["dataset"], *places_of([trial["method"]], trial["dataset"]))
    yield from ("--backbone", trial["backbone"])
    if trial["weights"] != "packaged":
        yield from ("--weights", trial["weights"])
    if trial["split"]:
        yield from ("--splits", trial["split"])
    if trial["shots"]:
        yield from ("--shots", str(trial["shots"]))
    if trial["decoder"] != "auto":
        yield from ("--decoder", trial["decoder"])
    for plugin, values in _values(trial):
        for name, value in values.items():
            yield from ("--set", f"{plugin}.{name}={text_of(value)}")


def _values(trial: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Everything that was settled; where files lie only as far as it was said."""
    yield trial["method"], trial["hyper_parameters"]
    yield trial["setting"], trial["setting_options"]
    yield trial["dataset"], trial["dataset_options"]
    yield "training", trial["training"]
    for plugin, values in trial.get("locations", {}).items():
        yield plugin, {name: value for name, value in values.items() if value is not None}
