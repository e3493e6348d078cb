"""Retrieval: which texts belong to which clips, and what an evaluation comes to.

N clips, B clips of a batch, M texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from petl_bench.api.dataset import Sample
from petl_bench.api.retrieval import RetrievalEvaluation, RetrievalTask, retrieval_evaluation
from petl_bench.api.trial import RetrievalResult
from petl_bench.records.retrieval import ranked_queries, retrieval_metrics
from petl_bench.records.retrieval_outcomes import MOST_SIMILARITIES
from petl_bench.training.evaluate import Scored

#: The metric on which an epoch is selected.
SELECTED_BY = "t2v_r1"


class Positives:
    """Which texts belong to which clips of a list of pairs: those that it pairs with the clip, in any row."""

    def __init__(self, pairs: Sequence[Sample]) -> None:
        of_clip: dict[str, dict[int, None]] = defaultdict(dict)
        for pair in pairs:
            of_clip[pair.clip][pair.label] = None
        self._of_row = [of_clip[pair.clip] for pair in pairs]

    def __call__(self, rows: Tensor, texts: Tensor) -> Tensor:
        """Of the clips of the rows int64 [B] with the texts int64 [M]: bool [B, M]."""
        distinct, column = texts.unique(return_inverse=True)
        column_of = {text: place for place, text in enumerate(distinct.tolist())}
        places = [
            row * len(column_of) + column_of[text]
            for row, number in enumerate(rows.tolist())
            for text in self._of_row[number]
            if text in column_of
        ]
        belong = torch.zeros(len(rows) * len(column_of), dtype=torch.bool)
        belong[places] = True
        return belong.reshape(len(rows), len(column_of))[:, column]


def validation(task: RetrievalTask, held_out: Sequence[Sample]) -> RetrievalEvaluation:
    """The evaluation of the pairs that are held out."""
    captions: dict[str, list[str]] = defaultdict(list)
    for pair in held_out:
        captions[pair.clip].append(task.train_texts[pair.label])
    return retrieval_evaluation("validation", captions)


def retrieval_result(
    evaluation: RetrievalEvaluation,
    scored: Scored,
    groups: list[str],
    missing: list[str],
    unreadable: Mapping[str, str],
) -> RetrievalResult:
    """The record of one evaluation: of the clips that were scored, and of their texts alone."""
    place_of = {label: place for place, label in enumerate(scored.labels)}
    owners = np.array([place_of.get(owner, -1) for owner in evaluation.owners])
    kept = np.flatnonzero(owners >= 0)
    queries = ranked_queries(scored.scores, owners)
    few = len(scored.clips) * len(kept) <= MOST_SIMILARITIES
    return RetrievalResult(
        clips=scored.clips,
        texts=[evaluation.texts[number] for number in kept],
        owners=owners[kept].tolist(),
        similarities=scored.scores[:, kept] if few else None,
        queries=queries,
        accuracies=retrieval_metrics({direction: ranked.ranks for direction, ranked in queries.items()}),
        expected=len(evaluation.samples),
        expected_texts=len(evaluation.texts),
        groups=groups,
        missing=missing,
        unreadable=dict(unreadable),
    )
