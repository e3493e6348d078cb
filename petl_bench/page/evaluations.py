"""Per-clip predictions of every evaluation, summed over runs: per class, and the clips that no method gets right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from petl_bench.page.trials import PageCase, Variant
from petl_bench.records.retrieval_outcomes import is_retrieval

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import ClipOutcomes, OutcomeSource


#: Missed clips that are listed for one evaluation.
LISTED = 200


@dataclass(frozen=True)
class ClassCounts:
    """One variant, over its runs: clips scored and right by class [C], and how often (true, taken for) occurred."""

    label: str
    runs: int
    scored: tuple[int, ...]
    right: tuple[int, ...]
    confusion: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class MissedClip:
    """A clip that every run which scored it took for something else; `taken_for` is what most of them took it for.

    Of retrieval, a query whose target no run ranks first: `label` is its text, or a text of the clip that is the query;
    `taken_for` the clip, or a text of the clip, that is found instead; `best_rank` what a run ranks the target at best;
    `pictured` the clip in its picture.
    """

    clip: str
    label: str
    taken_for: str
    votes: int
    runs: int
    best_rank: int = 0
    pictured: str = ""

    @property
    def picture_of(self) -> str:
        """The clip in its picture."""
        return self.pictured or self.clip


@dataclass(frozen=True)
class MissedClips:
    """The missed clips of one evaluation, `total` of `clips`, as far as they are listed.

    `trial`: one of its runs, which says where the clips are; `of_retrieval`: these are queries.
    """

    label: str
    trial: str
    runs: int
    total: int
    clips: int
    missed: tuple[MissedClip, ...]
    of_retrieval: bool = False


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one case. `trial` is one of its runs, which says where the clips are."""

    case: str
    evaluation: str
    classes: tuple[str, ...]
    clips: int
    variants: tuple[ClassCounts, ...]
    missed: tuple[MissedClip, ...]
    trial: str

    @property
    def label(self) -> str:
        """Its name on the page."""
        return f"{self.case} · {self.evaluation}"

    @property
    def missed_clips(self) -> MissedClips:
        """Those that every run misses."""
        runs = sum(counts.runs for counts in self.variants)
        return MissedClips(self.label, self.trial, runs, len(self.missed), self.clips, self.missed)


def evaluated(cases: Sequence[PageCase], records: pd.DataFrame, outcomes: OutcomeSource) -> Iterator[Evaluated]:
    """Every evaluation of the cases of which some run's predictions can be used. One is in memory at a time."""
    coverage = dict(zip(records["trial"], records["coverage"], strict=True))
    for case in cases:
        names = dict.fromkeys(
            name
            for each in case.variants
            for key in each.trials
            for name, counts in json.loads(coverage[key]).items()
            if not is_retrieval(counts)
        )
        for name in names:
            tally = _Tally()
            for variant in case.variants:
                tally.add(variant, list(outcomes_of(variant, name, outcomes)))
            if tally.variants:
                yield tally.result(case, name)


def outcomes_of(variant: Variant, evaluation: str, outcomes: OutcomeSource) -> Iterator[ClipOutcomes]:
    """The outcomes of a variant, one per seed."""
    seen: set[int] = set()
    for trial, seed in zip(variant.trials, variant.seeds, strict=True):
        outcome = None if seed in seen else outcomes.of(trial, evaluation)
        if outcome is not None and _is_sound(outcome):
            seen.add(seed)
            yield outcome


def _is_sound(outcome: ClipOutcomes) -> bool:
    labels = np.concatenate([outcome.labels, outcome.predicted])
    return not len(labels) or (labels.min() >= 0 and labels.max() < len(outcome.classes))


@dataclass
class _Tally:
    """Adds outcomes up. Classes and clips are numbered by name: seeds may differ in either."""

    classes: dict[str, int] = field(default_factory=dict)
    clips: dict[str, int] = field(default_factory=dict)
    variants: list[ClassCounts] = field(default_factory=list)
    votes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)  #: clips, labels, predicted

    def add(self, variant: Variant, outcomes: Sequence[ClipOutcomes]) -> None:
        if not outcomes:
            return
        votes = [self._numbered(outcome) for outcome in outcomes]
        labels = np.concatenate([labels for _, labels, _ in votes])
        predicted = np.concatenate([predicted for _, _, predicted in votes])
        count = len(self.classes)
        pairs, times = np.unique(labels * count + predicted, return_counts=True)
        self.variants.append(
            ClassCounts(
                label=variant.label,
                runs=len(outcomes),
                scored=tuple(np.bincount(labels, minlength=count).tolist()),
                right=tuple(np.bincount(labels[labels == predicted], minlength=count).tolist()),
                confusion=tuple(zip((pairs // count).tolist(), (pairs % count).tolist(), times.tolist(), strict=True)),
            )
        )
        self.votes += votes

    def _numbered(self, outcome: ClipOutcomes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        of_class = np.array([self.classes.setdefault(name, len(self.classes)) for name in outcome.classes.tolist()])
        clips = np.array([self.clips.setdefault(name, len(self.clips)) for name in outcome.clips.tolist()], dtype=int)
        return clips, of_class[outcome.labels], of_class[outcome.predicted]

    def result(self, case: PageCase, name: str) -> Evaluated:
        count = len(self.classes)
        return Evaluated(
            case=case.label,
            evaluation=name,
            classes=tuple(self.classes),
            clips=len(self.clips),
            variants=tuple(_padded(each, count) for each in self.variants),
            missed=tuple(self._missed()),
            trial=case.variants[0].trials[0],
        )

    def _missed(self) -> Iterator[MissedClip]:
        clips, labels, predicted = (np.concatenate(each) for each in zip(*self.votes, strict=True))
        ever_right = np.zeros(len(self.clips), dtype=bool)
        ever_right[clips[labels == predicted]] = True
        kept = ~ever_right[clips]
        names, classes = list(self.clips), list(self.classes)
        taken: dict[int, Counter[int]] = {}
        label_of: dict[int, int] = {}
        for clip, label, guess in zip(
            clips[kept].tolist(), labels[kept].tolist(), predicted[kept].tolist(), strict=True
        ):
            taken.setdefault(clip, Counter())[guess] += 1
            label_of[clip] = label
        for clip in sorted(taken, key=lambda each: (classes[label_of[each]], names[each])):
            guess, votes = min(taken[clip].items(), key=lambda pair: (-pair[1], classes[pair[0]]))
            yield MissedClip(names[clip], classes[label_of[clip]], classes[guess], votes, taken[clip].total())


def _padded(counts: ClassCounts, count: int) -> ClassCounts:
    """The counts with the classes that later runs added."""
    more = (0,) * (count - len(counts.scored))
    return ClassCounts(counts.label, counts.runs, counts.scored + more, counts.right + more, counts.confusion)
