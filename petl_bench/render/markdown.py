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
from petl_bench.render.flat import METHOD, distinct, fact_names, facts_by_row, flat_rows, sources_of
from petl_bench.system.texts import clean, name
from petl_bench.tables.layout_names import NAMED
from petl_bench.tables.text import alone, for_people, marked, notes, number, provenance, ranks_in_type

#: What Markdown gives a meaning; of addresses, what GitHub takes for a link by itself.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
_NO_BREAK = "\u00a0"
#: The facts besides the method whose values have names for readers.
_DISPLAYS: Mapping[str, Callable[[str], str]] = {
    "backbone": BACKBONES.display,
    "setting": SETTINGS.display,
}
#: The facts that rows of one group share; all others but the method tell rows apart.
_COMMON = ("backbone", "weights", "setting", "views", "source files")


@dataclass(frozen=True)
class _RowColumn:
    """What the rows are, under one header; None for a row of which it is not known.

    `is_name`: always shown; `behind`: the numbers, else before them.
    """

    header: str
    values: Sequence[str | None]
    is_name: bool = False
    behind: bool = False

    @property
    def shared(self) -> str | None:
        """The value of all rows of which it is known; None if they have several, and for names of rows."""
        values = {value for value in self.values if value is not None}
        return None if self.is_name or len(values) != 1 else values.pop()


def render(table: Table) -> str:
    """The table, with what all rows share above it, the notes as a list below, and its provenance as another."""
    columns = _row_columns(table)
    table = for_people(table)
    behind = provenance(table)
    below = [_list(notes(table, ranks=ranks_in_type(table))), *(["**Provenance**", _list(behind)] if behind else [])]
    grid = _grid(table, [each for each in columns if each.shared is None])
    return "\n\n".join([f"### {escape(table.title)}", *_said_above(columns), grid, *below]) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return _SPECIAL.sub(r"\\\1", clean(text))


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escape(text)}" for text in texts)


def _said_above(columns: Sequence[_RowColumn]) -> list[str]:
    """A line on what all rows share, and one on what those that were run here share."""
    shared = [each for each in columns if each.shared]
    said = {
        "All rows": [each for each in shared if None not in each.values],
        "Rows run here": [each for each in shared if None in each.values],
    }
    return [
        escape(f"{whose}: {', '.join(name(f'{each.header} {each.shared}') for each in some)}.")
        for whose, some in said.items()
        if some
    ]


def _grid(table: Table, row_columns: Sequence[_RowColumn]) -> str:
    rows = [row for _, row in flat_rows(table)]
    numbers = [
        (column.full, "right", [_cell(row.cells[index], column, table.spread) for row in rows])
        for index, column in enumerate(table.columns)
    ]
    before, behind = ([_texts(each) for each in row_columns if each.behind is behind] for behind in (False, True))
    headers, alignment, columns = zip(*before, *numbers, *behind, strict=True)
    lines = list(zip(*columns, strict=True))
    shown = list(map(escape, distinct(headers)))
    return tabulate(lines, shown, tablefmt="pipe", disable_numparse=True, colalign=alignment)


def _texts(column: _RowColumn) -> tuple[str, str, list[str]]:
    """Header, alignment and cells; what stands behind the numbers is not broken, which would make the rows high."""
    header = name(column.header)
    texts = [escape(name(value or "")) for value in column.values]
    shown = [text.replace(" ", _NO_BREAK) for text in texts] if column.behind else texts
    return header[:1].upper() + header[1:], "left", shown


def _cell(cell: Cell, column: Column, spread: Spread) -> str:
    text = escape(marked(number(cell, column, spread), signs(cell)))
    return {"best": f"**{text}**", "second": f"<ins>{text}</ins>", "": text}[cell.rank]


# What the rows are


def _row_columns(table: Table) -> list[_RowColumn]:
    rows, facts = flat_rows(table), facts_by_row(table)
    own = [METHOD not in each or _has_own_label(row) for (_, row), each in zip(rows, facts, strict=True)]
    found = []
    if any(METHOD in each for each in facts):
        names = [_method(row, each) for (_, row), each in zip(rows, facts, strict=True)]
        found.append(_RowColumn("method", names, is_name=True))
    if any(own) or not rows:
        labels = [_marked(row) if is_own else None for (_, row), is_own in zip(rows, own, strict=True)]
        found.append(_RowColumn(table.corner or "row", labels, is_name=True))
    values = [_values(each) for each in facts]
    run = [bool(row.facts) for _, row in rows]
    of_facts = [
        _RowColumn(
            header=words_of(fact),
            values=[each.get(fact, "") if known else None for each, known in zip(values, run, strict=True)],
            behind=fact not in _COMMON and any(own),
        )
        for fact in fact_names(values)
    ]
    found += [column for column in of_facts if column.header not in _COMMON]
    found.append(_RowColumn("group", [alone(group) if _says_origin(group) else group.heading for group, _ in rows]))
    found += [column for column in of_facts if column.header in _COMMON]
    found.append(_RowColumn("origin", [_origin(group, row) for group, row in rows], behind=True))
    return [each for each in found if any(each.values) or each.is_name]


def _has_own_label(row: Row) -> bool:
    """Whether a row of known facts has a label that is not its method and what its settings are."""
    method = dict(row.facts).get(METHOD)
    return method is not None and row.label != method and not row.label.startswith(f"{method} (")


def _method(row: Row, facts: Mapping[str, str]) -> str | None:
    """The name of a row's method for readers; None if it is not said."""
    if not row.facts or NAMED in row.facts:
        return _marked(row) if facts else None
    return marked(clean(_method_name(row, facts[METHOD])), symbols(row.marks)) if METHOD in facts else None


def _method_name(row: Row, method: str) -> str:
    """With what the method calls the variant ("MSTA + L_CC"), but without the values, which have columns."""
    shown = METHODS.display(method)
    if _has_own_label(row) or not row.display.startswith(shown):
        return shown
    return shown + row.display.removeprefix(shown).partition(" (")[0]


def _marked(row: Row) -> str:
    return marked(clean(row.display or row.label), symbols(row.marks))


def _values(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts besides the method, for readers; settings of the method by their names without it."""
    own = f"{facts.get(METHOD)}."
    return {
        fact if fact.removeprefix(own) in _COMMON else fact.removeprefix(own): _display(fact, value)
        for fact, value in facts.items()
        if fact != METHOD
    }


def _display(fact: str, value: str) -> str:
    return _DISPLAYS[fact](value) if fact in _DISPLAYS else short_text(value)


def _says_origin(group: RowGroup) -> bool:
    """Whether its title is where its rows are from, and no heading of a layout or the like."""
    return group.title.startswith((RUN_HERE, "Quoted: "))


def _origin(group: RowGroup, row: Row) -> str:
    """Where a row is from, as the title of its group says if it does; of rows run here, the facts say the rest."""
    if row.facts:
        return group.title if _says_origin(group) and not group.title.startswith(f"{RUN_HERE}: ") else RUN_HERE
    return group.title if _says_origin(group) else "; ".join(f"Quoted: {source}" for source in sources_of(row))
