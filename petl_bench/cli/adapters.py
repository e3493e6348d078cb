"""`--adapter`, as several commands have it: a trial of `--runs`, a trial's folder, or an adapter file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.records.layout import RECORD, trial_folder

if TYPE_CHECKING:
    from petl_bench.inference.subject import Subject


def subject_of(adapter: str, runs: Path, weights: str | None) -> Subject:
    """What `--adapter` means: an adapter file, the folder of a trial, or a trial of the runs."""
    from petl_bench.inference.subject import adapted

    if place := _place(adapter):
        return adapted(place, weights)
    from petl_bench.managing.lookup import find_trial, titles

    return adapted(trial_folder(runs, find_trial(titles(runs), adapter, runs)), weights)


def subject_or_frozen(adapter: str | None, runs: Path, backbone: str, weights: str | None) -> Subject:
    """What `--adapter` means; without it the frozen backbone."""
    from petl_bench.inference.subject import frozen_backbone

    return frozen_backbone(backbone, weights) if adapter is None else subject_of(adapter, runs, weights)


def _place(adapter: str) -> Path | None:
    """The adapter file, or the folder of a finished trial, at a path; None if there is neither."""
    place = Path(adapter).expanduser()
    try:
        return place.resolve() if place.is_file() or (place / RECORD).is_file() else None
    except (OSError, ValueError):  # too long, or with a NUL
        return None
