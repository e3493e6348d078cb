"""Numbers and notes of a table as text that people read, the same for every renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from petl_bench.api.table import ALIKE, ALIKE_MEANING, NO_NUMBER, Cell, Column, Row, Spread, Table
from petl_bench.system.texts import clean, name, shortened

SPREAD_LEFT_OUT = "The standard deviations are left out."
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
    if cell.value is None:
        return "" if cell.is_blank else NO_NUMBER
    if isinstance(cell.value, str):
        return clean(cell.value)
    parts = [column.text(cell.value)]
    if spread == "std" and cell.std is not None:
        parts.append(f"± {column.text(cell.std)}")
    if spread == "interval" and cell.interval is not None:
        parts.append(f"[{column.text(cell.interval[0])}, {column.text(cell.interval[1])}]")
    if cell.delta is not None:
        parts.append(f"({_signed(cell.delta, column)})")
    return " ".join(parts)


def _signed(delta: float, column: Column) -> str:
    text = column.text(abs(delta))
    return text if float(text) == 0 else ("+" if delta > 0 else "-") + text


def notes(table: Table, ranks: str = "") -> list[str]:
    """The lines under a table that its readers need: what its marks mean, then its footers; not its provenance.

    `ranks`: what stands for best and second, said first if some number has a rank.
    """
    legend = [ranks] if ranks and has_ranks(table) else []
    legend += [f"{mark.symbol}: {clean(mark.meaning)}" for mark in table.marks() if mark.symbol != mark.meaning]
    cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
    if any(cell.alike for cell in cells):
        legend.append(f"{ALIKE}: {ALIKE_MEANING}")
    if table.spread == "interval" and any(cell.interval for cell in cells):
        legend.append(f"In brackets: 95 % intervals, {table.interval_over}.")
    if table.spread == "none" and any(cell.std is not None for cell in cells):
        legend.append(SPREAD_LEFT_OUT)
    return [*legend, *map(clean, table.footers)]


def provenance(table: Table) -> list[str]:
    """The lines behind the notes: hashes, budgets, devices, versions."""
    return list(map(clean, table.provenance))


def has_ranks(table: Table) -> bool:
    """Whether some number is best or second."""
    return any(cell.rank for group in table.groups for row in group.rows for cell in row.cells)


def marked(text: str, signs: str) -> str:
    """A text followed by its signs, such as the symbols of its marks, in brackets."""
    signs = clean(signs)
    return f"{text} [{signs}]" if text and signs else text
