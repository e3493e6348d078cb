"""The fully-supervised protocol: every training clip, every class."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import petl_bench as pb
from petl_bench.api.dataset import Annotations
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Case

MakeAnnotations = Callable[..., Annotations]


def setting() -> pb.Setting:
    created: pb.Setting = SETTINGS.get("fully_supervised")()
    return created


def test_every_clip_of_the_split_trains_and_is_tested(make: MakeAnnotations) -> None:
    annotations = make([3, 5], splits=(1, 2))
    task = setting().task(annotations, Case("2", None, 0))
    assert task.train == annotations.train[2] and task.train_classes == annotations.classes
    (evaluation,) = task.evaluations
    assert evaluation.samples == annotations.test[2] and evaluation.classes == annotations.classes
    assert task.source == "every training clip of split 2"


def test_one_case_per_seed_on_split_1_by_default(make: MakeAnnotations, skeleton: Annotations) -> None:
    expected = [Case("1", None, 0), Case("1", None, 1)]
    for known in (make([3, 5], splits=(1, 2)), skeleton):
        assert setting().cases(known, seeds=[0, 1], splits=None, shots=None) == expected
    both = setting().cases(skeleton, seeds=[0], splits=["2", "3"], shots=None)
    assert both == [Case("2", None, 0), Case("3", None, 0)]


@pytest.mark.parametrize(
    ("splits", "shots", "says"), [(["4"], None, "--splits 4"), (None, [2, 4], "--shots 2,4: .*--setting few_shot")]
)
def test_wrong_cases_are_refused(
    make: MakeAnnotations, splits: list[str] | None, shots: list[int] | None, says: str
) -> None:
    with pytest.raises(pb.UsageError, match=says):
        setting().cases(make([20, 20]), seeds=[0], splits=splits, shots=shots)


def test_without_a_training_list_it_is_refused(make: MakeAnnotations) -> None:
    with pytest.raises(pb.UsageError, match="fully_supervised needs a list of all training clips of made, split 1"):
        setting().task(make([3, 5], train={}), Case("1", None, 0))


def test_metrics_and_views() -> None:
    metrics = setting().summarise({"test": {"top1": 50.0, "top5": 90.0}})
    assert metrics == {"top1": 50.0, "top5": 90.0} and tuple(metrics) == setting().metrics
    assert setting().multi_view
