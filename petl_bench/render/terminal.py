"""Text for a terminal. A table wider than the screen is printed in parts that repeat the first column, uncut."""

from __future__ import annotations

import io

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from petl_bench.render import clean, marked, notes, number
from petl_bench.table import ALIKE, Cell, Column, RowGroup, Spread, Table, symbols

_PADDING = 2  #: between columns, one of them the divider
_WIDTH = 80
_LABEL_WIDTH = 36  #: longer labels, and the titles of groups, go over several lines
_UNLIMITED = 100_000


def render(table: Table) -> str:
    """The table as plain text, 80 columns wide where its numbers allow."""
    buffer = io.StringIO()
    show(table, Console(file=buffer, width=_WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def show(table: Table, console: Console) -> None:
    """Print the table; best is bold and second underlined on a terminal, `*` and `+` stand before them elsewhere."""
    styled = console.is_terminal
    console.print(Text(clean(table.title), style="bold"))
    console.print()
    for part in _parts(table, console.width):
        grid = _grid(table, part, console.width, styled)
        # Without a width of its own, a table is squeezed into the screen by cutting its cells.
        grid.width = Measurement.get(console, console.options.update(max_width=_UNLIMITED), grid).maximum
        console.print(grid, crop=False)
        console.print()
    legend = [] if styled or not _has_ranks(table) else ["*: best, +: second"]
    for note in [*legend, *notes(table)]:
        console.print(Text(note, style="dim"))


def _has_ranks(table: Table) -> bool:
    return any(cell.rank for group in table.groups for row in group.rows for cell in row.cells)


def _parts(table: Table, width: int) -> list[list[int]]:
    """Indices of the columns of each part; a column group stays together."""
    room = width - _PADDING - _label_width(table, width)
    widths = _column_widths(table)
    parts: list[list[int]] = [[]]
    used = first = 0
    for _, count in table.column_groups():
        indices = list(range(first, first + count))
        needed = sum(widths[index] + _PADDING for index in indices)
        if parts[-1] and used + needed > room:
            parts.append([])
            used = 0
        parts[-1] += indices
        used += needed
        first += count
    return parts


def _label_width(table: Table, width: int) -> int:
    """Wide enough for the rows; for the titles of groups too where a single part leaves room."""
    labels = [_label(row.label, row.marks) for group in table.groups for row in group.rows]
    labels += [_section(group) for group in table.groups]
    longest = min(max(map(cell_len, labels), default=0), _LABEL_WIDTH)
    spare = width - _PADDING - sum(each + _PADDING for each in _column_widths(table))
    titles = max((cell_len(clean(group.title)) for group in table.groups), default=0)
    return max(longest, min(titles, spare, _LABEL_WIDTH))


def _column_widths(table: Table) -> list[int]:
    """What each column needs; the first of a column group also holds the group's header."""
    widths = []
    previous = None
    for index, column in enumerate(table.columns):
        texts = [clean(column.label), "" if column.group == previous else clean(column.group)]
        texts += [_plain(row.cells[index], column, table.spread) for group in table.groups for row in group.rows]
        widths.append(max(map(cell_len, texts)))
        previous = column.group
    return widths


def _plain(cell: Cell, column: Column, spread: Spread) -> str:
    sign = {"best": "*", "second": "+", "": ""}[cell.rank] + (ALIKE if cell.alike else "")
    return sign + marked(number(cell, column, spread), symbols(cell.marks))


def _label(label: str, marks: tuple[str, ...]) -> str:
    return "  " + marked(clean(label), symbols(marks))


def _section(group: RowGroup) -> str:
    return clean(group.section)


def _grid(table: Table, indices: list[int], width: int, styled: bool) -> RichTable:
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _PADDING - 1, 0, 0))
    grid.add_column(Text("\n" + clean(table.corner)), width=_label_width(table, width), overflow="fold")
    previous = None
    for index in indices:
        column = table.columns[index]
        group = "" if column.group == previous else clean(column.group)
        grid.add_column(Text(f"{group}\n{clean(column.label)}"), justify="right", no_wrap=True)
        previous = column.group
    title = None
    for group_of_rows in table.groups:
        if all(row.cells[index].origin == "absent" for row in group_of_rows.rows for index in indices):
            continue
        if group_of_rows.title != title:
            grid.add_section()
            grid.add_row(Text(clean(group_of_rows.title), style="italic"))
            title = group_of_rows.title
        if group_of_rows.section:
            grid.add_row(Text(_section(group_of_rows), style="italic"))
        for row in group_of_rows.rows:
            cells = [_styled(row.cells[index], table.columns[index], table.spread, styled) for index in indices]
            grid.add_row(Text(_label(row.label, row.marks)), *cells)
    return grid


def _styled(cell: Cell, column: Column, spread: Spread, styled: bool) -> Text:
    if not styled:
        return Text(_plain(cell, column, spread))
    style = {"best": "bold", "second": "underline", "": "dim" if cell.origin == "quoted" else ""}[cell.rank]
    alike = ALIKE if cell.alike else ""
    return Text.assemble(alike, (marked(number(cell, column, spread), symbols(cell.marks)), style))
