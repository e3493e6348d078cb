"""Reading many record files: one by one from disk, several at a time through the JSON parser."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.record_schema import fault_of

RECORD = "record.json"
_CHUNK = 500
_BLOCK = 1 << 16

#: Inode, time of change (ns) and size: what tells one version of a file from another.
Stamp = tuple[int, int, int]
#: Name of the trial, stamp of the file that was read, its values.
Read = tuple[str, Stamp, dict[str, Any]]


@dataclass(frozen=True)
class Problem:
    """A record that was left out, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return status.st_ino, status.st_ctime_ns, status.st_size


def read_all(folder: Path, names: Iterable[str], problems: list[Problem]) -> Iterator[Read]:
    """The records of these trials under `folder` ("trials"); what cannot be used is added to `problems`.

    A trial without a record file is not done yet, and no problem.
    """
    remaining = iter(names)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield from _read_some(folder, chunk, problems)


def _read_some(folder: Path, names: Sequence[str], problems: list[Problem]) -> Iterator[Read]:
    found: list[str] = []
    raws: list[bytes] = []
    stamps: list[Stamp] = []
    for name in names:
        try:
            raw, stamp = _read(f"{folder}/{name}/{RECORD}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(Problem(folder / name / RECORD, f"cannot be read: {error.strerror}"))
            continue
        found.append(name)
        raws.append(raw)
        stamps.append(stamp)
    for name, stamp, (values, fault) in zip(found, stamps, _parse_all(raws, found), strict=True):
        if fault is None:
            yield name, stamp, values
        else:
            problems.append(Problem(folder / name / RECORD, fault))


def trial_names(folder: Path) -> list[str]:
    """The names in a folder of trials, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from error


def _read(path: str) -> tuple[bytes, Stamp]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        stamp = stamp_of(os.fstat(descriptor))
        parts = [os.read(descriptor, _BLOCK)]
        while len(parts[-1]) == _BLOCK:
            parts.append(os.read(descriptor, _BLOCK))
    finally:
        os.close(descriptor)
    return b"".join(parts), stamp


def _parse_all(raws: list[bytes], names: list[str]) -> Iterable[tuple[dict[str, Any], str | None]]:
    """Parse many records in one call, which shares their field names; one by one where any of them is damaged."""
    try:
        together = json.loads(b"[" + b",".join(raws) + b"]")
    except (ValueError, RecursionError):
        together = []
    faults = [fault_of(values, name) for values, name in zip(together, names, strict=False)]
    if len(together) != len(names) or any(faults):
        return [parse(raw, name) for raw, name in zip(raws, names, strict=True)]
    return zip(together, faults, strict=True)


def parse(raw: bytes, name: str) -> tuple[dict[str, Any], str | None]:
    """The values of the record of the trial `name`, and why they cannot be used (None where they can)."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return {}, f"damaged: {error}"
    return values, fault_of(values, name)
