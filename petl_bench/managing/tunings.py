"""Tunings of a folder of runs: to which of them trials belong, and bringing those of other folders or tars into it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from petl_bench.errors import StoreError
from petl_bench.managing.sources import UNREADABLE, TrialSource, opened
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_record
from petl_bench.records.tunings import (
    Tuning,
    extends,
    parse_tuning,
    read_tuning,
    read_tunings,
    tuning_file,
    write_tuning,
)
from petl_bench.system.stored_json import LARGE, UnusableError, parsed
from petl_bench.system.words import several


def words(tuning: Tuning) -> str:
    """A tuning in a line, e.g. "tuning of lora in base2novel on motion (1a2b3c4d), 4 of 8 proposals"."""
    ended = sum(each.objective is not None or bool(each.fault) for each in tuning.proposals)
    how = "ended" if tuning.best is not None else f"{ended} of {several(tuning.budget, 'proposal')}"
    return f"tuning of {tuning.method} in {tuning.setting} on {', '.join(tuning.datasets)} ({tuning.name[:8]}), {how}"


def naming(tunings: Iterable[Tuning], keys: Collection[str]) -> list[tuple[Tuning, int]]:
    """The tunings with proposals that were trained by one of these trials, and by how many of them."""
    counts = ((each, len(set(keys) & {key for one in each.proposals for key in one.trials})) for each in tunings)
    return [(each, count) for each, count in counts if count]


def belonging(runs: Path, keys: Collection[str]) -> list[Tuning]:
    """The tunings of a folder that one of these recorded trials is of, or has its values from."""
    tunings = list(read_tunings(runs))
    if not tunings:
        return []
    own = {each.name for each, _ in naming(tunings, keys)}
    trials = [read_record(trial_folder(runs, key))["trial"] for key in keys]
    finals = [trial for trial in trials if not trial.get("tuning")]
    return [each for each in tunings if each.name in own or any(map(each.gave, finals))]


def merge_tunings(path: Path, into: Path) -> Iterator[tuple[str, str, str]]:
    """Bring the tunings of a folder or tar into a folder of runs: (result, the tuning in words, why) of each.

    One that is here already is replaced by a copy that holds all of it and more, and otherwise stays. The results are
    those of `petl_bench.managing.merging`. Raises StoreError if `path` cannot be read, or `into` not be written.
    """
    with opened(path) as source:
        for name in source.tunings():
            try:
                there = _read(source, name)
            except (StoreError, UnusableError) as error:
                yield "damaged", f"tuning {name[:8]}", str(error)
                continue
            yield _merge(there, into)


def _merge(there: Tuning, into: Path) -> tuple[str, str, str]:
    path = tuning_file(into, there)
    try:
        here = read_tuning(path)
    except FileNotFoundError:
        write_tuning(into, there)
        return "brought", words(there), ""
    except UnusableError as error:
        return "held", words(there), f"the one here is damaged: {path}: {error}"
    if extends(here, there):
        return "equal", words(here), ""
    if extends(there, here):
        write_tuning(into, there)
        return "brought", words(there), ""
    return "unequal", words(there), "the one here has other proposals or objectives; nothing was changed"


def _read(source: TrialSource, name: str) -> Tuning:
    """Raises StoreError or UnusableError if it is none."""
    file, size = source.open_tuning(name)
    with file:
        if size > LARGE:
            raise StoreError(f"it has {size:,} bytes, more than any tuning")
        try:
            content = file.read(size)
        except UNREADABLE as error:
            raise StoreError(f"cannot be read: {error}") from error
    return parse_tuning(parsed(content), name)
