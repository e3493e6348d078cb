"""From cells to panels: which clips and seeds stand behind a number, its interval, and its test against another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.panels import Panel
from petl_bench.analysis.significance import (
    PERCENT,
    Difference,
    Scale,
    SeedVariance,
    difference,
    interval,
    pooled,
    seed_variance,
)
from petl_bench.api.registry import DATASETS
from petl_bench.api.retrieval import split_queries
from petl_bench.records.outcomes import class_weights
from petl_bench.records.retrieval import TOP

if TYPE_CHECKING:
    import numpy as np

    from petl_bench.api.evidence import ClipOutcomes, OutcomeSource


#: What of the ranks of queries a number is that is no single share: the sum of the shares at `TOP`, or the mean rank.
OfRanks = Literal["", "sum", "mean"]


@dataclass(frozen=True)
class ScoredOn:
    """Where clips are scored: a case and one of its evaluations; right is whose label is among the `top` k scores.

    `by_class`: every class weighs the same, and not every clip; `of_ranks`: what is averaged instead.
    """

    case: ComparedCase
    evaluation: str
    top: int = 1
    by_class: bool = False
    of_ranks: OfRanks = ""


@dataclass(frozen=True)
class Measure:
    """What a column shows: the harmonic mean of its terms, or its one term, each a mean accuracy over its places."""

    terms: tuple[tuple[ScoredOn, ...], ...]

    @property
    def of_ranks(self) -> OfRanks:
        """What of ranks it is; "" for a share, or the harmonic mean of two. All places are alike in this."""
        return self.terms[0][0].of_ranks


class CellStatistics:
    """Intervals and paired tests of the cells of one comparison."""

    def __init__(self, comparison: Comparison, outcomes: OutcomeSource) -> None:
        self._comparison, self._outcomes = comparison, outcomes
        self._numbers: dict[str, int] = {}
        self._units: dict[tuple[str, str], np.ndarray] = {}
        self._scales: dict[Measure, Scale] = {}

    def interval(self, row: Configuration, measure: Measure) -> tuple[float, float] | None:
        """The 95 % interval of a cell; None if its clips are not known."""
        terms = self._terms(measure, [row])
        return None if terms is None else interval(terms, self._scale(measure))

    def difference(
        self, a: Configuration, b: Configuration, measure: Measure, usual: SeedVariance | None = None
    ) -> Difference | None:
        """The paired difference of two cells of a column, on the clips and seeds that both have; None without such.

        `usual`: how much the methods of the column vary between runs.
        """
        terms = self._terms(measure, [a, b])
        return None if terms is None else difference(terms, usual, self._scale(measure))

    def usual_seed_variance(self, rows: Sequence[Configuration], measure: Measure) -> SeedVariance | None:
        """How much these rows vary between runs in a column, pooled; None if none of them is known to vary."""
        terms = [self._terms(measure, [row]) for row in rows]
        found = [seed_variance(each) for each in terms if each is not None]
        return pooled([each for each in found if each is not None])

    def _terms(self, measure: Measure, rows: Sequence[Configuration]) -> list[list[Panel]] | None:
        """The terms of a measure, with panels on the clips and seeds that all rows have; None if there are none."""
        places = [place for term in measure.terms for place in term if self._has(place, rows)]
        seeds = self._comparison.common_seeds(rows, [place.case for place in places])
        if not seeds:
            return None
        found = []
        for term in measure.terms:
            panels = [self._panel(place, rows, seeds, self._scale(measure)) for place in term if place in places]
            whole = [each for each in panels if each is not None]
            if not whole or len(whole) < len(panels):
                return None
            found.append(whole)
        return found

    def _has(self, place: ScoredOn, rows: Sequence[Configuration]) -> bool:
        return all(self._comparison.of(row, place.case) for row in rows)

    def _scale(self, measure: Measure) -> Scale:
        """That of a measure; a mean rank is from 1 to the number of candidates, the largest of all runs."""
        if measure not in self._scales:
            self._scales[measure] = self._new_scale(measure)
        return self._scales[measure]

    def _new_scale(self, measure: Measure) -> Scale:
        if measure.of_ranks == "sum":
            return Scale(100.0 * len(TOP))
        if measure.of_ranks != "mean":
            return PERCENT
        places = [place for term in measure.terms for place in term]
        candidates = [
            scored_clips(run.coverage, place.evaluation)
            for place in places
            for run in self._comparison.of_case(place.case)
        ]
        return Scale(max(1.0, max(candidates) - 1.0), least=1.0)

    def _panel(
        self, place: ScoredOn, rows: Sequence[Configuration], seeds: Sequence[int], scale: Scale
    ) -> Panel | None:
        """The rows on the clips that every one of them scored under every seed."""
        import numpy as np

        table: list[list[ClipOutcomes]] = []
        trial = ""
        for row in rows:
            trials = {run.seed: run.trial for run in self._comparison.of(row, place.case)}
            outcomes = [self._outcomes.of(trials[seed], place.evaluation) for seed in seeds]
            known = [outcome for outcome in outcomes if outcome is not None]
            if len(known) < len(seeds):
                return None
            trial = trial or trials[seeds[0]]
            table.append(known)
        clips = _common_clips([outcome for known in table for outcome in known])
        if not len(clips):
            return None
        ranks = np.stack([[_picked(outcome, clips, outcome.ranks) for outcome in known] for known in table])
        first = table[0][0]
        units = _picked(first, clips, self._unit_numbers(place, trial, first))
        weights = class_weights(_picked(first, clips, first.labels)) if place.by_class else None
        return Panel(_averaged(ranks, place, scale), units, weights)

    def _unit_numbers(self, place: ScoredOn, trial: str, outcome: ClipOutcomes) -> np.ndarray:
        """A number for every clip of an outcome, int64 [N]; clips of one group of a data set share theirs."""
        import numpy as np

        known = (trial, place.evaluation)
        if known not in self._units:
            dataset = place.case.dataset
            plugin = place.case.dataset_plugin or dataset
            groups = _groups_by_name(plugin, outcome.clips) if outcome.groups is None else outcome.groups
            names, codes = np.unique(groups, return_inverse=True)
            numbers = [self._numbers.setdefault(f"{dataset}/{name}", len(self._numbers)) for name in names]
            self._units[known] = np.array(numbers)[codes]
        return self._units[known]


def scored_clips(coverage: str, evaluation: str) -> int:
    """How many clips of an evaluation, or of the one that its queries belong to, were scored; 0 if it is not known.

    Args:
        coverage: As a run has it.
        evaluation: Its name, or that of the queries of one direction.
    """
    found: int = json.loads(coverage).get(split_queries(evaluation)[0], {}).get("used", 0)
    return found


def _averaged(ranks: np.ndarray, place: ScoredOn, scale: Scale) -> np.ndarray:
    """What is averaged of ranks [K, S, N]: right or wrong, or values from 0 to 1."""
    import numpy as np

    if place.of_ranks == "sum":
        found: np.ndarray = np.mean([ranks <= k for k in TOP], axis=0)
    elif place.of_ranks == "mean":
        found = (ranks - scale.least) / scale.times
    else:
        found = ranks <= place.top
    return found


def _groups_by_name(plugin: str, clips: np.ndarray) -> np.ndarray:
    """Groups of clips whose record holds none, since it is older than groups: from the clips' names."""
    import numpy as np

    if plugin not in DATASETS.names():
        return clips
    group_of = DATASETS.get(plugin)().group_of
    return np.array([group_of(str(clip)) for clip in clips])


def _common_clips(outcomes: Sequence[ClipOutcomes]) -> np.ndarray:
    import numpy as np

    clips = outcomes[0].clips
    for outcome in outcomes[1:]:
        if not np.array_equal(clips, outcome.clips):
            clips = np.intersect1d(clips, outcome.clips)
    return clips


def _picked(outcome: ClipOutcomes, clips: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values [N] of an outcome for these clips, in their order."""
    import numpy as np

    if np.array_equal(outcome.clips, clips):
        return values
    order = np.argsort(outcome.clips)
    picked: np.ndarray = values[order[np.searchsorted(outcome.clips, clips, sorter=order)]]
    return picked
