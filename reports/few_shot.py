"""The few-shot table and figure: top-1 of every method and data set by number of training clips per class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.labels import CaseGroup, host_display
from petl_bench.api.evidence import Evidence, OutcomeSource
from petl_bench.api.figure import Axis, Figure, Point, PointOrigin, Series, joined
from petl_bench.api.marks import mark_of, with_method_marks
from petl_bench.api.table import Cell
from petl_bench.reports.published_numbers import MSTA_TABLES
from petl_bench.tables.columns import PublishedKey, ShownNumber
from petl_bench.tables.notes import data_notes, data_provenance, listed, seed_notes, splits_note
from petl_bench.tables.quoted import quoted_groups
from petl_bench.tables.ranking import cells_of
from petl_bench.tables.setting_table import TOP1, SettingTable
from petl_bench.tables.tradeoff_picture import INTERVAL_NOTE, STD_NOTE, error_bar, with_interval
from petl_bench.tables.tuned import tuning_notes

#: The kind of transfer whose published rows the picture shows: all of them would be too many lines to tell apart.
_DRAWN = "efficient-transfer"


@pb.register_table("few_shot")
class FewShotTable(SettingTable):
    """Few-shot recognition: top-1 for each data set and number of shots K, mean and spread over seeds.

    A data set's numbers of shots stand side by side; another split, other files or other options of a data set are a
    group of columns of their own. Rows are ranked if they share backbone, weights and views, and carry no mark that
    bars them (docs/marks.md). Quoted: Table 3 of the MSTA paper (CVPR 2025), for its data sets, 2, 4, 8 and 16 shots,
    split 1.
    """

    setting = "few_shot"
    title = "Few-shot recognition: top-1 accuracy in percent, K training clips per class"
    numbers = (ShownNumber("K={case.shots}", (TOP1,), mean_class="K={case.shots}, mean class"),)
    over = "shots"
    held_out = ("val_top1", "K={case.shots}")
    published_csv = (MSTA_TABLES,)
    quoted_tables = ("3",)

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """The paper has split 1."""
        return (case.dataset, case.shots, metric) if case.split == "1" else None

    def figure(self, evidence: Evidence) -> Figure:
        """Top-1 against the number of shots: one panel for each data set. Raises UsageError if there are no records.

        Rows of several backbones, weights or views have panels of their own.
        """
        comparison = self.compared(evidence.records).comparison
        groups = comparison.case_groups(self.over)
        panels = [
            self._panel(comparison, rows, group, evidence)
            for rows in comparison.groups().values()
            for group in groups
            if any(comparison.of(row, case) for row in rows for case in group.cases)
        ]
        quoted = any(series.origin == "quoted" for panel in panels for series in panel.series)
        notes = [
            STD_NOTE if evidence.outcomes is None else INTERVAL_NOTE,
            *seed_notes(comparison),
            *self._mark_notes(comparison, evidence.outcomes),
            *tuning_notes(comparison, evidence.tunings),
            splits_note(groups),
            *data_notes(comparison),
            *data_provenance(comparison, groups),
            *(self.reading_notes(self.columns(comparison)) if quoted else []),
            *([f"{self.quoted_note} Drawn: {_DRAWN} rows."] if quoted else []),
        ]
        return joined(panels, notes)

    def _panel(
        self, comparison: Comparison, rows: Sequence[Configuration], group: CaseGroup, evidence: Evidence
    ) -> Figure:
        columns, shots = self.number_columns(comparison, group), [case.shots for case in group.cases]
        published, outcomes = evidence.published, evidence.outcomes
        drawn = None if published is None else published[published["group"] == _DRAWN]
        here = [
            (row, [with_interval(column.cell(row), comparison, row, column, outcomes) for column in columns])
            for row in rows
        ]
        quoted = [
            (row.label, row.cells) for group in quoted_groups(drawn, *self.quoted_tables, columns) for row in group.rows
        ]
        series_of = partial(_series, shots, intervals=outcomes is not None)
        keys = _keys(comparison)
        series = [
            *[series_of(_signed(comparison.row_displays[row], cells), cells, key=keys[row]) for row, cells in here],
            *[series_of(label, cells, "quoted") for label, cells in quoted],
        ]
        return Figure(
            name="few_shot",
            title=f"{group.display}: {host_display(rows[0].backbone, rows[0].weights)}",
            x=Axis("Training clips per class (K)", logarithmic=True, ticks=tuple(shots)),
            y=Axis("Top-1 (%)"),
            series=tuple(each for each in series if each.points),
        )

    def _mark_notes(self, comparison: Comparison, outcomes: OutcomeSource | None) -> list[str]:
        """What qualifies points of the picture, and which ones."""
        points: dict[str, list[str]] = defaultdict(list)
        for rows in comparison.groups().values():
            for group in comparison.case_groups(self.over):
                columns = self.number_columns(comparison, group)
                for row in rows:
                    for column, cell in zip(columns, cells_of(comparison, columns, row, outcomes), strict=True):
                        for word in cell.marks:
                            points[word].append(f"{comparison.row_displays[row]} {column.column.full_display}")
        return [
            f"{mark.symbol}: {mark.meaning}: {listed(points[mark.word], 6)}." for mark in map(mark_of, sorted(points))
        ]


def _keys(comparison: Comparison) -> dict[Configuration, str]:
    """How rows are told apart: the first row of a method looks as the method does in other figures."""
    firsts: dict[str, Configuration] = {}
    for row in comparison.configurations:
        firsts.setdefault(row.method, row)
    labels = comparison.row_labels
    return {row: row.method if firsts[row.method] is row else labels[row] for row in comparison.configurations}


def _signed(name: str, cells: Sequence[Cell]) -> str:
    """The name of a row with the signs of what its method declares."""
    return with_method_marks(name, {word for cell in cells for word in cell.marks})


def _series(
    shots: Sequence[int],
    label: str,
    cells: Sequence[Cell],
    origin: PointOrigin = "run",
    *,
    key: str = "",
    intervals: bool,
) -> Series:
    """A line with one point for each number of shots that was run, or is published."""
    points = (
        Point(number, cell.value, label, error_bar(cell, intervals=intervals), cell.trials)
        for number, cell in zip(shots, cells, strict=True)
        if isinstance(cell.value, float)
    )
    return Series(label, tuple(points), origin, line=True, key=key)
