"""What a table of retrieval shows beside its numbers: further evaluations that some trials have, and ties.

A further evaluation has columns of its own, which are not ranked: of epochs that are best on the test clips, by
direction, as papers print them; and of post-processing that sees all queries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from petl_bench.analysis.averages import summarise
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.analysis.labels import CaseGroup
from petl_bench.api.retrieval import BEST_EPOCHS, DIRECTIONS, POST_PROCESSING, Direction
from petl_bench.api.table import Cell, Column
from petl_bench.records.retrieval import TOP
from petl_bench.tables.columns import CellOf, MeasuredColumn, cell_of_runs
from petl_bench.tables.notes import listed

_NAMES = {"dual_softmax": "dual softmax", "qb_norm": "QB-norm"}
_RANKS = {"median_rank": "MdR", "mean_rank": "MnR"}
_BEST_NOTE = (
    "Best epoch: the one with the best R@1 of its direction on the test clips, as papers print it; only to compare "
    "with these. The columns without it are of the last epoch, or of one that was selected on training clips."
)
_POST_NOTE = (
    "{}: similarities are changed by all test queries, or by a bank of training queries, before they are ranked; a "
    "query that comes alone has the numbers without it."
)


def _labels() -> dict[str, tuple[str, str]]:
    """Metrics that some trials have: what stands behind the case in the header above their column, and its label."""
    shown = {**{f"r{k}": f"R@{k}" for k in TOP}, **_RANKS}

    def of(direction: Direction, variant: str, name: str) -> dict[str, tuple[str, str]]:
        heading = f"{direction.upper()} {name}"
        return {f"{direction}_{metric}@{variant}": (heading, label) for metric, label in shown.items()}

    labels: dict[str, tuple[str, str]] = {}
    for variant, direction in BEST_EPOCHS.items():
        labels |= of(direction, variant, "best epoch")
        labels[f"epoch@{variant}"] = (f"{direction.upper()} best epoch", "Epoch")
    for kind in POST_PROCESSING:
        for direction in DIRECTIONS:
            labels |= of(direction, kind, _NAMES[kind])
    return labels


LABELS: Mapping[str, tuple[str, str]] = _labels()


def beside_columns(comparison: Comparison, group: CaseGroup) -> list[MeasuredColumn]:
    """The columns of those of `LABELS` that a trial on one of these cases has."""
    return [
        MeasuredColumn(
            Column(
                label,
                f"{group.label} {heading}",
                lower_is_better=metric.partition("@")[0].endswith("_rank"),
                group_display=f"{group.display} {heading}",
            ),
            _cell_of(comparison, case, metric),
        )
        for case in group.cases
        for metric, (heading, label) in LABELS.items()
        if any(_having(comparison, comparison.of_case(case), metric))
    ]


def beside_notes(comparison: Comparison) -> list[str]:
    """Lines under the table: what further columns are of, and how many queries have a tied target."""
    runs = [run for each in comparison.runs.values() for run in each]
    having = {metric.partition("@")[2] for metric in LABELS if _having(comparison, runs, metric)}
    changed = [_NAMES[kind] for kind in POST_PROCESSING if kind in having]
    post = [_POST_NOTE.format(listed(changed))] if changed else []
    return [*([_BEST_NOTE] if having & BEST_EPOCHS.keys() else []), *post, *_tie_notes(comparison)]


def _having(comparison: Comparison, runs: Sequence[Run], metric: str) -> list[Run]:
    place = comparison.optional.index(metric)
    return [run for run in runs if not math.isnan(run.optional[place])]


def _cell_of(comparison: Comparison, case: ComparedCase, metric: str) -> CellOf:
    place = comparison.optional.index(metric)

    def cell(row: Configuration) -> Cell:
        runs = _having(comparison, comparison.of(row, case), metric)
        if not runs:
            return Cell(origin="absent", source="not asked for")
        found = cell_of_runs(comparison, row, {case: runs}, summarise([run.optional[place] for run in runs]))
        on_test = metric.partition("@")[2] in BEST_EPOCHS
        return replace(found, marks=tuple(sorted({*found.marks, "best-on-test"}))) if on_test else found

    return cell


def _tie_notes(comparison: Comparison) -> list[str]:
    """The most queries with a tied target that a trial of each row has, by case and direction."""
    notes = []
    for case in comparison.cases:
        for direction in DIRECTIONS:
            counts = {
                comparison.row_displays[row]: max(_tied(run, direction) for run in comparison.of(row, case))
                for row in comparison.configurations
                if comparison.of(row, case)
            }
            told = [f"{name} {count}" for name, count in counts.items() if count]
            if told:
                place = comparison.case_displays[case]
                notes.append(f"Queries with a tied target, {place}, {direction.upper()}: {listed(told, 6)}.")
    return notes


def _tied(run: Run, direction: Direction) -> int:
    return sum(counts.get(f"{direction}_tied", 0) for counts in json.loads(run.coverage).values())
