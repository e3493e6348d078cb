"""Rows of one group with their cells: best and second best of each column, and numbers at chance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from petl_bench.analysis.chance import guesses_of, is_at_chance
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import host_display, values_in_words
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.marks import SYNTHETIC, barring
from petl_bench.api.options import text_of
from petl_bench.api.table import RUN_HERE, Cell, Column, Rank, Row, RowGroup
from petl_bench.tables.columns import MeasuredColumn

T = TypeVar("T")
AT_CHANCE = "at-chance"
_BY_DATA_SET = "by data set"
#: A fact of rows that others are measured by, and that are not ranked with them.
REFERENCE = ("role", "reference")


def cells_of(
    comparison: Comparison, columns: Sequence[MeasuredColumn], row: Configuration, outcomes: OutcomeSource | None
) -> list[Cell]:
    """What a row shows in each column, marked if it is at chance: the accuracy, or one term of a harmonic mean."""
    cells = [column.cell(row) for column in columns]
    at_chance = set()
    for column, cell in zip(columns, cells, strict=True):
        measure = column.measure
        if measure is None or not column.tested or len(measure.terms) > 1 or measure.of_ranks:
            continue
        if not isinstance(cell.value, float):
            continue
        (term,) = measure.terms
        guesses = guesses_of(comparison, row, term, outcomes)
        if guesses is not None and is_at_chance(cell.value, guesses):
            at_chance.add(term)
    return [
        replace(cell, marks=tuple(sorted({*cell.marks, AT_CHANCE})))
        if column.measure is not None and cell.value is not None and at_chance.intersection(column.measure.terms)
        else cell
        for column, cell in zip(columns, cells, strict=True)
    ]


class RankedRows:
    """Rows under a common title while their cells are worked out; `cells[column][row]`."""

    def __init__(
        self,
        comparison: Comparison,
        columns: Sequence[MeasuredColumn],
        rows: Sequence[Configuration],
        section: str,
        outcomes: OutcomeSource | None,
        labels: Mapping[Configuration, str] | None = None,
        displays: Mapping[Configuration, str] | None = None,
    ) -> None:
        """`labels`: of the rows, if they are not those of the comparison; `displays`: what readers see in place of
        these, if that is something else."""
        self.title, self.section, self.columns, self.rows = _title(comparison, rows), section, columns, rows
        self._labels = labels or comparison.row_labels
        self._displays = displays or labels or comparison.row_displays
        self._facts = {row: facts_of(comparison, row) for row in rows}
        cells = zip(*[cells_of(comparison, columns, row, outcomes) for row in rows], strict=True)
        self.cells = [
            ranked(found, each.column) if each.ranked else list(found)
            for each, found in zip(columns, cells, strict=True)
        ]

    def change(self, column: int, row: int, **values: Any) -> None:
        """Set fields of one cell."""
        self.cells[column][row] = replace(self.cells[column][row], **values)

    def best(self, column: int) -> int | None:
        """The first row that is best in a column; None if nothing is ranked."""
        return next((index for index, cell in enumerate(self.cells[column]) if cell.rank == "best"), None)

    def finished(self) -> RowGroup:
        """What a renderer prints."""
        across = zip(*self.cells, strict=True)
        rows = tuple(
            Row(self._labels[row], cells, display=self._displays[row], facts=self._facts[row])
            for row, cells in zip(self.rows, across, strict=True)
        )
        return RowGroup(self.title, rows, self.section)


def facts_of(comparison: Comparison, row: Configuration) -> tuple[tuple[str, str], ...]:
    """What a row is, with registered names; what it shares with its group only if that is unusual."""
    settings = {name: text_of(value) for name, value in comparison.row_differences[row].items()}
    facts = {
        "method": row.method,
        "backbone": row.backbone,
        "weights": row.weights,
        "setting": comparison.setting,
        "views": _views(comparison, [row]),
        "source files": row.source_sha256[:8],
        "tuning": " ".join(sorted({name for run in comparison.of_row(row) for name in run.tuned_by.split()})),
        **settings,
    }
    return tuple((name, value) for name, value in facts.items() if value or name in settings)


def _title(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """What rows of one group share: backbone, weights, views, source files; no other group has the same title."""
    row, title = rows[0], _short_title(comparison, rows)
    alike = [
        others[0]
        for others in comparison.groups().values()
        if (others[0].backbone, others[0].weights) == (row.backbone, row.weights)
        and _short_title(comparison, others) == title
    ]
    if len(alike) == 1:
        return title
    words = {
        "weights_sha256": f"weights sha256 {row.weights_sha256[:12] or 'unknown'}",
        "backbone_options": values_in_words(json.loads(row.backbone_options)),
        "backbone_version": row.backbone_version and f"backbone version {row.backbone_version}",
        "other_views": row.other_views and f"here {row.other_views}",
    }
    return ", ".join([title, *(text for name, text in words.items() if text and _differ(alike, name))])


def _differ(rows: Sequence[Configuration], name: str) -> bool:
    return len({getattr(row, name) for row in rows}) > 1


def _short_title(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """The same, by names alone."""
    views = _views(comparison, rows)
    shown = f", views {views}" if views == _BY_DATA_SET else f", {views} views" if views else ""
    source = f", source files {rows[0].source_sha256[:8]}" if rows[0].source_sha256 else ""
    return f"{RUN_HERE}: {host_display(rows[0].backbone, rows[0].weights)}{shown}{source}"


def _views(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """Temporal clips x crops per test video; empty for one clip and one crop."""
    views = {run.views for row in rows for run in comparison.of_row(row)}
    return _BY_DATA_SET if len(views) > 1 else "".join(views - {"1 x 1"})


def may_be_ranked(marks: Mapping[T, Iterable[str]]) -> list[T]:
    """Those of some numbers, with the marks of each, that are ranked with each other: those without a mark that bars
    them; if all are made by a script, those without another such mark."""
    bars = {each: barring(of_each) for each, of_each in marks.items()}
    usual = (SYNTHETIC,) if all(SYNTHETIC in of_each for of_each in bars.values()) else ()
    return [each for each, of_each in bars.items() if of_each == usual]


def ranked(cells: Sequence[Cell], column: Column) -> list[Cell]:
    """The cells of one column with the best and the second marked.

    Only numbers that were run here and carry no mark that bars them are ranked, and only if there are two to compare;
    of numbers that are all made by a script, those without another such mark. Numbers that the column shows alike are
    equal, and share their rank.
    """
    numbers = {
        index: cell.value
        for index, cell in enumerate(cells)
        if isinstance(cell.value, (int, float)) and cell.origin == "run"
    }
    among = may_be_ranked({index: cells[index].marks for index in numbers})
    shown = {index: float(column.text(numbers[index])) for index in among}
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
