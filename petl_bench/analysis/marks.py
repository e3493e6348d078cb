"""What qualifies a number: the marks of a cell, from its records, its comparison, and what is known of plugins.

`petl_bench.api.marks.MARKS` says what each of them means. The sign `=` is no mark: see `petl_bench.tables.equal_sign`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.api.marks import ABSENT_EVALUATION, TUNED_HERE, UNTUNED_RATE
from petl_bench.api.method import has_tuned_rate
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.errors import PetlBenchError


def marks_of(comparison: Comparison, row: Configuration, case: ComparedCase) -> tuple[str, ...]:
    """The marks of one cell, save those that depend on its value; see `petl_bench.analysis.chance`."""
    known = comparison.known_marks
    if (row, case) not in known:
        known[row, case] = tuple(sorted(_marks(comparison, row, case)))
    return known[row, case]


def _marks(comparison: Comparison, row: Configuration, case: ComparedCase) -> Iterable[str]:
    runs = comparison.of(row, case)
    if not runs:
        return set()
    marks = {word for run in runs for word in run.marks.split()}
    if any(run.uncovered for run in runs):
        marks.add("incomplete-coverage")
    if any(math.isnan(value) for run in runs for value in run.values):
        marks.add(ABSENT_EVALUATION)
    if word := _of_seeds(comparison.seeds(row, case), comparison.usual_seeds(row, case)):
        marks.add(word)
    if row.budget < comparison.usual_budget(row, case):
        marks.add("other-budget")
    if mixed_environment(runs):
        marks.add("mixed-environment")
    if is_demonstration(row.backbone, row.weights, case.dataset):
        marks.add("demonstration")
    rate = row.training_values.get("learning_rate")
    values = json.loads(row.hyper_parameters)
    if runs[0].trains and is_untuned(row.method, comparison.setting, row.backbone, rate, values):
        marks.add(UNTUNED_RATE)
    return marks - {UNTUNED_RATE} if TUNED_HERE in marks else marks


def _of_seeds(own: frozenset[int], usual: frozenset[int]) -> str:
    """The mark of a cell's seeds; "" if it has all of the usual ones."""
    if own >= usual:
        return ""
    return "partial-seeds" if len(own) < len(usual) else "other-seeds"


def mixed_environment(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What differs between the environments of these runs: name -> its values. What a record does not tell is alike."""
    if len({run.environment for run in runs}) == 1:
        return {}
    values: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for name, value in run.environment:
            values[name].add(value)
    return {name: sorted(found) for name, found in values.items() if len(found) > 1}


def is_demonstration(backbone: str, weights: str, dataset: str) -> bool:
    """Whether a backbone's packaged weights were made for another data set; not for a backbone unknown here."""
    if weights != "packaged" or backbone not in BACKBONES.names():
        return False
    try:
        made_for = BACKBONES.get(backbone).demonstration_of
    except PetlBenchError:  # a broken plugin; `petl-bench list` says so
        return False
    return bool(made_for) and dataset != made_for


def is_untuned(
    method: str, setting: str, backbone: str, rate: float | None, values: Mapping[str, Any] | None = None
) -> bool:
    """Whether no tuned recipe of a method, with such values of its fields, gives this learning rate; not for a method
    unknown here."""
    if rate is None or method not in METHODS:
        return False
    try:
        return not has_tuned_rate(METHODS.get(method), setting, backbone, rate, values)
    except PetlBenchError:  # a broken plugin; `petl-bench list` says so
        return False
