"""Tables as the page shows them: rows of cells, each with its origin."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petl_bench.api.marks import mark_of, symbols
from petl_bench.api.registry import BACKBONES
from petl_bench.api.table import ALIKE_MEANING, Cell, Column, Row, RowGroup, Spread, Table
from petl_bench.api.table import signs as signs_of
from petl_bench.page.plots import short_title
from petl_bench.page.provenance import Texts
from petl_bench.page.summary import main_columns
from petl_bench.render.parts import parts_of
from petl_bench.system.texts import clean, name
from petl_bench.tables.commands import is_command
from petl_bench.tables.ranking import may_be_ranked
from petl_bench.tables.text import for_people, notes, number, provenance

#: Commands that fill what is missing, as many as are listed.
_COMMANDS = 50
#: What tells the rows of one ranking apart.
_FACTS = ("Group", "Backbone", "Weights")
#: What best and second look like.
_RANKS = "Bold: best of its column and group; underlined: second."


@dataclass(frozen=True)
class TableView:
    """A table of the page, as far as the page has room for it.

    `parts`: what is shown below each other, with the rows that the page has room for; `left_out`: the number of rows
    that it has not; `report_command`: without the format. `is_result`: its rows can be shown as one ranking; `is_open`:
    it is not folded at first.
    """

    id: str
    table: Table
    parts: tuple[Table, ...]
    left_out: int
    report_command: str
    commands: tuple[str, ...]
    is_result: bool = False
    is_open: bool = True

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
        return notes(self.table, ranks=_RANKS)

    @property
    def short_title(self) -> str:
        """What the navigation calls it."""
        return short_title(self.table.title, self.table.name)

    @property
    def provenance(self) -> list[str]:
        """What is behind it: hashes, budgets, devices, versions."""
        return provenance(self.table)


def table_view(
    table: Table, most_cells: int, folders: Sequence[Path], *, is_result: bool = False, is_open: bool = True
) -> TableView:
    """A table of the records in these folders, cut to `most_cells`; `is_result`, `is_open`: see `TableView`."""
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
        is_result=is_result,
        is_open=is_open,
    )


def with_own_ids(views: Iterable[TableView]) -> tuple[TableView, ...]:
    """The views with distinct ids: the names of two tables may be the same in an address."""
    found: dict[str, TableView] = {}
    for view in views:
        ids = (view.id if number == 1 else f"{view.id}-{number}" for number in itertools.count(1))
        own = next(each for each in ids if each not in found)
        found[own] = replace(view, id=own)
    return tuple(found.values())


def _filling(commands: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The commands that fill what is missing, into the folder that the records were read from."""
    to = "" if folder == Path("runs") else f" --output {shlex.quote(str(folder))}"
    more = (f"# and {len(commands) - _COMMANDS:,} more",) if len(commands) > _COMMANDS else ()
    shown = [clean(line + to if is_command(line) else line) for line in commands[:_COMMANDS]]
    return (*shown, *more)


def slug(text: str) -> str:
    """A name as part of an address on the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


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
        **(_ranking(part) if view.is_result else {}),
    }


def _ranking(part: Table) -> dict[str, Any]:
    """Places of the rows of each group, the column that is ranked by at first, marks that bar a row, and its facts."""
    chosen = main_columns(part)
    names, rows = facts_of_rows(part)
    return {
        "places": [places for group in part.groups for places in places_of(group, part)],
        "main": chosen[0] + 1 if chosen else 0,
        "bars": [clean(word) for word in sorted(_words(part)) if not mark_of(word).ranked],
        "factNames": names,
        "facts": rows,
    }


def facts_of_rows(part: Table) -> tuple[list[str], list[list[str]]]:
    """What tells the rows of one ranking apart: the names of such facts, and their values for each row."""
    facts = [_facts(row, group) for group in part.groups for row in group.rows]
    differing = [place for place, values in enumerate(zip(*facts, strict=True)) if len(set(values)) > 1]
    return [_FACTS[place] for place in differing], [[values[place] for place in differing] for values in facts]


def _facts(row: Row, group: RowGroup) -> tuple[str, str, str]:
    """Group, backbone and weights of a row that was run here; of the others the heading alone."""
    facts = dict(row.facts)
    if "backbone" not in facts:
        return group.heading, "", ""
    return group.section, name(BACKBONES.display(facts["backbone"])), name(facts["weights"])


def places_of(group: RowGroup, part: Table) -> list[list[int | None]]:
    """For each row of a group, its place in every column among the rows that are ranked with it; equal figures share.

    None if it is not ranked there, or if the column ranks nothing.
    """
    columns = [_places([row.cells[at] for row in group.rows], column) for at, column in enumerate(part.columns)]
    return [list(places) for places in zip(*columns, strict=True)] if columns else [[] for _ in group.rows]


def _places(cells: Sequence[Cell], column: Column) -> list[int | None]:
    numbers = {
        at: float(column.text(cell.value))
        for at, cell in enumerate(cells)
        if isinstance(cell.value, (int, float)) and cell.origin == "run"
    }
    if not any(cell.rank for cell in cells):
        return [None] * len(cells)
    ranked = {at: numbers[at] for at in may_be_ranked({at: cells[at].marks for at in numbers})}
    sign = 1 if column.lower_is_better else -1
    return [
        1 + sum(sign * other < sign * ranked[at] for other in ranked.values()) if at in ranked else None
        for at in range(len(cells))
    ]


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
    return {key: value for key, value in values.items() if value is not None}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.8g}")
