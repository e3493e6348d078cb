"""Ranks and metrics of retrieval, worked out from similarities [N, M] of N clips and M texts. Pure functions.

Texts search clips (t2v): every text is a query, and its clip the target among N. Clips search texts (v2t): every clip
is a query, and the set of its texts the target among N sets; a set is as similar as its most similar text (CLIP4Clip,
for MSVD). Ranks count from 1.

Ties count against the target, as in `petl_bench.records.outcomes.ranks_of`: equal similarities for everything give the
worst rank, not the best. How many queries have a tied target is counted. CLIP4Clip instead counts a tied target once
for each place that it may have, so its means are over more entries than queries. Without ties, both give the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.api.retrieval import DIRECTIONS, Direction
from petl_bench.records.ranks import predicted_of, ranks_of

if TYPE_CHECKING:
    import numpy as np

#: The shares that are reported: of queries with their target among so many.
TOP = (1, 5, 10)
#: So many similarities are ranked at a time: what is computed of them takes some 60 MiB.
_AT_ONCE = 2**21

#: Turns the similarities [Q, K] of Q queries with K candidates into those by which they are ranked.
Reweighting = Callable[["np.ndarray"], "np.ndarray"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """The queries of one direction, Q of them: `ranks` int64 [Q] of their targets; and `found` int64 [Q], the clip that
    is most similar, or whose texts are: the query's own only if it ranks first.

    `tied`: queries with another candidate that is as similar as their target; None if only the ranks were kept.
    """

    ranks: np.ndarray
    found: np.ndarray
    tied: int | None = None


def ranked_queries(
    similarities: np.ndarray,
    owners: Sequence[int] | np.ndarray,
    reweightings: Mapping[Direction, Reweighting] | None = None,
) -> dict[Direction, Ranked]:
    """The queries of both directions, some at a time: the similarities are never copied as a whole.

    Args:
        similarities: [N, M].
        owners: [M], the clip of each text, or -1 for a text that is left out; every clip has one text or more.
        reweightings: what changes the similarities of a direction's queries with their candidates before they are
            ranked: of texts with all clips, [Q, N]; of clips with all texts that are not left out, [Q, M'].
    """
    import numpy as np

    owners = np.asarray(owners, dtype=np.int64)
    texts = np.flatnonzero(owners >= 0)
    owners, clips = owners[texts], np.arange(len(similarities))
    reweighted = dict.fromkeys(DIRECTIONS, _as_they_are) | dict(reweightings or {})

    def of_texts(queries: slice) -> np.ndarray:
        return reweighted["t2v"](np.ascontiguousarray(similarities[:, texts[queries]].T))

    def of_clips(queries: slice) -> np.ndarray:
        return set_similarities(reweighted["v2t"](similarities[queries][:, texts]), owners)

    return {
        "t2v": _in_parts(owners, of_texts, len(clips)),
        "v2t": _in_parts(clips, of_clips, max(len(texts), len(clips))),
    }


def set_similarities(similarities: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Of Q clips with the set of texts of each of the N clips that own them, [Q, N]: the largest of a set."""
    import numpy as np

    order = np.argsort(owners, kind="stable")
    starts = np.flatnonzero(np.diff(owners[order], prepend=-1))
    found: np.ndarray = np.maximum.reduceat(similarities[:, order], starts, axis=1)
    return found


def retrieval_metrics(ranks: Mapping[Direction, np.ndarray]) -> dict[str, float]:
    """The metrics `petl_bench.api.retrieval.RETRIEVAL_METRICS` from the ranks of both directions."""
    import numpy as np

    metrics: dict[str, float] = {}
    for direction in DIRECTIONS:
        own = ranks[direction]
        shares = {f"{direction}_r{k}": 100.0 * float((own <= k).mean()) for k in TOP}
        metrics |= shares
        metrics[f"{direction}_median_rank"] = float(np.median(own))
        metrics[f"{direction}_mean_rank"] = float(own.mean())
        metrics[f"{direction}_rsum"] = sum(shares.values())
    return metrics


def _as_they_are(similarities: np.ndarray) -> np.ndarray:
    return similarities


def _in_parts(targets: np.ndarray, similarities_of: Callable[[slice], np.ndarray], candidates: int) -> Ranked:
    """The queries with these targets [Q], so many at a time as have `_AT_ONCE` similarities."""
    import numpy as np

    size = max(1, _AT_ONCE // candidates)
    parts = [
        _ranked(targets[first : first + size], similarities_of(slice(first, first + size)))
        for first in range(0, len(targets), size)
    ]
    ranks, found = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ranks", "found"))
    return Ranked(ranks, found, sum(part.tied or 0 for part in parts))


def _ranked(targets: np.ndarray, similarities: np.ndarray) -> Ranked:
    ranks = ranks_of(targets, similarities)
    own = similarities[range(len(targets)), targets]
    tied = int(((similarities == own[:, None]).sum(axis=1) > 1).sum())
    return Ranked(ranks, predicted_of(targets, similarities, ranks), tied)
