"""The zero-shot protocol: one adaptation on a source, targets that are only scored, halves within one data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import petl_bench as pb
from petl_bench.api.dataset import Annotations, HalfSplit, Sample
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Case

MakeAnnotations = Callable[..., Annotations]


def setting(source: str = "k400") -> pb.Setting:
    created: pb.Setting = SETTINGS.get("zero_shot_transfer")(source=source)
    return created


def test_a_target_is_scored_on_all_its_splits_by_default(make: MakeAnnotations, skeleton: Annotations) -> None:
    expected = [Case(split, None, seed, "target") for split in ("1", "2", "3") for seed in (0, 1)]
    for known in (make([3, 5], splits=(1, 2, 3)), skeleton):
        assert setting().cases(known, seeds=[0, 1], splits=None, shots=None) == expected
    assert setting().cases(skeleton, [0], ["2"], None) == [Case("2", None, 0, "target")]


def test_one_adaptation_per_seed_serves_every_split(make: MakeAnnotations) -> None:
    cases = setting().cases(make([3, 5], splits=(1, 2, 3)), seeds=[0, 1], splits=None, shots=None)
    sources = {setting().source_case(case) for case in cases}
    assert sources == {Case("1", None, seed, "source") for seed in (0, 1)}
    assert all(setting().source_case(case) is None for case in sources if case is not None)
    assert setting().source_dataset == "k400"


def test_the_source_trains_on_everything_and_is_scored_on_its_own_test_clips(make: MakeAnnotations) -> None:
    annotations = make([3, 5], splits=(1, 2))
    task = setting().task(annotations, Case("1", None, 0, "source"))
    assert task.train == annotations.train[1] and task.train_classes == annotations.classes
    (evaluation,) = task.evaluations
    assert (evaluation.name, evaluation.samples) == ("source", annotations.test[1])


def test_a_target_has_nothing_to_train_even_where_it_has_training_lists(make: MakeAnnotations) -> None:
    annotations = make([3, 5], splits=(1, 2), few_shot={(1, 2): (Sample("a.mp4", 0),)})
    task = setting().task(annotations, Case("2", None, 0, "target"))
    assert task.train == () and task.train_classes == ()
    (evaluation,) = task.evaluations
    assert (evaluation.name, evaluation.classes, evaluation.samples) == (
        "target",
        annotations.classes,
        annotations.test[2],
    )


def test_only_the_candidates_of_a_split_compete(make: MakeAnnotations) -> None:
    annotations = make([1] * 5, splits=(1, 2), candidates={2: (4, 1)})
    some = tuple(sample for sample in annotations.test[2] if sample.label in (1, 4))
    annotations = replace(annotations, test={**annotations.test, 2: some})
    (evaluation,) = setting().task(annotations, Case("2", None, 0, "target")).evaluations
    assert evaluation.classes == ("class 4", "class 1")
    assert [(s.clip, s.label) for s in evaluation.samples] == [(s.clip, (4, 1).index(s.label)) for s in some]
    assert setting().task(annotations, Case("1", None, 0, "target")).evaluations[0].classes == annotations.classes


def test_a_test_clip_outside_the_candidates_is_refused_not_dropped(make: MakeAnnotations) -> None:
    with pytest.raises(pb.DataError, match=r"test1/0_0\.mp4: its class \(label 0\) is not among"):
        setting().task(make([1, 1, 1], candidates={1: (1, 2)}), Case("1", None, 0, "target"))


def test_within_one_data_set_the_base_half_is_the_source_and_the_novel_half_the_target(make: MakeAnnotations) -> None:
    annotations = make([5, 30, 20, 40], splits=(1, 2))
    within = setting(source="made")
    cases = within.cases(annotations, seeds=[0], splits=None, shots=None)
    assert cases == [Case(split, None, 0, "target-novel") for split in ("1", "2")]
    for case in cases:
        source_case = within.source_case(case)
        assert source_case == Case(case.split, None, 0, "source-base")
        source, target = within.task(annotations, source_case), within.task(annotations, case)
        assert source.train_classes == source.evaluations[0].classes == ("class 1", "class 3")
        assert target.evaluations[0].classes == ("class 0", "class 2")
        assert len(source.train) == 70 and target.train == ()
        assert not {s.clip for s in source.train} & {s.clip for s in target.evaluations[0].samples}
        assert (source.evaluations[0].name, target.evaluations[0].name) == ("source", "target")


def test_published_halves_are_used_where_there_are_any(make: MakeAnnotations) -> None:
    annotations = make([20] * 4)
    halves = HalfSplit(
        base=(3, 1),
        novel=(0, 2),
        base_train=(),
        base_test=tuple(s for s in annotations.test[1] if s.label in (3, 1)),
        novel_test=tuple(s for s in annotations.test[1] if s.label in (0, 2)),
        draws={},
        source="published lists",
    )
    within = setting(source="made")
    source = within.task(replace(annotations, base_to_novel=halves), Case("1", None, 0, "source-base"))
    assert source.train_classes == ("class 3", "class 1")
    assert [s.clip for s in source.train] == [s.clip for s in annotations.train[1] if s.label in (3, 1)]
    assert "published lists" in source.source


@pytest.mark.parametrize(
    ("splits", "shots", "says"), [(["4"], None, "--splits 4"), (None, [16], "--shots 16: .*--setting few_shot")]
)
def test_wrong_cases_are_refused(
    make: MakeAnnotations, splits: list[str] | None, shots: list[int] | None, says: str
) -> None:
    with pytest.raises(pb.UsageError, match=says):
        setting().cases(make([20, 20]), seeds=[0], splits=splits, shots=shots)


def test_a_source_without_a_training_list_is_refused(make: MakeAnnotations) -> None:
    with pytest.raises(pb.UsageError, match="zero_shot_transfer needs a list of all training clips of made, split 1"):
        setting().task(make([3, 5], train={}), Case("1", None, 0, "source"))


def test_one_class_cannot_be_halved(make: MakeAnnotations) -> None:
    with pytest.raises(pb.UsageError, match="at least one base and one novel class; there are 1 classes"):
        setting(source="made").task(make([5]), Case("1", None, 0, "target-novel"))


def test_metrics_of_source_and_target() -> None:
    source = setting().summarise({"source": {"top1": 80.0, "top5": 99.0}})
    target = setting().summarise({"target": {"top1": 50.0, "top5": 90.0}})
    assert source == {"source_top1": 80.0}
    assert target == {"top1": 50.0, "top5": 90.0}
    assert {*source, *target} == set(setting().metrics)
    assert not setting().multi_view
