"""Post-processing of similarities that sees all queries at once, which no query that comes alone could have.

N clips, M texts, K queries of a bank. It is off unless it is asked for (`RetrievalTask.post_processing`), and what it
gives stands beside the plain numbers, never in their place.

- `dual_softmax` (Cheng et al., CAMoE, 2021): similarity * softmax of the similarity over the queries of its direction.
- `qb_norm` (Bogolin et al., CVPR 2022): dynamic inverted softmax with a bank of training queries, captions for texts
  that search clips, and clips for the other direction. A query whose most similar candidate is the most similar one of
  some bank query is ranked by exp(b s) / sum over the bank of exp(b s), with b = 20 for cosines s; others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from petl_bench.api.dataset import Sample
from petl_bench.api.retrieval import Direction, RetrievalEvaluation, RetrievalTask
from petl_bench.records.retrieval import Reweighting

#: The most training clips, each with its first caption, that a bank has; of more, some at even distances.
BANK_SIZE = 10_000
#: Inverse temperature of `qb_norm`, for cosines.
BANK_BETA = 20.0
#: Rows or columns whose exponentials are added up at a time.
_AT_ONCE = 256


@dataclass(frozen=True)
class QueryBank(RetrievalEvaluation):
    """Clips and texts of which one side is a bank of queries, and the other the candidates of an evaluation."""

    owners: tuple[int, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Its clips and texts need not belong to each other."""


def banks_of(
    evaluation: RetrievalEvaluation, task: RetrievalTask, train: Sequence[Sample]
) -> dict[Direction, QueryBank]:
    """What must be scored for `qb_norm`: clips with the captions of a bank (t2v), and its clips with the texts (v2t).

    Args:
        evaluation: whose candidates are compared with the bank.
        task: of the texts of `train`.
        train: pairs of training clips and their captions.
    """
    by_clip: dict[str, Sample] = {}
    for pair in train:
        by_clip.setdefault(pair.clip, pair)
    first = list(by_clip.values())
    size = min(BANK_SIZE, len(first))
    bank = [first[place * len(first) // size] for place in range(size)]
    captions = tuple(task.train_texts[pair.label] for pair in bank)
    clips = tuple(Sample(pair.clip, place) for place, pair in enumerate(bank))
    return {
        "t2v": QueryBank(name=f"{evaluation.name}, bank of captions", samples=evaluation.samples, texts=captions),
        "v2t": QueryBank(name=f"{evaluation.name}, bank of clips", samples=clips, texts=evaluation.texts),
    }


def dual_softmax(similarities: np.ndarray, texts: np.ndarray) -> dict[Direction, Reweighting]:
    """`similarities`: float32 [N, M]; `texts`: those of the M that take part."""
    of_clips, of_texts = _log_sums(similarities, 1, texts), _log_sums(similarities, 0)[texts]

    def by(log_sums: np.ndarray) -> Reweighting:
        return lambda own: own * np.exp(own - log_sums)  # in float64, in which what is small does not become 0

    return {"t2v": by(of_clips), "v2t": by(of_texts)}


def qb_norm(banks: Mapping[Direction, np.ndarray], texts: np.ndarray, scale: float) -> dict[Direction, Reweighting]:
    """`banks`: similarities of clips with a bank of texts [N, K] (t2v), and of a bank of clips with texts [K, M] (v2t);
    `texts`: those of the M that take part; `scale`: what cosines were multiplied with."""
    beta = BANK_BETA / scale
    captions, clips = banks["t2v"], banks["v2t"][:, texts]
    return {
        "t2v": _dynamic_inverted_softmax(_log_sums(captions * beta, 1), captions.argmax(axis=0), beta),
        "v2t": _dynamic_inverted_softmax(_log_sums(clips * beta, 0), clips.argmax(axis=1), beta),
    }


def _dynamic_inverted_softmax(log_sums: np.ndarray, found: np.ndarray, beta: float) -> Reweighting:
    """`log_sums`: of each candidate over the bank; `found`: the most similar candidate of each bank query.

    What is ranked is the logarithm, which has the same order.
    """
    activated = np.zeros(len(log_sums), dtype=np.bool_)
    activated[found] = True

    def reweighted(own: np.ndarray) -> np.ndarray:
        within = activated[own.argmax(axis=1)]
        result: np.ndarray = np.where(within[:, None], beta * own - log_sums, own)
        return result

    return reweighted


def _log_sums(similarities: np.ndarray, axis: int, columns: np.ndarray | None = None) -> np.ndarray:
    """log of the sum of exponentials along an axis, of these columns or all, float64; in parts, to spare memory."""
    parts = torch.from_numpy(similarities).split(_AT_ONCE, dim=1 - axis)
    chosen = parts if columns is None else (part[:, columns] for part in parts)
    found: np.ndarray = torch.cat([part.double().logsumexp(axis) for part in chosen]).numpy()
    return found
