"""Any folder of videos as a data set without code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petl_bench.data.manifest import build_manifest
from petl_bench.dataset import Annotations, Dataset, Sample
from petl_bench.errors import DataError, UsageError
from petl_bench.registry import DATASETS


def folder(**fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("folder")(**fields)
    return created


def read(root: Path, **fields: Any) -> Annotations:
    dataset = folder(path=str(root), **fields)
    return dataset.annotations(dataset.root(None))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    (root / "videos" / "Run").mkdir(parents=True)
    (root / "labels.csv").write_text("id,name\n0,Run\n1,Walk\n2,Sit\n")
    (root / "train_1shot.txt").write_text("Run/a.mp4 0\nb.mp4 1\nc.mp4 2\n")
    (root / "test_1.txt").write_text("d.mp4 0\ne.mp4 1\nf.mp4 2\n")
    for clip in ("Run/a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"):
        (root / "videos" / clip).write_text(clip)
    return root


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    root = tmp_path / "plain"
    for name in ("Run", "Walk the dog"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            (root / name / f"{number}.mp4").write_text(f"{name} {number}")
    return root


def test_usual_names_are_taken(listed: Path, tmp_path: Path) -> None:
    manifest = build_manifest(folder(path=str(listed)), listed, tmp_path / "cache")
    annotations = manifest.annotations
    assert annotations.classes == ("Run", "Walk", "Sit")
    assert annotations.train == {1: (Sample("Run/a.mp4", 0), Sample("b.mp4", 1), Sample("c.mp4", 2))}
    assert set(annotations.files) == {"labels.csv", "train_1shot.txt", "test_1.txt"}
    assert annotations.base_to_novel is None
    assert manifest.found["Run/a.mp4"].path == listed.resolve() / "videos/Run/a.mp4"
    assert manifest.missing == ("f.mp4",)


def test_fields_win_over_usual_names(listed: Path, tmp_path: Path) -> None:
    (listed / "lists").mkdir()
    (listed / "lists" / "names.txt").write_text("Sit\nRun\nWalk\n")
    other = tmp_path / "other_train.txt"
    other.write_text("b.mp4 2\nc.mp4 0\n")
    found = read(listed, labels="lists/names.txt", train_list=str(other))
    assert found.classes == ("Sit", "Run", "Walk")
    assert found.train[1] == (Sample("b.mp4", 2), Sample("c.mp4", 0))


@pytest.mark.parametrize("given", ["Walk, Run", "walk,run", "base.txt"])
def test_base_classes_divide_the_lists(listed: Path, given: str) -> None:
    (listed / "base.txt").write_text("Walk\nRun\n")
    half = read(listed, base_classes=given).base_to_novel
    assert half is not None
    assert (half.base, half.novel) == ((1, 0), (2,))
    assert half.base_train == (Sample("Run/a.mp4", 0), Sample("b.mp4", 1))
    assert half.base_test == (Sample("d.mp4", 0), Sample("e.mp4", 1))
    assert half.novel_test == (Sample("f.mp4", 2),)
    assert half.draws == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Rum", "'Rum' is none of the classes; near: Run"),
        ("Run,Walk,Sit", "one at least must be left as novel"),
        (",", "names no class"),
    ],
)
def test_bad_base_classes(listed: Path, given: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(listed, base_classes=given)


def test_labels_from_one(listed: Path) -> None:
    (listed / "train_1shot.txt").write_text("Run/a.mp4 1\nb.mp4 2\n")
    (listed / "test_1.txt").write_text("d.mp4 3\n")
    assert [sample.label for sample in (*read(listed).train[1], *read(listed).test[1])] == [0, 1, 2]
    (listed / "test_1.txt").write_text("d.mp4 2\n")
    assert [sample.label for sample in read(listed).train[1]] == [0, 1], "the folder Run says that 1 is the first class"
    (listed / "train_1shot.txt").write_text("b.mp4 2\n")
    with pytest.raises(DataError, match="fits counting from 0 and from 1"):
        read(listed)
    assert [sample.label for sample in read(listed, label_base="1").train[1]] == [1]
    assert [sample.label for sample in read(listed, label_base="0").train[1]] == [2]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_1shot.txt", "", r"train_1shot\.txt: empty"),
        ("train_1shot.txt", "a.mp4 0\nb.mp4 3\n", r"train_1shot\.txt, line 2: label 3 .* outside the 3 classes"),
        ("test_1.txt", "d.mp4 0\nb.mp4 1\n", r"'b\.mp4' of the training list train_1shot\.txt stands in .*test_1\.txt"),
        ("test_1.txt", "../d.mp4 0\n", r"test_1\.txt, line 1: '\.\./d\.mp4' leaves the data root"),
        ("test_2.txt", "d.mp4 0\n", r"several test lists \(test_1\.txt, test_2\.txt\); name one .*folder\.test_list"),
    ],
)
def test_bad_lists_get_one_clear_line(listed: Path, file: str, content: str, message: str) -> None:
    (listed / file).write_text(content)
    with pytest.raises(DataError, match=message):
        read(listed)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("labels.csv", r"no labels\.csv .* --set folder\.labels=FILE"),
        ("train_1shot.txt", r"no train\*\.txt .* --set folder\.train_list=FILE"),
        ("test_1.txt", r"no test\*\.txt .* --set folder\.test_list=FILE"),
    ],
)
def test_half_given_lists_are_refused(listed: Path, absent: str, message: str) -> None:
    (listed / absent).unlink()
    with pytest.raises(DataError, match=message):
        read(listed)


def test_named_file_must_be_there(listed: Path) -> None:
    with pytest.raises(DataError, match=r"folder\.test_list=nope\.txt: no such file"):
        read(listed, test_list="nope.txt")


def test_class_folders_are_split_by_seed(classes: Path) -> None:
    found = read(classes)
    assert found.classes == ("Run", "Walk the dog")
    assert (len(found.train[1]), len(found.test[1])) == (14, 6)
    assert {sample.label for sample in found.test[1]} == {0, 1}
    assert {s.clip for s in found.train[1]}.isdisjoint(s.clip for s in found.test[1])
    assert "drawn with seed 0" in found.notes[1]
    assert read(classes) == found
    assert read(classes, split_seed=1).test != found.test
    assert len(read(classes, test_fraction=0.0).test[1]) == 2, "one clip of each class at least"
    assert len(read(classes, test_fraction=1.0).train[1]) == 2


def test_more_clips_of_one_class_leave_the_other_class_as_it_was(classes: Path) -> None:
    before = [sample for sample in read(classes).test[1] if sample.label == 1]
    (classes / "Run" / "new.mp4").write_text("new")
    assert [sample for sample in read(classes).test[1] if sample.label == 1] == before


def test_labels_order_class_folders(classes: Path) -> None:
    (classes / "labels.csv").write_text("id,name\n0,walk_the_dog\n1,run\n")
    found = read(classes, base_classes="run")
    assert found.classes == ("walk_the_dog", "run")
    assert all(sample.clip.startswith("Run/") == (sample.label == 1) for sample in found.train[1])
    (classes / "labels.csv").write_text("id,name\n0,sit\n1,run\n")
    with pytest.raises(DataError, match=r"labels\.csv: the folder 'Walk the dog' is none of the classes"):
        read(classes)


def test_train_and_test_folders_are_a_split(tmp_path: Path) -> None:
    for clip in ("train/Run/1.mp4", "train/Walk/1.mp4", "val/Run/2.mp4", "val/Walk/2.mp4"):
        (tmp_path / clip).parent.mkdir(parents=True)
        (tmp_path / clip).write_text(clip)
    found = read(tmp_path)
    assert found.train[1] == (Sample("train/Run/1.mp4", 0), Sample("train/Walk/1.mp4", 1))
    assert found.test[1] == (Sample("val/Run/2.mp4", 0), Sample("val/Walk/2.mp4", 1))


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ((), "0 folders with videos"),
        (("Run/1.mp4", "Run/2.mp4"), "1 folders with videos"),
        (("1.mp4", "Run/2.mp4"), r"1\.mp4 lies in no class folder"),
        (("Run/1.mp4", "Walk/2.mp4", "Walk/3.mp4"), "class 'Run' has 1 clips; two are needed"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, clips: tuple[str, ...], message: str) -> None:
    for clip in clips:
        (tmp_path / clip).parent.mkdir(exist_ok=True)
        (tmp_path / clip).write_text(clip)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_path_is_relative_to_the_current_directory_or_the_data_root(
    classes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "work" / "plain").mkdir(parents=True)
    assert folder(path="plain").root(tmp_path) == classes.resolve()
    monkeypatch.chdir(tmp_path)
    assert folder(path="plain").root(None) == classes.resolve()
    assert folder(path="plain").root(tmp_path) == classes.resolve()
    assert folder().root(classes) == classes
    with pytest.raises(DataError, match="in the current directory and under --data-root"):
        folder(path="plain").root(tmp_path / "work")
    with pytest.raises(DataError, match=r"folder\.path=nope: no such folder"):
        folder(path="nope").root(None)
    with pytest.raises(DataError, match=r"--set folder\.path=DIR"):
        folder().root(None)


def test_bad_values_of_fields() -> None:
    with pytest.raises(UsageError, match=r"folder\.test_fraction=2"):
        folder(test_fraction=2)
    with pytest.raises(UsageError, match=r"folder\.label_base=2: expected one of auto, 0, 1"):
        folder(label_base="2")


def test_real_clips(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "ucf101_six"
    dataset = folder(path=str(root), base_classes="Archery,BasketballDunk")
    manifest = build_manifest(dataset, dataset.root(None), tmp_path)
    half = manifest.annotations.base_to_novel
    assert half is not None
    assert (len(manifest.found), manifest.missing, manifest.ambiguous) == (48, (), {})
    assert [len(samples) for samples in (half.base_train, half.base_test, half.novel_test)] == [8, 8, 16]
    by_folders = folder(path=str(root / "videos"))
    found = build_manifest(by_folders, by_folders.root(None), tmp_path).annotations
    assert (len(found.classes), len(found.train[1]), len(found.test[1])) == (6, 36, 12)
