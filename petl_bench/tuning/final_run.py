"""The spec file of the final run: what was asked for, with the values that were chosen."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petl_bench.api.options import text_of
from petl_bench.records.tunings import TUNINGS
from petl_bench.running.planning.spec import Spec, set_values
from petl_bench.system.files import write_atomically
from petl_bench.tuning.rounds import Search, final_spec

_BARE = re.compile("[A-Za-z0-9_-]+")


def write_final_spec(search: Search) -> Path:
    """Write the file beside the tunings; its path. Raises StoreError if it cannot be written."""
    tunings = [each.tuning for each in search.tuned]
    identity = hashlib.sha256(" ".join(each.identity for each in tunings).encode()).hexdigest()
    path = search.first.output / TUNINGS / f"{search.asked.setting}_{identity[:8]}.toml"
    comments = [
        f"{each.method}: {len(each.proposals)} proposals, {each.objective} {each.best.objective:.2f}"
        for each in tunings
        if each.best
    ]
    write_atomically(path, ("\n".join(_lines(final_spec(search), comments)) + "\n").encode())
    return path


def _lines(spec: Spec, comments: list[str]) -> Iterator[str]:
    yield "# Values chosen by petl-bench tune, on training clips alone."
    yield from (f"# {each}" for each in comments)
    for option in dataclasses.fields(spec):
        value = getattr(spec, option.name)
        if option.name not in ("set", "variants", "force") and (value != option.default or option.name == "setting"):
            yield f"{option.name} = {_written(value)}"
    for name, values in set_values(spec.set).items():
        yield f"\n[set.{_key(name)}]"
        yield from (f"{_key(field)} = {_number_or_text(text)}" for field, text in values.items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _written(name)


def _number_or_text(text: str) -> str:
    """A value of `--set` as TOML: as it is if that is read as the same number."""
    try:
        number = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return _written(text)
    return text if isinstance(number, (int, float)) and text_of(number) == text else _written(text)


def _written(value: Any) -> str:
    """A value as TOML, whose texts, numbers and lists are those of JSON."""
    return json.dumps(value, ensure_ascii=False)
