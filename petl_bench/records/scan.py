"""Reading record files, one or all of a folder of trials, and naming those that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.records.files import size_fault
from petl_bench.records.layout import RECORD
from petl_bench.records.schema import fault_of
from petl_bench.system.stored_json import UnusableError, parsed

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
    for name in names:
        place = f"{folder}/{name}"
        try:
            values, fault = parse(_read(f"{place}/{RECORD}"), name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            values, fault = {}, f"cannot be read: {error.strerror}"
        file, reason = (RECORD, fault) if fault else size_fault(place, values) or ("", "")
        if file:
            problems.append(Problem(folder / name / file, reason))
        else:
            yield name, values


def trial_names(folder: Path) -> list[str]:
    """The names in a folder of trials, sorted; none if there is no such folder."""
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


def parse(raw: bytes, name: str) -> tuple[dict[str, Any], str | None]:
    """The values of the record of the trial `name`, and why they cannot be used (None if they can)."""
    if len(raw) > LARGEST_RECORD:
        return {}, f"damaged: larger than {LARGEST_RECORD:,} bytes, which no record is"
    try:
        values = parsed(raw)
    except UnusableError as error:
        return {}, str(error)
    return values, fault_of(values, name)
