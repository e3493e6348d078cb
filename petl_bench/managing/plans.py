"""Taking trials out of the plans that were saved in a folder of runs."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.files import write_atomically
from petl_bench.running.output import PLANS


def forget(runs: Path, keys: Collection[str]) -> None:
    """Take these trials out of every plan; a plan that has no other goes. Raises StoreError."""
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
    """Whether the plan had any of them."""
    groups = values.get("groups")
    held = [values, *(groups if isinstance(groups, list) else [])]
    trials = [each["trials"] for each in held if isinstance(each, dict) and isinstance(each.get("trials"), dict)]
    found = [(part, key) for part in trials for key in keys if key in part]
    for part, key in found:
        del part[key]
    return bool(found)


def _store(path: Path, values: dict[str, Any]) -> None:
    if values.get("trials"):
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror}") from error
