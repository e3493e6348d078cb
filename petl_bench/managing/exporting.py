"""Chosen trials as one table of records, or as one tar that `runs merge` reads. Files are whole or not there."""

from __future__ import annotations

import contextlib
import gzip
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing.folders import TRIALS
from petl_bench.managing.sources import opened
from petl_bench.managing.tunings import belonging
from petl_bench.records.files import was_let_go
from petl_bench.records.layout import ADAPTER, DETAILS, RECORD, TRAIN_LIST, TRIAL, predictions_name, trial_folder
from petl_bench.records.read import read_record
from petl_bench.records.scan import Problem, read_all
from petl_bench.records.tunings import TUNINGS, read_tunings
from petl_bench.records.verify import verify_trial
from petl_bench.render.csv import text
from petl_bench.system.files import replacing, write_atomically

if TYPE_CHECKING:
    import pandas as pd

#: Format -> how names of its files end.
FORMATS = {"csv": (".csv",), "parquet": (".parquet", ".pq"), "tar": (".tar", ".tar.gz", ".tgz")}


def format_of(path: Path) -> str:
    """The format that the name of a file implies. Raises UsageError for any other name."""
    for name, endings in FORMATS.items():
        if path.name.lower().endswith(endings):
            return name
    known = ", ".join(ending for endings in FORMATS.values() for ending in endings)
    raise UsageError(f"--output {path}: what to write is told by the end of the name: {known}")


def cell(value: Any) -> Any:
    """A value for a cell of a CSV file: a text in one line that no spreadsheet takes for a formula; others as is."""
    return text(value) if isinstance(value, str) else value


def write_table(runs: Path, keys: Sequence[str], output: Path) -> tuple[int, list[Problem]]:
    """Write the records of these trials, a row per trial and metric (`petl_bench.load_records` has the columns).

    Returns the number of rows, and the trials that were left out. Raises UsageError for Parquet without pyarrow, and
    StoreError if the file cannot be written.
    """
    from petl_bench.records.frame import frame, rows_of, with_tunings

    problems: list[Problem] = []
    found = frame(rows_of(record for _, record in read_all(runs / TRIALS, sorted(keys), problems)))
    records = with_tunings(found, list(read_tunings(runs)))
    content = _parquet(records) if format_of(output) == "parquet" else _csv(records)
    write_atomically(output, content)
    return len(records), problems


def _csv(records: pd.DataFrame) -> bytes:
    """As `to_csv`, with texts that no spreadsheet takes for a formula."""
    safe = records.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "ifb" and str(safe[name].dtype) != "Int64":
            safe[name] = safe[name].map(cell, na_action="ignore")
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _parquet(records: pd.DataFrame) -> bytes:
    try:
        content: bytes = records.to_parquet(None, engine="pyarrow", index=False)
    except ImportError as error:
        said = "Parquet needs pyarrow, which is not installed: pip install pyarrow. Or give a .csv"
        raise UsageError(said) from error
    return content


def with_sources(runs: Path, keys: Sequence[str]) -> list[str]:
    """The keys, and those of the trials that these start from, as far as they have a record here; sorted."""
    found = set(keys)
    for key in keys:
        with contextlib.suppress(StoreError):
            start = read_record(trial_folder(runs, key))["trial"].get("start_from")
            if start and (trial_folder(runs, start) / RECORD).exists():
                found.add(start)
    return sorted(found)


def write_tar(runs: Path, keys: Sequence[str], output: Path) -> list[Problem]:
    """Write the records of these trials and the files that they name, and the tunings that they are of or have their
    values from; equal trials give equal bytes.

    Each trial is verified first; the ones that are not sound are left out and returned. Raises UsageError if there is a
    file of that name, which may hold the only copy of a trial, and StoreError if it cannot be written.
    """
    if os.path.lexists(output):
        raise UsageError(f"--output {output}: is there already, and is not replaced; give another name, or remove it")
    problems: list[Problem] = []
    with (
        replacing(output) as file,
        _compressed(file, output) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for key in sorted(keys):
            problems += _add(archive, runs, key)
        for tuning in belonging(runs, set(keys) - {problem.trial for problem in problems}):
            _add_tuning(archive, runs, tuning.name)
    return problems


@contextlib.contextmanager
def _compressed(file: IO[bytes], output: Path) -> Iterator[Any]:
    """The file, or a gzip stream into it that holds neither its name nor the time."""
    if output.name.lower().endswith(".tar"):
        yield file
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream:
        yield stream


def _add(archive: tarfile.TarFile, runs: Path, key: str) -> Sequence[Problem]:
    """Add a trial: its record first, so that a reader of the tar knows what follows."""
    folder = trial_folder(runs, key)
    if found := verify_trial(folder).problems:
        return found[:1]
    record = read_record(folder)
    names = sorted(record.get("files") or (path.name for path in folder.iterdir() if _is_final(path)))
    with opened(runs) as source:
        for name in (RECORD, *names):
            if name == ADAPTER and was_let_go(record) and not (folder / ADAPTER).exists():
                continue
            file, size = source.open(key, name)
            with file:
                member = tarfile.TarInfo(f"{TRIALS}/{key}/{name}")
                member.size = size
                archive.addfile(member, file)
    return ()


def _add_tuning(archive: tarfile.TarFile, runs: Path, name: str) -> None:
    with opened(runs) as source:
        file, size = source.open_tuning(name)
        with file:
            member = tarfile.TarInfo(f"{TUNINGS}/{name}.json")
            member.size = size
            archive.addfile(member, file)


def _is_final(path: Path) -> bool:
    """Whether a record of an earlier version, which names no files, has this one."""
    return path.name in (ADAPTER, TRIAL, DETAILS, TRAIN_LIST) or path.match(predictions_name("*"))
