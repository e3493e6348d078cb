"""Names that a layout gives: none is that of something else in the table, and the provenance says whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from petl_bench.api.table import Column, Row, Table
from petl_bench.errors import UsageError
from petl_bench.system.texts import clean
from petl_bench.tables.layout_names import row_name
from petl_bench.tables.layout_rows import QUOTED, Heading
from petl_bench.tables.notes import listed


def refuse_names_of_others(table: Table, columns: Sequence[Column], headings: Sequence[Heading], file: str) -> None:
    """Raise UsageError if a column or a row that was run here has the name that another one has without the layout.

    Args:
        table: without the layout.
        columns: of the table, with the names of the layout.
        headings: of the layout, with the rows that are shown.
        file: of the layout.
    """
    for column, own in zip(columns, table.columns, strict=True):
        if column.full_display != own.full_display:
            taken = {name for each in table.columns if each is not own for name in (each.full, each.full_display)}
            _refuse(file, own.full, column.full_display, taken)
    every = [(row, at) for at, group in enumerate(table.groups) for row in group.rows]
    for row, own_row, at in _renamed(table, headings):
        others = [each for each, place in every if _is_other(each, own_row, same_group=place == at)]
        _refuse(file, own_row.label, row_name(row), (name for each in others for name in (each.label, each.display)))


def _refuse(file: str, what: str, name: str, taken: Iterable[str]) -> None:
    if clean(name).casefold() in {each.casefold() for each in taken}:
        raise UsageError(f"{file}: {what} would be called {name!r}, as another one in the table is: name it otherwise")


def _renamed(table: Table, headings: Sequence[Heading]) -> list[tuple[Row, Row, int]]:
    """The rows run here that have other names than in the table: as shown, as in the table, and their group in it."""
    rows = [(each.row, *each.place) for heading in headings for each in heading.rows if each.place]
    found = [(row, table.groups[at].rows[index], at) for row, at, index in rows]
    return [(row, own, at) for row, own, at in found if row_name(row) != row_name(own) and QUOTED not in own.marks]


def _is_other(row: Row, own: Row, *, same_group: bool) -> bool:
    """Whether a row is no other form of `own`: rows of one method may be called as those of other groups."""
    if row is own or QUOTED in row.marks or row.label == own.label:
        return False
    return same_group or _method(row) != _method(own)


def _method(row: Row) -> str:
    return dict(row.facts).get("method", row.label)


def renamed_rows(table: Table, headings: Sequence[Heading]) -> list[str]:
    """A line on the rows that the layout gives other names than their methods have."""
    names = [f"{row_name(row)} is {row_name(own)}" for row, own, _ in _renamed(table, headings)]
    return [f"Names of rows by the layout: {listed(dict.fromkeys(names))}."] if names else []
