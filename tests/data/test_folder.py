"""Any folder of videos as a data set without code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS
from petl_bench.data.found.manifest import build_manifest
from petl_bench.errors import DataError, UsageError


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


# ---------------------------------------------------------------- layouts


def make(root: Path, *clips: str) -> Path:
    for clip in clips:
        (root / clip).parent.mkdir(parents=True, exist_ok=True)
        (root / clip).write_text(clip)
    return root


def of(*sides: str, classes: tuple[str, ...] = ("Run", "Walk")) -> list[str]:
    return [f"{side}/{name}/{number}.mp4" for side in sides for name in classes for number in (1, 2)]


@pytest.mark.parametrize(
    ("clips", "train", "test", "unused"),
    [
        (of("Train", "Validation"), "Train/", "Validation/", 0),
        (of("training", "TESTING"), "training/", "TESTING/", 0),
        (of("train", "valid", "test"), "train/", "test/", 4),
        (of("data/mine/train", "data/mine/dev"), "data/mine/train/", "data/mine/dev/", 0),
        (of("Run", "Walk", classes=("train", "test")), "train/", "test/", 0),
        ([f"{side}/clips/{name}/1.mp4" for side in ("train", "test") for name in ("a", "b")], "train/", "test/", 0),
    ],
    ids=["Train and Validation", "other words", "val beside test", "below other folders", "in the classes", "shared"],
)
def test_sides_are_read_in_any_case(tmp_path: Path, clips: list[str], train: str, test: str, unused: int) -> None:
    found = read(make(tmp_path, *clips))
    assert len(found.classes) == 2
    assert {sample.clip for sample in found.train[1]} == {clip for clip in clips if train in clip}
    assert {sample.clip for sample in found.test[1]} == {clip for clip in clips if test in clip}
    assert len(clips) - len(found.train[1]) - len(found.test[1]) == unused
    assert any(f"{unused} clips of the side val are not used" in note for note in found.notes) == bool(unused)


def test_an_option_says_which_side_is_tested(tmp_path: Path) -> None:
    root = make(tmp_path, *of("train", "val", "test"))
    assert {sample.clip[:4] for sample in read(root, test_side="val").test[1]} == {"val/"}
    with pytest.raises(DataError, match="no clips of the side test, only of train, val"):
        read(make(tmp_path / "two", *of("train", "val")), test_side="test")
    with pytest.raises(DataError, match="there are no sides; leave"):
        read(make(tmp_path / "plain", "a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"), test_side="val")


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (of("001", "002"), r"lies below two folders.*folder\.layout=class/group .*folder\.layout=group/class"),
        (of("train", "test", "extra"), r"'test', 'train' are named like sides, and 'extra' are not.*layout=side/class"),
        (of("train", "test", classes=("Run", "test")), r"'test' are named like sides, and 'Run' are not"),
        (["train/1.mp4", "test/2.mp4", "Run/3.mp4"], r"are named like sides, and 'Run' are not.*layout=class "),
        (["train_set/1.mp4", "test videos/2.mp4"], r"look like sides, and no folder below them names a class"),
        (of("train"), r"all clips lie in a folder 'train'.*layout=class "),
        (of("val", "test"), r"no clips of the side train, only of test, val"),
        (of("train", "Training", "test"), r"Training and train are the same side"),
        (["Run/1.mp4", "Run/2.mp4", "Walk/s/3.mp4"], r"below 1 folders \(Run/2\.mp4\) and others below 2 \(Walk/s/3"),
        (["train/Run/1.mp4", "train/Walk/1.mp4", "test/Run/2.mp4", "test/walk/2.mp4"], r"'Walk' and 'walk' differ in"),
        (["sit down/1.mp4", "sit_down/2.mp4"], r"'sit down' and 'sit_down' differ in letter case, blanks"),
        ([*of("train", "test"), "test/Sit/1.mp4"], r"'Sit' is tested and never trains\. Rename .*labels\.csv"),
        ([*of("train", "test"), "train/Sit/1.mp4"], r"'Sit' trains and is never tested"),
        ([f"train/{p}/{c}/1.mp4" for p in "ab" for c in "cd"] + ["test/a/c/1.mp4"], r"side/class/group .*side/group/c"),
        (
            of("train_set", "test_set"),
            r"'test_set', 'train_set' look like sides\. Call them train, val and test; or list",
        ),
        (of("rawframes_train", "rawframes_val"), r"look like sides\. Call them"),
        (of("trainval", "test"), r"'test', 'trainval' look like sides\. Call them"),
        (of("train", "test", "extra"), r"^(?!.*group/class)"),
        (["Run/1.avi", "Run/1.mp4", "Walk/1.mp4"], r"Run/1\.avi and Run/1\.mp4 look like one recording twice"),
        (["Run/1.mp4", "Run/1/img_1.jpg", "Walk/1.mp4"], r"Run/1 and Run/1\.mp4 look like one recording twice"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, clips: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(make(tmp_path, *clips))


def test_an_option_chooses_the_reading(tmp_path: Path) -> None:
    root = make(tmp_path, *of("s1", "s2", "s3"))
    by_upper = read(root, layout="class/group")
    assert by_upper.classes == ("s1", "s2", "s3")
    assert by_upper.groups["s1/Run/1.mp4"] == "s1/Run"
    assert len({by_upper.groups[sample.clip] for sample in by_upper.test[1]}) == 3, "one whole group of each class"
    by_lower = read(root, layout="group/class")
    assert by_lower.classes == ("Run", "Walk")
    assert len({sample.clip.partition("/")[0] for sample in by_lower.test[1]}) == 1
    with pytest.raises(
        DataError, match=r"layout=class takes 1 folders above each clip, and s1/Run/1\.mp4 lies below 2"
    ):
        read(root, layout="class")
    assert folder().values() == {k: v for k, v in folder(layout="auto").values().items() if k != "layout"}


@pytest.mark.parametrize("layout", ["auto", "class"])
def test_folders_that_repeat_the_class_above_are_no_groups(tmp_path: Path, layout: str) -> None:
    found = read(
        make(tmp_path, *(f"{name}/{name}/{number}.avi" for name in ("golf", "run") for number in (1, 2))), layout=layout
    )
    assert found.classes == ("golf", "run")
    assert (len(found.train[1]), len(found.test[1]), found.groups) == (2, 2, {})


def test_videos_beside_frame_folders_and_folders_without_clips_are_told(tmp_path: Path) -> None:
    frames = [f"{name}/{n}/jpeg/p-{i}.jpg" for name in ("golf", "run") for n in (1, 2) for i in (1, 2, 3)]
    root = make(tmp_path, *frames, "golf/1/25.avi", "run/1/26.avi")
    (root / "dive").mkdir()
    notes = read(root, layout="class/group").notes
    assert any("2 folders hold both video files and folders of numbered images" in note for note in notes)
    assert "1 folders beside the class folders hold no clip, and are no classes: 'dive'" in notes


def test_the_advice_for_an_absent_side_can_be_followed(tmp_path: Path) -> None:
    root = make(tmp_path, *of("train", "inference"))
    with pytest.raises(DataError, match=r"no clips of the side val, only of train; call the folders train, val and"):
        read(root, layout="side/class")
    with pytest.raises(DataError, match=r"no clips of the side test, only of train, val; .*folder\.test_side=val$"):
        read(make(tmp_path / "two", *of("train", "val")), test_side="test")


def test_a_told_side_layout_leaves_other_folders_out_and_says_so(tmp_path: Path) -> None:
    found = read(make(tmp_path, *of("train", "test", "extra")), layout="side/class")
    assert "4 clips lie outside of the sides and are not used, e.g. extra/Run/1.mp4" in found.notes


def test_class_names_in_a_file_settle_spellings_and_classes_of_one_side(tmp_path: Path) -> None:
    root = make(tmp_path, "train/Walk/1.mp4", "train/Run/1.mp4", "test/walk/2.mp4", "test/Run/2.mp4", "test/Sit/2.mp4")
    (root / "labels.csv").write_text("id,name\n0,Walk\n1,Run\n2,Sit\n")
    found = read(root)
    assert [(sample.clip, sample.label) for sample in found.test[1]] == [
        ("test/Run/2.mp4", 1), ("test/Sit/2.mp4", 2), ("test/walk/2.mp4", 0),
    ]  # fmt: skip
    assert "1 classes have no training clip: 'Sit'" in found.notes


def test_novel_classes_need_no_training_clips(tmp_path: Path) -> None:
    root = make(tmp_path, *of("train", "test"), "test/Sit/1.mp4")
    assert read(root, base_classes="Run,Walk").classes == ("Run", "Sit", "Walk")
    with pytest.raises(DataError, match="'Sit' is tested and never trains"):
        read(root, base_classes="Run,Sit")


def test_numbered_class_folders_take_names_by_number(tmp_path: Path) -> None:
    root = make(tmp_path, *[f"{number}/{clip}.mp4" for number in ("1", "2") for clip in "abc"])
    assert "class names are numbers" in read(root).notes[-1]
    (root / "labels.csv").write_text("id,name\n0,Run\n1,Walk\n")
    assert {s.clip[0]: s.label for s in read(root).train[1]} == {"1": 0, "2": 1}
    (root / "labels.csv").write_text("id,name\n0,Run\n1,Walk\n2,Sit\n")
    with pytest.raises(DataError, match="fits counting from 0 and from 1"):
        read(root)


@pytest.mark.parametrize("link", ["test/Run/9.mp4", "train/Walk/9.mp4", "train/Run/9.mp4"])
def test_links_to_a_clip_that_is_there_are_refused(tmp_path: Path, link: str) -> None:
    root = make(tmp_path / "mine", *of("train", "test"))
    (root / link).symlink_to(root / "train/Run/1.mp4")
    with pytest.raises(DataError, match="are one file, over a link"):
        read(root)
    elsewhere = make(tmp_path / "elsewhere", "0.mp4")
    (root / link).unlink()
    (root / link).symlink_to(elsewhere / "0.mp4")
    read(root)


def test_a_listed_link_to_a_training_clip_is_not_tested(tmp_path: Path) -> None:
    root = make(tmp_path / "mine", "Run/1.mp4", "Walk/1.mp4", "Walk/2.mp4")
    (root / "Run/link.mp4").symlink_to("1.mp4")
    (root / "train.txt").write_text("Run/1.mp4 0\nWalk/1.mp4 1\n")
    (root / "test.txt").write_text("Run/link.mp4 0\nWalk/2.mp4 1\n")
    with pytest.raises(DataError, match=r"trains as 'Run/1\.mp4' and is tested as 'Run/link\.mp4'"):
        build_manifest(folder(path=str(root)), root, tmp_path / "cache")


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_list_that_names_a_clip_and_a_link_to_it_is_refused(tmp_path: Path, side: str) -> None:
    root = make(tmp_path / "mine", "Run/1.mp4", "Walk/1.mp4", "Run/2.mp4", "Walk/2.mp4")
    number = {"train": 1, "test": 2}[side]
    (root / "Run/link.mp4").symlink_to(f"{number}.mp4")
    for name, clip in (("train", 1), ("test", 2)):
        more = "Run/link.mp4 0\n" if name == side else ""
        (root / f"{name}.txt").write_text(f"Run/{clip}.mp4 0\nWalk/{clip}.mp4 1\n{more}")
    with pytest.raises(DataError, match=rf"one file, over a link: it would count twice.*{side}\.txt"):
        build_manifest(folder(path=str(root)), root, tmp_path / "cache")


def test_links_that_lead_to_the_same_clips_twice_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "root", *of("train", "val"))
    (root / "train" / "loop").symlink_to(root)
    assert len(read(root).train[1]) == 4, "a loop leads to nothing new"
    make(tmp_path / "elsewhere", "1.mp4", "2.mp4")
    for side in ("train", "val"):
        (root / side / "Sit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"val/Sit is a link to .*elsewhere, whose clips are reached by another path"):
        read(root)


# ---------------------------------------------------------------- lists


def lists(root: Path, **files: str) -> Path:
    """Class folders with eight clips, and lists by the names of the files with `_` for the dot."""
    make(root, *[f"{name}/{number}.mp4" for name in ("Run", "Walk") for number in range(4)])
    for name, text in files.items():
        (root / name.replace("_", ".")).write_bytes(text.encode())
    return root


NAMED = {"labels_csv": "id,name\n0,Walk\n1,Run\n"}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Run/0.mp4 1\nWalk/0.mp4 0\n", "Run/1.mp4 1\nWalk/1.mp4 0\n"),
        ("Run/0.mp4,1\r\nWalk/0.mp4,0\r\n", "Run/1.mp4,1\nWalk/1.mp4,0"),
        ("Run/0.mp4, 1\nWalk/0.mp4, 0\n", '"Run/1.mp4" 1\n"Walk/1.mp4" 0\n'),
        ("\ufeffpath,label\nRun/0.mp4,1\nWalk/0.mp4,0\n", "label;clip\n1;Run/1.mp4\n0;Walk/1.mp4\n"),
        ("Run\\0.mp4\t1\nWalk\\0.mp4\t0\n", ",video_path,label\n0,Run/1.mp4,1\n1,Walk/1.mp4,0\n"),
        ("Run/0.mp4,Run\nWalk/0.mp4,Walk\n", "Run/1.mp4 Run\nWalk/1.mp4 walk\n"),
        ("/disk/mine/Run/0.mp4 1\n/disk/mine/Walk/0.mp4 0\n", "C:\\me\\Run\\1.mp4,1\nC:\\me\\Walk\\1.mp4,0\n"),
    ],
    ids=["blanks", "commas", "blank after comma, quotes", "BOM, header, order", "tabs, index", "names", "absolute"],
)
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_lists_of_neighbouring_formats_are_read(tmp_path: Path, train: str, test: str, suffix: str) -> None:
    found = read(lists(tmp_path, **NAMED, **{f"train_{suffix}": train, f"test_{suffix}": test}))
    assert found.classes == ("Walk", "Run")
    assert set(found.train[1]) == {Sample("Run/0.mp4", 1), Sample("Walk/0.mp4", 0)}
    assert set(found.test[1]) == {Sample("Run/1.mp4", 1), Sample("Walk/1.mp4", 0)}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("Run/0.mp4,120,1\n", r"train\.csv, line 1: 3 columns with commas between; say in a first row"),
        ("Run/0.mp4 120 1\nWalk/0.mp4 99 0\n", r"train\.csv, line 1: several numbers follow|neither one whole number"),
        ("1,Run/0.mp4\n", r"train\.csv, line 1: .* write the clip first"),
        ("Run/0.mp4,1.0\n", r"train\.csv, line 1: the label '1\.0' is neither one whole number nor a name"),
        ("Run/0.mp4,\nWalk/0.mp4,0\n", r"train\.csv, line 1: expected a clip and a number.*separated by commas"),
        ("path,label\nRun/0.mp4,\n", r"train\.csv, line 2: no clip or no label"),
        ("path,class,label\nRun/0.mp4,Run,0\n", r"line 1: which column is the label, class or label\?"),
        ("fname,what\nRun/0.mp4,1\n", r"line 1: 'fname' and 'what' look like names of columns"),
        ("Run/0.mp4,1\nWalk/0.mp4 0\n", r"train\.csv, line 1: "),
        ("Run/0.mp4, 1\nWalk/0.mp4 0\n", r"train\.csv, line 1: 'Run/0.mp4, 1' and the other rows are not all of one"),
        ("Run/0.mp4,1\nRun/0.mp4,1\n", r"line 2: the clip 'Run/0\.mp4' stands on line 1 already"),
        ("/disk/other/x.mp4 1\n", r"line 1: '/disk/other/x\.mp4' is an absolute path, and no path of this list"),
        ("../Run/0.mp4,1\n", r"line 1: '\.\./Run/0\.mp4' leaves the data root"),
        ("Run/0.mp4,Run\nWalk/0.mp4,0\n", r"line 2: '0' \(Walk/0\.mp4\) is none of the classes"),
    ],
)
def test_lists_of_other_formats_are_refused_with_their_line(tmp_path: Path, train: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(lists(tmp_path, **NAMED, train_csv=train, test_csv="Run/1.mp4 1\nWalk/1.mp4 0\n"))


def test_a_missing_clip_of_an_absolute_path_is_not_taken_for_another_of_its_name(tmp_path: Path) -> None:
    root = make(lists(tmp_path, **NAMED, test_csv="Run/1.mp4 1\n"), "9.mp4")
    (root / "train.csv").write_text("/disk/mine/Walk/9.mp4 0\n/disk/mine/Run/0.mp4 1\n")
    assert [sample.clip for sample in read(root).train[1]] == ["Walk/9.mp4", "Run/0.mp4"]


def test_a_list_that_fits_two_forms_is_decided_by_the_clips_there(tmp_path: Path) -> None:
    root = make(tmp_path, "x/take.mp4", "x/take,class.mp4", "y/b.mp4")
    (root / "train.csv").write_text("take,class 1\n")
    (root / "test.csv").write_text("b,class 1\n")
    with pytest.raises(
        DataError, match=r"can be read in two ways, as the clip 'take,class' .*as 'take' with 'class 1'"
    ):
        read(root)
    (root / "x/take,class.mp4").unlink()
    assert read(root).classes == ("class 1",)


def test_videomae_lists_beside_class_folders_take_their_names(tmp_path: Path) -> None:
    rows = {"train": "Run/0.mp4 1\nWalk/0.mp4 0\n", "val": "Run/1.mp4 1\n", "test": "Run/2.mp4 1\nWalk/2.mp4 0\n"}
    root = lists(tmp_path, **{f"{side}_csv": text for side, text in rows.items()})
    found = read(root)
    assert found.classes == ("Walk", "Run"), "0 and 1, as the folders of the listed clips say"
    assert found.test[1] == (Sample("Run/2.mp4", 1), Sample("Walk/2.mp4", 0))
    assert found.notes[1] == "not used: val.csv"
    by_val = read(root, test_side="val")
    assert [sample.clip for sample in by_val.test[1]] == ["Run/1.mp4"]
    assert set(by_val.files) == {"train.csv", "val.csv"}
    (root / "test.csv").unlink()
    assert read(root).test == by_val.test, "the validation list is tested if there is no other"
    (root / "train.csv").write_text("Run/0.mp4 1\nWalk/0.mp4 0\nWalk/3.mp4 1\n")
    with pytest.raises(DataError, match=r"no labels\.csv beside the lists, whose labels are numbers.*id,name"):
        read(root)


@pytest.mark.parametrize("file", ["classInd.txt", "label_map.txt"])
def test_other_files_of_class_names_are_taken_beside_lists(tmp_path: Path, file: str) -> None:
    root = lists(tmp_path, train_txt="Run/0.mp4 1\nWalk/0.mp4 0\n", test_txt="Run/1.mp4 1\n")
    (root / file).write_text({"classInd.txt": "1 Walk\n2 Run\n", "label_map.txt": "Walk\nRun\n"}[file])
    assert file in read(root).files
    (root / "classes.txt").write_text("Run\nWalk\n")
    with pytest.raises(DataError, match=r"several files with class names .*--set folder\.labels=FILE"):
        read(root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("split.csv", "path,label,split\nRun/0.mp4,0,train\n"),
        ("annotations.tsv", "Run/0.mp4\t0\n"),
        ("classes.txt", "Run/0.mp4 0\n"),
        ("train.json", "{}"),
        ("all.json", '{"clips": ["Run/0.mp4"]}'),
        ("ann/train.csv", "Run/0.mp4 0\n"),
        ("notes.dat", "Run/0.mp4 0\n"),
    ],
)
def test_lists_beside_class_folders_are_never_overlooked(tmp_path: Path, name: str, text: str) -> None:
    root = lists(tmp_path)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    with pytest.raises(
        DataError, match=rf"{name} may list clips .*folder\.train_list=FILE .*--set folder\.layout=class "
    ):
        read(root)
    assert f"not used: {name}" in read(root, layout="class").notes


def test_texts_that_list_no_clips_are_no_lists(tmp_path: Path) -> None:
    root = lists(tmp_path)
    before = read(root)
    (root / "README.txt").write_text("Run and Walk, 0 to 3.\n")
    (root / "classes.txt").write_text("Walk\nRun\n")
    (root / "my_labels.csv").write_text("id,name\n0,Walk\n1,Run\n")
    assert read(root) == before


def test_names_of_each_sides_own_folder_are_refused_with_what_to_write(tmp_path: Path) -> None:
    root = make(tmp_path, "train/1.mp4", "train/2.mp4", "val/1.mp4", "val/2.mp4")
    (root / "labels.csv").write_text("id,name\n0,Run\n1,Walk\n")
    (root / "train.txt").write_text("1.mp4 0\n2.mp4 1\n")
    (root / "val.txt").write_text("1.mp4 1\n2.mp4 0\n")
    with pytest.raises(
        DataError, match=r"several clips are called so \('train/1\.mp4', 'val/1\.mp4'\); write the paths"
    ):
        read(root)


@pytest.mark.parametrize("tested", ["Run/1.avi", "Run/1"])
def test_one_recording_in_two_forms_cannot_stand_in_both_lists(tmp_path: Path, tested: str) -> None:
    root = make(tmp_path, "Run/1.mp4", "Run/1.avi", "Run/1/img_1.jpg", "Walk/1.mp4", "Walk/2.mp4")
    (root / "train.txt").write_text("Run/1.mp4 0\nWalk/1.mp4 1\n")
    (root / "test.txt").write_text(f"{tested} 0\nWalk/2.mp4 1\n")
    with pytest.raises(DataError, match=rf"'Run/1\.mp4' of the training list train\.txt .* \(as '{tested}'\)"):
        read(root)


def test_kinetics_rows_name_files_with_their_times(tmp_path: Path) -> None:
    root = make(tmp_path, "train/a b/_x-1_000010_000020.mp4", "train/c/y_000001_000011.mp4", "val/z.mp4")
    head = "label,youtube_id,time_start,time_end,split\n"
    (root / "train.csv").write_text(f"{head}a b,_x-1,10,20,train\nc,y,1,11,train\n")
    (root / "val.csv").write_text(f"{head}c,z,0,10,val\na b,gone,3,13,val\n")
    found = build_manifest(folder(path=str(root)), root, tmp_path / "cache").found
    assert set(found) == {"_x-1_000010_000020", "y_000001_000011", "z"}


def test_two_lists_of_a_side_are_one_if_they_say_the_same(tmp_path: Path) -> None:
    root = lists(
        tmp_path, **NAMED, train_txt="Run/0.mp4 1\n", train_csv="path,label\nRun/0.mp4,1\n", test_txt="Walk/1.mp4 0\n"
    )
    assert read(root).train[1] == (Sample("Run/0.mp4", 1),)
    (root / "train.csv").write_text("Run/0.mp4,0\n")
    with pytest.raises(DataError, match=r"several train lists \(train\.csv, train\.txt\)"):
        read(root)
    with pytest.raises(DataError, match=r"folder\.layout=class takes classes and sides from folders"):
        read(root, layout="class", train_list="train.csv")


def test_lists_count_and_folders_against_them_are_told_or_refused(tmp_path: Path) -> None:
    train = "Run/0.mp4 1\nWalk/0.mp4 0\nWalk/3.mp4 1\n"
    root = lists(tmp_path, **NAMED, train_csv=train, test_csv="Run/1.mp4 1\n")
    found = read(root)
    assert Sample("Walk/3.mp4", 1) in found.train[1]
    assert "1 clips lie in the folder of another class, and the list counts: Walk/3.mp4" in found.notes[0]
    (root / "labels.csv").write_text("id,name\n0,Run\n1,Walk\n")
    with pytest.raises(DataError, match=r"labels\.csv: by these class names 3 of 4 clips lie in the folder of another"):
        read(root)


def test_a_list_that_counts_from_another_number_than_the_other_is_refused(tmp_path: Path) -> None:
    clips = [f"{name}/{number}.mp4" for name in ("Dive", "Run", "Walk") for number in range(4)]
    root = make(tmp_path, *clips)
    (root / "labels.txt").write_text("Dive\nRun\nWalk\n")
    (root / "train.txt").write_text(
        "".join(f"{clip} {number // 4}\n" for number, clip in enumerate(clips) if number % 4 < 2)
    )
    (root / "test.txt").write_text("Dive/2.mp4 1\nDive/3.mp4 1\nRun/2.mp4 2\n")
    with pytest.raises(
        DataError, match=r"test\.txt: 3 of its 3 clips lie in the folder of another class.*another number"
    ):
        read(root)


def test_a_label_that_is_one_class_by_name_and_another_by_number_is_refused(tmp_path: Path) -> None:
    root = lists(tmp_path, labels_csv="id,name\n0,1\n1,0\n", train_csv="Run/0.mp4 0\n", test_csv="Walk/0.mp4 1\n")
    with pytest.raises(DataError, match=r"is the name of class '0' and the number of class '1'.*label_base=0"):
        read(root)
    assert read(root, label_base="0").train[1] == (Sample("Run/0.mp4", 0),)


def test_folders_that_were_read_before_keep_their_manifests(classes: Path, listed: Path, tmp_path: Path) -> None:
    """Hashes from before layouts were recognised: records of these folders stay what they are."""
    hashes = [
        build_manifest(folder(path=str(root), **fields), root, tmp_path / "cache").sha256[:16]
        for root, fields in (
            (classes, {}),
            (classes, {"split_seed": 3, "test_fraction": 0.5, "base_classes": "Run"}),
            (listed, {}),
            (make(tmp_path / "sides", *of("train", "val")), {}),
            (make(tmp_path / "below", *of("videos")), {}),
        )
    ]
    assert hashes == [
        "1d0015383130bcdb",
        "b90950fa710141ad",
        "b541eea13530e0b5",
        "a02c6951ce6b9468",
        "ca27bc3b1e24f6e8",
    ]


# ---------------------------------------------------------------- real files


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
