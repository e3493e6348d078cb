"""Which numbers their clips do not tell from guessing.

Guessing one of C classes is right in 100/C percent; a label among the first k, in 100 k/C percent. In retrieval, C is
the number of clips, and the texts of one clip, which are alike, count as one query. A number is at chance if that level
lies above it or inside its 95 % Wilson interval over the clips of one seed. Further seeds see the same clips, and do
not count as more of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache

from petl_bench.analysis.cells import ScoredOn, scored_clips
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration, Run
from petl_bench.api.evidence import OutcomeSource
from petl_bench.api.retrieval import split_queries

_Z = 1.959963984540054  #: of a two-sided 95 % interval
#: Clips that were scored, and the part of them that guessing gets right.
Guess = tuple[int, float]


def is_at_chance(percent: float, guesses: Sequence[Guess]) -> bool:
    """Whether a mean accuracy over places does not tell from guessing at each of them."""
    level = math.fsum(part for _, part in guesses) / len(guesses)
    variance = math.fsum(part * (1.0 - part) / clips for clips, part in guesses) / len(guesses) ** 2
    return percent / 100 <= level + _Z * math.sqrt(variance)


def guesses_of(
    comparison: Comparison, row: Configuration, places: Sequence[ScoredOn], outcomes: OutcomeSource | None
) -> list[Guess] | None:
    """What guessing would give at those of the places that a row has runs on; None if it is not known.

    Records say how many classes were told apart; those of earlier versions do not, and their outcomes, if given, do.
    """
    guesses = []
    for place in places:
        runs = comparison.of(row, place.case)
        if not runs:
            continue
        clips, classes = min(_counts(run, place.evaluation, outcomes) for run in runs)
        if not clips or not classes:
            return None
        guesses.append((clips, min(1.0, place.top / classes)))
    return guesses or None


def _counts(run: Run, evaluation: str, outcomes: OutcomeSource | None) -> tuple[int, int]:
    """Clips scored, and classes; 0 if they are not known."""
    clips, classes = _recorded(run.coverage, evaluation)
    if not classes and outcomes is not None:
        found = outcomes.of(run.trial, evaluation)
        classes = 0 if found is None else len(found.classes)
    return clips, classes


@cache
def _recorded(coverage: str, evaluation: str) -> tuple[int, int]:
    used = scored_clips(coverage, evaluation)
    name, direction = split_queries(evaluation)
    return used, used if direction else json.loads(coverage).get(name, {}).get("classes", 0)
