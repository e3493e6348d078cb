"""Reading many record files: one by one from disk, several at a time through the JSON parser."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.records.files import size_fault
from petl_bench.records.layout import RECORD
from petl_bench.records.schema import fault_of
from petl_bench.system.stored_json import UnusableError, parsed

_CHUNK = 500
_BLOCK = 1 << 16
_MOST_BLOCKS = 16
LARGEST_RECORD = _BLOCK * _MOST_BLOCKS


@dataclass(frozen=True)
class Problem:
    """The file for which a trial was left out, beside its record or the record itself, and why."""

    path: Path
    reason: str

    @property
    def trial(self) -> str:
        """The name of the trial's folder."""
        return self.path.parent.name

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def read_all(folder: Path, names: Iterable[str], problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and records of these trials under `folder` ("trials"); what cannot be used is added to `problems`.

    The files beside a record must be there, of the sizes recorded (`petl_bench.records.files.size_fault`). A trial
    without a record file is not done yet, and no problem.
    """
    remaining = iter(names)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield from _read_some(folder, chunk, problems)


def _read_some(folder: Path, names: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    found: list[str] = []
    raws: list[bytes] = []
    for name in names:
        try:
            raw = _read(f"{folder}/{name}/{RECORD}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(Problem(folder / name / RECORD, f"cannot be read: {error.strerror}"))
            continue
        found.append(name)
        raws.append(raw)
    for name, (values, fault) in zip(found, _parse_all(raws, found), strict=True):
        file, reason = (RECORD, fault) if fault else size_fault(f"{folder}/{name}", values) or ("", "")
        if file:
            problems.append(Problem(folder / name / file, reason))
        else:
            yield name, values


def trial_names(folder: Path) -> list[str]:
    """The names in a folder of trials, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from error


def _read(path: str) -> bytes:
    """The content of a file, or its first bytes if it has more than a record can have."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        parts = [os.read(descriptor, _BLOCK)]
        while len(parts[-1]) == _BLOCK and len(parts) <= _MOST_BLOCKS:
            parts.append(os.read(descriptor, _BLOCK))
    finally:
        os.close(descriptor)
    return b"".join(parts)


def read_one(path: Path) -> tuple[dict[str, Any], str | None]:
    """The values of a record file, and why they cannot be used (None if they can). They may not be its folder's own."""
    try:
        raw = _read(str(path))
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    return parse(raw, path.absolute().parent.name)


def _parse_all(raws: list[bytes], names: list[str]) -> Iterable[tuple[dict[str, Any], str | None]]:
    """Parse many records in one call, which shares their field names; one by one if any of them is damaged."""
    try:
        together = parsed(b"[" + b",".join(raws) + b"]")
    except UnusableError:
        together = []
    faults = [fault_of(values, name) for values, name in zip(together, names, strict=False)]
    if len(together) != len(names) or any(faults):
        return [parse(raw, name) for raw, name in zip(raws, names, strict=True)]
    return zip(together, faults, strict=True)


def parse(raw: bytes, name: str) -> tuple[dict[str, Any], str | None]:
    """The values of the record of the trial `name`, and why they cannot be used (None if they can)."""
    if len(raw) > LARGEST_RECORD:
        return {}, f"damaged: larger than {LARGEST_RECORD:,} bytes, which no record is"
    try:
        values = parsed(raw)
    except UnusableError as error:
        return {}, str(error)
    return values, fault_of(values, name)
