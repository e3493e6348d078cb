"""GitHub Markdown with one row per configuration: best in bold, second underlined."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from petl_bench.analysis.labels import words_of
from petl_bench.api.marks import symbols
from petl_bench.api.prompts import short_text
from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
from petl_bench.api.table import RUN_HERE, Cell, Column, Row, RowGroup, Spread, Table, signs
from petl_bench.render.flat import METHOD, distinct, fact_names, facts_by_row, flat_rows
from petl_bench.system.texts import clean, name
from petl_bench.tables.text import for_people, marked, notes, number, provenance

#: What Markdown gives a meaning; of addresses, what GitHub takes for a link by itself.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
#: The facts whose values have names for readers.
_DISPLAYS: Mapping[str, Callable[[str], str]] = {
    METHOD: METHODS.display,
    "backbone": BACKBONES.display,
    "setting": SETTINGS.display,
}
#: The facts that are said above the table if all rows run here share them. All others but the method are settings.
_COMMON = ("backbone", "weights", "setting", "views", "source files")


@dataclass(frozen=True)
class _RowColumn:
    """What the rows are, under one header; None for a row that it does not apply to. `tells_apart`: always shown."""

    header: str
    values: Sequence[str | None]
    tells_apart: bool = False

    @property
    def shared(self) -> str | None:
        """The value that all rows have that it applies to; None if there are several, or if it tells rows apart."""
        values = {value for value in self.values if value is not None}
        return None if self.tells_apart or len(values) != 1 else values.pop()


def render(table: Table) -> str:
    """The table, with what all rows share above it, the notes as a list below, and its provenance as another."""
    columns = _row_columns(table)
    table = for_people(table)
    behind = provenance(table)
    below = [_list(notes(table)), *(["**Provenance**", _list(behind)] if behind else [])]
    grid = _grid(table, [each for each in columns if each.shared is None])
    return "\n\n".join([f"### {escape(table.title)}", *_said_above(columns), grid, *below]) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return _SPECIAL.sub(r"\\\1", clean(text))


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _said_above(columns: Sequence[_RowColumn]) -> list[str]:
    """A line on what all rows share, and one on what those that were run here share."""
    shared = [(each, each.shared) for each in columns if each.shared]
    of_all = [f"{each.header.lower()} {value}" for each, value in shared if None not in each.values]
    of_some = [f"{each.header.lower()} {value}" for each, value in shared if None in each.values]
    return [
        escape(f"{whose}: {name(', '.join(said))}.")
        for whose, said in (("All rows", of_all), ("Rows run here", of_some))
        if said
    ]


def _grid(table: Table, row_columns: Sequence[_RowColumn]) -> str:
    rows = [row for _, row in flat_rows(table)]
    columns = [[escape(name(value or "")) for value in each.values] for each in row_columns]
    for index, column in enumerate(table.columns):
        columns.append([_cell(row.cells[index], column, table.spread) for row in rows])
    headers = distinct([*(name(each.header) for each in row_columns), *(column.full for column in table.columns)])
    alignment = ["left"] * len(row_columns) + ["right"] * len(table.columns)
    lines = list(zip(*columns, strict=True))
    return tabulate(lines, list(map(escape, headers)), tablefmt="pipe", disable_numparse=True, colalign=alignment)


def _cell(cell: Cell, column: Column, spread: Spread) -> str:
    text = escape(marked(number(cell, column, spread), signs(cell)))
    return {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[cell.rank]


# What the rows are


def _row_columns(table: Table) -> list[_RowColumn]:
    rows, facts = flat_rows(table), facts_by_row(table)
    own = [METHOD not in each or _has_own_label(row) for (_, row), each in zip(rows, facts, strict=True)]
    found = []
    if any(METHOD in each for each in facts):
        names = [_method(row, each) for (_, row), each in zip(rows, facts, strict=True)]
        found.append(_RowColumn("Method", names, tells_apart=True))
    if any(own) or not rows:
        labels = [_marked(row) if is_own else None for (_, row), is_own in zip(rows, own, strict=True)]
        found.append(_RowColumn(table.corner or "Row", labels, tells_apart=True))
    settings = [_settings(each) for each in facts]
    found += [
        _RowColumn(words_of(setting), [each.get(setting) for each in settings], tells_apart=True)
        for setting in fact_names(settings)
    ]
    found.append(_RowColumn("Group", [group.section for group, _ in rows]))
    found.append(_RowColumn("Origin", [_origin(group, row) for group, row in rows]))
    common = [fact for fact in fact_names(facts) if fact in _COMMON]
    found += [_RowColumn(fact.capitalize(), [_display(fact, each.get(fact)) for each in facts]) for fact in common]
    return [each for each in found if any(each.values) or each.tells_apart]


def _has_own_label(row: Row) -> bool:
    """Whether a row of known facts has a label that is not its method and what its settings are."""
    method = dict(row.facts).get(METHOD)
    return method is not None and row.label != method and not row.label.startswith(f"{method} (")


def _method(row: Row, facts: Mapping[str, str]) -> str | None:
    """The name of a row's method for readers; None if it is not said."""
    if not row.facts:
        return _marked(row) if facts else None
    return marked(clean(METHODS.display(facts[METHOD])), symbols(row.marks)) if METHOD in facts else None


def _marked(row: Row) -> str:
    return marked(clean(row.display or row.label), symbols(row.marks))


def _settings(facts: Mapping[str, str]) -> dict[str, str]:
    """The settings in which rows of a method differ; those of the method by their names without it."""
    method = facts.get(METHOD, "")
    return {
        setting.removeprefix(f"{method}."): short_text(value)
        for setting, value in facts.items()
        if setting not in (METHOD, *_COMMON)
    }


def _display(fact: str, value: str | None) -> str | None:
    return _DISPLAYS[fact](value) if value and fact in _DISPLAYS else value


def _origin(group: RowGroup, row: Row) -> str:
    """The title of a group; of rows run here, of which their facts say the rest, its beginning."""
    return RUN_HERE if row.facts and group.title.startswith(f"{RUN_HERE}: ") else group.title
