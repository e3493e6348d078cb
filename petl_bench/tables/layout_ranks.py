"""Best, second and `=` among the rows that a layout shows, by the rule that ranks the table itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from petl_bench.analysis.configurations import FAMILIES
from petl_bench.api.table import ALIKE, Cell, Column, Row, Table
from petl_bench.tables.layout_choices import Bold
from petl_bench.tables.layout_names import Place, row_name
from petl_bench.tables.notes import listed
from petl_bench.tables.ranking import REFERENCE, ranked
from petl_bench.tables.text import OF_ALL_FAMILIES

_TESTED_APART = f"{ALIKE} was tested within each family alone: without it, a number of another family was not tested."
_OWN_DECIMALS = "Best and second: by the numbers with the table's own decimals, not with those shown here."
#: Names in a note.
_MOST = 6


@dataclass(frozen=True)
class RankedAmong:
    """The shown rows with their ranks, which groups of the table are ranked together, and what to say of it."""

    rows: dict[Place, Row]
    pools: list[list[int]]
    notes: list[str]


def ranked_among(
    table: Table, shown: Mapping[Place, Row], columns: Sequence[int], bold: Bold, before: Sequence[Column]
) -> RankedAmong:
    """The rows that are shown, ranked among each other.

    `=` stays if the best number that it refers to is shown, and still the best. `columns`: those that are shown;
    `before`: all columns with the decimals that they have without a layout, which are those that count.
    """
    pools = _pools(table) if bold == "column" else [[index] for index in range(len(table.groups))]
    cells = {place: [replace(cell, rank="") for cell in row.cells] for place, row in shown.items()}
    with_ranks = [index for index in range(len(table.columns)) if _is_ranked(table, index)]
    looks_different = False
    for pool in pools:
        rivals = [place for place in sorted(shown) if place[0] in pool and REFERENCE not in shown[place].facts]
        for index in with_ranks:
            own = [cells[place][index] for place in rivals]
            by_rule = ranked(own, before[index])
            looks_different |= index in columns and by_rule != ranked(own, table.columns[index])
            for place, cell in zip(rivals, by_rule, strict=True):
                cells[place][index] = cell
    without_best = [index for index in with_ranks if _drop_alike(table, index, cells)]
    if bold == "none":
        cells = {place: [replace(cell, rank="") for cell in own] for place, own in cells.items()}
    rows = {place: replace(row, cells=tuple(cells[place])) for place, row in shown.items()}
    notes = _notes(table, rows, columns, pools, bold)
    if lost := [table.columns[index].full_display for index in columns if index in without_best]:
        notes.append(
            f"Without {ALIKE}, as the best that it refers to is left out or not best here: {listed(lost, _MOST)}."
        )
    if looks_different and bold != "none":
        notes.append(_OWN_DECIMALS)
    return RankedAmong(rows, pools, notes)


def _pools(table: Table) -> list[list[int]]:
    """Groups whose rows may be ranked together: of one title, in families of methods, which follow each other in order.

    Groups of one title that are told apart by something else, such as the studies of an ablation, stay apart.
    """
    pools: list[list[int]] = []
    for index, group in enumerate(table.groups):
        last = table.groups[index - 1] if index else None
        if last and last.title == group.title and _place_of(last.section) < _place_of(group.section) < len(FAMILIES):
            pools[-1].append(index)
        else:
            pools.append([index])
    return pools


def _place_of(section: str) -> int:
    return FAMILIES.index(section) if section in FAMILIES else len(FAMILIES)


def _is_ranked(table: Table, index: int) -> bool:
    return any(row.cells[index].rank for group in table.groups for row in group.rows)


def _drop_alike(table: Table, index: int, cells: dict[Place, list[Cell]]) -> bool:
    """Take `=` from the numbers of one column whose best is not the best here; whether there are some."""
    dropped = False
    for at, group in enumerate(table.groups):
        best = {(at, row) for row, each in enumerate(group.rows) if each.cells[index].rank == "best"}
        alike = [(at, row) for row, each in enumerate(group.rows) if each.cells[index].alike and (at, row) in cells]
        shown_best = best.intersection(alike)
        if len(alike) > 1 and any(cells[place][index].rank == "best" for place in shown_best):
            continue
        dropped = dropped or len(alike) > bool(shown_best)
        for place in alike:
            cells[place][index] = replace(cells[place][index], alike=False)
    return dropped


def _notes(
    table: Table, rows: dict[Place, Row], columns: Sequence[int], pools: Sequence[Sequence[int]], bold: Bold
) -> list[str]:
    count = sum(len(group.rows) for group in table.groups)
    has_ranks = any(row.cells[index].rank for row in rows.values() for index in columns)
    notes = [OF_ALL_FAMILIES] if has_ranks and bold == "column" else []
    if notes and any(row.cells[index].alike for row in rows.values() for index in columns):
        notes.append(_TESTED_APART)
    if len(rows) == count:
        return notes
    notes.append(f"Shown: {len(rows)} of {count} rows{'; best and second are among these' if has_ranks else ''}.")
    if better := _hidden_best(table, rows, columns, pools):
        notes.append(f"Not shown, though best of their column and group: {listed(better, _MOST)}.")
    return notes


def _hidden_best(
    table: Table, rows: dict[Place, Row], columns: Sequence[int], pools: Sequence[Sequence[int]]
) -> list[str]:
    """The rows that are not shown, with the columns in which they are best of a group ranked with a shown one."""
    shown = {at for at, _ in rows}
    found = []
    for at in (at for pool in pools if shown.intersection(pool) for at in pool):
        for index, row in enumerate(table.groups[at].rows):
            best = [each for each in columns if row.cells[each].rank == "best"]
            if best and (at, index) not in rows:
                found.append(_in_columns(table, row, best))
    return found


def _in_columns(table: Table, row: Row, columns: Sequence[int]) -> str:
    return f"{row_name(row)} ({listed((table.columns[each].full_display for each in columns), _MOST)})"
