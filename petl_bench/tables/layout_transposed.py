"""A table with rows and columns exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.errors import UsageError

_NOTE = "Rows and columns are exchanged: where a note says column and group, read row and heading."
#: Heading above numbers that have no header.
_NUMBERS = "Results"


def transposed(table: Table, file: str) -> Table:
    """The table with a column for each row, under the headings of the groups, and a row for each column.

    Ranks and signs stay with their numbers; signs of rows stand behind each of their numbers. Raises UsageError, which
    names the layout's file, if numbers of several formats would stand in one column.
    """
    form = _format(table, file)
    heading_is_shown = len(table.groups) > 1
    columns = [
        Column(row.label, group.heading if heading_is_shown else "", form, display=row.display)
        for group in table.groups
        for row in group.rows
    ]
    notes = [_NOTE, *(f"All columns: {group.heading}." for group in table.groups[:1] if not heading_is_shown)]
    groups = tuple(_groups(table))
    return replace(table, corner="", columns=tuple(columns), groups=groups, footers=(*notes, *table.footers))


def _format(table: Table, file: str) -> str:
    """The format that all numbers have."""
    rows = [row for group in table.groups for row in group.rows]
    formats = {
        column.format: column.full_display
        for index, column in enumerate(table.columns)
        if any(isinstance(row.cells[index].value, (int, float)) for row in rows)
    }
    if len(formats) > 1:
        some = " and ".join(f"{name} ({_in_words(form)})" for form, name in list(formats.items())[:2])
        raise UsageError(
            f"{file}: transpose: {some} show their numbers differently, which one column cannot: choose columns, or "
            "give them column_decimals"
        )
    return next(iter(formats), ".1f")


def _in_words(form: str) -> str:
    count, kind = form.strip(".,fg"), "decimals" if form.endswith("f") else "significant digits"
    return f"{count} {kind.removesuffix('s') if count == '1' else kind}"


def _groups(table: Table) -> Iterator[RowGroup]:
    """A group for each header; a single one if each header has one column, and all of them the same label."""
    rows = list(enumerate(table.columns))
    labels = {column.label for column in table.columns}
    if len(labels) == 1 and len({column.group for column in table.columns}) == len(table.columns) > 1:
        shown = table.columns[0].display or table.columns[0].label
        yield RowGroup(shown, tuple(_row(table, at, each.group, each.group_display) for at, each in rows))
        return
    for (header, shown), own in groupby(rows, lambda pair: (pair[1].group, pair[1].group_display)):
        title = shown or header or _NUMBERS
        yield RowGroup(title, tuple(_row(table, at, each.label, each.display) for at, each in own))


def _row(table: Table, index: int, label: str, display: str) -> Row:
    cells = [_cell(row.cells[index], row) for group in table.groups for row in group.rows]
    return Row(label, tuple(cells), display=display)


def _cell(cell: Cell, row: Row) -> Cell:
    return cell if cell.value is None else replace(cell, marks=tuple(dict.fromkeys((*cell.marks, *row.marks))))
