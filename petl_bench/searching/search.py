"""From a folder and queries to rankings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petl_bench.data.found.tree import Tree
from petl_bench.errors import TrialError, UsageError
from petl_bench.searching.index import Index, Progress, updated_index
from petl_bench.searching.model import SearchModel
from petl_bench.searching.rankings import Hit, Ranking, SearchResult


def checked_queries(queries: Sequence[str]) -> list[str]:
    """The queries without blanks around them. Raises UsageError for one of nothing else."""
    stripped = [query.strip() for query in queries]
    if not stripped or not all(stripped):
        raise UsageError('--query: empty; say what to look for, e.g. --query "a dog catches a ball"')
    return stripped


def search(
    model: SearchModel,
    tree: Tree,
    queries: Sequence[str],
    cache: Path,
    *,
    top: int,
    workers: int,
    progress: Progress,
) -> SearchResult:
    """Rank the videos of a walked folder by each query, after its index was brought up to date.

    Args:
        model: Encodes videos and texts.
        tree: Of `videos_in`; every readable video in it is ranked.
        queries: Of `checked_queries`.
        cache: The user's cache, for the index.
        top: Videos of a ranking.
        workers: Processes that decode.
        progress: Told how many new or changed videos are encoded.

    Raises:
        DataError: No video can be read.
        TrialError: The model's similarities are no numbers.
    """
    index, unreadable = updated_index(model, tree, cache, workers=workers, progress=progress)
    return SearchResult(
        folder=str(tree.root),
        model=model.subject.title,
        indexed=len(index.names),
        unreadable=unreadable,
        rankings=tuple(rankings(model, index, queries, top)),
    )


def rankings(model: SearchModel, index: Index, queries: Sequence[str], top: int) -> list[Ranking]:
    """The first `top` videos of the index for each query; of equal ones the first name comes first.

    Raises TrialError if a similarity is no number.
    """
    similarities = model.similarities(queries, index.features)
    if not np.isfinite(similarities).all():
        raise TrialError(
            f"{model.subject.title}: similarities that are no numbers; the videos cannot be ranked with it"
        )
    order = np.argsort(np.array(index.names), kind="stable")
    found = []
    for query, values in zip(queries, similarities, strict=True):
        best = order[np.argsort(-values[order], kind="stable")][:top]
        hits = tuple(
            Hit(rank, float(values[row]), index.names[row], index.seconds[row])
            for rank, row in enumerate(best, start=1)
        )
        found.append(Ranking(query, model.read_of(query), hits))
    return found
