"""Groups of rows that were run here: ranked, with intervals, tests and differences from a baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import FAMILIES, Configuration
from petl_bench.api.evidence import Evidence
from petl_bench.api.table import Cell, RowGroup
from petl_bench.tables.columns import MeasuredColumn
from petl_bench.tables.equal_sign import add_statistics
from petl_bench.tables.ranking import RankedRows


def run_groups(comparison: Comparison, columns: Sequence[MeasuredColumn], evidence: Evidence) -> list[RowGroup]:
    """The rows that were run here, ranked within each group.

    Rows of a group share backbone, weights and views, and are of one family (FAMILIES). If the evidence has outcomes,
    cells get their intervals, and those that no paired test tells apart from the best of their column and group share a
    sign with it (corrected for all pairs and columns of the table).
    """
    groups = [
        RankedRows(comparison, columns, rows, family, evidence.outcomes) for family, rows in _families(comparison)
    ]
    add_statistics(groups, comparison, evidence)
    if evidence.baseline:
        _add_deltas(groups, _baselines(comparison, evidence.baseline))
    return [group.finished() for group in groups]


def _families(comparison: Comparison) -> Iterator[tuple[str, list[Configuration]]]:
    """Name and rows, group by group."""
    for rows in comparison.groups().values():
        families: dict[str, list[Configuration]] = defaultdict(list)
        for row in rows:
            families[comparison.family(row)].append(row)
        yield from ((family, families[family]) for family in FAMILIES if family in families)


def baseline_notes(comparison: Comparison, baseline: str) -> list[str]:
    """Which row the differences are from; nothing without a baseline. Of several rows of the method it is the first."""
    names = dict.fromkeys(comparison.row_displays[row] for row in _baselines(comparison, baseline).values())
    return (
        [f"In parentheses: the difference from {' or '.join(names)}, on the same backbone, weights and views."]
        if names
        else []
    )


def _baselines(comparison: Comparison, method: str) -> dict[Any, Configuration]:
    """The method's first row with each backbone, weights, views and source."""
    found: dict[Any, Configuration] = {}
    for _, rows in _families(comparison):
        for row in rows:
            if row.method == method:
                found.setdefault(row.comparable, row)
    return found


def _add_deltas(groups: Sequence[RankedRows], baselines: Mapping[Any, Configuration]) -> None:
    """Differences from the baseline with the same backbone, weights, views and source."""
    places = {row: (group, place) for group in groups for place, row in enumerate(group.rows)}
    for group in groups:
        baseline = baselines.get(group.rows[0].comparable)
        if baseline is None:
            continue
        reference, place = places[baseline]
        for index, column in enumerate(group.columns):
            if column.ranked:
                _add_delta(group, index, reference.cells[index][place])


def _add_delta(group: RankedRows, index: int, baseline: Cell) -> None:
    for place, cell in enumerate(group.cells[index]):
        if cell is not baseline and isinstance(cell.value, float) and isinstance(baseline.value, float):
            group.change(index, place, delta=cell.value - baseline.value)
