"""A table of a setting of retrieval: recalls and ranks of both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from petl_bench.analysis.cells import OfRanks
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.labels import CaseGroup, host_display
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Figure, Point, joined
from petl_bench.api.retrieval import DIRECTIONS, Direction, queries_of
from petl_bench.api.tuning import metric_of
from petl_bench.records.retrieval import TOP
from petl_bench.tables.columns import MeasuredColumn, ScoredMetric, ShownNumber
from petl_bench.tables.notes import data_notes, data_provenance, seed_notes, splits_note
from petl_bench.tables.quoted import quoted_groups
from petl_bench.tables.ranking import cells_of
from petl_bench.tables.retrieval_beside import LABELS, beside_columns, beside_notes
from petl_bench.tables.setting_table import SettingTable
from petl_bench.tables.tradeoff_picture import TradeOffPanel, picture_notes, trained_against
from petl_bench.tables.tuned import tuning_notes

RETRIEVAL_NOTE = (
    "T2V: texts search clips; V2T: clips search texts. R@K in percent; Sum: R@1 + R@5 + R@10; MdR, MnR: median and "
    "mean rank of the target, lower is better."
)
RETRIEVAL_DETAILS = (
    "R@K: queries with their target among the first K. V2T: of a clip with several texts the most similar counts. Ties "
    "count against the target. Intervals and tests draw the texts of one clip together; MdR has neither, since it is "
    "no mean over queries."
)


def recall(direction: Direction, k: int, evaluation: str = "test") -> ScoredMetric:
    """R@K of one direction, as a setting names it that gives the metrics of a single evaluation as they are."""
    return ScoredMetric(f"{direction}_r{k}", queries_of(evaluation, direction), top=k)


def retrieval_numbers(direction: Direction, evaluation: str = "test") -> tuple[ShownNumber, ...]:
    """R@1, R@5, R@10, their sum, median and mean rank of one direction."""
    queries, heading = queries_of(evaluation, direction), direction.upper()

    def other(label: str, metric: str, of_ranks: OfRanks = "", *, lower_is_better: bool) -> ShownNumber:
        scored = ScoredMetric(f"{direction}_{metric}", queries, top=0, of_ranks=of_ranks)
        return ShownNumber(label, (scored,), lower_is_better=lower_is_better, heading=heading)

    return (
        *[ShownNumber(f"R@{k}", (recall(direction, k, evaluation),), heading=heading) for k in TOP],
        other("Sum", "rsum", "sum", lower_is_better=False),
        other("MdR", "median_rank", lower_is_better=True),
        other("MnR", "mean_rank", "mean", lower_is_better=True),
    )


class RetrievalTable(SettingTable):
    """Base of tables of a retrieval setting whose metrics are those of its one evaluation, "test".

    A subclass for an evaluation of another name gives `numbers`, made by `retrieval_numbers`.
    """

    numbers: ClassVar[tuple[ShownNumber, ...]] = tuple(
        number for direction in DIRECTIONS for number in retrieval_numbers(direction)
    )
    notes: ClassVar[tuple[str, ...]] = (RETRIEVAL_NOTE,)
    details: ClassVar[tuple[str, ...]] = (RETRIEVAL_DETAILS,)
    optional: ClassVar[tuple[str, ...]] = tuple(LABELS)
    held_out: ClassVar[tuple[str, str]] = (metric_of("held-out", "retrieval"), "T2V R@1")
    #: Parameters of the backbone that quoted percentages of trained parameters are of; 0: quoted rows are not drawn.
    quoted_backbone_params: ClassVar[int] = 0

    def number_columns(self, comparison: Comparison, group: CaseGroup) -> list[MeasuredColumn]:
        """The columns of the numbers, and of further evaluations that trials have."""
        return [*super().number_columns(comparison, group), *beside_columns(comparison, group)]

    def case_notes(self, comparison: Comparison) -> list[str]:
        """What further columns are of, and how many queries have a tied target."""
        return beside_notes(comparison)

    def figure(self, evidence: Evidence) -> Figure:
        """The trade-off: trained parameters against T2V R@1, one panel for each case and group of rows that may be
        compared. Raises UsageError if there are no records."""
        comparison = self.compared(evidence.records).comparison
        found, groups = list(self._panels(comparison, evidence)), comparison.case_groups()
        pictures = [picture for picture, _ in found]
        quoted = any(series.origin == "quoted" for picture in pictures for series in picture.series)
        notes = [
            *picture_notes([panel for _, panel in found], intervals=evidence.outcomes is not None),
            *seed_notes(comparison),
            *tuning_notes(comparison, evidence.tunings),
            splits_note(groups),
            *data_notes(comparison),
            *data_provenance(comparison, groups),
            *(self.reading_notes(self.columns(comparison)) if quoted else []),
            *([f"{self.quoted_note} Drawn at the printed percentage of the backbone."] if quoted else []),
        ]
        return joined(pictures, notes)

    def _panels(self, comparison: Comparison, evidence: Evidence) -> Iterator[tuple[Figure, TradeOffPanel]]:
        percent, first = self.trained_columns(comparison)[-1], self.numbers[0]
        for rows in comparison.groups().values():
            for group in comparison.case_groups():
                column = self.number_columns(comparison, group)[0]
                found = {row: cells_of(comparison, [column], row, evidence.outcomes)[0] for row in rows}
                cells = {row: cell for row, cell in found.items() if cell.value is not None}
                if cells:
                    label = f"{first.heading} {first.label} (%)"
                    panel = trained_against(comparison, column, cells, evidence.outcomes, label)
                    title = f"{group.display}: {host_display(rows[0].backbone, rows[0].weights)}"
                    yield panel.picture(self.name, title, list(self._quoted_points([percent, column], evidence))), panel

    def _quoted_points(self, columns: Sequence[MeasuredColumn], evidence: Evidence) -> Iterator[Point]:
        """The quoted rows that have both a percentage of trained parameters and the number."""
        for table in self.quoted_tables if self.quoted_backbone_params else ():
            for row in (row for group in quoted_groups(evidence.published, table, columns) for row in group.rows):
                percent, number = (cell.value for cell in row.cells)
                if isinstance(percent, float) and isinstance(number, float):
                    yield Point(percent / 100 * self.quoted_backbone_params / 1e6, number, row.label)
