"""The sign `=`: which cells no paired test tells apart from the best of their column and group; and intervals."""

from __future__ import annotations

from collections.abc import Sequence

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import barring
from petl_bench.tables.ranking import RankedRows


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
