"""Tidy CSV: one number per line, at full precision, with its standard deviation, number of runs, origin and source."""

from __future__ import annotations

import csv
import io

from petl_bench.render import clean
from petl_bench.table import Table

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
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for group in table.groups:
        for row in group.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                writer.writerow(
                    [
                        table.name,
                        clean(group.heading),
                        clean(row.label),
                        clean(column.group),
                        clean(column.label),
                        clean(cell.value) if isinstance(cell.value, str) else cell.value,
                        cell.std,
                        *(cell.interval or (None, None)),
                        cell.delta,
                        cell.n,
                        cell.origin,
                        clean(cell.source),
                        cell.rank,
                        "yes" if cell.alike else "",
                        clean(" ".join(cell.marks)),
                        " ".join(cell.trials),
                    ]
                )
    return buffer.getvalue()
