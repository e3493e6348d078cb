"""What is said below a table of rows whose values were searched here: budget, objective, space, sampler, choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.marks import marks_of
from petl_bench.api.marks import MARKS, TUNED_HERE, UNTUNED_RATE
from petl_bench.api.options import text_of
from petl_bench.api.tuning import Objective
from petl_bench.records.tunings import Tuning
from petl_bench.system.words import several
from petl_bench.tables.notes import listed

#: What proposals are compared by, in words.
OBJECTIVES: Mapping[Objective, str] = {
    "held-out": "accuracy on held-out training clips",
    "pseudo-novel": "accuracy on a half of the training classes, adapted on the other half",
    "pseudo-hm": "harmonic mean of two halves of the training classes, adapted on one",
}
_BY_RECIPE, _UNTUNED = "the recipe of its authors", "not tuned"
_SYMBOL = MARKS[TUNED_HERE].symbol


def tuning_notes(comparison: Comparison, tunings: Sequence[Tuning]) -> list[str]:
    """A line for each tuning that chose the values of a row, and one if rows of one group had different budgets."""
    known = {each.name: each for each in tunings}
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for row, case in comparison.cells():
        for name in dict.fromkeys(name for run in comparison.of(row, case) for name in run.tuned_by.split()):
            rows[name][comparison.row_displays[row]] = None
    if not rows:
        return []
    lines = [f"{_SYMBOL}: {listed(some, 6)}: {about(known[name])}." for name, some in rows.items() if name in known]
    lost = [row for name, some in rows.items() if name not in known for row in some]
    lines += [f"{_SYMBOL}: {listed(lost, 6)}: the files of the tuning are not read here."] if lost else []
    return [*lines, *_differing(comparison, known)]


def about(tuning: Tuning) -> str:
    """What a tuning searched, by how much, and what it chose, in one line."""
    others = f", draws {tuning.draws}" if tuning.draws > 1 else ""
    return (
        f"{chosen_text(tuning)}, the best of {budget_text(tuning)} by {OBJECTIVES[tuning.objective]} "
        f"({tuning.objective}, no test clip; seeds {listed(tuning.seeds)}{others}); space {space_text(tuning)}; "
        f"sampler {tuning.sampler}, seed {tuning.seed}; tuning {tuning.name}"
    )


def chosen_text(tuning: Tuning) -> str:
    """The values that a tuning chose, e.g. "training.learning_rate=0.003"; "" before it has ended."""
    return "" if tuning.best is None else values_text(tuning.best.values)


def values_text(values: Mapping[str, object]) -> str:
    """Values of a proposal in one text."""
    return ", ".join(f"{name}={text_of(value)}" for name, value in values.items())


def budget_text(tuning: Tuning) -> str:
    """How much was searched, e.g. "8 proposals x 3 trainings"."""
    return f"{several(tuning.budget, 'proposal')} x {several(per_proposal(tuning), 'training')}"


def per_proposal(tuning: Tuning) -> int:
    """How often each proposal is trained: once for each case and draw."""
    return max((len(set(each.trials)) for each in tuning.proposals), default=0)


def space_text(tuning: Tuning) -> str:
    """What was searched, as `--space` takes it."""
    return "; ".join(f"{name}={values}" for name, values in tuning.space.items())


def budgets_of(comparison: Comparison, tunings: Sequence[Tuning], rows: Sequence[Configuration]) -> str:
    """The budgets of some rows, if one of them was tuned here: that they differ, or what they share; else ""."""
    known = {each.name: each for each in tunings}
    if found := _unequal(comparison, known, rows):
        return f"budgets of tuning differ: {found}"
    texts = {text for row in rows for text in _budgets(comparison, known, row)} - {_BY_RECIPE, _UNTUNED}
    return f"tuned here: {listed(sorted(texts))} for each" if texts else ""


def _differing(comparison: Comparison, known: Mapping[str, Tuning]) -> Iterator[str]:
    """For each group of rows that are ranked together, how their budgets differ."""
    for rows in comparison.groups().values():
        if found := _unequal(comparison, known, rows):
            yield (
                f"Budgets differ: {found}. They are ranked together all the same: the marks "
                f"{_SYMBOL} and {MARKS[UNTUNED_RATE].symbol} tell them apart."
            )


def _unequal(comparison: Comparison, known: Mapping[str, Tuning], rows: Sequence[Configuration]) -> str:
    places: dict[str, list[str]] = defaultdict(list)
    tuned = False
    for row in rows:
        budgets = _budgets(comparison, known, row)
        tuned = tuned or any(budget not in (_BY_RECIPE, _UNTUNED) for budget in budgets)
        for budget, cases in budgets.items():
            on = f" on {listed(cases, 6)}" if len(budgets) > 1 else ""
            places[budget].append(f"{comparison.row_displays[row]}{on}")
    if not tuned or len(places) < 2:
        return ""
    return "; ".join(f"{budget}: {listed(some, 6)}" for budget, some in places.items())


def _budgets(comparison: Comparison, known: Mapping[str, Tuning], row: Configuration) -> dict[str, list[str]]:
    """The budgets of a row, each with the cases that it is of; a row that trains nothing has none."""
    found: dict[str, list[str]] = defaultdict(list)
    for case in comparison.cases:
        runs = comparison.of(row, case)
        names = {name for run in runs for name in run.tuned_by.split()}
        if names:
            texts = {budget_text(known[name]) if name in known else "tuned here, budget not known" for name in names}
            found[" and ".join(sorted(texts))].append(comparison.case_displays[case])
        elif runs and runs[0].trains:
            untuned = UNTUNED_RATE in marks_of(comparison, row, case)
            found[_UNTUNED if untuned else _BY_RECIPE].append(comparison.case_displays[case])
    return dict(found)
