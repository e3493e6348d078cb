"""What a table is made of: records, published numbers, and per-clip predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from petl_bench.api.published import PublishedTable
    from petl_bench.records.tunings import Tuning


@dataclass(frozen=True, eq=False)
class ClipOutcomes:
    """Per-clip predictions of one evaluation of one trial; N clips, C classes.

    In retrieval, of one direction: N queries, which are clips, or texts named by clip and number. The classes are the
    clips that are searched, or whose texts are; the label of a query is its own clip.

    Attributes:
        clips: [N], names of the clips.
        labels: int64 [N], the true classes, as indices into `classes`.
        predicted: int64 [N], the classes with the highest score.
        ranks: int64 [N], the rank of the true class among the scores: 1 is right, at most 5 is right in the top-5.
        classes: [C], names of the classes.
        groups: [N]: clips of one group come from one source video and are not independent; None if none were stored.
    """

    clips: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    ranks: np.ndarray
    classes: np.ndarray
    groups: np.ndarray | None = None


class OutcomeSource(Protocol):
    """Finds the per-clip predictions of a trial's evaluation, such as "base", "novel", "test" or "target"; of retrieval
    those of the queries of one direction, "test/t2v" or "test/v2t"."""

    def of(self, trial: str, evaluation: str) -> ClipOutcomes | None:
        """None if they are damaged, gone, or not what was recorded; `fault` has the reason."""
        ...

    def fault(self, trial: str, evaluation: str) -> str:
        """Why `of` gives None, e.g. "its content is not what was recorded"; "" if it does not."""
        ...


@dataclass(frozen=True)
class Evidence:
    """Everything that a table may read.

    Attributes:
        records: one row per trial and metric, see `petl_bench.load_records`.
        published: published numbers, one per row, with the columns `petl_bench.api.table.PUBLISHED_COLUMNS`; None if
            none are to be quoted.
        outcomes: per-clip predictions; None if no interval and no test is asked for.
        baseline: the method that the others are compared with; "" for none.
        axes: what stands along x and y of a table with axes to choose (`TableSource.has_axes`); "" for its own choice.
        over: the option whose values the curves of a table with one are over (`TableSource.has_option`), such as
            "lora.rank"; "" for its own choice.
        conditions: words that the conditions of a cost record must have for that table; "" for any.
        left_out: the records that cannot be used, each with the reason.
        damaged: rows like those of `records`, with NaN for every value: records that cannot be used, but tell what they
            are of. Tables show none of their numbers; the correction for many tests counts the tests that they would
            have been part of.
        left_out_methods: setting -> the methods that `--methods all` left out of a plan, each with the reason.
        tunings: those under the folders of the records: what was searched, on training clips alone, and chosen.
        tuning_trials: how many trials of tunings were left out of `records`: their numbers are of training clips.
        ledger: published tables from files of the user's own, whose rows are quoted beside.
    """

    records: pd.DataFrame
    published: pd.DataFrame | None = None
    outcomes: OutcomeSource | None = None
    baseline: str = ""
    left_out: tuple[str, ...] = ()
    damaged: pd.DataFrame | None = None
    left_out_methods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ledger: tuple[PublishedTable, ...] = ()
    axes: tuple[str, str] = ("", "")
    conditions: str = ""
    tunings: tuple[Tuning, ...] = ()
    tuning_trials: int = 0
    over: str = ""
