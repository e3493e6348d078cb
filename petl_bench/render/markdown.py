"""GitHub Markdown: best in bold, second underlined."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tabulate import tabulate

from petl_bench.api.marks import symbols
from petl_bench.api.table import Cell, Column, Row, Spread, Table, signs
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import clean
from petl_bench.tables.text import for_people, marked, notes, number, provenance

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def render(table: Table) -> str:
    """The table, in parts if it is wide, with the notes as a list below, and its provenance as another."""
    table = for_people(table)
    grids = "\n\n".join(map(_grid, parts_of(table)))
    behind = provenance(table)
    below = [_list(notes(table)), *(["**Provenance**", _list(behind)] if behind else [])]
    return "\n\n".join([f"### {escape(table.title)}", grids, *below]) + "\n"


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _grid(table: Table) -> str:
    headers = [escape(table.corner), *[_header(column) for column in table.columns]]
    lines: list[list[str]] = []
    for group in table.groups:
        lines.append([f"*{escape(group.heading)}*", *[""] * len(table.columns)])
        lines += [_line(row, table) for row in group.rows]
    alignment = ["left", *["right"] * len(table.columns)]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=alignment)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return _SPECIAL.sub(r"\\\1", clean(text))


def _header(column: Column) -> str:
    return escape(f"{column.group} {column.label}")


def _line(row: Row, table: Table) -> list[str]:
    cells = [_cell(cell, column, table.spread) for cell, column in zip(row.cells, table.columns, strict=True)]
    return [escape(marked(clean(row.label), symbols(row.marks))), *cells]


def _cell(cell: Cell, column: Column, spread: Spread) -> str:
    text = escape(marked(number(cell, column, spread), signs(cell)))
    return {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[cell.rank]
