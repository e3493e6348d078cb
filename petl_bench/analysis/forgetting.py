"""What models have lost elsewhere: their accuracy on other data sets less that of the frozen backbone there.

The trials of the setting `forgetting` start from adapters, or are of the frozen backbone. Those that start from the
adapters of one case, with the frozen ones, are a comparison of their own; its rows are told apart as in any table.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from petl_bench.analysis.averages import Summary, summarise
from petl_bench.analysis.cells import Measure, ScoredOn
from petl_bench.analysis.chance import guesses_of, is_at_chance
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.significance import Difference
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.retrieval import queries_of

if TYPE_CHECKING:
    import pandas as pd

#: The setting of these trials, and the method that changes nothing.
FORGETTING, FROZEN = "forgetting", "zero_shot"
#: What is compared: top-1 if classes are scored, and if captions are searched, the metric of T2V R@1.
_ACCURACY = "accuracy"
_METRICS = {"top1": _ACCURACY, "t2v_r1": _ACCURACY}
_SAME = ("decoder", "engine_version", "comparable")


@dataclass(frozen=True)
class Origin:
    """What models were adapted on: a case of another setting, and the trials that adapted them there."""

    case: ComparedCase
    trials: frozenset[str]


@dataclass(frozen=True)
class Change:
    """Adapted less frozen, in points: mean over data sets, by seed and over seeds.

    `difference`: on the same clips and seeds, with its interval and test; None if per-clip predictions are not known.
    """

    by_seed: Mapping[int, float]
    difference: Difference | None
    trials: tuple[str, ...]

    @property
    def summary(self) -> Summary:
        """Mean and standard deviation over seeds."""
        return summarise(list(self.by_seed.values()))


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """The evaluations on other data sets of the models that one case has adapted.

    `comparison`: of these trials and of the frozen backbone, its cases the other data sets; `rows`: of each trial that
    adapted a model, the row of its evaluations.
    """

    comparison: Comparison
    rows: Mapping[str, Configuration]
    outcomes: OutcomeSource | None
    _tests: dict[tuple[ComparedCase, ...], PairwiseTests] = field(default_factory=dict)

    @cached_property
    def adapted(self) -> list[Configuration]:
        """The rows of adapted models."""
        wanted = set(self.rows.values())
        return [row for row in self.comparison.configurations if row in wanted]

    @cached_property
    def cases(self) -> list[ComparedCase]:
        """The other data sets that some adapted model was evaluated on."""
        return [case for case in self.comparison.cases if any(self.comparison.of(row, case) for row in self.adapted)]

    def lacking(self, row: Configuration) -> list[ComparedCase]:
        """The data sets that others were evaluated on, and this row was not."""
        return [case for case in self.cases if not self.comparison.of(row, case)]

    def frozen(self, row: Configuration) -> Configuration | None:
        """The row of the frozen backbone that belongs to an adapted one: of several, the one with most of its training
        options, such as the precision; None if it is not there."""
        alike = [
            other
            for other in self.comparison.configurations
            if other.method == FROZEN and all(getattr(other, name) == getattr(row, name) for name in _SAME)
        ]
        own = row.training_values

        def shared(other: Configuration) -> int:
            return sum(own.get(name) == value for name, value in other.training_values.items())

        return max(alike, key=shared, default=None)

    def change(self, row: Configuration, cases: Sequence[ComparedCase]) -> Change | None:
        """What an adapted row has lost or gained on these data sets, each counting once; None without the frozen
        backbone, or without a seed that both have on all of them."""
        frozen = self.frozen(row)
        seeds = [] if frozen is None else self.comparison.common_seeds([row, frozen], cases)
        if frozen is None or not seeds:
            return None
        own, other = ([_by_seed(self.comparison.of(each, case)) for case in cases] for each in (row, frozen))
        by_seed = {
            seed: sum(a[seed].values[0] - b[seed].values[0] for a, b in zip(own, other, strict=True)) / len(cases)
            for seed in seeds
        }
        found = None
        if self.outcomes is not None:
            known = self._tests.get(tuple(cases)) or PairwiseTests(self.comparison, [measure(cases)], self.outcomes)
            found = self._tests.setdefault(tuple(cases), known).difference(0, row, frozen)
        trials = tuple(runs[seed].trial for runs in own for seed in seeds)
        return Change(by_seed, found, trials)

    def is_at_chance(self, row: Configuration, case: ComparedCase) -> bool:
        """Whether a row is not told from guessing on a data set."""
        runs = self.comparison.of(row, case)
        guesses = guesses_of(self.comparison, row, [scored_on(case)], self.outcomes)
        return guesses is not None and is_at_chance(sum(run.values[0] for run in runs) / len(runs), guesses)


def scored_on(case: ComparedCase) -> ScoredOn:
    """Where the clips, or the captions that search them, of another data set are scored."""
    return ScoredOn(case, queries_of("test", "t2v") if case.captions_sha256 else "test")


def measure(cases: Sequence[ComparedCase]) -> Measure:
    """The mean accuracy over data sets."""
    return Measure((tuple(map(scored_on, cases)),))


def elsewhere(
    records: pd.DataFrame, trials: Collection[str], setting: str, outcomes: OutcomeSource | None = None
) -> Elsewhere | None:
    """The evaluations on other data sets that start from these trials of a setting; None if there are none."""
    found = records[records["setting"] == FORGETTING]
    found = found[found["start_from"].isin(trials) | (found["start_from"] == "")]
    started = found[found["start_from"] != ""].drop_duplicates("trial")
    if started.empty:
        return None
    import pandas as pd

    # Whether classes or captions were evaluated is told by the metric and the captions' hash, however it was asked for.
    accuracies = found.assign(metric=found["metric"].map(_METRICS), part="", setting_options="{}")
    accuracies = accuracies.dropna(subset="metric")
    sources = records[records["trial"].isin(started["start_from"])].drop_duplicates("trial")
    # Of the setting that adapted: marks, such as that of a tuned learning rate, are of what was done there.
    comparison = replace(compare(pd.concat([accuracies, sources]), FORGETTING, [_ACCURACY]), setting=setting)
    starts = dict(zip(started["trial"], started["start_from"], strict=True))
    rows = {starts[run.trial]: row for (row, _), runs in comparison.runs.items() for run in runs if run.trial in starts}
    return Elsewhere(comparison, rows, outcomes)


def origins(records: pd.DataFrame) -> list[Origin]:
    """What the models were adapted on that other data sets were evaluated with, by setting and data set."""
    started = records.loc[(records["setting"] == FORGETTING) & (records["start_from"] != ""), "start_from"]
    sources = records[records["trial"].isin(started)].drop_duplicates("trial")
    if sources.empty:
        return []
    tried_on_test = [json.loads(each).get("select") == "best-on-test" for each in sources["training"]]
    sources = sources.assign(
        shots=sources["shots"].fillna(0), selected=["test" if each else "" for each in tried_on_test]
    )
    names = [each.name for each in fields(ComparedCase)]
    order = ["setting", "dataset", "shots", "split", "part"]
    found: Any = sources.sort_values(order, kind="stable").groupby(names, sort=False)["trial"]
    return [Origin(ComparedCase(*values), frozenset(keys)) for values, keys in found]


def without_source(records: pd.DataFrame) -> int:
    """How many trials start from an adapter whose trial has no record here."""
    found = records[(records["setting"] == FORGETTING) & (records["start_from"] != "")].drop_duplicates("trial")
    return int((~found["start_from"].isin(records["trial"])).sum())


def changes_by_trial(records: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Of every trial that adapted a model: its key, and what is lost on all other data sets (mean, in points)."""
    for origin in origins(records):
        found = elsewhere(records, origin.trials, origin.case.setting)
        assert found is not None
        changes = {row: found.change(row, found.cases) for row in found.adapted if not found.lacking(row)}
        seeds = records[records["trial"].isin(origin.trials)].drop_duplicates("trial")
        for trial, seed in zip(seeds["trial"], seeds["seed"], strict=True):
            change = changes.get(found.rows[trial]) if trial in found.rows else None
            if change is not None and seed in change.by_seed:
                yield trial, change.by_seed[seed]


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    return {run.seed: run for run in runs}
