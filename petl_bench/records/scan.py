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
from petl_bench.system.stored_json import SMALL, UnusableError, parsed, read_bytes

LARGEST_RECORD = SMALL


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
        try:
            values, fault = parse(read_bytes(f"{folder}/{name}/{RECORD}", LARGEST_RECORD), name)
        except FileNotFoundError:
            continue
        except UnusableError as error:
            values, fault = {}, str(error)
        file, reason = (RECORD, fault) if fault else size_fault(f"{folder}/{name}", values) or ("", "")
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


def read_one(path: Path) -> tuple[dict[str, Any], str | None]:
    """The values of a record file, and why they cannot be used (None if they can)."""
    try:
        return parse(read_bytes(path, LARGEST_RECORD), path.absolute().parent.name)
    except FileNotFoundError as error:
        return {}, f"cannot be read: {error.strerror}"
    except UnusableError as error:
        return {}, str(error)


def parse(raw: bytes, name: str) -> tuple[dict[str, Any], str | None]:
    """The values of the record of the trial `name`, and why they cannot be used (None if they can)."""
    if len(raw) > LARGEST_RECORD:
        return {}, f"damaged: larger than {LARGEST_RECORD:,} bytes, which no record is"
    try:
        values = parsed(raw)
    except UnusableError as error:
        return {}, str(error)
    return values, fault_of(values, name)
