"""Groups of rows that were run here: ranked, with intervals, tests and differences from a baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from petl_bench.analysis.chance import guesses_of, is_at_chance
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import FAMILIES, Configuration
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.api.evidence import Evidence, OutcomeSource
from petl_bench.api.marks import SYNTHETIC, barring
from petl_bench.api.table import Cell, Column, Rank, Row, RowGroup
from petl_bench.tables.columns import MeasuredColumn

AT_CHANCE = "at-chance"


def run_groups(comparison: Comparison, columns: Sequence[MeasuredColumn], evidence: Evidence) -> list[RowGroup]:
    """The rows that were run here, ranked within each group.

    Rows of a group share backbone, weights and views, and are of one family: zero-shot, parameter-efficient or full
    fine-tuning. If the evidence has outcomes, cells get their intervals, and those that no paired test tells apart from
    the best of their column and group share a sign with it (corrected for all pairs and columns of the table).
    """
    groups = [
        RankedRows(comparison, columns, rows, family, evidence.outcomes) for family, rows in _families(comparison)
    ]
    add_statistics(groups, comparison, evidence)
    if evidence.baseline:
        _add_deltas(groups, evidence.baseline)
    return [group.finished() for group in groups]


def _families(comparison: Comparison) -> Iterator[tuple[str, list[Configuration]]]:
    """Name and rows, group by group."""
    for rows in comparison.groups().values():
        families: dict[str, list[Configuration]] = defaultdict(list)
        for row in rows:
            families[comparison.family(row)].append(row)
        yield from ((family, families[family]) for family in FAMILIES if family in families)


def cells_of(
    comparison: Comparison, columns: Sequence[MeasuredColumn], row: Configuration, outcomes: OutcomeSource | None
) -> list[Cell]:
    """What a row shows in each column, marked if it is at chance: the accuracy, or one term of a harmonic mean."""
    cells = [column.cell(row) for column in columns]
    at_chance = set()
    for column, cell in zip(columns, cells, strict=True):
        measure = column.measure
        if measure is None or not column.tested or len(measure.terms) > 1 or not isinstance(cell.value, float):
            continue
        (term,) = measure.terms
        guesses = guesses_of(comparison, row, term, outcomes)
        if guesses is not None and is_at_chance(cell.value, guesses):
            at_chance.add(term)
    return [
        replace(cell, marks=tuple(sorted({*cell.marks, AT_CHANCE})))
        if column.measure is not None and cell.value is not None and at_chance.intersection(column.measure.terms)
        else cell
        for column, cell in zip(columns, cells, strict=True)
    ]


class RankedRows:
    """Rows under a common title while their cells are worked out; `cells[column][row]`."""

    def __init__(
        self,
        comparison: Comparison,
        columns: Sequence[MeasuredColumn],
        rows: Sequence[Configuration],
        section: str,
        outcomes: OutcomeSource | None,
        labels: Mapping[Configuration, str] | None = None,
    ) -> None:
        """`labels`: of the rows, if they are not those of the comparison."""
        self.title, self.section, self.columns, self.rows = _title(comparison, rows), section, columns, rows
        self._labels = labels or comparison.row_labels
        cells = zip(*[cells_of(comparison, columns, row, outcomes) for row in rows], strict=True)
        self.cells = [
            ranked(found, each.column) if each.ranked else list(found)
            for each, found in zip(columns, cells, strict=True)
        ]

    def change(self, column: int, row: int, **values: Any) -> None:
        """Set fields of one cell."""
        self.cells[column][row] = replace(self.cells[column][row], **values)

    def best(self, column: int) -> int | None:
        """The first row that is best in a column; None if nothing is ranked."""
        return next((index for index, cell in enumerate(self.cells[column]) if cell.rank == "best"), None)

    def finished(self) -> RowGroup:
        """What a renderer prints."""
        across = zip(*self.cells, strict=True)
        rows = tuple(Row(self._labels[row], cells) for row, cells in zip(self.rows, across, strict=True))
        return RowGroup(self.title, rows, self.section)


def _title(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """What rows of one group share: backbone, weights, views, source files."""
    views = {run.views for row in rows for run in comparison.of_row(row)}
    shown = "" if views == {"1 x 1"} else ", views by data set" if len(views) > 1 else f", {views.pop()} views"
    source = f", source files {rows[0].source_sha256[:8]}" if rows[0].source_sha256 else ""
    return f"Run here: {rows[0].backbone} ({rows[0].weights} weights){shown}{source}"


def ranked(cells: Sequence[Cell], column: Column) -> list[Cell]:
    """The cells of one column with the best and the second marked.

    Only numbers that were run here and carry no mark that bars them are ranked, and only if there are two to compare;
    of numbers that are all made by a script, those without another such mark. Numbers that the column shows alike are
    equal, and share their rank.
    """
    numbers = {
        index: (cell.value, barring(cell.marks))
        for index, cell in enumerate(cells)
        if isinstance(cell.value, (int, float)) and cell.origin == "run"
    }
    usual = (SYNTHETIC,) if all(SYNTHETIC in marks for _, marks in numbers.values()) else ()
    shown = {index: float(column.text(value)) for index, (value, marks) in numbers.items() if marks == usual}
    if len(shown) < 2:
        return list(cells)
    ladder = sorted(set(shown.values()), reverse=not column.lower_is_better)
    ranks: dict[float, Rank] = {ladder[0]: "best"}
    if len(ladder) > 1:
        ranks[ladder[1]] = "second"
    return [
        replace(cell, rank=ranks[shown[index]]) if shown.get(index) in ranks else cell
        for index, cell in enumerate(cells)
    ]


def add_statistics(groups: Sequence[RankedRows], comparison: Comparison, evidence: Evidence) -> None:
    """Intervals, and which cells no paired test tells from the best; nothing if no outcomes are known."""
    if evidence.outcomes is None or not groups:
        return
    measures = [column.measure if column.tested else None for column in groups[0].columns]
    tests = PairwiseTests(comparison, measures, evidence.outcomes, evidence.damaged)
    for group in groups:
        for index, column in enumerate(group.columns):
            if column.measure is None:
                continue
            for place, row in enumerate(group.rows):
                if group.cells[index][place].value is not None:
                    group.change(index, place, interval=tests.statistics.interval(row, column.measure))
            _mark_alike(group, index, tests)


def _mark_alike(group: RankedRows, index: int, tests: PairwiseTests) -> None:
    """Mark the ranked cells of a column that no test tells from the best, and the best with them."""
    best = group.best(index)
    if best is None:
        return
    cells = group.cells[index]
    bars = barring(cells[best].marks)
    rivals = [at for at, cell in enumerate(cells) if cell.value is not None and barring(cell.marks) == bars]
    alike = [at for at in rivals if at != best and not tests.are_told_apart(index, group.rows[best], group.rows[at])]
    for at in [best, *alike] if alike else []:
        group.change(index, at, alike=True)


def _add_deltas(groups: Sequence[RankedRows], baseline: str) -> None:
    """Differences from the baseline method's first row with the same backbone, weights, views and source."""
    references = {
        row.comparable: (group, place)
        for group in reversed(groups)
        for place, row in reversed(list(enumerate(group.rows)))
        if row.method == baseline
    }
    for group in groups:
        reference = references.get(group.rows[0].comparable)
        if reference is None:
            continue
        for index, column in enumerate(group.columns):
            if column.ranked:
                _add_delta(group, index, reference[0].cells[index][reference[1]])


def _add_delta(group: RankedRows, index: int, baseline: Cell) -> None:
    for place, cell in enumerate(group.cells[index]):
        if cell is not baseline and isinstance(cell.value, float) and isinstance(baseline.value, float):
            group.change(index, place, delta=cell.value - baseline.value)
