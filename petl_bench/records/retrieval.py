"""Ranks and metrics of retrieval, worked out from similarities [N, M] of N clips and M texts. Pure functions.

Texts search clips (t2v): every text is a query, and its clip the target among N. Clips search texts (v2t): every clip
is a query, and the set of its texts the target among N sets; a set is as similar as its most similar text (CLIP4Clip,
for MSVD). Ranks count from 1.

Ties count against the target, as in `petl_bench.records.outcomes.ranks_of`: equal similarities for everything give the
worst rank, not the best. CLIP4Clip instead counts a tied target once for each place that it may have, so its means are
over more entries than queries. Without ties, both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.api.retrieval import DIRECTIONS, Direction
from petl_bench.records.ranks import predicted_of, ranks_of

if TYPE_CHECKING:
    import numpy as np

#: The shares that are reported: of queries with their target among so many.
TOP = (1, 5, 10)


@dataclass(frozen=True, eq=False)
class Ranked:
    """The queries of one direction, Q of them: `ranks` int64 [Q] of their targets; and `found` int64 [Q], the clip that
    is most similar, or whose texts are: the query's own only if it ranks first."""

    ranks: np.ndarray
    found: np.ndarray


def ranked_queries(similarities: np.ndarray, owners: Sequence[int] | np.ndarray) -> dict[Direction, Ranked]:
    """The queries of both directions.

    Args:
        similarities: [N, M].
        owners: [M], the clip of each text; every clip has one text or more.
    """
    import numpy as np

    owners = np.asarray(owners, dtype=np.int64)
    clips = np.arange(len(similarities))
    return {
        "t2v": _ranked(owners, similarities.T),
        "v2t": _ranked(clips, set_similarities(similarities, owners)),
    }


def set_similarities(similarities: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Of each clip with the set of texts of each clip, [N, N]: the largest of a set."""
    import numpy as np

    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(len(similarities)))
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


def _ranked(targets: np.ndarray, similarities: np.ndarray) -> Ranked:
    ranks = ranks_of(targets, similarities)
    return Ranked(ranks, predicted_of(targets, similarities, ranks))
