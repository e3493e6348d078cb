"""Which numbers of a column are the best and the second best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from petl_bench.api.marks import SYNTHETIC, barring
from petl_bench.api.table import Cell, Column, Rank

if TYPE_CHECKING:
    pass


def ranked(cells: Sequence[Cell], column: Column) -> list[Cell]:
    """The cells of one column with the best and the second marked.

    Only numbers that were run here and carry no mark that bars them are ranked, and only where there are two to
    compare; of numbers that are all made by a script, those without another such mark. Numbers that the column shows
    alike are equal, and share their rank.
    """
    numbers = {
        index: (cell.value, barring(cell.marks))
        for index, cell in enumerate(cells)
        if isinstance(cell.value, (int, float)) and cell.origin == "run"
    }
    usual = (SYNTHETIC,) if all(SYNTHETIC in marks for _, marks in numbers.values()) else ()
    shown = {index: float(column.text(value)) for index, (value, marks) in numbers.items() if marks == usual}
    if len(shown) < 2:
        return list(cells)
    ladder = sorted(set(shown.values()), reverse=not column.lower_is_better)
    ranks: dict[float, Rank] = {ladder[0]: "best"}
    if len(ladder) > 1:
        ranks[ladder[1]] = "second"
    return [
        replace(cell, rank=ranks[shown[index]]) if shown.get(index) in ranks else cell
        for index, cell in enumerate(cells)
    ]
