"""A panel of a trade-off: two numbers of every row, with the Pareto front."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from petl_bench.analysis.cells import CellStatistics
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.figure import Axis, Figure, Point, Series, pareto_front
from petl_bench.api.marks import mark_of, symbols
from petl_bench.api.registry import METHODS
from petl_bench.api.table import Cell
from petl_bench.tables.columns import MeasuredColumn
from petl_bench.tables.ranking import may_be_ranked

STD_NOTE = "Error bars: ± sample standard deviation over seeds."
INTERVAL_NOTE = "Error bars: 95 % interval over clips and seeds."
FRONT_NOTE = "Pareto front: of the runs here that may be ranked."
ZERO_NOTE = "What trains nothing stands at 0, left of the break in the axis, which is logarithmic right of it."
TRAINED_LABEL = "Trained parameters (millions)"
#: An axis is logarithmic if its largest value is so many times its smallest one.
_WIDE = 30


@dataclass(frozen=True, eq=False)
class TradeOffRow:
    """A row with both numbers; their cells have all of their marks, and their intervals if these are known."""

    label: str
    display: str  #: the label as readers see it
    method: str  #: rows of one method look alike
    x: Cell
    y: Cell
    facts: tuple[tuple[str, str], ...] = ()  #: see `petl_bench.api.table.Row`

    @property
    def position(self) -> tuple[float, float]:
        """x and y."""
        assert isinstance(self.x.value, float) and isinstance(self.y.value, float)
        return self.x.value, self.y.value

    @property
    def marks(self) -> tuple[str, ...]:
        """Those of both numbers."""
        return tuple(sorted({*self.x.marks, *self.y.marks}))


@dataclass(frozen=True)
class TradeOffAxis:
    """One direction: its label, which way is better, and whether it is logarithmic (None: if values span decades)."""

    label: str
    lower_is_better: bool
    logarithmic: bool | None = False

    def drawn(self, values: Sequence[float], *, zero: bool) -> Axis:
        """The axis of these values; `zero`: a logarithmic one has a place for 0."""
        positive = [value for value in values if value > 0]
        has_room = zero or len(positive) == len(values)
        wide = bool(positive) and max(positive) >= _WIDE * min(positive)
        return Axis(self.label, has_room and (wide if self.logarithmic is None else self.logarithmic))


TRAINED_AXIS = TradeOffAxis(TRAINED_LABEL, lower_is_better=True, logarithmic=True)


@dataclass(frozen=True)
class TradeOffPanel:
    """Rows that may be compared. `intervals`: error bars are 95 % intervals, and else standard deviations."""

    x: TradeOffAxis
    y: TradeOffAxis
    rows: tuple[TradeOffRow, ...]
    intervals: bool

    @cached_property
    def ranked(self) -> list[TradeOffRow]:
        """The rows that may be ranked."""
        return may_be_ranked({row: row.marks for row in self.rows})

    @cached_property
    def front(self) -> tuple[tuple[float, float], ...]:
        """The Pareto front of the rows that may be ranked."""
        return pareto_front(
            [row.position for row in self.ranked],
            more_x_is_better=not self.x.lower_is_better,
            less_y_is_better=self.y.lower_is_better,
        )

    @property
    def has_zero(self) -> bool:
        """Whether the x axis has a place for 0."""
        may_be_logarithmic = self.x.logarithmic is not False
        return self.x == TRAINED_AXIS or (may_be_logarithmic and 0.0 in [row.x.value for row in self.rows])

    def on_front(self, row: TradeOffRow) -> Cell:
        """Whether a row is on the front; absent if it is not ranked."""
        if row not in self.ranked:
            return Cell(origin="absent", source="carries a mark that keeps it from being ranked")
        return Cell("yes" if row.position in self.front else "no")

    def picture(self, name: str, title: str, quoted: Sequence[Point] = ()) -> Figure:
        """The panel with quoted points, one series for each method."""
        methods: dict[str, list[Point]] = defaultdict(list)
        for row in self.rows:
            methods[row.method].append(self._point(row))
        here = [Series(METHODS.display(method), tuple(points), key=method) for method, points in methods.items()]
        series = (*here, *[Series(point.label, (point,), origin="quoted") for point in quoted])
        points = [point for each in series for point in each.points]
        return Figure(
            name=name,
            title=title,
            x=self.x.drawn([point.x for point in points], zero=True),
            y=self.y.drawn([point.y for point in points], zero=False),
            series=series,
            front=self.front or None,
            name_points=True,
            more_x_is_better=not self.x.lower_is_better,
        )

    def _point(self, row: TradeOffRow) -> Point:
        x, y = row.position
        label = f"{row.display} [{symbols(row.marks)}]" if row.marks else row.display
        trials = tuple(dict.fromkeys((*row.y.trials, *row.x.trials)))
        return Point(x, y, label, self._range(row.y), trials, self._range(row.x))

    def _range(self, cell: Cell) -> tuple[float, float] | None:
        return error_bar(cell, intervals=self.intervals)


def error_bar(cell: Cell, *, intervals: bool) -> tuple[float, float] | None:
    """What is drawn around a number: its interval; without `intervals`, one standard deviation to either side."""
    return cell.interval if intervals or cell.interval else cell.std_range


def rows_of(
    comparison: Comparison, x: Mapping[Configuration, Cell], y: Mapping[Configuration, Cell]
) -> dict[Configuration, TradeOffRow]:
    """The rows that have both numbers."""
    return {
        row: TradeOffRow(comparison.row_labels[row], comparison.row_displays[row], row.method, x[row], y[row])
        for row in y
        if isinstance(x[row].value, float) and isinstance(y[row].value, float)
    }


def most_trained(comparison: Comparison, row: Configuration) -> Cell:
    """Trained parameters in millions, of the case where they are most."""
    return Cell(max(run.trainable_params for run in comparison.of_row(row)) / 1e6)


def with_interval(
    cell: Cell, comparison: Comparison, row: Configuration, column: MeasuredColumn, outcomes: OutcomeSource | None
) -> Cell:
    """The cell of a column with its 95 % interval, if that is known."""
    if outcomes is None or column.measure is None or cell.value is None:
        return cell
    return replace(cell, interval=CellStatistics(comparison, outcomes).interval(row, column.measure))


def trained_against(
    comparison: Comparison,
    column: MeasuredColumn,
    cells: Mapping[Configuration, Cell],
    outcomes: OutcomeSource | None,
    label: str,
) -> TradeOffPanel:
    """Trained parameters against one number. `cells`: of `column`, with all of their marks, for the rows that have it;
    `label`: of the axis."""
    y = {row: with_interval(cell, comparison, row, column, outcomes) for row, cell in cells.items()}
    x = {row: most_trained(comparison, row) for row in cells}
    rows = tuple(rows_of(comparison, x, y).values())
    axis = TradeOffAxis(label, column.column.lower_is_better)
    return TradeOffPanel(TRAINED_AXIS, axis, rows, outcomes is not None)


def picture_notes(panels: Sequence[TradeOffPanel], *, intervals: bool) -> list[str]:
    """What bars, the front if one is drawn, break in the axis and marks of the panels mean."""
    front = [FRONT_NOTE] if any(panel.front for panel in panels) else []
    return [INTERVAL_NOTE if intervals else STD_NOTE, *front, *mark_notes(panels)]


def mark_notes(panels: Sequence[TradeOffPanel]) -> list[str]:
    """What the break in the axis and the marks of the panels mean."""
    marks = {mark for panel in panels for row in panel.rows for mark in row.marks}
    return [
        *([ZERO_NOTE] if any(panel.has_zero for panel in panels) else []),
        *[f"{mark.symbol}: {mark.meaning}." for mark in map(mark_of, sorted(marks))],
    ]
