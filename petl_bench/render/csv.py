"""Tidy CSV: one number per line, at full precision, with its standard deviation, number of runs, origin and source.

Spreadsheets run a text that begins with =, +, - or @ as a formula. Such a text, and one that begins with an apostrophe,
gets an apostrophe in front: remove one at the beginning, if there is one, to get the original text. Numbers
stay numbers.
"""

from __future__ import annotations

import csv
import io

from petl_bench.api.table import Table
from petl_bench.system.texts import clean

#: What makes a formula of a text, also in the full width of East Asian writing; and what keeps it from being one.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_TEXT = "'"
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
                        text(table.name),
                        text(group.heading),
                        text(row.label),
                        text(column.group),
                        text(column.label),
                        text(cell.value) if isinstance(cell.value, str) else cell.value,
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
                )
    return buffer.getvalue()


def text(value: str) -> str:
    """A text as a cell, in one line, that no spreadsheet takes for a formula."""
    value = clean(value)
    return _TEXT + value if value.startswith((*_FORMULA, _TEXT)) else value
