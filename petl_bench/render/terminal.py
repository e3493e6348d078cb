"""Text for a terminal. A table wider than the screen is printed in parts that repeat the first column, uncut."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from petl_bench.api.marks import symbols
from petl_bench.api.table import ALIKE, Cell, Column, Row, Spread, Table
from petl_bench.render.parts import column_parts, grouped_columns
from petl_bench.system.texts import clean
from petl_bench.tables.text import for_people, marked, notes, number, provenance

_PADDING = 2  #: between columns
_WIDTH = 80
_LABEL_WIDTH = 36  #: longer labels, and the titles of groups, go over several lines


def render(table: Table) -> str:
    """The table as plain text, 80 columns wide if its numbers allow."""
    buffer = io.StringIO()
    show(table, Console(file=buffer, width=_WIDTH, color_system=None, force_terminal=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def show(table: Table, console: Console) -> None:
    """Print the table; best is bold and second underlined on a terminal, `*` and `+` stand before them elsewhere."""
    table, styled = for_people(table), console.is_terminal
    console.print(Text(clean(table.title), style="bold"))
    console.print()
    layout = _layout(table, console.width, styled)
    for part in layout.parts:
        for line in _lines(table, layout, part):
            _print(line, console, styled)
        console.print()
    for note in notes(table, ranks="" if styled else "*: best, +: second"):
        console.print(Text(note, style="dim"))
    if behind := provenance(table):
        console.print(Text("\nProvenance", style="dim"))
    for text in behind:
        console.print(Text(text, style="dim"))


#: A line in pieces, each a text and its style.
_Line = list[tuple[str, str]]


def _print(line: _Line, console: Console, styled: bool) -> None:
    if styled:
        console.print(Text.assemble(*line), no_wrap=True, overflow="ignore", crop=False)
    else:  # rich takes long over many thousands of lines
        console.file.write("".join(text for text, _ in line).rstrip() + "\n")


@dataclass(frozen=True)
class _Layout:
    """Where the texts of a table are printed.

    `texts[group][row][column]`: the text of a cell, and its style; `parts`: the indices of the columns that are printed
    together.
    """

    texts: list[list[_Line]]
    label_width: int
    widths: list[int]
    parts: list[list[int]]


def _layout(table: Table, width: int, styled: bool) -> _Layout:
    """A table that is wider than the screen goes into parts; a column group stays together, unless it is large and no
    part has room for it."""
    texts = [[_row(row, table, styled) for row in group.rows] for group in table.groups]
    widths = _column_widths(table.columns, [row for group in texts for row in group])
    label_width = _label_width(table, width, widths)
    room = width - _PADDING - label_width
    parts = column_parts(grouped_columns(table), [each + _PADDING for each in widths], room)
    return _Layout(texts, label_width, widths, parts or [[]])


def _label_width(table: Table, width: int, widths: list[int]) -> int:
    """Wide enough for the rows; for the titles of groups too if a single part leaves room."""
    labels = [_label(row.label, row.marks) for group in table.groups for row in group.rows]
    labels += [clean(group.section) for group in table.groups]
    longest = min(max(map(cell_len, [clean(table.corner), *labels])), _LABEL_WIDTH)
    spare = width - _PADDING - sum(each + _PADDING for each in widths)
    titles = max((cell_len(clean(group.title)) for group in table.groups), default=0)
    return max(longest, min(titles, spare, _LABEL_WIDTH))


def _column_widths(columns: Sequence[Column], rows: Sequence[_Line]) -> list[int]:
    """What each column needs; the first of a column group also holds the group's header."""
    widths = []
    for index, (column, header) in enumerate(zip(columns, _group_headers(columns), strict=True)):
        texts = [clean(column.label), header, *(row[index][0] for row in rows)]
        widths.append(max(map(cell_len, texts)))
    return widths


def _label(label: str, marks: tuple[str, ...]) -> str:
    return "  " + marked(clean(label), symbols(marks))


def _lines(table: Table, layout: _Layout, indices: list[int]) -> Iterator[_Line]:
    """The lines of one part of the table: its headers, a rule, and the groups that have something to show there."""
    columns = [table.columns[index] for index in indices]
    yield _line(layout, "", [(text, "bold") for text in _group_headers(columns)], indices)
    yield _line(layout, clean(table.corner), [(clean(column.label), "bold") for column in columns], indices, "bold")
    yield [("─" * (layout.label_width + sum(_PADDING + layout.widths[index] for index in indices)), "")]
    title = None
    for group, texts in zip(table.groups, layout.texts, strict=True):
        if all(row.cells[index].is_blank for row in group.rows for index in indices):
            continue
        if group.title != title:
            if title is not None:
                yield []
            title = group.title
            yield from _heading(title, layout)
        if group.section:
            yield from _heading(group.section, layout)
        for row, cells in zip(group.rows, texts, strict=True):
            *above, last = _folded(_label(row.label, row.marks), layout)
            yield from ([(text, "")] for text in above)
            yield _line(layout, last, [cells[index] for index in indices], indices)


def _group_headers(columns: Sequence[Column]) -> list[str]:
    """The header above each column, empty if it repeats the one before."""
    before = [None, *[column.group for column in columns]]
    return [
        "" if column.group == previous else clean(column.group)
        for column, previous in zip(columns, before, strict=False)
    ]


def _line(layout: _Layout, label: str, cells: _Line, indices: list[int], style: str = "") -> _Line:
    """A label and right-aligned cells."""
    line = [(label + " " * (layout.label_width - cell_len(label)), style)]
    spare = 0  # negative behind a header that is longer than its column
    for (text, own), index in zip(cells, indices, strict=True):
        spare += _PADDING + layout.widths[index] - cell_len(text)
        line += [(" " * spare, ""), (text, own)]
        spare = min(spare, 0)
    return line


def _heading(text: str, layout: _Layout) -> Iterator[_Line]:
    return ([(line, "italic")] for line in _folded(clean(text), layout))


def _folded(text: str, layout: _Layout) -> list[str]:
    """The text in lines that fit into the first column, broken between words, or within a word that is too long."""
    if cell_len(text) <= layout.label_width:
        return [text]
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(), layout.label_width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _row(row: Row, table: Table, styled: bool) -> _Line:
    return [_cell(cell, column, table.spread, styled) for cell, column in zip(row.cells, table.columns, strict=True)]


def _cell(cell: Cell, column: Column, spread: Spread, styled: bool) -> tuple[str, str]:
    """The text of a cell and its style; if there are no styles, signs before the number stand for them."""
    text = (ALIKE if cell.alike else "") + marked(number(cell, column, spread), symbols(cell.marks))
    if not styled:
        return {"best": "*", "second": "+", "": ""}[cell.rank] + text, ""
    return text, {"best": "bold", "second": "underline", "": "dim" if cell.origin == "quoted" else ""}[cell.rank]
