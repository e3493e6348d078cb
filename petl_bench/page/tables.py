"""Tables as the page shows them: rows of cells, each with its origin."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petl_bench.api.marks import mark_of, symbols
from petl_bench.api.table import ALIKE_MEANING, Cell, Column, Row, RowGroup, Spread, Table
from petl_bench.api.table import signs as signs_of
from petl_bench.page.provenance import Texts
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import clean
from petl_bench.tables.commands import is_command
from petl_bench.tables.text import for_people, notes, number, provenance

#: Commands that fill what is missing, as many as are listed.
_COMMANDS = 50


@dataclass(frozen=True)
class TableView:
    """A table of the page, as far as the page has room for it.

    `parts`: what is shown below each other, with the rows that the page has room for; `left_out`: the number of rows
    that it has not; `report_command`: without the format.
    """

    id: str
    table: Table
    parts: tuple[Table, ...]
    left_out: int
    report_command: str
    commands: tuple[str, ...]

    @property
    def csv_command(self) -> str:
        """The command that writes it in full precision."""
        return self.command("csv")

    def command(self, output_format: str) -> str:
        """The command that writes it in a format."""
        return f"{self.report_command} --format {output_format}"

    @property
    def has_quoted(self) -> bool:
        """Whether it has published numbers."""
        return any(group.is_quoted for part in self.parts for group in part.groups)

    @property
    def notes(self) -> list[str]:
        """What stands under it."""
        return notes(self.table)

    @property
    def provenance(self) -> list[str]:
        """What is behind it: hashes, budgets, devices, versions."""
        return provenance(self.table)


def table_view(table: Table, most_cells: int, folders: Sequence[Path]) -> TableView:
    """A table of the records in these folders, cut to `most_cells`."""
    table = for_people(table)
    room = max(1, most_cells // max(1, len(table.columns)))
    groups: list[RowGroup] = []
    left_out = 0
    for group in table.groups:
        shown = group.rows[:room]
        room -= len(shown)
        left_out += len(group.rows) - len(shown)
        if shown:
            groups.append(replace(group, rows=shown))
    runs = "".join(f" --runs {shlex.quote(str(folder))}" for folder in folders)
    return TableView(
        id=f"table-{slug(table.name)}",
        table=table,
        parts=tuple(parts_of(replace(table, groups=tuple(groups)))),
        left_out=left_out,
        report_command=clean(f"petl-bench report{runs} --table {table.name}"),
        commands=_filling(table.commands, folders[0]),
    )


def _filling(commands: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The commands that fill what is missing, into the folder that the records were read from."""
    to = "" if folder == Path("runs") else f" --output {shlex.quote(str(folder))}"
    more = (f"# and {len(commands) - _COMMANDS:,} more",) if len(commands) > _COMMANDS else ()
    shown = [clean(line + to if is_command(line) else line) for line in commands[:_COMMANDS]]
    return (*shown, *more)


def slug(name: str) -> str:
    """A name as part of an address on the page."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


# What the template asks of cells


def cell_text(cell: Cell, column: Column, spread: Spread) -> str:
    """What a cell shows."""
    return number(cell, column, spread) or "–"


def sort_value(cell: Cell) -> str:
    """What a column is sorted by; "" sorts last."""
    if cell.value is None:
        return ""
    return f"{cell.value:.10g}" if isinstance(cell.value, (int, float)) else clean(cell.value)


def cell_class(cell: Cell) -> str:
    """The style of a cell: its origin and its rank."""
    return f"{cell.origin} {cell.rank}".strip()


def signs(cell_or_row: Cell | Row) -> str:
    """The signs behind a number or a row's label."""
    return clean(signs_of(cell_or_row) if isinstance(cell_or_row, Cell) else symbols(cell_or_row.marks))


# What the script reads


def table_data(
    view: TableView, part: Table, texts: Texts, number_trials: Callable[[Iterable[str]], list[int]]
) -> dict[str, Any]:
    """Everything behind the cells of one part of a table; fields that say nothing are left out."""
    return {
        "columns": [clean(f"{column.group} {column.label}") for column in part.columns],
        "marks": {clean(word): clean(mark_of(word).meaning) for word in sorted(_words(part))},
        "alike": ALIKE_MEANING,
        "csv": view.csv_command,
        "rows": [
            [_cell(cell, texts, number_trials) for cell in row.cells] for group in part.groups for row in group.rows
        ],
    }


def _words(part: Table) -> set[str]:
    rows = [row for group in part.groups for row in group.rows]
    return {word for row in rows for word in row.marks} | {w for row in rows for cell in row.cells for w in cell.marks}


def _cell(cell: Cell, texts: Texts, number_trials: Callable[[Iterable[str]], list[int]]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "v": _short(cell.value) if not isinstance(cell.value, str) else None,
        "s": _short(cell.std),
        "n": cell.n,
        "o": cell.origin if cell.origin != "run" else None,
        "c": texts.number(clean(cell.source)) if cell.source else None,
        "k": [clean(word) for word in cell.marks] or None,
        "i": [_short(end) for end in cell.interval] if cell.interval is not None else None,
        "d": _short(cell.delta),
        "a": True if cell.alike else None,
        "r": cell.rank or None,
        "t": number_trials(cell.trials) or None,
        "of": len(cell.trials) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.8g}")
