"""The few-shot protocol: numbers of shots, published lists, seeded draws."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Case

MakeAnnotations = Callable[..., Annotations]


def setting(**fields: object) -> pb.Setting:
    created: pb.Setting = SETTINGS.get("few_shot")(**fields)
    return created


@pytest.fixture
def with_lists(make: MakeAnnotations) -> Annotations:
    """Three classes with 20 training clips each, and published lists of 2 and 4 shots that are not nested."""
    bare = make([20, 20, 20])
    two = tuple(sample for sample in bare.train[1] if sample.clip.endswith(("_00.mp4", "_01.mp4")))
    four = tuple(
        sample for sample in bare.train[1] if sample.clip.endswith(("_05.mp4", "_06.mp4", "_07.mp4", "_08.mp4"))
    )
    return replace(bare, few_shot={(1, 2): two, (1, 4): four})


def test_four_numbers_of_shots_on_split_1_by_default(make: MakeAnnotations) -> None:
    cases = setting().cases(make([20, 20], splits=(1, 2)), seeds=[0, 1, 2], splits=None, shots=None)
    assert cases == [Case("1", shots, seed) for shots in (2, 4, 8, 16) for seed in (0, 1, 2)]


def test_all_classes_train_and_compete(make: MakeAnnotations) -> None:
    annotations = make([20, 20, 20])
    task = setting().task(annotations, Case("1", 8, 0))
    assert task.train_classes == annotations.classes
    assert Counter(sample.label for sample in task.train) == {0: 8, 1: 8, 2: 8}
    (evaluation,) = task.evaluations
    assert evaluation.classes == annotations.classes and evaluation.samples == annotations.test[1]


def test_seed_0_is_the_published_list_as_it_is_and_further_seeds_are_drawn(with_lists: Annotations) -> None:
    tasks = [setting().task(with_lists, Case("1", 4, seed)) for seed in (0, 1, 2)]
    assert tasks[0].train == with_lists.few_shot[1, 4]
    assert tasks[0].source == "published list of 4 shots"
    assert "seeded draw of 4 shots, seed 1" in tasks[1].source
    assert len({task.train for task in tasks}) == 3
    assert set(tasks[1].train) <= set(with_lists.train[1])


def test_published_lists_need_not_be_nested(with_lists: Annotations) -> None:
    two, four = (setting().task(with_lists, Case("1", shots, 0)).train for shots in (2, 4))
    assert not set(two) & set(four)


def test_a_number_of_shots_without_a_list_is_drawn_for_every_seed(with_lists: Annotations) -> None:
    task = setting().task(with_lists, Case("1", 8, 0))
    assert task.source == "seeded draw of 8 shots, seed 0"


def test_seeded_ignores_published_lists(with_lists: Annotations) -> None:
    task = setting(draws="seeded").task(with_lists, Case("1", 4, 0))
    assert task.train != with_lists.few_shot[1, 4] and "seeded draw" in task.source


def test_published_is_the_same_list_for_every_seed_and_says_so(with_lists: Annotations) -> None:
    tasks = [setting(draws="published").task(with_lists, Case("1", 4, seed)) for seed in (0, 1)]
    assert tasks[0].train == tasks[1].train == with_lists.few_shot[1, 4]
    assert "seeds differ in initialisation and order alone" in tasks[1].source


def test_without_a_training_list_the_error_says_what_to_type(with_lists: Annotations) -> None:
    bare = replace(with_lists, train={})
    assert setting().task(bare, Case("1", 4, 0)).source == "published list of 4 shots"
    with pytest.raises(pb.UsageError, match=r"made, split 1, to draw 4 .* seed 1; --set few_shot\.draws=published"):
        setting().task(bare, Case("1", 4, 1))
    with pytest.raises(pb.UsageError, match=r"published lists of this split: 2, 4 shots"):
        setting().task(bare, Case("1", 8, 0))


def test_published_without_a_published_list_is_refused(with_lists: Annotations) -> None:
    with pytest.raises(pb.UsageError, match=r"no published list of 8 shots of made, split 1 \(published: 2, 4\)"):
        setting(draws="published").task(with_lists, Case("1", 8, 0))


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.sampled_from([1, 2, 4, 16]), st.integers(0, 3))
def test_a_draw_does_not_depend_on_the_order_of_the_list(
    make: MakeAnnotations, counts: list[int], shots: int, seed: int
) -> None:
    annotations = make(counts)
    shuffled = random.Random(seed).sample(annotations.train[1], len(annotations.train[1]))
    case = Case("1", shots, seed)
    task = setting().task(annotations, case)
    assert task.train == setting().task(replace(annotations, train={1: tuple(shuffled)}), case).train
    drawn = Counter(sample.label for sample in task.train)
    assert drawn == {label: min(shots, count) for label, count in enumerate(counts)}
    short = sum(count < shots for count in counts)
    assert (f"({short} classes have fewer clips)" in task.source) is (short > 0)


def test_draws_of_a_class_do_not_depend_on_other_classes(make: MakeAnnotations) -> None:
    alone, more = (setting().task(make(counts), Case("1", 2, 0)) for counts in ([20, 20], [20, 20, 20]))
    assert alone.train == more.train[:4]


def test_a_clip_that_is_listed_twice_is_drawn_once(make: MakeAnnotations) -> None:
    annotations = make([3, 3])
    doubled = replace(annotations, train={1: annotations.train[1] * 2})
    train = setting().task(doubled, Case("1", 3, 0)).train
    assert len(set(train)) == len(train) == 6


@pytest.mark.parametrize(("splits", "shots", "says"), [(["4"], None, "--splits 4"), (None, [0], "--shots 0")])
def test_wrong_cases_are_refused(
    make: MakeAnnotations, splits: list[str] | None, shots: list[int] | None, says: str
) -> None:
    with pytest.raises(pb.UsageError, match=says):
        setting().cases(make([20, 20]), seeds=[0], splits=splits, shots=shots)


def test_cases_of_data_that_is_not_here(skeleton: Annotations) -> None:
    assert len(setting().cases(skeleton, seeds=[0, 1, 2], splits=None, shots=None)) == 12


def test_metrics_and_views() -> None:
    metrics = setting().summarise({"test": {"top1": 50.0, "top5": 90.0}})
    assert metrics == {"top1": 50.0, "top5": 90.0} and tuple(metrics) == setting().metrics
    assert setting().multi_view


def test_published_test_clips_are_left_as_they_are(make: MakeAnnotations) -> None:
    odd = make([4, 4], test={1: (Sample("-x.mp4", 1), Sample("b c.mp4", 0))})
    assert setting().task(odd, Case("1", 2, 0)).evaluations[0].samples == odd.test[1]
