"""Per-query predictions of an evaluation of retrieval: kept in a file beside the record, and read back.

N clips, M texts. The file `predictions-<evaluation>.npz` holds `clips` [N]; `texts` and `owners` [M], the clip of each
text; `text_ranks` and `found_by_text` [M], `clip_ranks` and `found_by_clip` [N] (see `petl_bench.records.retrieval`);
`groups` [N] if they are known; and the `similarities` float32 [N, M] that these follow from, if the result has them.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petl_bench.api.evidence import ClipOutcomes
from petl_bench.api.retrieval import DIRECTIONS, Direction
from petl_bench.records.predictions import LONGEST_NAME, read_arrays
from petl_bench.records.retrieval import Ranked, ranked_queries, retrieval_metrics
from petl_bench.system.stored_json import UnusableError

if TYPE_CHECKING:
    import numpy as np

    from petl_bench.api.trial import RetrievalResult

#: So many similarities of an evaluation are kept (16 MiB); of larger ones ranks alone.
MOST_SIMILARITIES = 2**22
#: Arrays of ranks, and of clips that were found, by direction.
_RANKS: Mapping[Direction, str] = {"t2v": "text_ranks", "v2t": "clip_ranks"}
_FOUND: Mapping[Direction, str] = {"t2v": "found_by_text", "v2t": "found_by_clip"}
#: Arrays that every file of predictions of retrieval has.
RETRIEVAL_ARRAYS = ("clips", "texts", "owners", *_RANKS.values(), *_FOUND.values())


@dataclass(frozen=True, eq=False)
class RetrievalOutcomes:
    """What a file of predictions says of both directions, without its similarities."""

    clips: np.ndarray  #: [N], their names
    owners: np.ndarray  #: int64 [M], of each text, the place of its clip in `clips`
    queries: Mapping[Direction, Ranked]
    groups: np.ndarray | None = None  #: [N], see `ClipOutcomes`

    @property
    def accuracies(self) -> dict[str, float]:
        """The metrics `petl_bench.api.retrieval.RETRIEVAL_METRICS`."""
        return retrieval_metrics({direction: ranked.ranks for direction, ranked in self.queries.items()})

    def of(self, direction: Direction) -> ClipOutcomes:
        """The queries of one direction as rows; their labels are the clips that they are to find, or belong to.

        Texts of one clip, and queries of clips of one group, are not independent: they have one group.
        """
        import numpy as np

        groups = self.clips if self.groups is None else self.groups
        labels = self.owners if direction == "t2v" else np.arange(len(self.clips))
        names = _text_names(self.clips, self.owners) if direction == "t2v" else self.clips
        ranked = self.queries[direction]
        return ClipOutcomes(names, labels, ranked.found, ranked.ranks, self.clips, groups[labels])


def is_retrieval(counts: Mapping[str, int]) -> bool:
    """Whether an evaluation is one of retrieval, by what the record says of its coverage."""
    return "texts" in counts


def ranked_of(result: RetrievalResult) -> Mapping[Direction, Ranked]:
    """The ranked queries of both directions."""
    return result.queries or ranked_queries(result.similarities, result.owners)


def tied_queries(result: RetrievalResult) -> dict[str, int]:
    """The queries of each direction whose target is tied, if there are some, e.g. {"t2v_tied": 3}."""
    tied = {f"{direction}_tied": ranked.tied for direction, ranked in ranked_of(result).items()}
    return {name: count for name, count in tied.items() if count}


def retrieval_predictions(result: RetrievalResult) -> bytes:
    """The content of the file of predictions; the similarities, if there are some, are finite."""
    import numpy as np

    arrays: dict[str, Any] = {
        "clips": np.array(result.clips, dtype=np.str_),
        "texts": np.array([text[:LONGEST_NAME] for text in result.texts], dtype=np.str_),
        "owners": np.array(result.owners, dtype=np.int64),
    }
    queries = ranked_of(result)
    for direction in DIRECTIONS:
        ranked = queries[direction]
        arrays[_RANKS[direction]] = ranked.ranks.astype(np.int32)
        arrays[_FOUND[direction]] = ranked.found.astype(np.int32)
    if result.groups:
        arrays["groups"] = np.array(result.groups, dtype=np.str_)
    if result.similarities is not None:
        arrays["similarities"] = np.asarray(result.similarities, dtype=np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def retrieval_outcomes_of(content: bytes, counts: Mapping[str, int]) -> RetrievalOutcomes:
    """What a file of predictions with this content says of each query. `counts` as in `read_arrays`.

    Raises UnusableError if it cannot be such a file.
    """
    import numpy as np

    arrays = read_arrays(content, ("clips", "owners", *_RANKS.values(), *_FOUND.values(), "groups"), counts)
    try:
        clips, owners = arrays["clips"], arrays["owners"].astype(np.int64)
        queries = {
            direction: Ranked(arrays[_RANKS[direction]].astype(np.int64), arrays[_FOUND[direction]].astype(np.int64))
            for direction in DIRECTIONS
        }
    except KeyError as error:
        raise UnusableError(f"lacks {error.args[0]}") from error
    if not np.array_equal(np.unique(owners), np.arange(len(clips))):
        raise UnusableError(f"its owners are not the {len(clips)} clips")
    for direction, ranked in queries.items():
        for name, numbers, lowest in ((_RANKS[direction], ranked.ranks, 1), (_FOUND[direction], ranked.found, 0)):
            if len(numbers) and not lowest <= numbers.min() <= numbers.max() < len(clips) + lowest:
                raise UnusableError(f"its {name} are from {numbers.min()} to {numbers.max()}, of {len(clips)} clips")
    return RetrievalOutcomes(clips, owners, queries, arrays.get("groups"))


def similarities_fault(content: bytes, counts: Mapping[str, int], outcomes: RetrievalOutcomes) -> str:
    """What is wrong with the outcomes, given the similarities in the same file; "" if nothing is, or if it has none."""
    found = read_arrays(content, ("similarities",), counts).get("similarities")
    if found is None:
        return ""
    for direction, ranked in ranked_queries(found, outcomes.owners).items():
        stored = outcomes.queries[direction]
        if ranked.ranks.tolist() != stored.ranks.tolist() or ranked.found.tolist() != stored.found.tolist():
            return f"its {_RANKS[direction]} or {_FOUND[direction]} do not follow from its similarities"
    return ""


def _text_names(clips: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """A name for each text, the same in every trial: its clip, and which of the clip's texts it is (from 1)."""
    import numpy as np

    seen: Counter[int] = Counter()
    names = []
    for owner in owners.tolist():
        seen[owner] += 1
        names.append(f"{clips[owner]}#{seen[owner]}")
    return np.array(names, dtype=np.str_)
