"""Mean-class accuracy in tables: a column beside top-1 if the test classes have unequal numbers of clips.

Records hold it since it is worked out; for older ones it follows from their predictions, if these may be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from petl_bench.analysis.averages import Summary
from petl_bench.analysis.cells import Measure
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.analysis.labels import dataset_display
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.table import Cell, Column
from petl_bench.records.outcomes import mean_class_top1
from petl_bench.tables.columns import CellOf, MeasuredColumn, OfRuns, ScoredMetric, ShownNumber

#: Test classes are unequal if the largest has at least so many times the clips of the smallest.
UNEQUAL = 1.5
_NOTE = (
    "Mean class: mean over the classes of their top-1, shown if the largest class of a test has at least "
    f"{UNEQUAL} times the clips of the smallest. It has intervals, and is neither ranked nor tested."
)
_UNKNOWN = "its record is older than this metric, and its predictions are not read here, or cannot be"


def is_shown(comparison: Comparison, cases: Sequence[ComparedCase], numbers: Sequence[ShownNumber]) -> bool:
    """Whether the classes of a test of these cases are unequal, as far as records say so."""
    evaluations = {metric.evaluation for number in numbers for metric in number.of if number.mean_class}
    runs = (run for case in cases for run in comparison.of_case(case))
    return any(_unequal(run.test_classes, evaluation) for run in runs for evaluation in evaluations)


def column(
    comparison: Comparison,
    cases: Sequence[ComparedCase],
    number: ShownNumber,
    header: Column,
    outcomes: OutcomeSource | None,
    cell_of: Callable[[OfRuns], CellOf],
) -> MeasuredColumn:
    """The column of a number with every class of the same weight.

    Args:
        comparison: the runs.
        cases: whose mean the column shows.
        number: what is shown with every clip of the same weight.
        header: of the column.
        outcomes: per-clip predictions, for records that lack the metric.
        cell_of: makes the cell of a row from a summary of its runs.
    """
    measure = number.measure(cases)
    if measure is not None:
        measure = Measure(tuple(tuple(replace(place, by_class=True) for place in term) for term in measure.terms))

    def summary(runs: Sequence[Run]) -> Summary:
        found = [[_value(comparison, run, metric, outcomes) for run in runs] for metric in number.of]
        if not all(math.isfinite(value) for values in found for value in values):
            return Summary(math.nan, None, len(runs))
        return number.over_seeds(found)

    cell = cell_of(summary)

    def known(row: Configuration) -> Cell:
        found = cell(row)
        is_known = not isinstance(found.value, float) or math.isfinite(found.value)
        return found if is_known else Cell(origin="absent", source=_UNKNOWN)

    return MeasuredColumn(header, known, measure=measure, tested=False)


def notes(comparison: Comparison, columns: Sequence[MeasuredColumn]) -> list[str]:
    """What a reader of these columns must know: how they are worked out, and which classes are left out."""
    shown = [each.measure for each in columns if each.measure is not None and not each.tested]
    if not shown:
        return []
    cases = dict.fromkeys(place.case for measure in shown for term in measure.terms for place in term)
    short = {
        f"{dataset_display(case.dataset, case.dataset_plugin)}, {left_out}"
        for case in cases
        for run in comparison.of_case(case)
        for left_out in _left_out(run.test_classes, run.coverage)
    }
    return [_NOTE, *([f"Classes without scored clips are left out: {'; '.join(sorted(short))}."] if short else [])]


def _value(comparison: Comparison, run: Run, metric: ScoredMetric, outcomes: OutcomeSource | None) -> float:
    """The mean-class accuracy of a run; NaN if it is not known."""
    recorded = run.optional[comparison.optional.index(metric.mean_class)]
    if math.isnan(recorded) and _equal(run.test_classes, metric.evaluation):
        return run.values[comparison.metrics.index(metric.name)]
    if not math.isnan(recorded) or outcomes is None:
        return recorded
    outcome = outcomes.of(run.trial, metric.evaluation)
    return math.nan if outcome is None else mean_class_top1(outcome.labels, outcome.ranks)


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
