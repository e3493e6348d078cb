"""A folder of one's own with captions: lists, sides, a drawn part, classes beside them, and what is refused."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.api.registry import DATASETS, SETTINGS
from petl_bench.api.retrieval import refuse_other_data
from petl_bench.api.setting import Case
from petl_bench.data.found.manifest import build_manifest
from petl_bench.errors import DataError, UsageError

Make = Callable[[Mapping[str, Any]], Path]


def folder(root: Path, **fields: Any) -> Dataset:
    created: Dataset = DATASETS.get("folder")(path=str(root), **fields)
    return created


def read(root: Path, **fields: Any) -> Annotations:
    dataset = folder(root, **fields)
    return dataset.annotations(dataset.root(None))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A folder with these files: None is a video, a text is written as it is, anything else as JSON."""

    def made(files: Mapping[str, Any]) -> Path:
        for name, content in files.items():
            file = tmp_path / "mine" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            text = name if content is None else content if isinstance(content, str) else json.dumps(content)
            file.write_text(text)
        return tmp_path / "mine"

    return made


def videos(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def clips(samples: tuple[Sample, ...]) -> list[str]:
    assert {sample.label for sample in samples} == {0}
    return [sample.clip for sample in samples]


FLAT = videos("a.mp4", "b.v2.mov", "clips/c.avi", "clips/d.mp4")
CSV = 'clip,caption\na.mp4,"red, ""quick"""\na.mp4,blue\nb.v2,x\nc,y\nclips/d.mp4,z\n'


def test_a_part_of_the_clips_is_drawn(make: Make, tmp_path: Path) -> None:
    root = make({**FLAT, "captions.csv": CSV})
    found = read(root)
    assert found.classes == () and len(found.train[1]) == 3 and len(found.test[1]) == 1
    assert sorted(clips(found.train[1]) + clips(found.test[1])) == sorted(FLAT)
    assert found.captions["a.mp4"] == ('red, "quick"', "blue") and found.captions["b.v2.mov"] == ("x",)
    assert len(read(root, test_fraction=0.5).test[1]) == 2
    drawn = {clips(read(root, split_seed=seed).test[1])[0] for seed in range(8)}
    assert len(drawn) > 1 and read(root) == found
    assert any(note.startswith("the folders are no layout of classes") for note in found.notes)
    assert "captions read: captions.csv (5 captions of 4 clips)" in found.notes and set(found.files) == {"captions.csv"}
    manifest = build_manifest(folder(root), root, tmp_path / "cache")
    assert set(manifest.found) == set(FLAT) and manifest.captions_sha256


def test_lists_say_which_clips_train(make: Make, tmp_path: Path) -> None:
    """A clip that is listed and has a caption counts as missing if its video is not there."""
    captions = {"a": "x", "b.v2": ["y", "z"], "gone": "w", "clips/c": "v", "d.mp4": "u"}
    root = make({**FLAT, "captions.json": captions, "train.txt": "a.mp4\nclips/c.avi\n", "test.txt": "b.v2\ngone\n"})
    found = read(root)
    assert (clips(found.train[1]), clips(found.test[1])) == (["a.mp4", "clips/c.avi"], ["b.v2.mov", "gone"])
    assert "clips/d.mp4" not in found.captions and set(found.files) == {"captions.json", "train.txt", "test.txt"}
    assert build_manifest(folder(root), root, tmp_path / "cache").missing == ("gone",)


def test_lists_of_one_column_and_of_the_validation_side(make: Make) -> None:
    lists = {"train.csv": "video_id\na\n", "val.csv": '"b.v2"\n', "test.csv": "clip\nclips/c\n"}
    root = make({**FLAT, "captions.csv": CSV, **lists})
    assert clips(read(root).test[1]) == ["clips/c.avi"]
    assert clips(read(root, test_side="val").test[1]) == ["b.v2.mov"]
    assert clips(read(root, train_list="test.csv", test_list="train.csv").test[1]) == ["a.mp4"]
    make({"val.csv": "clip,label\na,1\n"})  # not used, and so it may be anything
    assert clips(read(root, train_list="train.csv", test_list="test.csv").test[1]) == ["clips/c.avi"]


def test_folders_say_which_side_a_clip_is_on(make: Make) -> None:
    files = videos("train/a.mp4", "train/b.mp4", "val/c.mp4", "Testing/d.mp4")
    root = make({**files, "captions.json": dict.fromkeys(files, "x")})
    found = read(root)
    assert (clips(found.train[1]), clips(found.test[1])) == (["train/a.mp4", "train/b.mp4"], ["Testing/d.mp4"])
    assert "not used: 1 clip of the side val" in found.notes
    assert clips(read(root, test_side="val").test[1]) == ["val/c.mp4"]


def test_class_folders_stay_classes(make: Make) -> None:
    files = videos(*(f"{name}/{number}.mp4" for name in ("Run", "Walk") for number in range(4)))
    captions = {f"{name}/{number}": f"{name} {number}" for name in ("Run", "Walk") for number in range(3)}
    root = make(files)
    plain = read(root)
    make({"captions.json": captions})
    found = read(root)
    assert (found.classes, found.train, found.test) == (plain.classes, plain.train, plain.test) != ((), {}, {})
    assert found.captions == {f"{clip}.mp4": (text,) for clip, text in captions.items()}
    assert any(note.startswith("without a caption, and left out of retrieval: 2 clips, e.g. ") for note in found.notes)


def test_lists_with_labels_stay_lists_with_labels(make: Make) -> None:
    lists = {
        "train.txt": "a.mp4 0\nc.avi 1\n",
        "test.txt": "b.v2.mov 0\nd.mp4 1\n",
        "labels.csv": "id,name\n0,x\n1,y\n",
    }
    root = make({**FLAT, "captions.csv": CSV, **lists})
    found = read(root)
    assert found.classes == ("x", "y") and found.train == {1: (Sample("a.mp4", 0), Sample("c.avi", 1))}
    assert found.captions == {"a.mp4": ('red, "quick"', "blue"), "c.avi": ("y",), "b.v2.mov": ("x",), "d.mp4": ("z",)}


def test_captions_may_lie_elsewhere_and_groups_are_read(make: Make, tmp_path: Path) -> None:
    root = make({**FLAT, "groups.csv": "clip,group\na.mp4,one\nb.v2.mov,one\n"})
    (tmp_path / "texts.csv").write_text(CSV)
    found = read(root, captions=str(tmp_path / "texts.csv"), groups="groups.csv")
    assert found.captions["a.mp4"] == ('red, "quick"', "blue")
    assert found.groups == {"a.mp4": "one", "b.v2.mov": "one"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"captions.csv": CSV + "e.mp4,no such video\n"}, "captions.csv, line 7: a caption of 'e.mp4', and no clip"),
        ({"captions.json": {"e": "x"}}, "captions.json, key 'e': a caption of 'e', and no clip of the folder"),
        ({"captions.csv": "clip,caption\na,x\n"}, "captions.csv: no caption of 3 clips, e.g. 'b.v2.mov'; write"),
        ({"captions.csv": CSV, "e/c.avi": None}, "several clips are called 'c' ('clips/c.avi', 'e/c.avi')"),
        ({"captions.csv": CSV, "captions.json": {"a": "x"}}, "captions.csv and captions.json are both there"),
        ({"captions.csv": "clip,caption\n../a.mp4,x\n"}, "line 2: '../a.mp4' leaves the data root"),
        ({"captions.csv": CSV + "a,\n"}, "line 7: the caption of 'a' is empty"),
        ({"captions.json": '{"a": "x", "a": "y"}'}, "the key 'a' stands there twice"),
        ({"captions.pkl": "x"}, "captions.pkl: a pickle, which may run any code as it is read, and is not read here"),
        ({"captions.csv": CSV, "train.txt": "a\nb.v2\n"}, "no test*.txt or test*.csv"),
        (
            {"captions.csv": CSV, "train.txt": "a\nb.v2\n", "test.txt": "c\nd\nc.avi\n"},
            "test.txt, line 3: 'c.avi' names the clip 'clips/c.avi', which stands in an earlier line too",
        ),
        (
            {"captions.csv": CSV, "train.txt": "a\nb.v2\n", "test.txt": "c\nd\nf.mp4\n"},
            "test.txt, line 3: 'f.mp4' has no caption in captions.csv",
        ),
        ({"captions.csv": CSV, "train.txt": "a\nb.v2\n", "test.txt": "c\nb.v2\n"}, "a clip that trains cannot be"),
        ({"captions.csv": CSV + "e,w\n", "train/e.mp4": None}, "a.mp4 lies in no folder of a side"),
    ],
)
def test_what_is_refused_in_one_line(make: Make, files: Mapping[str, Any], says: str) -> None:
    root = make({**FLAT, **files})
    with pytest.raises(DataError) as error:
        read(root)
    assert says in str(error.value) and "\n" not in str(error.value)


LABELLED = videos(*(f"{name}/{number}.mp4" for name in ("Run", "Walk") for number in range(4)))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"captions.json": '{"images": [], "annotations": 1}'}, "captions.json, key 'images': the clip has no caption"),
        ({"captions.json": '{"Run/0": "x\\ud800"}'}, "holds half a character"),
        ({"captions.csv": "image;text\na;b\n"}, "captions.csv, line 1: expected a first row"),
        ({"captions.csv": "clip,caption\nRun/0,x\ngone,y\n"}, "captions.csv, line 3: a caption of 'gone', and no clip"),
        ({"captions.csv": "clip,caption\n0,x\n"}, "captions.csv, line 2: several clips are called '0'"),
        ({"captions.csv": "clip,caption\n", "captions.json": "{}"}, "captions.csv and captions.json are both there"),
        ({"captions.csv/x.txt": "x"}, "captions.csv: not a file (a folder, a pipe or a link to nothing)"),
    ],
)
@pytest.mark.parametrize("lists", [{}, {"train.txt": "Run/0 0\nWalk/0 1\n", "test.txt": "Run/1 0\nWalk/1 1\n"}])
def test_beside_classes_wrong_captions_are_a_note(
    make: Make, tmp_path: Path, lists: Mapping[str, str], files: Mapping[str, str], says: str
) -> None:
    root = make({**LABELLED, **lists})
    plain, before = read(root), build_manifest(folder(root), root, tmp_path / "cache")
    make(files)
    found = read(root)
    assert (found.classes, found.train, found.test, found.files) == (
        plain.classes, plain.train, plain.test, plain.files,
    )  # fmt: skip
    assert not found.captions and build_manifest(folder(root), root, tmp_path / "cache").sha256 == before.sha256
    (note,) = (note for note in found.notes if note.startswith("captions"))
    assert note.startswith("captions are not used: ") and says in note and str(root) not in note
    setting = SETTINGS.get("retrieval")()
    with pytest.raises(UsageError, match="--setting retrieval needs captions of its clips; captions are not used: "):
        refuse_other_data(setting, Case("1", None, 0), found)
    named = next(iter(files))
    if (root / named).is_file() and len(files) == 1:
        with pytest.raises(DataError, match=r"captions\.(csv|json)"):
            read(root, captions=named)


def test_of_an_error_in_labels_and_wrong_captions_the_labels_are_told(make: Make) -> None:
    lists = {"train.txt": "Run/0 0\nWalk/0 1\n", "test.txt": "Run/1 0\nWalk/1 x y z\n"}
    with pytest.raises(DataError, match=r"test\.txt"):
        read(make({**LABELLED, **lists, "captions.json": "[1]"}))


def test_without_classes_wrong_captions_are_told(make: Make) -> None:
    lists = {"train.txt": "a\nb.v2\n", "test.txt": "c\nd\n"}
    for more in ({}, lists):
        with pytest.raises(DataError, match=r"captions\.json, entry 1: expected"):
            read(make({**FLAT, **more, "captions.json": "[1]"}))


def test_a_list_that_is_not_used_is_named(make: Make) -> None:
    lists = {"train.txt": "a\n", "val.txt": "b.v2\n", "test.txt": "c\n"}
    assert "not used: val.txt" in read(make({**FLAT, "captions.csv": CSV, **lists})).notes


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_may_be_stored_in_either_way(make: Make, form: Literal["NFC", "NFD"]) -> None:
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    files = [unicodedata.normalize(form, name) for name in ("café.mp4", "über.mp4")]
    names = [unicodedata.normalize(other, file) for file in files]
    root = make({**videos(*files), "captions.json": dict.fromkeys(names, "x")})
    assert sorted(read(root).captions) == sorted(files)
    make({"train.txt": names[0], "test.txt": names[1]})
    assert list(read(root).captions) == files


def test_one_clip_cannot_be_divided(make: Make) -> None:
    with pytest.raises(DataError, match="1 clip with captions; two are needed"):
        read(make({**videos("a.mp4"), "captions.json": {"a": "x"}}))


def test_a_pickle_that_is_named_is_refused(make: Make) -> None:
    with pytest.raises(DataError, match="a pickle"):
        read(make({**FLAT, "texts.pkl": "x"}), captions="texts.pkl")
