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
from petl_bench.api.retrieval import Direction, RetrievalEvaluation, RetrievalTask, retrieval_evaluation
from petl_bench.api.trial import RetrievalResult
from petl_bench.records.retrieval import Reweighting, ranked_queries, retrieval_metrics
from petl_bench.records.retrieval_outcomes import MOST_SIMILARITIES
from petl_bench.training.evaluate import Scored

#: The metric of each direction by which epochs are selected; and the one on training clips that are held out.
RECALL = "r1"
SELECTED_BY = f"t2v_{RECALL}"


class Positives:
    """Which texts belong to which clips of a list of pairs: those that it pairs with the clip, in any row."""

    def __init__(self, pairs: Sequence[Sample]) -> None:
        of_clip: dict[str, dict[int, None]] = defaultdict(dict)
        for pair in pairs:
            of_clip[pair.clip][pair.label] = None
        self._of_row = [of_clip[pair.clip] for pair in pairs]

    def __call__(self, rows: Tensor, texts: Tensor) -> Tensor:
        """Of the clips of the rows int64 [B] with the texts int64 [M]: bool [B, M]."""
        distinct, column = np.unique(texts.numpy(), return_inverse=True)
        column_of = {text: place for place, text in enumerate(distinct.tolist())}
        belong = np.zeros((len(rows), len(distinct)), dtype=np.bool_)
        for row, number in enumerate(rows.tolist()):
            belong[row, [column_of[text] for text in self._of_row[number] if text in column_of]] = True
        return torch.from_numpy(belong[:, column])


def validation(task: RetrievalTask, held_out: Sequence[Sample]) -> RetrievalEvaluation:
    """The evaluation of the pairs that are held out."""
    captions: dict[str, list[str]] = defaultdict(list)
    for pair in held_out:
        captions[pair.clip].append(task.train_texts[pair.label])
    return retrieval_evaluation("validation", captions)


def scored_owners(evaluation: RetrievalEvaluation, scored: Scored) -> np.ndarray:
    """Of each text the place of its clip among those that were scored, int64 [M]; -1 if it was not."""
    place_of = {label: place for place, label in enumerate(scored.labels)}
    return np.array([place_of.get(owner, -1) for owner in evaluation.owners], dtype=np.int64)


def retrieval_result(
    evaluation: RetrievalEvaluation,
    scored: Scored,
    groups: list[str],
    missing: list[str],
    unreadable: Mapping[str, str],
    reweightings: Mapping[Direction, Reweighting] | None = None,
) -> RetrievalResult:
    """The record of one evaluation: of the clips that were scored, and of their texts alone."""
    owners = scored_owners(evaluation, scored)
    kept = np.flatnonzero(owners >= 0)
    queries = ranked_queries(scored.scores, owners, reweightings)
    few = len(scored.clips) * len(kept) <= MOST_SIMILARITIES and not reweightings
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
