"""Queries of retrieval: how many find their target among the first k, and those that no run finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from petl_bench.api.retrieval import DIRECTIONS, Direction, queries_of
from petl_bench.errors import StoreError
from petl_bench.page.details import StoredDetails
from petl_bench.page.evaluations import LISTED, MissedClip, MissedClips, outcomes_of
from petl_bench.page.plots import NumberTrials, PlotBlock, axis, faceted, short
from petl_bench.page.trials import PageCase, Variant
from petl_bench.records.read import read_predictions
from petl_bench.records.retrieval_outcomes import is_retrieval
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import ClipOutcomes, OutcomeSource

_SHOWN = {"t2v": "text to video", "v2t": "video to text"}
#: Points of a curve within each power of ten.
_STEPS = (1, 2, 3, 5, 7)


@dataclass(frozen=True)
class RankedVariant:
    """The ranks [runs x queries] that a variant gives targets, over its runs."""

    variant: Variant
    ranks: np.ndarray


@dataclass(frozen=True)
class Searched:
    """The queries of one direction of one evaluation of a case, each searching `candidates`."""

    case: str
    queries: str  #: evaluation and direction, for people
    candidates: int
    variants: tuple[RankedVariant, ...]
    missed_clips: MissedClips


def searched(
    cases: Sequence[PageCase], records: pd.DataFrame, outcomes: OutcomeSource, details: StoredDetails
) -> Iterator[Searched]:
    """Both directions of every evaluation of retrieval of which some run's predictions can be used."""
    coverage = dict(zip(records["trial"], records["coverage"], strict=True))
    for case in cases:
        counts: dict[str, Mapping[str, int]] = {}
        for key in (key for each in case.variants for key in each.trials):
            counts |= json.loads(coverage[key])
        for evaluation in (name for name, found in counts.items() if is_retrieval(found)):
            for direction in DIRECTIONS:
                queries = queries_of(evaluation, direction)
                runs = {each: list(outcomes_of(each, queries, outcomes)) for each in case.variants}
                if any(runs.values()):
                    yield _searched(case, evaluation, direction, runs, details)


def _searched(
    case: PageCase,
    evaluation: str,
    direction: Direction,
    runs: Mapping[Variant, Sequence[ClipOutcomes]],
    details: StoredDetails,
) -> Searched:
    every_run = [outcome for own in runs.values() for outcome in own]
    shown = f"{evaluation}, {_SHOWN[direction]}"
    variants = [RankedVariant(each, np.concatenate([run.ranks for run in own])) for each, own in runs.items() if own]
    texts = _Texts(details, variants[0].variant.trials[0], evaluation)
    missed, queries = _never_found(every_run)
    return Searched(
        case=case.label,
        queries=shown,
        candidates=max(len(run.classes) for run in every_run),
        variants=tuple(variants),
        missed_clips=MissedClips(
            label=f"{case.label} · {shown}",
            trial=variants[0].variant.trials[0],
            runs=len(every_run),
            total=len(missed),
            clips=queries,
            missed=tuple(_hardest(missed, every_run, direction, texts)),
            of_retrieval=True,
        ),
    )


# Queries that no run finds


def _never_found(runs: Sequence[ClipOutcomes]) -> tuple[dict[str, int], int]:
    """Of each query whose target no run ranks first, the best rank that one gives it; and the number of queries."""
    names = np.concatenate([run.clips for run in runs])
    queries, place = np.unique(names, return_inverse=True)
    best = np.full(len(queries), np.iinfo(np.int64).max)
    np.minimum.at(best, place, np.concatenate([run.ranks for run in runs]))
    return {str(queries[at]): int(best[at]) for at in np.flatnonzero(best > 1)}, len(queries)


def _hardest(
    missed: Mapping[str, int], runs: Sequence[ClipOutcomes], direction: Direction, texts: _Texts
) -> Iterator[MissedClip]:
    """Those with the worst of these best ranks, as many as a page lists."""
    chosen = sorted(missed, key=lambda query: (-missed[query], query))[:LISTED]
    found: dict[str, Counter[str]] = {query: Counter() for query in chosen}
    target: dict[str, str] = {}
    for run in runs:
        places = np.flatnonzero(np.isin(run.clips, chosen))
        for query, clip, own in zip(
            run.clips[places].tolist(),
            run.classes[run.predicted[places]].tolist(),
            run.classes[run.labels[places]].tolist(),
            strict=True,
        ):
            found[query][clip] += 1
            target[query] = own
    for query in chosen:
        clip, votes = min(found[query].items(), key=lambda pair: (-pair[1], pair[0]))
        of_text = direction == "t2v"
        yield MissedClip(
            clip=target[query],
            label=texts.of_query(query) if of_text else texts.of_clip(target[query]),
            taken_for=clip if of_text else texts.of_clip(clip),
            votes=votes,
            runs=found[query].total(),
            best_rank=missed[query],
            pictured=clip if of_text else target[query],
        )


class _Texts:
    """The texts of an evaluation, from the predictions of one of its runs; names stand for texts that are not known."""

    def __init__(self, details: StoredDetails, trial: str, evaluation: str) -> None:
        self._details, self._trial, self._evaluation = details, trial, evaluation
        self._known: dict[str, list[str]] | None = None

    def of_query(self, query: str) -> str:
        """The text of a query of text to video, which is named by its clip and a number from 1."""
        clip, _, number = query.rpartition("#")
        own = self._texts().get(clip, [])
        return own[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(own) else query

    def of_clip(self, clip: str) -> str:
        """The first text of a clip."""
        return next(iter(self._texts().get(clip, [])), clip)

    def _texts(self) -> dict[str, list[str]]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, list[str]]:
        details = self._details.of(self._trial)
        if details is None:
            return {}
        try:
            arrays = read_predictions(details.folder, self._evaluation)
        except StoreError:
            return {}
        found: dict[str, list[str]] = {}
        for owner, text in zip(arrays["owners"].tolist(), arrays["texts"].tolist(), strict=True):
            found.setdefault(str(arrays["clips"][owner]), []).append(text)
        return found


# Curves


def ranks_block(found: Sequence[Searched], number_trials: NumberTrials) -> PlotBlock | None:
    """The share of queries with their target among the first k; None without retrieval."""
    if not found:
        return None
    plots = {(each.case, each.queries): _plot(each, number_trials) for each in found}
    first, second, placed = faceted(plots)
    about = "R@K for every K, over all runs of a variant. Where two lines cross, the better method depends on K."
    return PlotBlock(
        "ranks", "Ranks: queries found among the first K", about, (("Case", first), ("Queries", second)), placed
    )


def _plot(each: Searched, number_trials: NumberTrials) -> dict[str, Any]:
    levels = sorted({step * 10**power for power in range(len(str(each.candidates))) for step in _STEPS})
    shown = [*[k for k in levels if k < each.candidates], each.candidates]
    return {
        "kind": "points",
        "x": axis("K", logarithmic=True, ticks=[k for k in levels if str(k)[0] in "125"]),
        "y": axis("Queries found (%)"),
        "series": [
            {
                "label": own.variant.label,
                "method": clean(own.variant.method),
                "line": True,
                "x": shown,
                "y": [short(100 * float((own.ranks <= k).mean())) for k in shown],
                "of": number_trials(own.variant.trials),
            }
            for own in each.variants
        ],
    }
