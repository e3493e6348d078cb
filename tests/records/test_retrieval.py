"""Ranks and metrics of retrieval, against the published ones and by their properties; and the file that keeps them."""

from __future__ import annotations

import io
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.retrieval import RETRIEVAL_METRICS
from petl_bench.records.retrieval import ranked_queries, retrieval_metrics, set_similarities
from petl_bench.records.retrieval_outcomes import (
    retrieval_outcomes_of,
    retrieval_predictions,
    similarities_fault,
    tied_queries,
)
from petl_bench.system.stored_json import UnusableError

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "retrieval_metrics.json").read_text())


def metrics_of(similarities: np.ndarray, owners: list[int] | np.ndarray) -> dict[str, float]:
    queries = ranked_queries(similarities, owners)
    return retrieval_metrics({direction: ranked.ranks for direction, ranked in queries.items()})


@st.composite
def matrices(draw: st.DrawFn, captions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Similarities [N, M], ties among them, and owners: up to so many texts for each clip, in any order."""
    counts = draw(st.lists(st.integers(1, captions), min_size=1, max_size=7))
    owners = np.array(draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())))
    values = st.integers(-4, 4).map(float)
    size = len(counts) * len(owners)
    cells = draw(st.lists(values, min_size=size, max_size=size))
    return np.array(cells, dtype=np.float32).reshape(len(counts), len(owners)), owners


@pytest.mark.parametrize("name", ["n12", "n11"])
def test_square_matrices_give_what_clip4clip_gives(name: str) -> None:
    golden = GOLDEN[name]
    similarities = np.array(golden["sim_text_by_video"]).T
    found = metrics_of(similarities, range(len(similarities)))
    queries = ranked_queries(similarities, range(len(similarities)))
    for direction in ("t2v", "v2t"):
        theirs = golden[f"clip4clip_{direction}"]
        assert queries[direction].ranks.tolist() == [place + 1 for place in theirs["cols"]]
        own = [found[f"{direction}_{metric}"] for metric in ("r1", "r5", "r10", "median_rank", "mean_rank")]
        assert own == pytest.approx([theirs[metric] for metric in ("R1", "R5", "R10", "MedianR", "MeanR")])
        # MV-Adapter counts ranks from 0, and its median takes other places than the middle ones.
        assert found[f"{direction}_mean_rank"] == pytest.approx(
            golden[f"mvadapter_{direction}"][f"{direction}_mean"] + 1
        )
        assert found[f"{direction}_rsum"] == pytest.approx(golden[f"mvadapter_{direction}"][f"{direction}_sum"])


def test_every_golden_is_compared() -> None:
    assert set(GOLDEN) == {"n12", "n11", "ties_n6", "multi_caption"}


def test_several_captions_of_a_clip_give_what_clip4clip_gives() -> None:
    golden = GOLDEN["multi_caption"]
    owners = np.repeat(np.arange(5), golden["captions_per_video"])
    found = metrics_of(np.array(golden["sim_caption_by_video"]).T, owners)
    for direction in ("t2v", "v2t"):
        theirs = golden[f"clip4clip_{direction}"]
        own = [found[f"{direction}_{metric}"] for metric in ("r1", "r5", "r10", "median_rank", "mean_rank")]
        assert own == pytest.approx([theirs[metric] for metric in ("R1", "R5", "R10", "MedianR", "MeanR")], rel=1e-6)
        of_adapter = golden["mvadapter_t2v" if direction == "t2v" else "mvadapter_v2t_matrix_label"]
        assert found[f"{direction}_rsum"] == pytest.approx(of_adapter[f"{direction}_sum"])
        assert found[f"{direction}_mean_rank"] == pytest.approx(of_adapter[f"{direction}_mean"] + 1)


def test_ties_count_against_the_target_and_once_for_each_query() -> None:
    """CLIP4Clip counts a tied target once for each place that it may have: 11 entries for 6 queries."""
    golden = GOLDEN["ties_n6"]
    similarities = np.array(golden["sim_text_by_video"]).T
    ranks = ranked_queries(similarities, range(6))["t2v"].ranks
    places = iter(golden["clip4clip_t2v"]["cols"])
    for query, rank in enumerate(ranks.tolist()):
        own = similarities[query, query]
        tied = int((similarities[:, query] == own).sum())
        assert [next(places) for _ in range(tied)][-1] + 1 == rank  # theirs hold every place; the last one counts here
    assert next(places, None) is None
    assert metrics_of(similarities, range(6))["t2v_r1"] == pytest.approx(100 / 6)
    assert golden["clip4clip_t2v"]["R1"] == pytest.approx(100 / 11)


@given(matrices(), st.randoms())
def test_the_order_of_clips_and_texts_does_not_matter(drawn: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    similarities, owners = drawn
    clips, texts = list(range(len(similarities))), list(range(len(owners)))
    random.shuffle(clips)
    random.shuffle(texts)
    moved = np.argsort(clips)[owners[texts]]
    assert metrics_of(similarities[np.ix_(clips, texts)], moved) == pytest.approx(metrics_of(similarities, owners))


@given(matrices(captions=1))
def test_with_one_text_for_each_clip_the_directions_are_those_of_the_transposed(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    similarities, owners = drawn
    sorted_ = similarities[:, np.argsort(owners)]
    one, other = (metrics_of(each, range(len(owners))) for each in (sorted_, sorted_.T))
    for name in RETRIEVAL_METRICS:
        swapped = name.replace("t2v", "x").replace("v2t", "t2v").replace("x", "v2t")
        assert one[name] == pytest.approx(other[swapped])


@given(matrices())
def test_perfect_worst_and_constant_similarities(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    similarities, owners = drawn
    count = len(similarities)
    own = owners == np.arange(count)[:, None]
    best = metrics_of(np.where(own, 9.0, similarities), owners)
    worst = metrics_of(np.where(own, -9.0, similarities), owners)
    for direction in ("t2v", "v2t"):
        assert best[f"{direction}_rsum"] == 300 and best[f"{direction}_mean_rank"] == 1
        assert worst[f"{direction}_mean_rank"] == worst[f"{direction}_median_rank"] == count
    assert metrics_of(np.zeros_like(similarities), owners) == worst


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrices(), st.integers(1, 40))
def test_ranks_are_those_of_a_plain_count(
    monkeypatch: pytest.MonkeyPatch, drawn: tuple[np.ndarray, np.ndarray], at_once: int
) -> None:
    """Ties, several texts of a clip, in parts of any size."""
    similarities, owners = drawn
    monkeypatch.setattr("petl_bench.records.retrieval._AT_ONCE", at_once)
    queries = ranked_queries(similarities, owners)
    tied = {"t2v": 0, "v2t": 0}
    for text, owner in enumerate(owners):
        own = similarities[owner, text]
        assert queries["t2v"].ranks[text] == sum(similarities[:, text] >= own)
        tied["t2v"] += sum(similarities[:, text] == own) > 1
    for clip, row in enumerate(similarities):
        of_sets = [max(row[owners == other]) for other in range(len(similarities))]
        assert set_similarities(similarities, owners)[clip].tolist() == of_sets
        assert queries["v2t"].ranks[clip] == sum(each >= of_sets[clip] for each in of_sets)
        tied["v2t"] += of_sets.count(of_sets[clip]) > 1
    assert tied == {direction: queries[direction].tied for direction in tied}
    for direction, targets in (("t2v", owners), ("v2t", np.arange(len(similarities)))):
        assert ((queries[direction].found == targets) == (queries[direction].ranks == 1)).all()


@given(matrices())
def test_metrics_are_those_of_sorted_lists(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """Each query sorts its candidates, its target behind those that are as similar."""
    similarities, owners = drawn
    sets = np.array([[max(row[owners == other]) for other in range(len(similarities))] for row in similarities])
    lists = {"t2v": (similarities.T, owners), "v2t": (sets, np.arange(len(similarities)))}
    found = metrics_of(similarities, owners)
    for direction, (scores, targets) in lists.items():
        ranks = []
        for row, target in zip(scores, targets, strict=True):
            order = sorted(range(len(row)), key=lambda each: (-row[each], each == target))
            ranks.append(1 + order.index(target))
        for k in (1, 5, 10):
            assert found[f"{direction}_r{k}"] == pytest.approx(100 * sum(rank <= k for rank in ranks) / len(ranks))
        assert found[f"{direction}_median_rank"] == statistics.median(ranks)
        assert found[f"{direction}_mean_rank"] == pytest.approx(statistics.mean(ranks))


@given(matrices(), st.randoms())
def test_texts_that_are_left_out_change_nothing(drawn: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    similarities, owners = drawn
    more = np.array([[random.randint(-4, 4) for _ in range(3)] for _ in similarities], dtype=np.float32)
    places = random.sample(range(len(owners) + 3), len(owners))
    whole, of_all = np.empty((len(similarities), len(owners) + 3), np.float32), np.full(len(owners) + 3, -1)
    whole[:, places], of_all[places] = similarities, owners
    whole[:, of_all < 0] = more
    kept = np.argsort(np.argsort(places))
    for direction, ranked in ranked_queries(whole, of_all).items():
        expected = ranked_queries(similarities, owners)[direction]
        order = np.argsort(kept) if direction == "t2v" else np.arange(len(similarities))
        assert ranked.ranks.tolist() == expected.ranks[order].tolist()
        assert (ranked.found.tolist(), ranked.tied) == (expected.found[order].tolist(), expected.tied)


def test_a_sentence_of_two_clips_ties_for_both_of_them() -> None:
    """As five sentences of MSR-VTT 1k-A: each of its two clips has a tied target, none of its two queries."""
    similarities = np.array([[3, 3, 0], [2, 2, 1], [0, 0, 5]], dtype=np.float32)
    result = result_of(similarities, [0, 1, 2])
    assert tied_queries(result) == {"v2t_tied": 2}
    assert ranked_queries(similarities, [0, 1, 2])["v2t"].ranks.tolist() == [2, 2, 1]


def result_of(similarities: np.ndarray, owners: list[int], groups: list[str] | None = None) -> pb.RetrievalResult:
    clips = [f"clip {place}" for place in range(len(similarities))]
    return pb.RetrievalResult(
        clips=clips,
        texts=[f"text {place}" for place in range(len(owners))],
        owners=owners,
        similarities=similarities,
        accuracies=metrics_of(similarities, owners),
        expected=len(clips),
        expected_texts=len(owners),
        groups=groups or [],
    )


SIMILARITIES = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 2.0, 1.0, 3.0], [4.0, 3.0, 0.0, 1.0]], dtype=np.float32)
OWNERS = [0, 1, 0, 2]
COUNTS = {"used": 3, "texts": 4}


def test_the_file_of_predictions_gives_back_the_queries_of_both_directions() -> None:
    content = retrieval_predictions(result_of(SIMILARITIES, OWNERS, ["a", "b", "a"]))
    outcomes = retrieval_outcomes_of(content, COUNTS)
    texts, clips = outcomes.of("t2v"), outcomes.of("v2t")
    assert texts.clips.tolist() == ["clip 0#1", "clip 1#1", "clip 0#2", "clip 2#1"]
    assert texts.ranks.tolist() == [2, 2, 1, 2] and texts.labels.tolist() == OWNERS
    assert texts.groups is not None and texts.groups.tolist() == ["a", "b", "a", "a"]
    assert clips.ranks.tolist() == [1, 2, 3] and clips.predicted.tolist() == [0, 2, 0]
    assert outcomes.accuracies == metrics_of(SIMILARITIES, OWNERS)
    assert similarities_fault(content, COUNTS, outcomes) == ""


def test_texts_of_one_clip_are_drawn_together_if_no_groups_are_known() -> None:
    content = retrieval_predictions(result_of(SIMILARITIES, OWNERS))
    groups = retrieval_outcomes_of(content, COUNTS).of("t2v").groups
    assert groups is not None and groups.tolist() == ["clip 0", "clip 1", "clip 0", "clip 2"]


def test_ranks_without_similarities_are_recorded() -> None:
    plain = result_of(SIMILARITIES, OWNERS)
    content = retrieval_predictions(replace(plain, similarities=None, queries=ranked_queries(SIMILARITIES, OWNERS)))
    outcomes = retrieval_outcomes_of(content, COUNTS)
    assert outcomes.accuracies == metrics_of(SIMILARITIES, OWNERS)
    assert similarities_fault(content, COUNTS, outcomes) == ""
    assert "similarities" not in np.load(io.BytesIO(content)) and "similarities" in np.load(
        io.BytesIO(retrieval_predictions(plain))
    )


@pytest.mark.parametrize(
    ("owners", "says"), [([0, 1, 0, 3], "its owners are not the 3 clips"), ([0, 1, 0, 1], "its owners are not")]
)
def test_owners_that_are_no_clips_are_refused(owners: list[int], says: str) -> None:
    sound = np.load(io.BytesIO(retrieval_predictions(result_of(SIMILARITIES, OWNERS))))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**sound, "owners": np.array(owners)})
    with pytest.raises(UnusableError, match=says):
        retrieval_outcomes_of(buffer.getvalue(), COUNTS)
    with pytest.raises(UnusableError, match="of 4 texts, not of 5"):
        retrieval_outcomes_of(buffer.getvalue(), {**COUNTS, "texts": 5})
