"""Every setting on the published lists of every data set: counts equal to those of the lists (real samples)."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import petl_bench as pb
from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.registry import DATASETS, SETTINGS
from petl_bench.api.setting import Case, Evaluation

#: Data set -> base and novel classes, base and novel test clips, as counted in ViFi-CLIP's lists.
HALVES = {
    "k400": (200, 200, 9944, 9933),
    "ssv2": (87, 87, 17562, 7215),
    "hmdb51": (26, 25, 780, 750),
    "ucf101": (51, 50, 2088, 1695),
}
#: Data set -> classes, test clips of split 1.
FEW_SHOT = {"ssv2": (174, 24777), "hmdb51": (51, 1530), "ucf101": (101, 3783)}
#: Data set -> classes that compete, test clips of each split.
TARGETS = {
    "ucf101": (101, (3783, 3734, 3696)),
    "hmdb51": (51, (1530, 1530, 1530)),
    "k600": (160, (14084, 13978, 14136)),
}


@cache
def read(name: str, root: Path) -> Annotations:
    if name not in DATASETS.names():
        pytest.skip(f"no data set {name}")
    found: Annotations = DATASETS.get(name)().annotations(root / "annotations")
    return found


def setting(name: str, **fields: object) -> pb.Setting:
    created: pb.Setting = SETTINGS.get(name)(**fields)
    return created


def clips(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.clip for sample in samples}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_base_to_novel_takes_the_published_lists(name: str, seed: int, real_data: Path) -> None:
    annotations = read(name, real_data)
    task = setting("base2novel").task(annotations, Case("1", 16, seed))
    base, novel = task.evaluations
    found = (len(base.classes), len(novel.classes), len(base.samples), len(novel.samples))
    assert found == HALVES[name]
    assert not set(base.classes) & set(novel.classes)
    assert Counter(sample.label for sample in task.train) == dict.fromkeys(range(len(base.classes)), 16)
    assert not clips(task.train) & (clips(base.samples) | clips(novel.samples))
    assert task.source.startswith(f"published draw {seed + 1}")


def test_k400_has_published_draws_alone(real_data: Path) -> None:
    annotations = read("k400", real_data)
    assert annotations.base_to_novel is not None
    if annotations.base_to_novel.base_train:
        pytest.skip("the list of all base training clips is there")
    with pytest.raises(pb.UsageError, match="no published draw of 16 shots for seed 3"):
        setting("base2novel").task(annotations, Case("1", 16, 3))


@pytest.mark.parametrize("name", FEW_SHOT)
@pytest.mark.parametrize("shots", [2, 4, 8, 16])
def test_few_shot_takes_the_published_list_of_each_number_of_shots(name: str, shots: int, real_data: Path) -> None:
    annotations = read(name, real_data)
    task = setting("few_shot").task(annotations, Case("1", shots, 0))
    (evaluation,) = task.evaluations
    assert (len(evaluation.classes), len(evaluation.samples)) == FEW_SHOT[name]
    assert Counter(sample.label for sample in task.train) == dict.fromkeys(range(FEW_SHOT[name][0]), shots)
    assert not clips(task.train) & clips(evaluation.samples)
    assert task.source == f"published list of {shots} shots"


@pytest.mark.parametrize("name", ["hmdb51", "ucf101"])
def test_further_seeds_are_drawn_from_the_training_list(name: str, real_data: Path) -> None:
    annotations = read(name, real_data)
    tasks = [setting("few_shot").task(annotations, Case("1", 4, seed)) for seed in (0, 1, 2)]
    assert len({task.train for task in tasks}) == 3
    for task in tasks:
        assert clips(task.train) <= clips(annotations.train[1])
        assert not clips(task.train) & clips(annotations.test[1])


def test_something_something_without_its_training_list_says_what_to_type(real_data: Path) -> None:
    annotations = read("ssv2", real_data)
    if annotations.train:
        pytest.skip("the list of all training clips is there")
    with pytest.raises(pb.UsageError, match=r"--set few_shot\.draws=published"):
        setting("few_shot").task(annotations, Case("1", 2, 1))
    published = setting("few_shot", draws="published")
    assert published.task(annotations, Case("1", 2, 1)).train == annotations.few_shot[1, 2]


@pytest.mark.parametrize("name", TARGETS)
def test_zero_shot_targets_are_scored_on_their_three_splits(name: str, real_data: Path) -> None:
    annotations = read(name, real_data)
    transfer = setting("zero_shot_transfer", source="k400")
    cases = transfer.cases(annotations, seeds=[0], splits=None, shots=None)
    evaluations: list[Evaluation] = [transfer.task(annotations, case).evaluations[0] for case in cases]
    classes, counts = TARGETS[name]
    assert [len(evaluation.classes) for evaluation in evaluations] == [classes] * 3
    assert tuple(len(evaluation.samples) for evaluation in evaluations) == counts


def test_the_three_sets_of_kinetics_600_hold_217_classes_none_of_them_in_kinetics_400(real_data: Path) -> None:
    target, source = read("k600", real_data), read("k400", real_data)
    transfer = setting("zero_shot_transfer", source="k400")
    names = {
        name
        for split in ("1", "2", "3")
        for name in transfer.task(target, Case(split, None, 0, "target")).evaluations[0].classes
    }
    assert len(names) == 217
    assert not {name.casefold() for name in names} & {name.casefold() for name in source.classes}


@pytest.mark.parametrize(("name", "train"), [("ucf101", 9537), ("hmdb51", 3570)])
def test_fully_supervised_takes_every_training_clip(name: str, train: int, real_data: Path) -> None:
    annotations = read(name, real_data)
    task = setting("fully_supervised").task(annotations, Case("1", None, 0))
    assert len(task.train) == train and set(task.train) == set(annotations.train[1])


def test_hmdb51_by_frequency_gives_the_published_halves(real_data: Path) -> None:
    annotations = read("hmdb51", real_data)
    bare = Annotations(annotations.classes, annotations.train, annotations.test)
    by_rule, published = (setting("base2novel").task(each, Case("1", 16, 0)) for each in (bare, annotations))
    assert set(by_rule.train_classes) == set(published.train_classes)
