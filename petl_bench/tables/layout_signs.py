"""A table without signs, and the notes in their place."""

from __future__ import annotations

from dataclasses import replace

from petl_bench.api.table import Cell, Row, Table
from petl_bench.tables.layout_names import row_name
from petl_bench.tables.layout_rows import QUOTED
from petl_bench.tables.notes import listed

_ALIKE = "Without signs: which numbers a paired test does not tell from the best."
#: Names in a note.
_MOST = 6


def without_signs(table: Table) -> Table:
    """The table without signs, but that of quoted rows; what they would say stands in its notes."""
    groups = tuple(replace(group, rows=tuple(map(_row, group.rows))) for group in table.groups)
    return replace(table, groups=groups, footers=(*_notes(table), *table.footers))


def _row(row: Row) -> Row:
    return replace(row, cells=tuple(map(_cell, row.cells)), marks=_kept(row.marks))


def _cell(cell: Cell) -> Cell:
    return replace(cell, alike=False, marks=_kept(cell.marks))


def _kept(marks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in marks if word == QUOTED)


def _notes(table: Table) -> list[str]:
    """Each mark with the rows that have it, and the sign `=`."""
    rows = [row for group in table.groups for row in group.rows if QUOTED not in row.marks]
    notes = []
    for mark in table.marks():
        own = [row_name(row) for row in rows if any(mark.word in marks for marks in _marks(row))]
        names = "all rows run here" if len(own) == len(rows) > 1 else listed(own, _MOST)
        if own and mark.word != QUOTED:
            notes.append(f"Without signs ({names}): {mark.meaning}.")
    return [*notes, *([_ALIKE] if any(cell.alike for row in rows for cell in row.cells) else [])]


def _marks(row: Row) -> list[tuple[str, ...]]:
    return [row.marks, *(cell.marks for cell in row.cells)]
