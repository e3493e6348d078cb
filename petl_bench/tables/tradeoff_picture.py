"""A panel of a trade-off picture: trained parameters against one number, with the Pareto front."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from petl_bench.analysis.cells import CellStatistics
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.figure import Axis, Figure, Point, Series, pareto_front
from petl_bench.api.marks import barring, mark_of, symbols
from petl_bench.api.table import Cell
from petl_bench.tables.columns import MeasuredColumn

STD_NOTE = "Error bars: ± sample standard deviation over seeds."
INTERVAL_NOTE = "Error bars: 95 % interval over clips and seeds."
FRONT_NOTE = "Pareto front: of the runs here that may be ranked."
ZERO_NOTE = "What trains nothing stands at 0, left of the break in the axis, which is logarithmic right of it."


@dataclass(frozen=True)
class TradeOffPanel:
    """Rows that may be compared, and the number of each. `cells`: of `column`, with all of their marks, for the rows
    that have the number."""

    comparison: Comparison
    column: MeasuredColumn
    cells: Mapping[Configuration, Cell]
    outcomes: OutcomeSource | None

    @cached_property
    def front(self) -> tuple[tuple[float, float], ...]:
        """The Pareto front of the rows that may be ranked."""
        return pareto_front(self.position(row) for row, cell in self.cells.items() if not barring(cell.marks))

    def position(self, row: Configuration) -> tuple[float, float]:
        """Trained parameters in millions, of the case where they are most, and the row's number."""
        value = self.cells[row].value
        assert isinstance(value, float)
        return max(run.trainable_params for run in self.comparison.of_row(row)) / 1e6, value

    def picture(self, name: str, title: str, y_label: str, quoted: Sequence[Point]) -> Figure:
        """The panel with quoted points, one series for each method."""
        methods: dict[str, list[Point]] = defaultdict(list)
        for row in self.cells:
            methods[row.method].append(self._point(row))
        here = [Series(method, tuple(points)) for method, points in methods.items()]
        return Figure(
            name=name,
            title=title,
            x=Axis("Trained parameters (millions)", logarithmic=True),
            y=Axis(y_label),
            series=(*here, *[Series(point.label, (point,), origin="quoted") for point in quoted]),
            front=self.front or None,
            name_points=True,
        )

    def _point(self, row: Configuration) -> Point:
        x, y = self.position(row)
        cell, measure = self.cells[row], self.column.measure
        y_range = cell.std_range
        if self.outcomes is not None and measure is not None:
            y_range = CellStatistics(self.comparison, self.outcomes).interval(row, measure)
        label = self.comparison.row_labels[row]
        return Point(x, y, f"{label} [{symbols(cell.marks)}]" if cell.marks else label, y_range, cell.trials)


def picture_notes(panels: Sequence[TradeOffPanel], *, intervals: bool) -> list[str]:
    """What bars, front and marks of the panels mean."""
    marks = {mark for panel in panels for cell in panel.cells.values() for mark in cell.marks}
    return [
        INTERVAL_NOTE if intervals else STD_NOTE,
        FRONT_NOTE,
        ZERO_NOTE,
        *[f"{mark.symbol}: {mark.meaning}." for mark in map(mark_of, sorted(marks))],
    ]
