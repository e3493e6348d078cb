"""What is said below a table of rows whose values were searched here: budget, objective, space, sampler, choice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import FAMILIES, Configuration
from petl_bench.analysis.marks import marks_of
from petl_bench.api.marks import MARKS, TUNED_HERE, UNTUNED_RATE
from petl_bench.api.options import text_of
from petl_bench.api.tuning import Objective
from petl_bench.records.tunings import Tuning
from petl_bench.system.words import several
from petl_bench.tables.notes import listed

#: What proposals are compared by, in words.
OBJECTIVE_WORDS: Mapping[Objective, str] = {
    "held-out": "accuracy on held-out training clips",
    "pseudo-novel": "accuracy on a half of the training classes, adapted on the other half",
    "pseudo-hm": "harmonic mean of two halves of the training classes, adapted on one",
}
_BY_RECIPE, _UNTUNED = "the recipe of its authors", "not tuned"
_SYMBOL = MARKS[TUNED_HERE].symbol


def tuning_notes(comparison: Comparison, tunings: Sequence[Tuning]) -> list[str]:
    """What was searched for the rows of a table and what was chosen, and whether rows of one group had different
    budgets; nothing if no row was tuned here."""
    known = {each.name: each for each in tunings}
    rows: dict[str, dict[str, None]] = defaultdict(dict)
    for row, case in comparison.cells():
        for name in dict.fromkeys(name for run in comparison.of(row, case) for name in run.tuned_by.split()):
            rows[name][comparison.row_displays[row]] = None
    if not rows:
        return []
    found = [(listed(some, 6), known[name]) for name, some in rows.items() if name in known]
    lines = [f"{_SYMBOL}: {line}" for line in search_notes(found)]
    lost = [row for name, some in rows.items() if name not in known for row in some]
    lines += [f"{_SYMBOL}: {listed(lost, 6)}: the files of the tuning are not read here."] if lost else []
    return [*lines, *_differing(comparison, known)]


def search_notes(tunings: Iterable[tuple[str, Tuning]]) -> list[str]:
    """A line for the tunings that searched alike, with what was chosen for each; they come with what was tuned."""
    alike: dict[str, list[str]] = defaultdict(list)
    for tuned, tuning in tunings:
        alike[_search_text(tuning)].append(f"{tuned}: {_found_text(tuning)}")
    return [f"{search}. {'; '.join(found)}." for search, found in alike.items()]


def about(tuning: Tuning) -> str:
    """What a tuning chose, and how that was searched, in one line."""
    return f"{_found_text(tuning)}, {_search_text(tuning)}"


def chosen_text(tuning: Tuning) -> str:
    """The values that a tuning chose, e.g. "training.learning_rate=0.003"; "" before it has ended."""
    return "" if tuning.best is None else ", ".join(_values(tuning).values())


def _search_text(tuning: Tuning) -> str:
    """What tunings of several methods may share: budget, objective and sampler."""
    shots = [f"{listed(tuning.shots)} shots"] if tuning.shots else []
    draws = [f"{tuning.draws} draws"] if tuning.draws > 1 else []
    trained = "; ".join([*shots, f"seeds {listed(tuning.seeds)}", *draws])
    return (
        f"the best of {budget_text(tuning)} ({trained}) by {OBJECTIVE_WORDS[tuning.objective]} ({tuning.objective}), "
        f"no test clip; sampler: {tuning.sampler}, seed {tuning.seed}"
    )


def _found_text(tuning: Tuning) -> str:
    """The values that were chosen, each with those that were tried, and where all proposals are told."""
    tried = " and ".join(f"{value} of {tuning.space.get(name, '?')}" for name, value in _values(tuning).items())
    return f"{tried} (tuning {tuning.name[:8]})"


def _values(tuning: Tuning) -> dict[str, str]:
    """The chosen values by name, or before the tuning has ended the names alone."""
    if tuning.best is None:
        return {name: name for name in tuning.space}
    return {name: f"{name}={text_of(value)}" for name, value in tuning.best.values.items()}


def budget_text(tuning: Tuning) -> str:
    """How much was searched, e.g. "8 proposals x 3 trainings"."""
    trainings = max((len(set(each.trials)) for each in tuning.proposals), default=0)  # one for each case and draw
    return f"{several(tuning.budget, 'proposal')} x {several(trainings, 'training')}"


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
            yield f"Budgets of tuning differ: {found}. They do not keep rows from being ranked together."


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
    """The budgets of a row, each with the cases that it is of; a zero-shot row has none."""
    found: dict[str, list[str]] = defaultdict(list)
    for case in comparison.cases:
        runs = comparison.of(row, case)
        names = {name for run in runs for name in run.tuned_by.split()}
        if names:
            texts = {budget_text(known[name]) if name in known else "tuned here, budget not known" for name in names}
            found[" and ".join(sorted(texts))].append(comparison.case_displays[case])
        elif runs and runs[0].family != FAMILIES[0]:
            untuned = UNTUNED_RATE in marks_of(comparison, row, case)
            found[_UNTUNED if untuned else _BY_RECIPE].append(comparison.case_displays[case])
    return dict(found)
