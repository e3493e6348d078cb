"""The column `forgetting` of other tables: what each row has lost on data sets that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.forgetting import FORGETTING, FROZEN, Change, Elsewhere, changes_by_trial, elsewhere
from petl_bench.analysis.marks import marks_of
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.table import Cell, Column
from petl_bench.tables.columns import NOT_RUN, MeasuredColumn
from petl_bench.tables.notes import listed
from petl_bench.tables.ranking import AT_CHANCE

if TYPE_CHECKING:
    import pandas as pd

#: The header above the columns, as a user types it and as readers see it.
HEADING = "Forgetting"
MEANING = (
    "zero-shot accuracy of the adapted model less that of the frozen backbone on the same clips, in points (top-1; T2V "
    "R@1 if captions are searched); negative: lost. Never ranked."
)
_FORMAT = "+.1f"


def forgetting_columns(
    comparison: Comparison, records: pd.DataFrame, outcomes: OutcomeSource | None
) -> tuple[list[MeasuredColumn], list[str]]:
    """A column for each case whose models were evaluated on other data sets, and the note on them; nothing if there are
    no such trials."""
    if not (records["setting"] == FORGETTING).any():
        return [], []
    columns: list[MeasuredColumn] = []
    names: dict[str, None] = {}
    for case in comparison.cases:
        found = elsewhere(records, {run.trial for run in comparison.of_case(case)}, comparison.setting, outcomes)
        if found is not None:
            label, display = comparison.case_labels[case], comparison.case_displays[case]
            shown = Column(label, HEADING, _FORMAT, display=display)
            columns.append(MeasuredColumn(shown, partial(_cell, comparison, case, found)))
            names |= dict.fromkeys(found.comparison.case_displays[each] for each in found.cases)
    mean = "; mean over these data sets, each counting once" if len(names) > 1 else ""
    return columns, [f"{HEADING}, on {listed(names, 6)}{mean}: {MEANING}"] if columns else []


def _cell(comparison: Comparison, case: ComparedCase, found: Elsewhere, row: Configuration) -> Cell:
    """What one row has lost elsewhere."""
    runs = comparison.of(row, case)
    if not runs:
        return NOT_RUN
    if row.method == FROZEN:
        return Cell(0.0, source="the frozen backbone itself")
    own = next((found.rows[run.trial] for run in runs if run.trial in found.rows), None)
    if own is None:
        return Cell(origin="absent", source="not evaluated on other data sets")
    if lacking := found.lacking(own):
        names = listed(found.comparison.case_displays[each] for each in lacking)
        return Cell(origin="absent", source=f"not evaluated on {names}")
    change = found.change(own, found.cases)
    if change is None:
        return Cell(origin="absent", source="no run of the frozen backbone with the same seeds")
    marks = set(marks_of(comparison, row, case)).union(*(marks_elsewhere(found, own, each) for each in found.cases))
    return cell_of_change(change, marks)


def cell_of_change(change: Change, marks: Iterable[str]) -> Cell:
    """A change as a cell: mean and standard deviation over seeds, with its paired interval if that is known."""
    summary = change.summary
    interval = None if change.difference is None else change.difference.interval
    return Cell(
        summary.mean, summary.std, summary.n, marks=tuple(sorted(marks)), interval=interval, trials=change.trials
    )


def marks_elsewhere(found: Elsewhere, row: Configuration, case: ComparedCase) -> set[str]:
    """The marks of a change on another data set: those of both models; at chance if the frozen one is, and so has
    nothing to lose."""
    marks, frozen = set(marks_of(found.comparison, row, case)), found.frozen(row)
    if frozen is not None:
        marks |= set(marks_of(found.comparison, frozen, case))
        marks |= {AT_CHANCE} if found.is_at_chance(frozen, case) else set()
    return marks


def with_forgetting(records: pd.DataFrame) -> pd.DataFrame:
    """The records with a metric `forgetting` of every trial whose model was evaluated on other data sets, 0 for the
    frozen backbone beside them; as they are without such trials."""
    values = dict(changes_by_trial(records))
    if not values:
        return records
    import pandas as pd

    trials = records.drop_duplicates("trial")
    adapted = trials[trials["trial"].isin(values)]
    places = set(zip(adapted["setting"], adapted["dataset"], strict=True))
    frozen = trials[trials["method"] == FROZEN]
    for trial, *place in zip(frozen["trial"], frozen["setting"], frozen["dataset"], strict=True):
        if tuple(place) in places:
            values[trial] = 0.0
    more = trials[trials["trial"].isin(values)]
    return pd.concat([records, more.assign(metric=FORGETTING, value=more["trial"].map(values))], ignore_index=True)
