"""`--adapter`, as several commands have it: a trial of `--runs`, a trial's folder, a file, or one of the Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.records.layout import RECORD, trial_folder

if TYPE_CHECKING:
    from petl_bench.inference.subject import Subject


def subject_of(adapter: str, runs: Path, weights: str | None) -> Subject:
    """What `--adapter` means: `hf:USER/NAME[@REVISION]`, an adapter file, the folder of a trial, or a trial of the
    runs."""
    from petl_bench.hub.address import is_address
    from petl_bench.inference.subject import adapted

    if is_address(adapter):
        return _of_hub(adapter, weights)
    if place := _place(adapter):
        return adapted(place, weights)
    from petl_bench.managing.lookup import find_trial, titles

    return adapted(trial_folder(runs, find_trial(titles(runs), adapter, runs)), weights)


def _of_hub(adapter: str, weights: str | None) -> Subject:
    from petl_bench.hub.download import adapter_file
    from petl_bench.inference.subject import adapted

    file, commit = adapter_file(adapter)
    subject = adapted(file, weights)
    return replace(subject, notes=(f"the adapter is {adapter}, commit {commit}", *subject.notes))


def _place(adapter: str) -> Path | None:
    """The adapter file, or the folder of a finished trial, at a path; None if there is neither."""
    place = Path(adapter).expanduser()
    try:
        return place.resolve() if place.is_file() or (place / RECORD).is_file() else None
    except (OSError, ValueError):  # too long, or with a NUL
        return None
