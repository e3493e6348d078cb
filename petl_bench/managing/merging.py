"""Bringing finished trials of other folders, or of exported tars, into one folder of runs.

A trial comes with its record and the files that its record names, and with nothing else. It is put together under a
hidden name, verified there (`petl_bench.records.verify`), and renamed into its place. What is there already stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from petl_bench.api.trial import Trial
from petl_bench.errors import StoreError
from petl_bench.managing.folders import TRIALS, beside, refuse_controls, remove, remove_leftovers, runs_folder
from petl_bench.managing.sources import UNREADABLE, TrialSource, opened
from petl_bench.records.files import was_let_go
from petl_bench.records.judge import REPLACED, judge, same_metrics, unused
from petl_bench.records.layout import ADAPTER, DETAILS, RECORD, TRAIN_LIST, TRIAL, is_key, predictions_name
from petl_bench.records.scan import LARGEST_RECORD, parse
from petl_bench.records.verify import verify_trial
from petl_bench.running.attempts import claims

#: brought: copied. equal: there already with the same numbers. unequal: there with other numbers. damaged: not sound
#: where it comes from. held: what is here is in the way.
Result = Literal["brought", "equal", "unequal", "damaged", "held"]

_LEFTOVER = "merging"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Merged:
    """How the merge of one trial ended; `why` says more, and is "" for one that was brought or is equal."""

    source: Path
    key: str
    title: str
    result: Result
    why: str = ""


def prepare(into: Path) -> None:
    """Make `into` a folder of runs if it is empty or not there.

    Raises StoreError if it holds something else, UsageError for a name that no line can show.
    """
    refuse_controls("--into", into)
    try:
        into.mkdir(parents=True, exist_ok=True)
        if not any(into.iterdir()):
            (into / TRIALS).mkdir()
    except OSError as error:
        raise StoreError(f"--into {into}: cannot be made: {error.strerror}") from error
    runs_folder(into)
    remove_leftovers(into, _LEFTOVER)


def merge(path: Path, into: Path) -> Iterator[Merged]:
    """Bring every finished trial of a folder or tar into a prepared folder of runs, in the order of the keys.

    It may be stopped at any moment and begun anew. Raises StoreError if `path` cannot be read at all, if it is `into`,
    or if `into` cannot be written.
    """
    if path.exists() and path.samefile(into):
        raise StoreError(f"{path}: merged into itself")
    with opened(path) as source:
        for key in source.finished():
            if is_key(key):
                yield _merge_trial(source, key, into)


def _merge_trial(source: TrialSource, key: str, into: Path) -> Merged:
    try:
        record = _record(source, key)
    except StoreError as error:
        return Merged(source.path, key, key[:8], "damaged", str(error))
    title = Trial.from_json(record["trial"]).title
    result, why = _standing(into / TRIALS / key, record)
    if not result:
        result, why = _bring(source, key, record, into)
    return Merged(source.path, key, title, result, why)


def _record(source: TrialSource, key: str) -> dict[str, Any]:
    """The record of a trial, if it is one. Raises StoreError if it is not."""
    file, size = source.open(key, RECORD)
    with file:
        if size > LARGEST_RECORD:
            raise StoreError(f"{RECORD} has {size:,} bytes, more than any record")
        values, fault = parse(_read(file, size), key)
    if fault:
        raise StoreError(f"{RECORD}: {fault}")
    return values


def _standing(folder: Path, record: Mapping[str, Any]) -> tuple[Result | None, str]:
    """The result that what lies in the place of a trial leads to, and why; None if nothing is in the way."""
    if folder.is_symlink():
        return "held", f"{folder} is a link, which is not followed"
    if folder.exists() and not folder.is_dir():
        return "held", f"{folder} is no folder"
    last = claims.newest(folder)
    if last is not None and last.alive():
        return "held", f"it runs here at this moment, on {last.host}, process {last.pid}"
    if not (folder / RECORD).exists():
        return None, ""
    here, problem = judge(folder)
    if problem is not None:
        return "held", f"the one here is damaged: {problem}"
    if same_metrics(here["metrics"], record["metrics"]):
        return "equal", ""
    return "unequal", f"{_numbers(here)} here, {_numbers(record)} there; nothing was changed"


def _bring(source: TrialSource, key: str, record: Mapping[str, Any], into: Path) -> tuple[Result, str]:
    place = beside(into, _LEFTOVER)
    staged = place / key
    try:
        staged.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write to {into}: {error.strerror}") from error
    try:
        fault = _copy_files(source, key, record, staged)
        if fault:
            return "damaged", fault
        if unsound := verify_trial(staged).problems:
            return "damaged", "; ".join(f"{problem.path.name}: {problem.reason}" for problem in unsound)
        target = into / TRIALS / key
        if target.exists():  # what an attempt left that came to no record is moved aside; nothing of it is lost
            (into / REPLACED).mkdir(exist_ok=True)
            target.rename(unused(into / REPLACED, key))
        staged.rename(target)
    except OSError as error:
        raise StoreError(f"cannot write to {into}: {error.strerror}") from error
    finally:
        remove(place)
    return "brought", ""


def _copy_files(source: TrialSource, key: str, record: Mapping[str, Any], staged: Path) -> str:
    """Copy the record and the files that it names; what is wrong with one of them, or ""."""
    for name, size in {**_files(record), RECORD: None}.items():
        try:
            file, found = source.open(key, name)
        except StoreError as error:
            if _may_lack(name, record):
                continue
            return str(error)
        with file:
            if size is not None and found != size:
                return f"{name} has {found:,} bytes, {size:,} were recorded"
            try:
                _copy(file, found, staged / name)
            except StoreError as error:
                return f"{name}: {error}"
    return ""


def _files(record: Mapping[str, Any]) -> dict[str, int | None]:
    """The files of a trial, and their sizes as far as its record tells them: one of an earlier version names none."""
    if "files" in record:
        return {name: each["bytes"] for name, each in record["files"].items()}
    names = [TRIAL, DETAILS, TRAIN_LIST, ADAPTER, *map(predictions_name, record["coverage"])]
    return dict.fromkeys(names)


def _may_lack(name: str, record: Mapping[str, Any]) -> bool:
    if "files" in record:
        return name == ADAPTER and was_let_go(record)
    return name in (TRIAL, DETAILS, TRAIN_LIST, ADAPTER)


def _copy(file: IO[bytes], size: int, target: Path) -> None:
    """Copy `size` bytes. Raises StoreError if there are fewer, and OSError if they cannot be written."""
    with target.open("xb") as copy:
        left = size
        while left:
            block = _read(file, min(left, _BLOCK))
            copy.write(block)
            left -= len(block)
        copy.flush()
        os.fsync(copy.fileno())


def _read(file: IO[bytes], size: int) -> bytes:
    """So many bytes. Raises StoreError if there are fewer."""
    try:
        block = file.read(size)
    except UNREADABLE as error:
        raise StoreError(f"cannot be read: {error}") from error
    if len(block) < size:
        raise StoreError("is cut off")
    return block


def _numbers(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in record["metrics"].items())
