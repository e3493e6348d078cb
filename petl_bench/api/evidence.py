"""What a table is made of: records, published numbers, and per-clip predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ClipOutcomes:
    """One evaluation of one trial, clip by clip; N clips.

    `clips` [N] their names, `labels` int64 [N] and `predicted` int64 [N] index into `classes` [C]; `ranks` int64 [N] is
    the place of the true class among the scores: 1 is right, at most 5 is right in the top-5. `groups` [N]: clips of
    one group come from one source video and are not independent; None if no groups were stored.
    """

    clips: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    ranks: np.ndarray
    classes: np.ndarray
    groups: np.ndarray | None = None


class OutcomeSource(Protocol):
    """Finds the outcome of a trial's evaluation, such as "base", "novel", "test" or "target"."""

    def of(self, trial: str, evaluation: str) -> ClipOutcomes | None:
        """None if it cannot be used: it is damaged, is gone, or is not what was recorded; `fault` has the reason."""
        ...

    def fault(self, trial: str, evaluation: str) -> str:
        """Why `of` gives None, e.g. "its content is not what was recorded"; "" if it gives an outcome."""
        ...


@dataclass(frozen=True)
class Evidence:
    """Everything that a table may read.

    `records`: see `petl_bench.load_records`; `published`: one number per row, None if none is quoted;
    `outcomes`: None if no interval and no test is asked for; `baseline`: the method whose numbers the others are
    compared with, "" for none; `left_out`: the records that cannot be used, each with its reason; `damaged`: those of
    them of which it is still known what they were, as `records` has them but with NaN for every value. A table shows
    no number of theirs, and counts the tests that they would have been part of.
    """

    records: pd.DataFrame
    published: pd.DataFrame | None = None
    outcomes: OutcomeSource | None = None
    baseline: str = ""
    left_out: tuple[str, ...] = ()
    damaged: pd.DataFrame | None = None
