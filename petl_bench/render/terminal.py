"""Text for a terminal. A table wider than the screen is printed in parts that repeat the first column, uncut."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from petl_bench.api.marks import symbols
from petl_bench.api.table import ALIKE, Cell, Column, Row, RowGroup, Spread, Table
from petl_bench.render.parts import column_parts, grouped_columns
from petl_bench.system.texts import clean
from petl_bench.tables.text import (
    alone,
    for_people,
    marked,
    notes,
    number_parts,
    provenance,
    shared_by,
    without_shared_marks,
)

_PADDING = 2  #: between columns
_WIDTH = 80
#: What the column of labels may take; longer labels go over several lines.
_SHORTEST_LABEL, _LONGEST_LABEL = 20, 36
#: What stands for ranks without styles.
_RANKS = "*: best, +: second"


def render(table: Table) -> str:
    """The table as plain text with all that is behind it, 80 columns wide if its numbers allow."""
    buffer = io.StringIO()
    show(table, Console(file=buffer, width=_WIDTH, color_system=None, force_terminal=False), with_provenance=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def show(table: Table, console: Console, *, with_provenance: bool = True) -> None:
    """Print the table; best is bold and second underlined on a terminal, `*` and `+` stand before them elsewhere.

    Args:
        table: what is printed.
        console: where; its width decides how many parts the table has.
        with_provenance: whether the provenance is printed, or only how many lines it has, and how to see them.
    """
    table, styled = for_people(table), console.is_terminal
    shown, of_all = without_shared_marks(table)
    console.print(Text(clean(table.title), style="bold"))
    console.print()
    layout = _layout(shown, console.width, styled)
    for part in layout.parts:
        for line in _lines(shown, layout, part):
            _print(line, console, styled)
        console.print()
    for note in [*of_all, *notes(shown, ranks="" if styled else _RANKS)]:
        _print_note(note, console, styled)
    behind = provenance(table)
    if behind and not with_provenance:
        _print_note(f"Provenance: {len(behind)} lines more with --provenance.", console, styled)
    elif behind:
        console.print(Text("\nProvenance", style="dim"))
        for text in behind:
            _print_note(text, console, styled)


def _print_note(text: str, console: Console, styled: bool) -> None:
    """A note in lines that fit, of which all but the first are indented."""
    for line in textwrap.wrap(text, console.width, subsequent_indent="  ", break_on_hyphens=False):
        _print([(line, "dim")], console, styled)


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

    `width`: of the screen; `texts[group][row][column]`: the text of a cell, and its style; `parts`: the indices of the
    columns that are printed together.
    """

    width: int
    texts: list[list[_Line]]
    label_width: int
    widths: list[int]
    parts: list[list[int]]


def _layout(table: Table, width: int, styled: bool) -> _Layout:
    """A table that is wider than the screen goes into parts; column groups that fit into one stay together."""
    rows = [row for group in table.groups for row in group.rows]
    columns = [
        _aligned([row.cells[index] for row in rows], column, table.spread, styled)
        for index, column in enumerate(table.columns)
    ]
    lines = iter([[column[place] for column in columns] for place in range(len(rows))])
    texts = [[next(lines) for _ in group.rows] for group in table.groups]
    widths = _column_widths(table, columns)
    labels = [label for _, block in _blocks(table) for group in block for label in _labels(group, _shared(block))]
    label_width, parts = _fewest_lines(table, [clean(table.corner), *labels], widths, width)
    return _Layout(width, texts, label_width, widths, parts or [[]])


def _fewest_lines(
    table: Table, labels: Sequence[str], widths: Sequence[int], width: int
) -> tuple[int, list[list[int]]]:
    """The width of labels, and the parts, with which the table has the fewest lines; of several the widest labels.

    A narrower column of labels has more lines for each row, and may leave room for fewer parts, or for wide columns.
    """
    lengths = [cell_len(label) for label in labels]
    groups, padded = grouped_columns(table), [each + _PADDING for each in widths]
    longest = min(max(lengths), _LONGEST_LABEL)
    found = [(longest, column_parts(groups, padded, width - longest, together=1))]
    if len(found[0][1]) > 1 or longest + sum(padded) > width:
        found += [
            (each, column_parts(groups, padded, width - each, together=1))
            for each in range(longest - 1, _SHORTEST_LABEL, -1)
        ]

    def cost(one: tuple[int, list[list[int]]]) -> tuple[int, int]:
        label_width, parts = one
        widest = label_width + max((sum(padded[index] for index in part) for part in parts), default=0)
        lines = len(parts) * sum(-(-length // label_width) for length in lengths)
        return max(widest - width, 0), lines

    return min(found, key=cost)


def _column_widths(table: Table, columns: Sequence[_Line]) -> list[int]:
    """What each column needs; those of a column group together hold the group's header."""
    widths = [
        max(map(cell_len, [clean(column.label), *(text for text, _ in texts)]))
        for column, texts in zip(table.columns, columns, strict=True)
    ]
    for indices in grouped_columns(table):
        taken = sum(_PADDING + widths[index] for index in indices) - _PADDING
        widths[indices[0]] += max(cell_len(clean(table.columns[indices[0]].group)) - taken, 0)
    return widths


# Rows


def _blocks(table: Table) -> list[tuple[str, list[RowGroup]]]:
    """Neighbouring groups of one title, with this title."""
    return [(title, list(groups)) for title, groups in groupby(table.groups, key=lambda group: group.title)]


def _shared(block: Sequence[RowGroup]) -> list[str]:
    """The marks of all rows, which stand behind their heading."""
    return shared_by([row for group in block for row in group.rows])


def _labels(group: RowGroup, shared: Sequence[str]) -> list[str]:
    return [
        "  " + marked(clean(row.label), symbols(word for word in row.marks if word not in shared)) for row in group.rows
    ]


def _lines(table: Table, layout: _Layout, indices: list[int]) -> Iterator[_Line]:
    """The lines of one part of the table: its headers, a rule, and the rows that have something to show there.

    The first part also has the rows without any number.
    """
    columns = [table.columns[index] for index in indices]
    if any(column.group for column in columns):
        yield [(_group_headers(columns, layout, indices), "bold")]
    yield _line(layout, clean(table.corner), [(clean(column.label), "bold") for column in columns], indices, "bold")
    yield [("─" * (layout.label_width + sum(_PADDING + layout.widths[index] for index in indices)), "")]
    texts, is_first = iter(layout.texts), True
    for title, block in _blocks(table):
        found = [(group, rows) for group, rows in zip(block, texts, strict=False) if _has_numbers(group.rows, indices)]
        if not found:
            continue
        if not is_first:
            yield []
        is_first, shared = False, _shared(block)
        yield from _heading(marked(block[0].heading if len(block) == 1 else title, symbols(shared)), layout)
        for group, rows in found:
            if group.section and len(block) > 1:
                yield from _heading(alone(group), layout)
            for row, label, cells in zip(group.rows, _labels(group, shared), rows, strict=True):
                if not _has_numbers([row], indices) and (indices is not layout.parts[0] or _has_numbers([row])):
                    continue
                *above, last = _folded(label, layout.label_width)
                yield from ([(text, "")] for text in above)
                yield _line(layout, last, [cells[index] for index in indices], indices)


def _has_numbers(rows: Sequence[Row], indices: Sequence[int] | None = None) -> bool:
    """Whether something stands in these columns, or in any."""
    cells = [row.cells if indices is None else [row.cells[index] for index in indices] for row in rows]
    return any(not cell.is_blank for some in cells for cell in some)


def _group_headers(columns: Sequence[Column], layout: _Layout, indices: Sequence[int]) -> str:
    """The headers of column groups, each over the middle of its columns."""
    line, start = "", layout.label_width
    for header, some in groupby(zip(columns, indices, strict=True), key=lambda pair: pair[0].group):
        taken = sum(_PADDING + layout.widths[index] for _, index in some)
        text = clean(header)
        before = start + _PADDING + (taken - _PADDING - cell_len(text)) // 2 - cell_len(line)
        line += " " * max(before, 1) + text
        start += taken
    return line


def _line(layout: _Layout, label: str, cells: _Line, indices: list[int], style: str = "") -> _Line:
    """A label and right-aligned cells."""
    line = [(label + " " * (layout.label_width - cell_len(label)), style)]
    for (text, own), index in zip(cells, indices, strict=True):
        shown = text.rstrip()
        before = _PADDING + layout.widths[index] - cell_len(text)
        line += [(" " * before, ""), (shown, own), (" " * (len(text) - len(shown)), "")]
    return line


def _heading(text: str, layout: _Layout) -> Iterator[_Line]:
    return ([(line, "italic")] for line in _folded(clean(text), layout.width))


def _folded(text: str, width: int) -> list[str]:
    """The text in lines of this width, broken between words, or within a word that is too long."""
    if cell_len(text) <= width:
        return [text]
    indent = text[: len(text) - len(text.lstrip())]
    if cell_len(text) > len(text):
        return _folded_by_cells(text.split(), indent, width)
    return textwrap.wrap(
        text.strip(), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _folded_by_cells(words: Sequence[str], indent: str, width: int) -> list[str]:
    """As `_folded`, of words with letters that take two cells."""
    lines: list[str] = []
    for piece in (piece for word in words for piece in chop_cells(word, width - len(indent) - 2)):
        if lines and cell_len(f"{lines[-1]} {piece}") <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"{indent}  {piece}" if lines else f"{indent}{piece}")
    return lines


# Cells


def _aligned(cells: Sequence[Cell], column: Column, spread: Spread, styled: bool) -> _Line:
    """The texts of one column, with decimal points below each other."""
    pieces = [_pieces(cell, column, spread, styled) for cell in cells]
    spreads, deltas = (max((cell_len(each[place]) for each in pieces), default=0) for place in (1, 2))
    behind = [_behind(each, spreads, deltas) for each in pieces]
    room = max(map(cell_len, behind), default=0)
    texts = [f"{each[0]}{text}{' ' * (room - cell_len(text))}" for each, text in zip(pieces, behind, strict=True)]
    return [
        (text if each[0] else "", _style(cell, styled)) for each, text, cell in zip(pieces, texts, cells, strict=True)
    ]


def _behind(pieces: tuple[str, str, str, str], spreads: int, deltas: int) -> str:
    """What stands behind a number; spreads and differences as wide as the longest of the column."""
    _, spread, delta, signs = pieces
    shown = [spread and spread.rjust(spreads), delta and delta.rjust(deltas), signs]
    return "".join(f" {each}" for each in shown if each)


def _pieces(cell: Cell, column: Column, spread: Spread, styled: bool) -> tuple[str, str, str, str]:
    """The number with what stands before it, its spread, its difference from the baseline, its signs in brackets.

    If there are no styles, signs before the number stand for them.
    """
    value, beside, delta = number_parts(cell, column, spread)
    signs = clean(symbols(cell.marks))
    rank = "" if styled else {"best": "*", "second": "+", "": ""}[cell.rank]
    before = rank + (ALIKE if cell.alike else "")
    return before + value, beside, delta, f"[{signs}]" if value and signs else ""


def _style(cell: Cell, styled: bool) -> str:
    if not styled:
        return ""
    return {"best": "bold", "second": "underline", "": "dim" if cell.origin == "quoted" else ""}[cell.rank]
