"""Everything behind a table, for those who ask: its notes, how its numbers were made, and the trials of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from petl_bench.api.table import Column, Row, Table
from petl_bench.render.flat import sources_of
from petl_bench.render.markdown import escape
from petl_bench.tables.text import for_people, notes, provenance


def render_provenance(table: Table) -> str:
    """A Markdown document: the notes, the provenance, and the keys of the trials behind each number."""
    table = for_people(table)
    sections = [f"# Provenance: {escape(table.title)}"]
    for heading, lines in (("Notes", notes(table)), ("How the numbers were made", provenance(table))):
        if lines:
            sections += [f"## {heading}", _list(map(escape, lines))]
    for group in table.groups:
        sections += [f"## {escape(group.heading)}", _list(_row_lines(row, table.columns) for row in group.rows)]
    return "\n\n".join(sections) + "\n"


def _list(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _row_lines(row: Row, columns: Sequence[Column]) -> str:
    found = [
        f"  - {escape(where)}: {', '.join(f'`{escape(key)}`' for key in keys)}"
        for where, keys in trials_of(row, columns)
    ]
    return "\n".join([escape(row.label), *[f"  - {escape(source)}" for source in sources_of(row)], *found])


def trials_of(row: Row, columns: Sequence[Column]) -> list[tuple[str, tuple[str, ...]]]:
    """The columns, and the keys of the trials behind them; without columns over the trials of several others."""
    places: dict[frozenset[str], list[Column]] = {}
    for column, cell in zip(columns, row.cells, strict=True):
        if cell.trials:
            places.setdefault(frozenset(cell.trials), []).append(column)
    return [
        (_names(some), tuple(sorted(keys))) for keys, some in places.items() if not any(keys > each for each in places)
    ]


def _names(columns: Sequence[Column]) -> str:
    """Columns with their header said once: "hmdb51 Base, Novel"."""
    groups = [
        f"{header} {', '.join(column.label for column in some)}".strip()
        for header, some in groupby(columns, key=lambda column: column.group)
    ]
    return "; ".join(groups)
