"""The base-to-novel protocol: halves, draws, labels, metrics."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.dataset import Annotations, HalfSplit, Sample
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Case


def setting() -> pb.Setting:
    created: pb.Setting = SETTINGS.get("base2novel")()
    return created


def make(counts: list[int], **changes: object) -> Annotations:
    """Annotations with `counts[label]` training clips and two test clips for every class."""
    train = tuple(Sample(f"train/{label}_{i}.mp4", label) for label, count in enumerate(counts) for i in range(count))
    test = tuple(Sample(f"test/{label}_{i}.mp4", label) for label in range(len(counts)) for i in range(2))
    classes = tuple(f"class {label}" for label in range(len(counts)))
    return Annotations(classes=classes, train={1: train}, test={1: test}, **changes)  # type: ignore[arg-type]


def halves(**changes: object) -> HalfSplit:
    pool = tuple(Sample(f"pool/{label}_{i}.mp4", label) for label in (3, 1) for i in range(20))
    values = {
        "base": (3, 1),
        "novel": (0, 2),
        "base_train": pool,
        "base_test": (Sample("b.mp4", 3),),
        "novel_test": (Sample("n.mp4", 2),),
        "draws": {0: pool[:16] + pool[20:36]},
        "source": "published lists",
    }
    return HalfSplit(**{**values, **changes})  # type: ignore[arg-type]


def test_without_published_halves_the_frequent_half_is_base() -> None:
    task = setting().task(make([5, 30, 20, 40]), Case("1", 16, 0))
    assert task.train_classes == ("class 1", "class 3")
    assert {e.name: e.classes for e in task.evaluations} == {
        "base": ("class 1", "class 3"),
        "novel": ("class 0", "class 2"),
    }


def test_equal_counts_put_the_last_classes_into_base_as_published_for_hmdb51() -> None:
    task = setting().task(make([20] * 5), Case("1", 16, 0))
    assert task.train_classes == ("class 2", "class 3", "class 4")


@given(st.lists(st.integers(17, 40), min_size=2, max_size=9), st.integers(0, 4))
def test_the_halves_are_disjoint_and_complete_and_shots_are_exact(counts: list[int], seed: int) -> None:
    annotations = make(counts)
    task = setting().task(annotations, Case("1", 16, seed))
    base, novel = task.evaluations
    assert not set(base.classes) & set(novel.classes)
    assert set(base.classes) | set(novel.classes) == set(annotations.classes)
    assert set(Counter(sample.label for sample in task.train).values()) == {16}
    names = {sample.clip: annotations.classes[sample.label] for sample in annotations.train[1]}
    assert all(names[sample.clip] == task.train_classes[sample.label] for sample in task.train)


def test_a_draw_depends_on_the_seed_alone() -> None:
    annotations = make([40, 40, 40, 40])
    draws = [setting().task(annotations, Case("1", 16, seed)).train for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_published_halves_keep_their_order_and_their_draw() -> None:
    published = halves()
    task = setting().task(make([20] * 4, base_to_novel=published), Case("1", 16, 0))
    assert task.train_classes == ("class 3", "class 1")
    assert [sample.clip for sample in task.train] == [sample.clip for sample in published.draws[0]]
    assert task.evaluations[1].samples == (Sample("n.mp4", 1),)
    assert "published draw 1" in task.source


@pytest.mark.parametrize("case", [Case("1", 16, 7), Case("1", 4, 0)])
def test_what_has_no_published_draw_is_drawn_and_says_so(case: Case) -> None:
    task = setting().task(make([20] * 4, base_to_novel=halves()), case)
    assert "seeded draw" in task.source
    assert set(Counter(sample.label for sample in task.train).values()) == {case.shots}


def test_classes_with_too_few_clips_are_counted() -> None:
    task = setting().task(make([4, 4, 20, 4]), Case("1", 16, 0))
    assert "1 classes have fewer clips" in task.source


def test_no_draw_and_no_pool_is_refused() -> None:
    with pytest.raises(pb.UsageError, match="no published draw of 8 shots"):
        setting().task(make([20] * 4, base_to_novel=halves(base_train=())), Case("1", 8, 0))


def test_cases_are_seeds_by_shots_by_splits() -> None:
    cases = setting().cases(make([20, 20]), seeds=[0, 1, 2], splits=None, shots=None)
    assert cases == [Case("1", 16, seed) for seed in (0, 1, 2)]


@pytest.mark.parametrize(("splits", "shots", "says"), [(["4"], None, "--splits 4"), (None, [0], "--shots 0")])
def test_wrong_cases_are_refused(splits: list[str] | None, shots: list[int] | None, says: str) -> None:
    with pytest.raises(pb.UsageError, match=says):
        setting().cases(make([20, 20]), seeds=[0], splits=splits, shots=shots)


def test_cases_of_data_that_is_not_here(skeleton: Annotations) -> None:
    cases = setting().cases(skeleton, seeds=[0, 1, 2], splits=None, shots=None)
    assert cases == [Case("1", 16, seed) for seed in (0, 1, 2)]


def test_halves_by_frequency_are_those_of_the_annotations_at_hand() -> None:
    many = [make([5, 30, 20, 40]), make([30, 5, 40, 20])] * 2
    assert [setting().task(each, Case("1", 4, 0)).train_classes for each in many] == [
        ("class 1", "class 3"),
        ("class 0", "class 2"),
    ] * 2


def test_one_class_cannot_be_halved() -> None:
    with pytest.raises(pb.UsageError, match="base2novel needs at least one base and one novel class; there are 1"):
        setting().task(make([20]), Case("1", 16, 0))


def test_without_halves_and_training_list_it_is_refused() -> None:
    bare = Annotations(("a", "b"), {}, {1: (Sample("x.mp4", 0),)})
    with pytest.raises(pb.UsageError, match="base2novel needs a list of all training clips, split 1"):
        setting().task(bare, Case("1", 16, 0))


def test_metrics_are_the_two_accuracies_and_their_harmonic_mean() -> None:
    metrics = setting().summarise({"base": {"top1": 80.0, "top5": 99.0}, "novel": {"top1": 60.0, "top5": 90.0}})
    assert metrics == {"base_top1": 80.0, "novel_top1": 60.0, "harmonic_mean": pytest.approx(68.571, abs=1e-3)}
