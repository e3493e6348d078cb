"""The few-shot table and figure: top-1 of every method and data set by number of training clips per class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.cells import ScoredOn, accuracy
from petl_bench.analysis.comparison import Bundle, CaseKey, Comparison, Configuration, bundles, row_labels
from petl_bench.analysis.from_records import compare
from petl_bench.api.figure import Axis, Figure, Point, Series, joined
from petl_bench.api.marks import mark_of
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.api.table import Cell, Column, Table, TableSource
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, published_numbers
from petl_bench.tables import mean_class, table_parts
from petl_bench.tables import notes as table_notes
from petl_bench.tables.mean_class import Side
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

SETTING = "few_shot"
_PUBLISHED_TABLE, _PUBLISHED_SPLIT = "3", "1"
#: The kind of transfer whose published rows the picture shows: all of them would be too many lines to tell apart.
_DRAWN = "efficient-transfer"
_QUOTED = (
    f"{table_notes.QUOTED} Table 3: one published list for each number of shots, split 1, without spread. "
    f"{SELECTED_ON_TEST}"
)


@pb.register_table("few_shot")
class FewShotTable(TableSource):
    """Few-shot recognition: top-1 for each data set and number of shots K, mean and spread over seeds.

    A data set's numbers of shots stand side by side; another split, other files or other options of a data set are a
    group of columns of their own. Rows are ranked where they share backbone, weights and views, and carry no mark that
    bars them (docs/marks.md). Quoted: Table 3 of the MSTA paper (CVPR 2025), for its data sets, 2, 4, 8 and 16 shots,
    split 1.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def compared(self, records: pd.DataFrame) -> Compared:
        """The records of this setting, and the columns. Raises UsageError where there are none."""
        return _compared(records, None)

    def build(self, evidence: Evidence) -> Table:
        """The table of all few-shot records. Raises UsageError where there are none."""
        found = _compared(evidence.records, evidence.outcomes)
        comparison, spots = found.comparison, found.spots
        quoted = table_parts.quoted_groups(evidence.published, _PUBLISHED_TABLE, spots)
        return Table(
            name="few_shot",
            title="Few-shot recognition: top-1 accuracy in percent, K training clips per class",
            corner="Method",
            columns=tuple(spot.column for spot in spots),
            groups=(*table_parts.run_groups(comparison, spots, evidence), *quoted),
            footers=(
                *table_notes.seed_notes(comparison),
                table_notes.RANKS,
                table_notes.TRAINED,
                *mean_class.notes(comparison, spots),
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="shots")),
                *([_QUOTED] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """Top-1 against the number of shots: one panel for each data set. Raises UsageError where there are no records.

        Rows of several backbones, weights or views have panels of their own.
        """
        comparison = self.compared(evidence.records).comparison
        found = bundles(comparison.cases, over="shots")
        panels = [
            _picture(comparison, rows, bundle, evidence.published)
            for rows in comparison.groups().values()
            for bundle in found
            if any(comparison.of(row, case) for row in rows for case in bundle.cases)
        ]
        quoted = any(series.origin == "quoted" for panel in panels for series in panel.series)
        notes = [
            *table_notes.seed_notes(comparison),
            *_mark_notes(comparison, found, evidence.outcomes),
            *table_notes.data_notes(comparison, found),
            *([f"{_QUOTED} Drawn: its {_DRAWN} rows."] if quoted else []),
        ]
        return joined(panels, notes)


def _compared(records: pd.DataFrame, outcomes: OutcomeSource | None) -> Compared:
    comparison = compare(records, SETTING, ["top1"], optional=[MEAN_CLASS])
    table_parts.refuse_nothing(comparison, SETTING)
    return Compared(comparison, [*table_parts.trained(comparison), *_accuracies(comparison, outcomes)])


def _accuracies(comparison: Comparison, outcomes: OutcomeSource | None) -> list[Spot]:
    spots = []
    for bundle in bundles(comparison.cases, over="shots"):
        spots += _by_shots(comparison, bundle)
        if mean_class.is_shown(comparison, [ScoredOn(case, "test") for case in bundle.cases]):
            spots += [_mean_class(comparison, case, bundle.label, outcomes) for case in bundle.cases]
        spots += table_parts.clips(comparison, bundle.label, bundle.cases)
    return spots


def _by_shots(comparison: Comparison, bundle: Bundle) -> list[Spot]:
    """One column for each number of shots of a data set."""
    return [
        Spot(
            column=Column(f"K={case.shots}", bundle.label),
            cell=table_parts.over_seeds(comparison, case, table_parts.mean_of(0)),
            ranked=True,
            published=_published(case),
            measure=accuracy(ScoredOn(case, "test")),
            own=table_parts.by_seed(comparison, [case], table_parts.mean_of(0)),
        )
        for case in bundle.cases
    ]


def _mean_class(comparison: Comparison, case: CaseKey, label: str, outcomes: OutcomeSource | None) -> Spot:
    sides, cell_of = [Side(0, (ScoredOn(case, "test"),))], partial(table_parts.over_seeds, comparison, case)
    return mean_class.spot(Column(f"K={case.shots}, mean class", label), sides, outcomes, cell_of)


def _published(case: CaseKey) -> Published | None:
    return (case.dataset, case.shots, "top1") if case.split == _PUBLISHED_SPLIT else None


def _picture(
    comparison: Comparison, rows: Sequence[Configuration], bundle: Bundle, published: pd.DataFrame | None
) -> Figure:
    spots, shots = _by_shots(comparison, bundle), [case.shots for case in bundle.cases]
    labels, few = row_labels(rows), None if published is None else published[published["group"] == _DRAWN]
    here = [Series(labels[row], _points(labels[row], shots, [spot.cell(row) for spot in spots])) for row in rows]
    quoted = [
        Series(row.label, _points(row.label, shots, row.cells), origin="quoted")
        for group in table_parts.quoted_groups(few, _PUBLISHED_TABLE, spots)
        for row in group.rows
    ]
    return Figure(
        name="few_shot",
        title=f"{bundle.label}: {rows[0].backbone} ({rows[0].weights} weights)",
        x=Axis("Training clips per class (K)", logarithmic=True, ticks=tuple(shots)),
        y=Axis("Top-1 (%)"),
        series=tuple(replace(series, line=True) for series in (*here, *quoted) if series.points),
    )


def _mark_notes(comparison: Comparison, found: Sequence[Bundle], outcomes: OutcomeSource | None) -> list[str]:
    """What qualifies points of the picture, and which ones."""
    points: dict[str, list[str]] = defaultdict(list)
    for rows in comparison.groups().values():
        labels = row_labels(rows)
        for bundle in found:
            spots = _by_shots(comparison, bundle)
            for row in rows:
                for spot, cell in zip(spots, table_parts.cells_of(comparison, spots, row, outcomes), strict=True):
                    for word in cell.marks:
                        points[word].append(f"{labels[row]} {spot.column.group} {spot.column.label}")
    return [
        f"{mark.symbol}: {mark.meaning}: {table_notes.listed(points[mark.word], 6)}."
        for mark in map(mark_of, sorted(points))
    ]


def _points(label: str, shots: Sequence[int], cells: Sequence[Cell]) -> tuple[Point, ...]:
    """One point for each number of shots that was run, or is published."""
    return tuple(
        Point(number, cell.value, label, y_range=_range(cell.value, cell.std), trials=cell.trials)
        for number, cell in zip(shots, cells, strict=True)
        if isinstance(cell.value, float)
    )


def _range(mean: float, std: float | None) -> tuple[float, float] | None:
    return None if std is None else (mean - std, mean + std)
