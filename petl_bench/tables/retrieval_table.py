"""A table of a setting of retrieval: recalls and ranks of both directions."""

from __future__ import annotations

from typing import ClassVar

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.labels import CaseGroup
from petl_bench.api.retrieval import DIRECTIONS, Direction, queries_of
from petl_bench.records.retrieval import TOP
from petl_bench.tables.columns import MeasuredColumn, ScoredMetric, ShownNumber
from petl_bench.tables.retrieval_beside import LABELS, beside_columns, beside_notes
from petl_bench.tables.setting_table import SettingTable

RETRIEVAL_NOTE = (
    "T2V: texts search clips; V2T: clips search texts, of a clip with several the most similar counts. R@K: queries "
    "with their target among the first K, in percent; MdR, MnR: median and mean rank of the target, lower is better. "
    "Ties count against the target. Only R@K has intervals and tests, in which texts of one clip are drawn together."
)


def retrieval_numbers(direction: Direction, evaluation: str = "test") -> tuple[ShownNumber, ...]:
    """R@1, R@5, R@10, median and mean rank of one direction, as a setting names them that gives the metrics of a single
    evaluation as they are."""
    queries, shown = queries_of(evaluation, direction), direction.upper()
    recalls = [ShownNumber(f"{shown} R@{k}", (ScoredMetric(f"{direction}_r{k}", queries, top=k),)) for k in TOP]
    ranks = [
        ShownNumber(f"{shown} {label}", (ScoredMetric(f"{direction}_{metric}", queries, top=0),), lower_is_better=True)
        for label, metric in (("MdR", "median_rank"), ("MnR", "mean_rank"))
    ]
    return (*recalls, *ranks)


class RetrievalTable(SettingTable):
    """Base of tables of a retrieval setting whose metrics are those of its one evaluation, "test"."""

    numbers: ClassVar[tuple[ShownNumber, ...]] = tuple(
        number for direction in DIRECTIONS for number in retrieval_numbers(direction)
    )
    notes: ClassVar[tuple[str, ...]] = (RETRIEVAL_NOTE,)
    optional: ClassVar[tuple[str, ...]] = tuple(LABELS)

    def number_columns(self, comparison: Comparison, group: CaseGroup) -> list[MeasuredColumn]:
        """The columns of the numbers, and of further evaluations that trials have."""
        return [*super().number_columns(comparison, group), *beside_columns(comparison, group)]

    def case_notes(self, comparison: Comparison) -> list[str]:
        """What further columns are of, and how many queries have a tied target."""
        return beside_notes(comparison)
