"""Which rows, columns and headings of a table the patterns of a layout name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from petl_bench.api.table import Column, Row, Table
from petl_bench.errors import UsageError, unknown

#: A row of a table: the index of its group, and its own in the group.
Place = tuple[int, int]
#: A fact of rows that were run here and that a layout gives another name than that of their method.
NAMED = ("name", "of the layout")


class Selection:
    """What the patterns of a layout name in a table; `file`: of the layout, for messages.

    Each method raises UsageError, with near names, if nothing has such a name.
    """

    def __init__(self, table: Table, file: str) -> None:
        self.table, self.file = table, file
        self._columns = [_column_names(each) for each in table.columns]
        self._headers = [(each.group, each.group_display) for each in table.columns]
        self._groups = [(each.heading, each.title, each.section) for each in table.groups]
        self._places = [(at, row) for at, group in enumerate(table.groups) for row in range(len(group.rows))]
        self._rows = [_row_names(table.groups[at].rows[row], table.groups[at].heading) for at, row in self._places]

    def columns(self, pattern: str, key: str) -> list[int]:
        """The indices of columns. `key`: of the layout, for the message."""
        return self._fitting("column", pattern, key, self._columns)

    def columns_if_any(self, pattern: str) -> list[int]:
        """The same; none if nothing has such a name."""
        return fitting(pattern, self._columns)

    def headers(self, pattern: str) -> list[int]:
        """The indices of the columns below headers."""
        return self._fitting("header", pattern, "header_names", self._headers)

    def groups(self, pattern: str) -> list[int]:
        """The indices of groups of rows, by their headings."""
        return self._fitting("heading", pattern, "group_names", self._groups)

    def rows(self, pattern: str, key: str) -> list[Place]:
        """The places of rows."""
        return [self._places[index] for index in self._fitting("row", pattern, key, self._rows)]

    def _fitting(self, kind: str, pattern: str, key: str, names: Sequence[tuple[str, ...]]) -> list[int]:
        if found := fitting(pattern, names):
            return found
        known = {own[0] for own in names if own[0]}
        error = unknown(kind, pattern, known, f"petl-bench report --table {self.table.name}")
        raise UsageError(f"{self.file}: {key}: {error}")


def fitting(pattern: str, names: Sequence[tuple[str, ...]]) -> list[int]:
    """The indices of what has the very name; else of what has one that fits the pattern."""
    if same := [index for index, own in enumerate(names) if pattern in own]:
        return same
    glob = pattern.replace("[", "[[]")
    return [index for index, own in enumerate(names) if any(fnmatchcase(name, glob) for name in filter(None, own))]


def row_name(row: Row) -> str:
    """A row as readers see it."""
    return row.display or row.label


def _row_names(row: Row, heading: str) -> tuple[str, ...]:
    names = (row.label, row.display) if row.display else (row.label,)
    return (*names, *(f"{heading} / {name}" for name in names))


def _column_names(column: Column) -> tuple[str, ...]:
    return column.full, column.label, column.full_display, column.display
