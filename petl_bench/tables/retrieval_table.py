"""A table of a setting of retrieval: recalls and ranks of both directions."""

from __future__ import annotations

from typing import ClassVar

from petl_bench.api.retrieval import DIRECTIONS, Direction, queries_of
from petl_bench.records.retrieval import TOP
from petl_bench.tables.columns import ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import SettingTable

RETRIEVAL_NOTE = (
    "T2V: texts search clips; V2T: clips search texts, of a clip with several the most similar counts. R@K: queries "
    "with their target among the first K, in percent; Sum: of the three; MdR, MnR: median and mean rank of the target, "
    "lower is better. Ties count against the target. Only R@K has intervals and tests; in these, the texts of one clip "
    "are drawn together."
)


def recall(direction: Direction, k: int, evaluation: str = "test") -> ScoredMetric:
    """R@K of one direction, as a setting names it that gives the metrics of a single evaluation as they are."""
    return ScoredMetric(f"{direction}_r{k}", queries_of(evaluation, direction), top=k)


def retrieval_numbers(direction: Direction, evaluation: str = "test") -> tuple[ShownNumber, ...]:
    """R@1, R@5, R@10, their sum, median and mean rank of one direction."""
    queries, heading = queries_of(evaluation, direction), direction.upper()

    def other(label: str, metric: str, *, lower_is_better: bool) -> ShownNumber:
        scored = ScoredMetric(f"{direction}_{metric}", queries, top=0)
        return ShownNumber(label, (scored,), lower_is_better=lower_is_better, heading=heading)

    return (
        *[ShownNumber(f"R@{k}", (recall(direction, k, evaluation),), heading=heading) for k in TOP],
        other("Sum", "rsum", lower_is_better=False),
        other("MdR", "median_rank", lower_is_better=True),
        other("MnR", "mean_rank", lower_is_better=True),
    )


class RetrievalTable(SettingTable):
    """Base of tables of a retrieval setting whose metrics are those of its one evaluation, "test"."""

    numbers: ClassVar[tuple[ShownNumber, ...]] = tuple(
        number for direction in DIRECTIONS for number in retrieval_numbers(direction)
    )
    notes: ClassVar[tuple[str, ...]] = (RETRIEVAL_NOTE,)
