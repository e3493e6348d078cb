"""Mean-class accuracy in tables: a column beside top-1 if the test classes have unequal numbers of clips.

Records hold it since it is worked out; for older ones it follows from their predictions, if these may be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from petl_bench.analysis.averages import Summary, harmonic_mean_over_seeds, summarise
from petl_bench.analysis.cells import Measure, ScoredOn
from petl_bench.api.table import Cell, Column
from petl_bench.records.outcomes import mean_class_top1
from petl_bench.tables.table_parts import Spot

if TYPE_CHECKING:
    from petl_bench.analysis.comparison import CaseKey, Comparison, Configuration, Run
    from petl_bench.api.evidence import OutcomeSource

#: Test classes are unequal if the largest has at least so many times the clips of the smallest.
UNEQUAL = 1.5
_NOTE = (
    "Mean class: mean over the classes of their top-1, shown if the largest class of a test has at least "
    f"{UNEQUAL} times the clips of the smallest. It has intervals, and is neither ranked nor tested."
)
_UNKNOWN = "its record is older than this metric, and its predictions are not read here, or cannot be"


@dataclass(frozen=True)
class Side:
    """One accuracy: which of a run's optional metrics it is, beside its top-1 among the others; and of which places."""

    metric: int
    places: tuple[ScoredOn, ...]


def is_shown(comparison: Comparison, places: Iterable[ScoredOn]) -> bool:
    """Whether the classes of one of these tests are unequal, as far as records say so."""
    return any(
        _unequal(run.test_classes, place.evaluation) for place in places for run in _runs(comparison, place.case)
    )


def spot(
    column: Column,
    sides: Sequence[Side],
    outcomes: OutcomeSource | None,
    cell_of: Callable[[Callable[[Sequence[Run]], Summary]], Callable[[Configuration], Cell]],
) -> Spot:
    """The column of one side, or of the harmonic mean of two; `cell_of` makes a row's cell from a summary of runs."""
    by_class = (tuple(replace(place, by_class=True) for place in side.places) for side in sides)
    cell = cell_of(_summary(sides, outcomes))
    return Spot(column, lambda row: _known(cell(row)), measure=Measure(tuple(by_class)), tested=False)


def notes(comparison: Comparison, spots: Sequence[Spot]) -> list[str]:
    """What a reader of these columns must know: how they are worked out, and which classes are left out."""
    shown = [each.measure for each in spots if each.measure is not None and not each.tested]
    if not shown:
        return []
    cases = dict.fromkeys(place.case for measure in shown for side in measure.sides for place in side)
    short = {
        f"{case.dataset}, {left_out}"
        for case in cases
        for run in _runs(comparison, case)
        for left_out in _left_out(run.test_classes, run.coverage)
    }
    return [_NOTE, *([f"Classes without scored clips are left out: {'; '.join(sorted(short))}."] if short else [])]


def _runs(comparison: Comparison, case: CaseKey) -> list[Run]:
    return [run for row in comparison.configurations for run in comparison.of(row, case)]


@cache
def _left_out(test_classes: str, coverage: str) -> tuple[str, ...]:
    """Evaluations in which some classes have no scored clip, with how many there are."""
    all_classes = {name: counts.get("classes", 0) for name, counts in json.loads(coverage).items()}
    return tuple(
        f"{name}: {all_classes[name] - counts['used']} of {all_classes[name]}"
        for name, counts in json.loads(test_classes).items()
        if counts["used"] < all_classes.get(name, 0)
    )


@cache
def _unequal(test_classes: str, evaluation: str) -> bool:
    """Whether a record says so; one of an earlier version says nothing."""
    counts = json.loads(test_classes).get(evaluation)
    return counts is not None and counts["largest"] >= UNEQUAL * counts["smallest"] > 0


@cache
def _equal(test_classes: str, evaluation: str) -> bool:
    """Whether a record says that all classes have as many clips; its mean-class accuracy is then its top-1."""
    counts = json.loads(test_classes).get(evaluation)
    return counts is not None and counts["largest"] == counts["smallest"] > 0


def _summary(sides: Sequence[Side], outcomes: OutcomeSource | None) -> Callable[[Sequence[Run]], Summary]:
    """Mean and spread over seeds, of NaN if a run's accuracy is not known."""

    def summary(runs: Sequence[Run]) -> Summary:
        found = [[_value(run, side, outcomes) for run in runs] for side in sides]
        if not all(math.isfinite(value) for values in found for value in values):
            return Summary(math.nan, None, len(runs))
        return summarise(found[0]) if len(found) == 1 else harmonic_mean_over_seeds(*found)

    return summary


def _value(run: Run, side: Side, outcomes: OutcomeSource | None) -> float:
    recorded = run.optional[side.metric]
    if math.isnan(recorded) and _equal(run.test_classes, side.places[0].evaluation):
        return run.values[side.metric]
    if not math.isnan(recorded) or outcomes is None:
        return recorded
    outcome = outcomes.of(run.trial, side.places[0].evaluation)
    return math.nan if outcome is None else mean_class_top1(outcome.labels, outcome.ranks)


def _known(cell: Cell) -> Cell:
    if isinstance(cell.value, float) and math.isnan(cell.value):
        return Cell(origin="absent", source=_UNKNOWN)
    return cell
