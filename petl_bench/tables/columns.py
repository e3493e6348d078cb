"""Columns of a table that know what each row shows in them, and what that measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from petl_bench.analysis.averages import Summary, harmonic_mean_over_seeds, summarise
from petl_bench.analysis.cells import Measure, OfRanks, ScoredOn
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.analysis.labels import CaseGroup
from petl_bench.analysis.marks import marks_of
from petl_bench.api.marks import ABSENT_EVALUATION, OF_METHOD
from petl_bench.api.table import Cell, Column

#: What a published number is of: data set, shots (0: all clips, or not said), metric.
PublishedKey = tuple[str, int, str]
#: What a column shows of runs, one for each seed.
OfRuns = Callable[[Sequence[Run]], Summary]
CellOf = Callable[[Configuration], Cell]

NOT_RUN = Cell(origin="absent", source="not run")


@dataclass(frozen=True)
class MeasuredColumn:
    """A column, and what each row shows in it.

    `ranked`: its best and second numbers are marked; `published`: which published number belongs there; `measure`: what
    it measures, for intervals and tests; `by_seed`: the value of each of a row's seeds by itself; `tested`: whether
    rows are told apart in it, if it has a measure; `shows`: what a number of the user's own file must be of to stand in
    it, whatever published table there is; no data set: of any.
    """

    column: Column
    cell: CellOf
    ranked: bool = False
    published: PublishedKey | None = None
    measure: Measure | None = None
    by_seed: Callable[[Configuration], list[float]] | None = None
    tested: bool = True
    shows: PublishedKey | None = None


@dataclass(frozen=True)
class MeasuredComparison:
    """What a table shows of its records: a comparison, its columns, and notes on some of these."""

    comparison: Comparison
    columns: list[MeasuredColumn]
    notes: Sequence[str] = ()


# Numbers


@dataclass(frozen=True)
class ScoredMetric:
    """A metric of records, and how it was scored.

    `evaluation`: on which test clips, by the name that the setting gives them, such as "test", or on which queries of
    retrieval, such as "test/t2v"; `top`: it is the percentage of clips whose label is among so many best scores, or, if
    0, something else, which has no interval and no test unless it is `of_ranks`: the "sum" of R@1, R@5 and R@10, or the
    "mean" rank; `mean_class`: the metric in which every class weighs the same, "" if the setting has none.
    """

    name: str
    evaluation: str
    top: int = 1
    mean_class: str = ""
    of_ranks: OfRanks = ""

    def on(self, case: ComparedCase) -> ScoredOn:
        """Where its clips are scored on a case."""
        return ScoredOn(case, self.evaluation, self.top, of_ranks=self.of_ranks)


@dataclass(frozen=True)
class ShownNumber:
    """What a column shows: one metric, or the harmonic mean of two, as mean and spread over seeds.

    `label`: of the column, with fields of its case in braces, such as "K={case.shots}"; `mean_class`: that of the
    column beside it in which every class weighs the same, "" for none; `lower_is_better`: as for a rank; `heading`:
    stands behind the case in the header above the column, so that numbers of one heading are a group, such as "T2V".
    """

    label: str
    of: tuple[ScoredMetric, ...]
    mean_class: str = ""
    lower_is_better: bool = False
    heading: str = ""

    @property
    def metric(self) -> str:
        """Its name among published numbers."""
        return self.of[0].name if len(self.of) == 1 else "harmonic_mean"

    def over_seeds(self, values: Sequence[Sequence[float]]) -> Summary:
        """Mean and spread of the values of each metric, by seed; the mean is NaN if one of them is."""
        if any(math.isnan(value) for of_metric in values for value in of_metric):
            return Summary(math.nan, None, len(values[0]))
        return summarise(values[0]) if len(values) == 1 else harmonic_mean_over_seeds(*values)

    def of_runs(self, comparison: Comparison) -> OfRuns:
        """Mean and spread over runs, one for each seed."""
        places = self._places(comparison)
        return lambda runs: self.over_seeds([[run.values[place] for run in runs] for place in places])

    def measure(self, cases: Sequence[ComparedCase]) -> Measure | None:
        """What it measures on these cases: the mean over them, for each metric; None if that is no mean over clips."""
        if not all(one.top or one.of_ranks for one in self.of):
            return None
        return Measure(tuple(tuple(one.on(case) for case in cases) for one in self.of))

    def by_seed(self, comparison: Comparison, cases: Sequence[ComparedCase]) -> Callable[[Configuration], list[float]]:
        """The values of a row's seeds, each by itself: of the means over those of the cases that the row has.

        Seeds that the row lacks on one of these cases are left out, and so are numbers that it cannot have.
        """

        def values(row: Configuration) -> list[float]:
            having = [case for case in cases if comparison.of(row, case)]
            means = [self.over_seeds([[each] for each in own]).mean for own in self._means(comparison, row, having)]
            return [mean for mean in means if not math.isnan(mean)]

        return values

    def over_cases(self, comparison: Comparison, cases: Sequence[ComparedCase]) -> CellOf:
        """What a row shows of the mean over cases: of the seeds that it has on all of them, each by itself."""

        def cell(row: Configuration) -> Cell:
            found = self._means(comparison, row, cases)
            if not found:
                return NOT_RUN
            seeds = comparison.common_seeds([row], cases)
            runs = {case: [run for run in comparison.of(row, case) if run.seed in seeds] for case in cases}
            return cell_of_runs(comparison, row, runs, self.over_seeds(list(zip(*found, strict=True))))

        return cell

    def _means(
        self, comparison: Comparison, row: Configuration, cases: Sequence[ComparedCase]
    ) -> list[tuple[float, ...]]:
        """For each seed that a row has on all of the cases, the mean of each metric over them."""
        runs = [{run.seed: run.values for run in comparison.of(row, case)} for case in cases]
        places = self._places(comparison)
        return [
            tuple(math.fsum(own[seed][place] for own in runs) / len(runs) for place in places)
            for seed in comparison.common_seeds([row], cases)
        ]

    def _places(self, comparison: Comparison) -> list[int]:
        return [comparison.metrics.index(each.name) for each in self.of]


# Cells


def cell_of_runs(
    comparison: Comparison, row: Configuration, runs: Mapping[ComparedCase, Sequence[Run]], summary: Summary
) -> Cell:
    """A cell with the summary of a row's runs on some cases, and the marks of these cases.

    If the mean is NaN since an evaluation is absent, the cell is absent, with the reason.
    """
    marks = {word for case in runs for word in marks_of(comparison, row, case)}
    trials = tuple(run.trial for of_case in runs.values() for run in of_case)
    absent = {reason: None for of_case in runs.values() for run in of_case for reason in run.absences.values()}
    if absent and math.isnan(summary.mean):
        kept = tuple(sorted(word for word in marks if word in (ABSENT_EVALUATION, *OF_METHOD)))
        return Cell(origin="absent", source="; ".join(absent), marks=kept, trials=trials)
    return Cell(summary.mean, summary.std, summary.n, marks=tuple(sorted(marks)), trials=trials)


def over_seeds(comparison: Comparison, case: ComparedCase, summary: OfRuns) -> CellOf:
    """What a row shows of one case: a summary of its runs, one per seed."""

    def cell(row: Configuration) -> Cell:
        runs = comparison.of(row, case)
        return cell_of_runs(comparison, row, {case: runs}, summary(runs)) if runs else NOT_RUN

    return cell


# Columns that every table of results has


def trained_columns(comparison: Comparison) -> list[MeasuredColumn]:
    """Trained parameters, in millions and in percent of the backbone's."""

    def column(unit: str, metric: str, shown: Callable[[int, int], float]) -> MeasuredColumn:
        return MeasuredColumn(
            Column(unit, "Trained", ".3g"),
            lambda row: _parameters(comparison.of_row(row), shown),
            shows=("", 0, metric),
        )

    return [
        column("M", "tunable_params_m", lambda own, _: own / 1e6),
        column("%", "tunable_percent", lambda own, whole: 100 * own / whole),
    ]


def _parameters(runs: Sequence[Run], shown: Callable[[int, int], float]) -> Cell:
    found = {(run.trainable_params, run.backbone_params) for run in runs}
    if len(found) != 1:
        return Cell(origin="absent", source="differs between the runs of this row")
    return Cell(shown(*found.pop()))


def clips_column(comparison: Comparison, group: CaseGroup, *, added: bool = False) -> list[MeasuredColumn]:
    """A column of scored and expected test clips if some row lacks some; nothing if all are complete.

    Of the seeds of a case, the run that scored fewest clips; of several cases, the one with the fewest clips scored, or
    all of them together if they are `added`.
    """
    counts: dict[Configuration, list[tuple[int, int]]] = {}
    for row in comparison.configurations:
        found = [min(run.scored for run in runs) for case in group.cases if (runs := comparison.of(row, case))]
        if found:
            counts[row] = found
    if all(used == expected for found in counts.values() for used, expected in found):
        return []

    def cell(row: Configuration) -> Cell:
        if row not in counts:
            return NOT_RUN
        used, expected = map(sum, zip(*counts[row], strict=True)) if added else min(counts[row])
        return Cell(f"{used:,}/{expected:,}", n=max(len(comparison.seeds(row, case)) for case in group.cases))

    return [MeasuredColumn(Column("Clips", group.label, group_display=group.display), cell)]
