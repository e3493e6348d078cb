"""Numbers and notes of a table as text that people read, the same for every renderer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from petl_bench.analysis.configurations import FAMILIES
from petl_bench.api.marks import mark_of
from petl_bench.api.table import (
    ALIKE,
    ALIKE_MEANING,
    ALIKE_SHORT,
    NO_NUMBER,
    Cell,
    Column,
    Row,
    RowGroup,
    Spread,
    Table,
)
from petl_bench.system.texts import clean, name, shortened

#: A note under tables whose best and second are of several groups.
OF_ALL_FAMILIES = "Best and second: of all rows of one backbone and one set of weights, whatever their family."
SPREAD_LEFT_OUT = "The standard deviations are left out."
#: How footers begin that say what mean and ± are over.
MEAN_STD = "mean ± sample standard deviation"
#: What footers say of ±, as in MEAN_STD and "HM: the harmonic mean; ± over seeds".
_OF_STD = re.compile(r"(?<=mean) ± sample standard deviation|[;,] ± over [^;,.\[]*(?=[;,.]| \[|$)")
#: Letters of a title or a note that are shown.
_LONGEST_NOTE = 2_000


def for_people(table: Table) -> Table:
    """The table with every text in one line of what can be seen, and names of a length that people read.

    Labels and headers are those for readers. What is read by programs, CSV and JSON, has the texts whole, and both
    kinds of names.
    """
    columns = [
        replace(each, label=name(each.display or each.label), group=name(each.group_display or each.group))
        for each in table.columns
    ]
    groups = [
        replace(each, title=name(each.title), section=name(each.section), rows=tuple(map(_row_for_people, each.rows)))
        for each in table.groups
    ]
    return replace(
        table,
        title=shortened(clean(table.title), _LONGEST_NOTE),
        corner=name(table.corner),
        columns=tuple(columns),
        groups=tuple(groups),
        footers=_notes_for_people(table.footers),
        provenance=_notes_for_people(table.provenance),
    )


def _notes_for_people(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(shortened(clean(each), _LONGEST_NOTE) for each in texts)


def _row_for_people(row: Row) -> Row:
    return replace(
        row,
        label=name(row.display or row.label),
        cells=tuple(map(_cell_for_people, row.cells)),
        marks=tuple(map(name, row.marks)),
    )


def _cell_for_people(cell: Cell) -> Cell:
    if not cell.marks and not isinstance(cell.value, str):
        return cell
    value = name(cell.value) if isinstance(cell.value, str) else cell.value
    return replace(cell, value=value, marks=tuple(map(name, cell.marks)))


def number(cell: Cell, column: Column, spread: Spread = "std") -> str:
    """A cell's number as its column shows it, with its spread and its difference from the baseline.

    Empty if it is absent, NO_NUMBER if its row was run all the same; an unknown interval is not shown.
    """
    return " ".join(filter(None, number_parts(cell, column, spread)))


def number_parts(cell: Cell, column: Column, spread: Spread = "std") -> tuple[str, str, str]:
    """What `number` joins: the number, its spread, its difference from the baseline; "" for what there is not."""
    if not isinstance(cell.value, (int, float)):
        text = ("" if cell.is_blank else NO_NUMBER) if cell.value is None else clean(cell.value)
        return text, "", ""
    beside = ""
    if spread == "std" and cell.std is not None:
        beside = f"± {_std_text(cell.std, column)}"
    if spread == "interval" and cell.interval is not None:
        beside = f"[{column.text(cell.interval[0])}, {column.text(cell.interval[1])}]"
    delta = "" if cell.delta is None else f"({_signed(cell.delta, column)})"
    return column.text(cell.value), beside, delta


def _std_text(std: float, column: Column) -> str:
    """As the column shows numbers, without a sign; with a decimal if it would be 0 in whole numbers."""
    text = column.text(std).removeprefix("+")
    return f"{std:.1f}" if text == "0" and std else text


def _signed(delta: float, column: Column) -> str:
    text = column.text(abs(delta))
    return text if float(text) == 0 else ("+" if delta > 0 else "-") + text


# Signs that many have


def shared_by(rows: Sequence[Row]) -> list[str]:
    """The marks that each of the rows has."""
    return [word for word in rows[0].marks if all(word in row.marks for row in rows)] if rows else []


def without_shared_marks(table: Table) -> tuple[Table, list[str]]:
    """The table without the marks that every number of its runs carries; and the lines that say these.

    The first column group, such as trained parameters, counts only if one of its numbers has a mark.
    """
    rows = [row for group in table.groups for row in group.rows]
    first = table.column_groups()[0][1] if table.columns else 0
    if first == len(table.columns) or any(cell.marks for row in rows for cell in row.cells[:first]):
        first = 0
    numbers = [cell for row in rows for cell in row.cells[first:] if cell.origin == "run" and cell.value is not None]
    if len(numbers) < 2:
        return table, []
    shared = set.intersection(*(set(cell.marks) for cell in numbers))
    marks = [mark_of(word) for word in sorted(shared)]
    return _without(table, shared), [f"All rows run here ({mark.symbol}): {clean(mark.meaning)}" for mark in marks]


def _without(table: Table, words: set[str]) -> Table:
    def of_row(row: Row) -> Row:
        return replace(row, cells=tuple(map(of_cell, row.cells)))

    def of_cell(cell: Cell) -> Cell:
        return replace(cell, marks=tuple(word for word in cell.marks if word not in words))

    groups = [replace(group, rows=tuple(map(of_row, group.rows))) for group in table.groups]
    return replace(table, groups=tuple(groups)) if words else table


# What stands below


def notes(table: Table, ranks: str = "") -> list[str]:
    """The lines under a table that its readers need: what its signs mean, then its footers; not its provenance.

    `ranks`: what stands for best and second, said first if some number has a rank.
    """
    legend = [ranks] if ranks and has_ranks(table) else []
    legend += [f"{mark.symbol}: {clean(mark.meaning)}" for mark in table.marks() if mark.symbol != mark.meaning]
    if _has_alike(table):
        legend.append(f"{ALIKE}: {ALIKE_SHORT}")
    cells = _cells(table)
    if table.spread == "interval" and any(cell.interval for cell in cells):
        legend.append(f"In brackets: 95 % intervals, {table.interval_over}.")
    if table.spread == "none" and any(cell.std is not None for cell in cells):
        legend.append(SPREAD_LEFT_OUT)
    footers = map(clean, table.footers)
    return [*legend, *(footers if table.spread == "std" else map(_without_std, footers))]


def ranks_in_type(table: Table) -> str:
    """What bold and underlined numbers are."""
    among = "" if OF_ALL_FAMILIES in table.footers else " of their column and group"
    return f"Bold and underlined: best and second{among}."


def _without_std(footer: str) -> str:
    """A footer without what it says of ±, which does not stand beside the numbers."""
    return _OF_STD.sub("", footer)


def provenance(table: Table) -> list[str]:
    """The lines behind the notes: hashes, budgets, devices, versions, signs in full."""
    signs = [f"{ALIKE}: {ALIKE_MEANING}."] if _has_alike(table) else []
    return [*map(clean, table.provenance), *signs]


def alone(group: RowGroup) -> str:
    """The section of a group as a heading by itself: a family of methods with a capital."""
    is_family = group.section in FAMILIES and not group.is_quoted
    return group.section.capitalize() if is_family else group.section


def _has_alike(table: Table) -> bool:
    return any(cell.alike for cell in _cells(table))


def _cells(table: Table) -> list[Cell]:
    return [cell for group in table.groups for row in group.rows for cell in row.cells]


def has_ranks(table: Table) -> bool:
    """Whether some number is best or second."""
    return any(cell.rank for cell in _cells(table))


def marked(text: str, signs: str) -> str:
    """A text followed by its signs, such as the symbols of its marks, in brackets."""
    signs = clean(signs)
    return f"{text} [{signs}]" if text and signs else text
