"""The frontier: base against novel accuracy of each method along its learning rate, or along any other option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import petl_bench as pb
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import words_of
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Axis, Figure, Point, Series, joined, pareto_front
from petl_bench.api.marks import mark_of, symbols
from petl_bench.api.table import Cell, Column, RowGroup, Table
from petl_bench.reports.base2novel import NUMBERS, SETTING
from petl_bench.tables import notes as table_notes
from petl_bench.tables.columns import MeasuredColumn
from petl_bench.tables.commands import commands
from petl_bench.tables.equal_sign import add_statistics
from petl_bench.tables.frontier import FrontierPanel, FrontierPoint, FrontierSource, barring_marks
from petl_bench.tables.ranking import RankedRows
from petl_bench.tables.tradeoff_picture import FRONT_NOTE, INTERVAL_NOTE, STD_NOTE, error_bar
from petl_bench.tables.tuned import tuning_notes

_SELECTS_NOTHING = (
    "Accuracy on test clips: this shows what each value gives, and selects none; no row of another table is chosen "
    "from it. `petl-bench tune` chooses values on training clips."
)
_MEAN = (
    "Mean: over data sets and splits, each counting once, whatever its number of clips; only those that all rows of a "
    "group have."
)
_DOMINATED = (
    "Dominated by: a row that is at least as good in both and better in one; of several, the one that tests tell apart "
    "in most columns. Only rows that may be ranked are compared."
)
_TOLD_APART = (
    "Told apart in: the columns in which a paired test tells the two rows apart (5 %, corrected by Holm for all pairs "
    "of the group in both columns)."
)
_NOT_TESTED = "Told apart in: no tests were asked for (--statistics)."
_RECIPE = "Recipe: whether the value is that of the method's recipe for this setting and backbone."
_RING, _HOLLOW = "recipe's value", "dominated"


@pb.register_table("frontier")
class FrontierTable(FrontierSource):
    """What each method reaches along one option: base against novel accuracy, and which points others dominate.

    `--over` names the option: by default training.learning_rate; lora.rank, or rank for every method that has one. Rows
    of a method that differ in it alone are a curve; a method with one value is a point. As a picture (`--format pdf`,
    `svg`, `png`) and as a table. Backbones, protocols and numbers of shots are groups, or panels, of their own; within
    one, only the data sets count that all rows have. It shows accuracy on test clips, and so selects nothing.
    """

    setting = SETTING
    x, y = NUMBERS[0], NUMBERS[1]

    def build(self, evidence: Evidence) -> Table:
        """The table of all records. Raises UsageError if no method has several values of the option."""
        panels = self.panels(evidence)
        first = panels[0].shared.comparison
        comparison = replace(
            first, runs={place: runs for panel in panels for place, runs in panel.shared.comparison.runs.items()}
        )
        cases = comparison.case_groups()
        return Table(
            name=self.name,
            title=f"Frontier over {words_of(panels[0].option)}: base against novel top-1 accuracy in percent",
            corner="Method",
            columns=tuple(each.column for each in _columns(panels[0])),
            groups=tuple(_group(panel, evidence) for panel in panels),
            footers=(
                _SELECTS_NOTHING,
                _MEAN,
                _DOMINATED,
                _NOT_TESTED if evidence.outcomes is None else _TOLD_APART,
                _RECIPE,
                *[note for panel in panels for note in panel.shared.notes],
                *table_notes.seed_notes(comparison),
                *tuning_notes(comparison, evidence.tunings),
                *table_notes.protocol_notes(comparison, cases),
                *table_notes.data_notes(comparison),
            ),
            provenance=(
                *table_notes.training_provenance(comparison),
                *table_notes.data_provenance(comparison, cases),
            ),
            commands=tuple(commands(comparison)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """One panel for each group of rows. Raises UsageError as `build` does."""
        panels = self.panels(evidence)
        barred = {mark for panel in panels for point in panel.points.values() for mark in barring_marks(point)}
        notes = [
            _SELECTS_NOTHING,
            _MEAN,
            f"Labels: {words_of(panels[0].option)}; lines join the points of a method in the order of its values.",
            STD_NOTE if evidence.outcomes is None else INTERVAL_NOTE,
            FRONT_NOTE,
            f"Ring: {_RING}. Hollow: {_HOLLOW} by another point, whether or not a test tells them apart.",
            *[f"{mark.symbol}: {mark.meaning}." for mark in map(mark_of, sorted(barred))],
            *[note for panel in panels for note in panel.shared.notes],
        ]
        return joined([_picture(self.name, panel) for panel in panels], notes)


# The table


def _columns(panel: FrontierPanel) -> list[MeasuredColumn]:
    return [
        *panel.columns,
        MeasuredColumn(Column("Recipe"), lambda row: _of_recipe(panel.points[row])),
        MeasuredColumn(Column("Dominated by"), lambda row: _dominated_by(panel, row)),
        MeasuredColumn(Column("Told apart in"), lambda row: _told_apart(panel, row)),
    ]


def _group(panel: FrontierPanel, evidence: Evidence) -> RowGroup:
    comparison = panel.shared.comparison
    rows = RankedRows(comparison, _columns(panel), list(panel.points), panel.shared.data, evidence.outcomes)
    add_statistics([rows], comparison, evidence)
    return rows.finished()


def _of_recipe(point: FrontierPoint) -> Cell:
    if point.of_recipe is None:
        return Cell(origin="absent", source="no such option, or its recipe is not known here")
    return Cell("yes" if point.of_recipe else "no")


def _dominated_by(panel: FrontierPanel, row: Configuration) -> Cell:
    if row not in panel.ranked:
        return Cell(origin="absent", source="carries a mark that keeps it from being ranked")
    ways = panel.dominated.get(row, [])
    if not ways:
        return Cell("none")
    more = f" and {len(ways) - 1} more" if len(ways) > 1 else ""
    return Cell(f"{panel.name_of(ways[0].by)}{more}")


def _told_apart(panel: FrontierPanel, row: Configuration) -> Cell:
    if row not in panel.dominated:
        return Cell(origin="absent", source="not dominated")
    if panel.tests is None:
        return Cell(origin="absent", source="no tests were asked for")
    return Cell(", ".join(panel.dominated[row][0].told_apart) or "none")


# The picture


def _picture(name: str, panel: FrontierPanel) -> Figure:
    ranked = [point.position for row, point in panel.points.items() if row in panel.ranked]
    return Figure(
        name=name,
        title=panel.shared.heading,
        x=Axis("Base top-1 (%)"),
        y=Axis("Novel top-1 (%)"),
        series=tuple(
            Series(
                curve.display,
                tuple(_drawn(panel, point, of_many=len(curve.points) > 1) for point in curve.points),
                line=len(curve.points) > 1,
                key=curve.key,
            )
            for curve in panel.curves
        ),
        front=pareto_front(ranked, more_x_is_better=True) or None,
        name_points=True,
        more_x_is_better=True,
        names_series=True,
        ring=_RING,
        hollow=_HOLLOW,
    )


def _drawn(panel: FrontierPanel, point: FrontierPoint, *, of_many: bool) -> Point:
    x, y = point.position
    intervals = panel.tests is not None
    return Point(
        x,
        y,
        _label(point, of_many=of_many),
        error_bar(point.y, intervals=intervals),
        tuple(dict.fromkeys((*point.x.trials, *point.y.trials))),
        error_bar(point.x, intervals=intervals),
        ringed=of_many and bool(point.of_recipe),
        hollow=point.row in panel.dominated,
    )


def _label(point: FrontierPoint, *, of_many: bool) -> str:
    """The value of the option, if there are several, and the marks that keep the point from being ranked."""
    barred: Sequence[str] = barring_marks(point)
    return " ".join([*([point.value] if of_many else []), *([f"[{symbols(barred)}]"] if barred else [])])
