"""The partitions of training clips that a tuning trains and evaluates on: nothing but training clips, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.dataset import Sample
from petl_bench.api.retrieval import RetrievalTask, retrieval_evaluation
from petl_bench.api.setting import Evaluation, Task
from petl_bench.api.tuning import tuning_metrics
from petl_bench.errors import UsageError
from petl_bench.training.tuning_task import FEWEST_CLASSES, tuning_task

TEST = Evaluation("test", ("a",), (Sample("test-clip", 0),))


def _task(counts: list[int]) -> Task:
    train = tuple(Sample(f"{label}-{clip}", label) for label, count in enumerate(counts) for clip in range(count))
    return Task(tuple(f"class {label}" for label in range(len(counts))), train, (TEST,), "drawn")


def _groups(task: Task, clips_each: int) -> list[str]:
    """Clips of a class in groups of so many."""
    return [f"{each.label}/{int(each.clip.split('-')[1]) // clips_each}" for each in task.train]


@given(st.lists(st.integers(1, 9), min_size=4, max_size=9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_every_clip_is_on_one_side(counts: list[int], clips_each: int, seed: int, draw: int) -> None:
    """No clip is on both sides, none is lost, no test clip is read; no group of a class is on both sides."""
    task = _task([*counts, 4])  # a class that has something to hold out
    groups = dict(zip([each.clip for each in task.train], _groups(task, clips_each), strict=True))
    for partition in ("held-out", "pseudo-halves"):
        try:
            found = tuning_task(task, f"{partition}/{draw}", seed, list(groups.values()), 0.25)
        except UsageError:
            assert partition == "pseudo-halves"  # of classes with a single clip each
            continue
        evaluated = [each.clip for evaluation in found.evaluations for each in evaluation.samples]
        trained = [each.clip for each in found.train]
        assert sorted(trained + evaluated) == sorted(each.clip for each in task.train)
        both = {groups[clip] for clip in trained} & {groups[clip] for clip in evaluated}
        assert all(len({of for of in groups.values() if of.split("/")[0] == each.split("/")[0]}) == 1 for each in both)
        for evaluation in (*found.evaluations, Evaluation("train", found.train_classes, found.train)):
            assert all(evaluation.classes[each.label] == f"class {each.clip.split('-')[0]}"
                       for each in evaluation.samples)  # fmt: skip
        again = tuning_task(task, f"{partition}/{draw}", seed, list(groups.values()), 0.25)
        assert again == found


def test_draws_and_seeds_differ() -> None:
    """Another seed, and another draw, is another partition."""
    task = _task([8] * 8)
    groups = [each.clip for each in task.train]
    for partition in ("held-out", "pseudo-halves"):
        found = {
            tuning_task(task, f"{partition}/{draw}", seed, groups, 0.25).train for draw in (0, 1) for seed in (0, 1)
        }
        assert len(found) == 4


def test_a_quarter_of_every_class_is_held_out() -> None:
    """`fraction` of every class, at least one clip, and never all of them."""
    task = _task([16, 8, 2, 1])
    found = tuning_task(task, "held-out/0", 0, [each.clip for each in task.train], 0.25)
    held = [each.label for each in found.evaluations[0].samples]
    assert [held.count(label) for label in range(4)] == [4, 2, 1, 0]


def test_halves_compete_apart() -> None:
    """Trained are clips of the pseudo-base half, all clips of the other half are evaluated among its own classes."""
    task = _task([8] * 5)
    found = tuning_task(task, "pseudo-halves/0", 0, [each.clip for each in task.train], 0.25)
    base, novel = found.evaluations
    assert (len(base.classes), len(novel.classes)) == (3, 2)
    assert not set(base.classes) & set(novel.classes)
    assert found.train_classes == base.classes
    assert (len(found.train), len(base.samples), len(novel.samples)) == (18, 6, 16)


def test_too_few_classes_for_halves() -> None:
    """One line that says what to do."""
    task = _task([8] * (FEWEST_CLASSES - 1))
    with pytest.raises(UsageError, match=r"3 training classes are too few .* --objective held-out"):
        tuning_task(task, "pseudo-halves/0", 0, [each.clip for each in task.train], 0.25)


def test_retrieval_holds_out_source_videos() -> None:
    """All pairs of a source video are on one side; a caption that is held out may be one that trains."""
    clips = [f"{video}-{clip}" for video in range(8) for clip in range(3)]
    train = tuple(Sample(clip, place % 20) for place, clip in enumerate(clips))
    texts = tuple(f"text {place}" for place in range(20))
    task = RetrievalTask(train, (retrieval_evaluation("test", {"t": ["x"]}),), "all", train_texts=texts)
    groups = [clip.split("-")[0] for clip in clips]
    found = tuning_task(task, "held-out/1", 0, groups, 0.25)
    held = {each.clip.split("-")[0] for each in found.evaluations[0].samples}
    assert len(held) == 2
    assert held.isdisjoint(each.clip.split("-")[0] for each in found.train)
    with pytest.raises(UsageError, match="retrieval has no classes"):
        tuning_task(task, "pseudo-halves/0", 0, groups, 0.25)


def test_metrics_have_names_of_their_own() -> None:
    """No metric of a table of test clips is among them."""
    halves = {"val_base": {"top1": 80.0, "top5": 90.0}, "val_novel": {"top1": 40.0, "top5": 50.0}}
    found = tuning_metrics(halves)
    assert found["val_harmonic_mean"] == pytest.approx(53.3333, abs=1e-3)
    assert set(found) == {"val_base_top1", "val_base_top5", "val_novel_top1", "val_novel_top5", "val_harmonic_mean"}
    assert tuning_metrics({"val": {"top1": 1.0}}) == {"val_top1": 1.0}
