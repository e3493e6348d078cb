"""Clips that change or vanish while a trial runs: never numbers of something else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from petl_bench.api.trial import Places, Progress, Trial, TrialResult
from petl_bench.errors import DataError
from petl_bench.training.run_trial import run_trial

MakeTrial = Callable[..., Trial]
Disturbed = Callable[[Callable[[Path], object]], TrialResult]

#: The last clip of the second evaluation, and the first one of the first.
LAST, FIRST = "grey_square/test_8.mp4", "red_square/test_6.mp4"


@pytest.fixture
def disturbed(squares: Path, make_trial: MakeTrial, places: Places, tmp_path: Path) -> Disturbed:
    """A trial that evaluates clip by clip; after the first clip, something is done to the folder of clips."""
    shutil.copytree(squares, tmp_path / "squares")
    trial = make_trial(
        "zero_shot", dataset={"path": str(tmp_path / "squares")}, eval_batch_size=1, bad_clips_allowed=0.1
    )

    def begin(do: Callable[[Path], object], after: int = 1) -> TrialResult:
        def tell(progress: Progress) -> None:
            if progress.stage == "evaluating" and progress.step == after:
                do(tmp_path / "squares")

        return run_trial(trial, replace(places, cache=tmp_path / "cache"), tmp_path, tell)

    return begin


@pytest.mark.parametrize("clip", [FIRST, LAST], ids=["read before", "read after"])
def test_a_clip_with_other_content_is_named_and_nothing_is_recorded(clip: str, disturbed: Disturbed) -> None:
    with pytest.raises(DataError, match=rf"1 clips of folder were changed while .*{clip}.*run the command again"):
        disturbed(lambda root: shutil.copy(root / "blue_square/train_1.mp4", root / clip))


def test_a_clip_that_is_only_touched_is_the_same_one(disturbed: Disturbed) -> None:
    assert len(disturbed(lambda root: os.utime(root / LAST)).evaluations["novel"].clips) == 6


def test_a_clip_that_vanishes_counts_as_what_it_was_when_it_was_read(disturbed: Disturbed) -> None:
    def remove(root: Path) -> None:
        for clip in (FIRST, LAST):
            (root / clip).unlink(missing_ok=True)

    result = disturbed(remove)
    assert FIRST in result.evaluations["base"].clips and not result.evaluations["base"].unreadable
    assert list(result.evaluations["novel"].unreadable) == [LAST] and "incomplete-coverage" in result.marks
