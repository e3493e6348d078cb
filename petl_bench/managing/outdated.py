"""What the installed version would do with a trial that another version may have made: find it done, or run it anew.

A plan finds a trial done if it gives the same key. So this compares what enters keys, save the files of data sets and
weights that do not ship with petl-bench, which lie elsewhere on each machine.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from petl_bench.analysis.commands import obstacles
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.trial import ENGINE_VERSION, canonical_json
from petl_bench.costs import PROTOCOL_VERSION
from petl_bench.managing.trials import KnownTrial
from petl_bench.records.layout import CHECKPOINT
from petl_bench.training import CHECKPOINT_FORMAT

_KINDS = (("method", METHODS), ("setting", SETTINGS), ("dataset", DATASETS), ("backbone", BACKBONES))
#: The format stands at the beginning of a checkpoint's index.
_BEGINNING = 1 << 16


def whats_outdated() -> Callable[[KnownTrial], str]:
    """A function that says why the installed version would do a trial anew; "" if it would not.

    Reasons are worked out once for trials that differ in nothing but their seed.
    """
    remembered: dict[str, str] = {}

    def why(trial: KnownTrial) -> str:
        if trial.state == "damaged":
            return f"it is not run again before its folder is moved aside: {trial.detail}"
        reasons = _of_fields(trial.fields, remembered)
        if reasons or trial.folder is None or trial.state == "done":
            return reasons
        return _of_checkpoint(trial.folder / CHECKPOINT)

    return why


def _of_fields(fields: Mapping[str, Any], remembered: dict[str, str]) -> str:
    if "method_version" not in fields:  # nothing was recorded, so nothing is old
        return ""
    same = canonical_json({name: value for name, value in fields.items() if name not in ("seed", "locations")})
    if same not in remembered:
        remembered[same] = "; ".join(dict.fromkeys(_reasons(fields)))
    return remembered[same]


def _reasons(fields: Mapping[str, Any]) -> Iterator[str]:
    for kind, registry in _KINDS:
        name = (fields.get("dataset_plugin") if kind == "dataset" else None) or fields[kind]
        if name and name not in registry:
            yield f"the {registry.kind} {name} is not installed (a plugin file is named with --plugin)"
    yield from obstacles({"engine_version": ENGINE_VERSION, **fields})
    protocol = fields["setting_options"].get("protocol")
    if fields["setting"] == "cost" and protocol != PROTOCOL_VERSION:
        yield f"it was measured by version {protocol} of the cost protocol, and this is version {PROTOCOL_VERSION}"


def _of_checkpoint(path: Path) -> str:
    found = _format_of(path) if path.exists() else CHECKPOINT_FORMAT
    if found == CHECKPOINT_FORMAT:
        return ""
    stated = "in no known format" if found is None else f"of format {found}"
    return f"it starts anew: its checkpoint is {stated}, and this version goes on from format {CHECKPOINT_FORMAT}"


def _format_of(path: Path) -> int | None:
    """The format that a checkpoint says it has, read from its index without torch; nothing in it is run."""
    try:
        with zipfile.ZipFile(path) as archive:
            index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(index) as file:
                return _after("format", file.read(_BEGINNING))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, NotImplementedError):
        return None


def _after(word: str, pickled: bytes) -> int | None:
    """The first whole number after a word in a pickle."""
    seen = False
    for operation, argument, _ in pickletools.genops(pickled):
        if seen and operation.name.startswith(("BININT", "INT", "LONG")):
            return int(argument or 0)
        seen = seen or argument == word
    return None
