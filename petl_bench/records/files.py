"""The files beside a record: what `record.json` says of each, and whether that is still so.

`files` in a record maps the name of every file that is final when the record is written to its `sha256` and its size in
`bytes`. Sizes are compared whenever a record is read, contents when a file is. Records of earlier versions have no
`files`: of theirs it is only known which ones must be there.

An adapter that was let go to save space stays in `files`, with `"kept": false` (`petl_bench.records.write.let_go`):
it is not damaged if it is gone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from petl_bench.records.layout import ADAPTER, predictions_name
from petl_bench.system.stored_json import LARGE, UnusableError, read_bytes

#: Name of a file, and what is wrong with it.
FileFault = tuple[str, str]
_CHANGED = "its content is not what was recorded"


def described(content: bytes) -> dict[str, Any]:
    """What a record holds of a file with this content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def described_file(path: Path) -> dict[str, Any]:
    """What a record holds of a file that is on disk already; it is read in blocks. Raises OSError."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": os.fstat(file.fileno()).st_size}


def size_fault(folder: str, record: Mapping[str, Any]) -> FileFault | None:
    """The first file under the numbers of a record that is gone or has another size; one look at each file.

    The adapter is not among them: no number of this trial comes from it, see `adapter_size_fault`.
    """
    files = record.get("files")
    if files is None:
        names = [predictions_name(evaluation) for evaluation in record["coverage"]]
        return _first_fault(folder, ((name, None) for name in names))
    return _first_fault(folder, ((name, each["bytes"]) for name, each in files.items() if name != ADAPTER))


def adapter_size_fault(folder: str, record: Mapping[str, Any]) -> FileFault | None:
    """As `size_fault`, for the adapter; None for a trial that has none."""
    expected = (record.get("files") or {}).get(ADAPTER)
    if expected is None or (was_let_go(record) and not os.path.lexists(f"{folder}/{ADAPTER}")):
        return None
    return _first_fault(folder, [(ADAPTER, expected["bytes"])])


def was_let_go(record: Mapping[str, Any]) -> bool:
    """Whether the record says that its adapter was removed on purpose. It may still be there after a crash."""
    return (record.get("files") or {}).get(ADAPTER, {}).get("kept") is False


def read_recorded(folder: Path, name: str, record: Mapping[str, Any], limit: int = LARGE) -> bytes:
    """The content of a file beside a record. Raises UnusableError if it is gone, or not what was recorded."""
    try:
        content = read_bytes(folder / name, limit)
    except FileNotFoundError as error:
        raise UnusableError("is gone") from error
    if _expected(name, record) not in (None, described(content)):
        raise UnusableError(_CHANGED)
    return content


def file_fault(folder: Path, name: str, record: Mapping[str, Any]) -> str:
    """What is wrong with a file beside a record; "" if nothing is. It is read in blocks.

    A record of an earlier version only tells that it must be there. Nothing is wrong with an adapter that was let go.
    """
    expected = _expected(name, record)
    try:
        found = described_file(folder / name)
    except FileNotFoundError:
        return "" if name == ADAPTER and was_let_go(record) else "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if expected is None or found == expected else _CHANGED


def _expected(name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was recorded of a file's content; None if nothing was."""
    recorded = (record.get("files") or {}).get(name)
    return None if recorded is None else {"sha256": recorded["sha256"], "bytes": recorded["bytes"]}


def _first_fault(folder: str, sizes: Iterable[tuple[str, int | None]]) -> FileFault | None:
    for name, expected in sizes:
        try:
            size = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - Path objects take longer than the calls
        except FileNotFoundError:
            return name, "is gone"
        except OSError as error:
            return name, f"cannot be read: {error.strerror}"
        if expected is not None and size != expected:
            return name, f"has {size:,} bytes, {expected:,} were recorded"
    return None
