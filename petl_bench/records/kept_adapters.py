"""Which adapters stay on disk once their trial is done, and how one is let go without being taken for lost.

The adapter of a trial that was let go stays in its record with hash and size, and with `"kept": false`
(`petl_bench.records.files.was_let_go`). No number comes from it, so the trial is as done as before; a trial that is to
start from it later makes its own trial train again, as with one that was lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from petl_bench.errors import StoreError
from petl_bench.records.judge import judge
from petl_bench.records.layout import ADAPTER, RECORD
from petl_bench.system.files import write_atomically

#: all: every adapter. small: those of up to `SMALL_BYTES`. none: none. In every case those that others start from.
KeepAdapters = Literal["all", "small", "none"]
SMALL_BYTES = 64 * 2**20


def stays(choice: KeepAdapters, size: int) -> bool:
    """Whether an adapter of `size` bytes, from which no other trial starts, stays on disk."""
    return choice == "all" or (choice == "small" and size <= SMALL_BYTES)


def adapter_bytes(folder: Path) -> int:
    """The size of the adapter in a trial's folder; 0 if there is none."""
    try:
        return (folder / ADAPTER).lstat().st_size
    except FileNotFoundError:
        return 0


def has_excess(folder: Path, choice: KeepAdapters) -> bool:
    """Whether there is an adapter in a trial's folder that does not stay."""
    size = adapter_bytes(folder)
    return size > 0 and not stays(choice, size)


def let_go(folder: Path) -> int:
    """Remove the adapter of the finished trial in `folder`, after its record says so; the bytes that this frees.

    Raises StoreError if the record is damaged, or of an earlier version, which names no files: then nothing changes.
    """
    record, problem = judge(folder)
    if problem is not None:
        raise StoreError(str(problem))
    files = record.get("files", {})
    if ADAPTER not in files:
        raise StoreError(f"{folder / RECORD}: names no adapter that could be let go")
    if files[ADAPTER].get("kept", True):
        files[ADAPTER]["kept"] = False
        write_atomically(folder / RECORD, json.dumps(record, allow_nan=False).encode() + b"\n")
    size = adapter_bytes(folder)
    try:
        (folder / ADAPTER).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {folder / ADAPTER}: {error.strerror}") from error
    return size
