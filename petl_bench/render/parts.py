"""A table that is too wide for its place, in parts below each other: the same rows, some of the columns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, combinations

from rich.cells import cell_len

from petl_bench.api.marks import symbols
from petl_bench.api.table import Row, Table, signs
from petl_bench.tables.text import number

#: Columns of a group that always stay together.
_TOGETHER = 4
#: Characters that a line of a page holds if it is read with ease, and if one column group needs them.
_LINE, _TIGHT_LINE = 130, 145
#: Characters that the space between two columns takes.
_PADDING = 2


def column_parts(
    groups: Sequence[Sequence[int]],
    widths: Sequence[float],
    room: float,
    most: float | None = None,
    together: int = _TOGETHER,
) -> list[list[int]]:
    """Column groups, as indices of their columns, gathered into as few parts as take at most `room`, of like widths.

    A group is broken only if it has more columns than `together` and is wider than `most` (default: `room`) by itself;
    into parts of one length, unless there are fewer parts with other ones.

    Args:
        groups: the columns of each group.
        widths: of each column, with the space beside it, in characters or points.
        room: what all columns of a part may take.
        most: what a part with a single group may take.
        together: columns of a group that always stay together.
    """
    even: list[Sequence[int]] = []
    single: list[Sequence[int]] = []
    for indices in groups:
        whole = len(indices) <= together or _width(indices, widths) <= (most or room)
        even += [indices] if whole else _broken(indices, widths, room)
        single += [indices] if whole else [[index] for index in indices]
    return min((_balanced(pieces, widths, room) for pieces in (even, single)), key=len)


def _balanced(pieces: Sequence[Sequence[int]], widths: Sequence[float], room: float) -> list[list[int]]:
    """Neighbouring pieces in as few parts as take at most `room`, the widest as narrow as can be."""
    fewest = len(_gathered(pieces, widths, room))
    ends = [0.0, *accumulate(_width(piece, widths) for piece in pieces)]
    rooms = sorted({room, *(end - start for start, end in combinations(ends, 2))})
    tightest = bisect_left(rooms, -fewest, key=lambda each: -len(_gathered(pieces, widths, each)))
    return _gathered(pieces, widths, rooms[tightest])


def _gathered(pieces: Sequence[Sequence[int]], widths: Sequence[float], room: float) -> list[list[int]]:
    """Neighbouring pieces in one part as long as they take at most `room`."""
    parts: list[list[int]] = []
    for piece in pieces:
        if parts and _width([*parts[-1], *piece], widths) <= room:
            parts[-1] += piece
        else:
            parts.append(list(piece))
    return parts


def grouped_columns(table: Table) -> list[list[int]]:
    """The indices of the columns of each column group."""
    groups: list[list[int]] = []
    first = 0
    for _, count in table.column_groups():
        groups.append(list(range(first, first + count)))
        first += count
    return groups


def parts_of(table: Table) -> list[Table]:
    """The table in parts that a page has room for; the table itself if it is narrow enough.

    The first column group, such as trained parameters, is repeated in every part if it is small and not ranked. A part
    has the rows with something to show in its other columns; the first part also those with nothing in any part.

    Args:
        table: as `petl_bench.tables.text.for_people` gives it.
    """
    widths = _column_widths(table)
    label = max(
        (cell_len(row.label) + len(symbols(row.marks)) for group in table.groups for row in group.rows), default=0
    )
    return split_columns(table, widths, _LINE - label, _TIGHT_LINE - label)


def split_columns(
    table: Table,
    widths: Sequence[float],
    room: float,
    most: float,
    *,
    repeat: bool = True,
    together: int = _TOGETHER,
) -> list[Table]:
    """The table in parts whose columns take at most `room`; the table itself if it is narrow enough.

    Args:
        table: as in `parts_of`, which says what the parts have.
        widths: of each column, with the space beside it.
        room: for all columns of a part.
        most: for the columns of a part with a single column group.
        repeat: whether every part has the first column group if it is small, and no result that is ranked.
        together: columns of a group that always stay together.
    """
    if _width(range(len(widths)), widths) <= room:
        return [table]
    first, *others = grouped_columns(table)
    is_repeated = repeat and others and len(first) <= _TOGETHER and not _has_ranks(table, first)
    repeated = first if is_repeated else []
    taken = _width(repeated, widths)
    parts = column_parts(others if repeated else [first, *others], widths, room - taken, most - taken, together)
    if len(parts) == 1:
        return [table]
    own = range(len(repeated), len(widths))
    return [_part(table, repeated, part, lost=own if part is parts[0] else ()) for part in parts]


def _has_ranks(table: Table, indices: Sequence[int]) -> bool:
    return any(row.cells[index].rank for group in table.groups for row in group.rows for index in indices)


def _part(table: Table, repeated: Sequence[int], own: Sequence[int], lost: Sequence[int]) -> Table:
    """Some columns. `lost`: rows that are blank in all of these columns are kept too."""

    def is_shown(row: Row) -> bool:
        return any(not row.cells[index].is_blank for index in own) or (
            bool(lost) and all(row.cells[index].is_blank for index in lost)
        )

    indices = [*repeated, *own]
    groups = [
        replace(group, rows=tuple(_of_columns(row, indices) for row in group.rows if is_shown(row)))
        for group in table.groups
    ]
    return replace(
        table,
        columns=tuple(table.columns[index] for index in indices),
        groups=tuple(group for group in groups if group.rows),
    )


def _of_columns(row: Row, indices: Sequence[int]) -> Row:
    return replace(row, cells=tuple(row.cells[index] for index in indices))


def _column_widths(table: Table) -> list[int]:
    rows = [row for group in table.groups for row in group.rows]
    return [
        max([cell_len(column.label), *(_cell_width(row, index, table) for row in rows)]) + _PADDING
        for index, column in enumerate(table.columns)
    ]


def _cell_width(row: Row, index: int, table: Table) -> int:
    cell = row.cells[index]
    return cell_len(number(cell, table.columns[index], table.spread)) + (0 if cell.is_blank else len(signs(cell)))


def _width(indices: Sequence[int], widths: Sequence[float]) -> float:
    return sum(widths[index] for index in indices)


def _broken(indices: Sequence[int], widths: Sequence[float], room: float) -> list[list[int]]:
    """The columns in as few parts as have room for them, of one length if that fits too."""
    parts: list[list[int]] = [[]]
    for index in indices:
        if parts[-1] and _width([*parts[-1], index], widths) > room:
            parts.append([])
        parts[-1].append(index)
    length = -(-len(indices) // len(parts))
    even = [list(indices[start : start + length]) for start in range(0, len(indices), length)]
    return even if all(_width(part, widths) <= room for part in even) else parts
