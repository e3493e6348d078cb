"""Tidy CSV: one number per line, at full precision, with all that the table knows of it."""

from __future__ import annotations

from petl_bench.api.table import Table
from petl_bench.render.csv import text, value_of, written

FIELDS = (
    "table",
    "row_group",
    "row",
    "column_group",
    "column",
    "value",
    "standard_deviation",
    "interval_low",
    "interval_high",
    "delta",
    "runs",
    "origin",
    "source",
    "rank",
    "like_the_best",
    "marks",
    "trials",
)


def render(table: Table) -> str:
    """A header and one line per cell; what is absent has an empty value and its reason as `source`."""
    lines = (
        [
            text(table.name),
            text(group.heading),
            text(row.label),
            text(column.group),
            text(column.label),
            value_of(cell),
            cell.std,
            *(cell.interval or (None, None)),
            cell.delta,
            cell.n,
            cell.origin,
            text(cell.source),
            cell.rank,
            "yes" if cell.alike else "",
            text(" ".join(cell.marks)),
            text(" ".join(cell.trials)),
        ]
        for group in table.groups
        for row in group.rows
        for cell, column in zip(row.cells, table.columns, strict=True)
    )
    return written([FIELDS, *lines])
