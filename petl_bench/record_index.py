"""A derived copy of many records in one file, so that a report need not open every record again.

The records are the truth; the index may be deleted at any time and is made anew. An entry counts only while the record
file is the one that was read: same inode, same time of change, same size. Everything else is read from its record.
Folders with few records have no index.
"""

from __future__ import annotations

import contextlib
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.files import write_atomically
from petl_bench.record_scan import Stamp

NAME = ".records-index.json"
#: Below this number of records, reading them is fast enough.
WORTHWHILE = 2_000
#: A file that changed a moment ago may change again within one tick of the file system's clock.
_SETTLED_NS = 2_000_000_000


@dataclass
class Index:
    """Rows of a frame of records by trial key. `layout` names their columns; an index of another layout is ignored."""

    layout: Sequence[str]
    stamps: dict[str, Stamp] = field(default_factory=dict)
    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def keep(self, keys: set[str]) -> None:
        """Forget every other entry."""
        self.stamps = {key: stamp for key, stamp in self.stamps.items() if key in keys}
        self.rows = {key: row for key, row in self.rows.items() if key in keys}

    def save(self, folder: Path) -> None:
        """Write the index, where it is worthwhile and the folder can be written; nothing depends on it."""
        latest = time.time_ns() - _SETTLED_NS
        keys = [key for key, (_, changed, _) in self.stamps.items() if changed < latest]
        if len(keys) < WORTHWHILE:
            return
        columns = [_packed(column) for column in zip(*[self.rows[key] for key in keys], strict=True)]
        stamps = list(zip(*[self.stamps[key] for key in keys], strict=True))
        body = json.dumps({"layout": list(self.layout), "keys": keys, "stamps": stamps, "columns": columns}).encode()
        with contextlib.suppress(StoreError):
            write_atomically(folder / NAME, b"%08x\n%b" % (zlib.crc32(body), body))


def load(folder: Path, layout: Sequence[str]) -> Index:
    """The index of a folder; an empty one where there is none, or where it is damaged or of another layout."""
    try:
        checksum, _, body = (folder / NAME).read_bytes().partition(b"\n")
        if int(checksum, 16) != zlib.crc32(body):
            return Index(layout)
        values = json.loads(body)
    except (OSError, ValueError):
        return Index(layout)
    if values["layout"] != list(layout):
        return Index(layout)
    keys = values["keys"]
    rows = zip(*[_unpacked(column) for column in values["columns"]], strict=True)
    stamps = zip(*values["stamps"], strict=True)
    return Index(layout, dict(zip(keys, stamps, strict=True)), dict(zip(keys, rows, strict=True)))


def _packed(column: Sequence[Any]) -> dict[str, list[Any]]:
    """A column with few distinct values as those values and their positions."""
    if set(map(type, column)) != {str}:
        return {"values": list(column)}
    positions = {value: index for index, value in enumerate(dict.fromkeys(column))}
    if 2 * len(positions) > len(column):
        return {"values": list(column)}
    return {"distinct": list(positions), "positions": list(map(positions.__getitem__, column))}


def _unpacked(packed: dict[str, list[Any]]) -> list[Any]:
    if "values" in packed:
        return packed["values"]
    return list(map(packed["distinct"].__getitem__, packed["positions"]))
