"""Groups of rows that were run here: ranked, with intervals, tests and differences from a baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import FAMILIES, Comparable, Configuration
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
    _add_deltas(groups, _references(comparison, evidence.baseline))
    return [group.finished() for group in groups]


def _families(comparison: Comparison) -> Iterator[tuple[str, list[Configuration]]]:
    """Name and rows, group by group."""
    for rows in comparison.groups().values():
        families: dict[str, list[Configuration]] = defaultdict(list)
        for row in rows:
            families[comparison.family(row)].append(row)
        yield from ((family, families[family]) for family in FAMILIES if family in families)


def baseline_notes(comparison: Comparison, evidence: Evidence) -> list[str]:
    """From which rows the differences in parentheses are; nothing without a baseline."""
    references = _references(comparison, evidence.baseline)
    if not references:
        return []
    names = dict.fromkeys(comparison.row_displays[row] for row in references.values())
    apart = ", each from that of its own backbone, weights and views" if len(comparison.groups()) > 1 else ""
    return [f"In parentheses: the difference from {' or '.join(names)}{apart}."]


def _references(comparison: Comparison, baseline: str) -> dict[Comparable, Configuration]:
    """The baseline method's first row of each backbone, weights, views and source."""
    found: dict[Comparable, Configuration] = {}
    for _, rows in _families(comparison):
        for row in rows:
            if row.method == baseline:
                found.setdefault(row.comparable, row)
    return found


def _add_deltas(groups: Sequence[RankedRows], references: Mapping[Comparable, Configuration]) -> None:
    """Differences from the reference with the same backbone, weights, views and source."""
    places = {row: (group, place) for group in groups for place, row in enumerate(group.rows)}
    for group in groups:
        reference = references.get(group.rows[0].comparable)
        if reference is None:
            continue
        of, at = places[reference]
        for index, column in enumerate(group.columns):
            if column.ranked:
                _add_delta(group, index, of.cells[index][at])


def _add_delta(group: RankedRows, index: int, baseline: Cell) -> None:
    for place, cell in enumerate(group.cells[index]):
        if cell is not baseline and isinstance(cell.value, float) and isinstance(baseline.value, float):
            group.change(index, place, delta=cell.value - baseline.value)
