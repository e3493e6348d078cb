"""Taking trials out of the plans that were saved in a folder of runs."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.running.attempts.output import PLANS
from petl_bench.system.files import write_atomically


def forget(runs: Path, keys: Collection[str]) -> None:
    """Take these trials out of every plan; a plan that has no other goes. No link is followed. Raises StoreError."""
    if (runs / PLANS).is_symlink():
        return
    for path in sorted((runs / PLANS).glob("*.json")):
        if path.name.startswith(".") or path.is_symlink():
            continue
        try:
            values = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):  # whoever reads plans says so
            continue
        if isinstance(values, dict) and _drop(values, keys):
            _store(path, values)


def _drop(values: dict[str, Any], keys: Collection[str]) -> bool:
    """Take the trials out of a plan's values; whether it had any of them."""
    groups = values.get("groups")
    parts = [each for each in (groups if isinstance(groups, list) else []) if isinstance(each, dict)]
    found = [_drop_from(part.get("trials"), keys) for part in (values, *parts)]
    if parts:
        values["groups"] = [part for part in parts if part.get("trials")]
    return any(found)


def _drop_from(trials: Any, keys: Collection[str]) -> bool:
    there = [key for key in keys if key in trials] if isinstance(trials, dict) else []
    for key in there:
        del trials[key]
    return bool(there)


def _store(path: Path, values: dict[str, Any]) -> None:
    if values.get("trials"):
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from error
