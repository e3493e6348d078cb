"""Readers of annotation files: what they read, and the one clear line that bad input gets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.dataset import Sample
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.errors import DataError

GOLDENS = Path(__file__).parent.parent / "goldens"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def clips(clip_list: formats.ClipList) -> list[tuple[str, int | None]]:
    return [(row.clip, row.label) for row in clip_list.rows]


# ---------------------------------------------------------------- class names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("id,name\n0,run\n1,walk\n", ("run", "walk")),
        ("id,name\r\n0,run\r\n1,walk", ("run", "walk")),
        ("\ufeffid,name\n0,run\n\n1,walk\n", ("run", "walk")),
        ('id,name\n0,"push, then pull"\n1,"it\'s (not) that"\n', ("push, then pull", "it's (not) that")),
    ],
    ids=["LF", "CRLF without final newline", "BOM and blank line", "quotes"],
)
def test_class_csv_is_read(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    assert formats.read_class_csv(write(tmp_path, "labels.csv", content)) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,run\n1,walk\n", "line 1: expected the header id,name"),
        ("id,name\n0,run\n2,walk\n", "line 3: expected id 1, found '2'"),
        ("id,name\n0,run\n1,Run\n", "line 3: class name 'Run' stands there twice"),
        ("id,name\n0,push, then pull\n", "line 2: expected id,name; quote a name"),
        ("id,name\n0,\n", "line 2: class 0 has no name"),
        ("id,name\n", "empty"),
        ("", "expected the header"),
    ],
)
def test_bad_class_csv_names_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        formats.read_class_csv(write(tmp_path, "labels.csv", content))
    assert "labels.csv" in str(error.value)


def test_classes_are_read_in_every_form(tmp_path: Path) -> None:
    assert formats.read_classes(write(tmp_path, "classInd.txt", "1 Run\r\n2 Walk\r\n")) == ("Run", "Walk")
    assert formats.read_classes(write(tmp_path, "label_map.txt", "run\nwalk the dog\n")) == ("run", "walk the dog")
    assert formats.read_classes(write(tmp_path, "labels.CSV", "id,name\n0,run\n")) == ("run",)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a UTF-8 text"):
        formats.read_label_map(write(tmp_path, "label_map.txt", b"caf\xe9\n"))


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.txt: cannot be read"):
        formats.read_list(tmp_path / "train.txt")


# ---------------------------------------------------------------- lists


def test_list_keeps_odd_names(tmp_path: Path) -> None:
    path = write(tmp_path, "l.txt", "#_2_catch_(a)[b]!&+;~@.avi 0\r\n\r\nmy clip, 2.mp4 1\r\n-x\\y.mp4\t12\r\n")
    assert clips(formats.read_list(path)) == [
        ("#_2_catch_(a)[b]!&+;~@.avi", 0),
        ("my clip, 2.mp4", 1),
        ("-x/y.mp4", 12),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\r\n \n", "empty"),
        ("a.mp4 0\nb.mp4 x\n", "line 2: the label 'x' is not a whole number"),
        ("a.mp4 0\nb.mp4 1.5\n", "line 2: the label '1.5' is not a whole number"),
        ("a.mp4 0\nb.mp4\n", "line 2: expected a clip and a number"),
        (
            "a.mp4,0\n",
            "line 1: expected a clip and a number, found only 'a.mp4,0'; the columns are separated by commas",
        ),
        ('"a b.mp4" 0\n', 'line 1: the name "a b.mp4" stands in quotes'),
        ("a.mp4 0\nb.mp4 1\na.mp4 0\n", r"line 3: the clip 'a.mp4' stands on line 1 already"),
        ("a.mp4 0\n./a.mp4 1\n", r"line 2: the clip 'a.mp4' stands on line 1 already"),
        ("a.mp4 0\nb.mp4 1 2\n", "line 2: several numbers follow the clip 'b.mp4'.*one label per clip"),
        ("/data/a.mp4 0\n", "line 1: '/data/a.mp4' is an absolute path"),
        ("\\\\server\\a.mp4 0\n", "line 1: .* is an absolute path"),
        ("C:\\data\\a.mp4 0\n", "line 1: .* is an absolute path"),
        ("a/../../b.mp4 0\n", "line 1: .* leaves the data root"),
        ("a\\..\\..\\b.mp4 0\n", "line 1: .* leaves the data root"),
    ],
)
def test_bad_list_names_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        formats.read_list(write(tmp_path, "train.txt", content))
    assert "train.txt" in str(error.value)


def test_official_test_list_names_classes_by_folder(tmp_path: Path) -> None:
    rows = formats.read_unlabelled_list(write(tmp_path, "testlist01.txt", "Run/v_Run_g01_c01.avi\r\n")).rows
    assert [(row.clip, row.label, row.name) for row in rows] == [("Run/v_Run_g01_c01.avi", None, "Run")]


def test_frame_count_is_not_read_into_the_path(tmp_path: Path) -> None:
    path = write(tmp_path, "val_rgb_split_1.txt", "run/a_b 438 0\nwalk/c 529 1\n")
    assert clips(formats.read_counted_list(path)) == [("run/a_b", 0), ("walk/c", 1)]


@pytest.mark.parametrize("rows", ["run/a 0 163 0\nwalk/b 0 12 1", "12 0 163 0\r\n-b 0 12 1\r\n", "a 5 0\nb\t0\t12\t1"])
def test_rows_that_start_at_frame_0_are_whole_folders(tmp_path: Path, rows: str) -> None:
    found = clips(formats.read_counted_list(write(tmp_path, "val_rawframes.txt", rows)))
    assert found == [(row.split()[0], label) for label, row in enumerate(rows.splitlines())]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("run/a 213 122 2", r"line 2: 3 numbers follow the clip 'run/a': several labels, or a part .* frame 213 on"),
        ("run/a 163 1 5 7", r"line 2: 4 numbers follow the clip 'run/a'"),
        ("run/a 0 0 163 1", r"line 2: 4 numbers follow the clip 'run/a'"),
        ("run/a x 1", "line 2: the number of frames 'x' is not a whole number"),
        ("run/a 163 x", "line 2: the label 'x' is not a whole number"),
        ("run/a 1", "line 2: expected a clip and a number"),
        ("/disk/run/a 163 1", "line 2: '/disk/run/a' is an absolute path"),
        ("run/../../a 163 1", "line 2: .* leaves the data root"),
    ],
)
def test_bad_counted_list_names_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        formats.read_counted_list(write(tmp_path, "rawframes.txt", f"walk/b 5 0\n{row}\n"))
    assert "rawframes.txt" in str(error.value)


@pytest.mark.parametrize("path", ["/disk/frames/run/a", "C:\\frames\\run\\a", "\\\\server\\run\\a", "run/a"])
def test_foreign_absolute_paths_keep_class_folder_and_clip(tmp_path: Path, path: str) -> None:
    found = formats.read_counted_list(write(tmp_path, "val.txt", f"{path} 163 3\r\n"), foreign=True)
    assert clips(found) == [("run/a", 3)]


@pytest.mark.parametrize("path", ["/disk/../..", "/disk/..", "a/../b"])
def test_foreign_paths_do_not_leave_the_root(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="leaves the data root"):
        formats.read_counted_list(write(tmp_path, "val.txt", f"{path} 163 3\n"), foreign=True)


def test_list_with_frame_counts_is_not_read_as_a_list_of_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"videos\.txt, line 1: every row has two numbers"):
        formats.read_list(write(tmp_path, "videos.txt", "run/a 163 0\nwalk/b 12 1\n"))
    named = formats.read_list(write(tmp_path, "videos.txt", "take 1 0\nother 1\n"))
    assert clips(named) == [("take 1", 0), ("other", 1)]


def test_milnce_csv(tmp_path: Path) -> None:
    content = "video_id,label,split1,split2,split3\na.avi,brush_hair_test,1,2,0\nb.avi,walk_test,2,1,1\n"
    lists = formats.read_milnce_csv(write(tmp_path, "hmdb51.csv", content))
    assert {key: [(row.clip, row.name) for row in found.rows] for key, found in lists.items()} == {
        ("train", 1): [("a.avi", "brush hair")],
        ("test", 1): [("b.avi", "walk")],
        ("train", 2): [("b.avi", "walk")],
        ("test", 2): [("a.avi", "brush hair")],
        ("train", 3): [("b.avi", "walk")],
    }
    with pytest.raises(DataError, match="line 2: expected 0 "):
        formats.read_milnce_csv(write(tmp_path, "hmdb51.csv", content.replace("1,2,0", "3,2,0")))


def test_official_hmdb_split(tmp_path: Path) -> None:
    path = write(tmp_path, "brush_hair_test_split2.txt", "a.avi 1 \nb.avi 2 \nc.avi 0 \n")
    parts = formats.read_hmdb_split(path, 2)
    assert {part: [(row.clip, row.name) for row in found.rows] for part, found in parts.items()} == {
        "train": [("a.avi", "brush hair")],
        "test": [("b.avi", "brush hair")],
    }


# ---------------------------------------------------------------- labels


def a_list(tmp_path: Path, *rows: str) -> formats.ClipList:
    return formats.read_list(write(tmp_path, "train.txt", "\n".join(rows)))


@pytest.mark.parametrize(
    ("rows", "base"),
    [
        (("a.mp4 0", "b.mp4 1"), 0),
        (("a.mp4 1", "b.mp4 3"), 1),
        (("run/a.mp4 1", "b.mp4 2"), 1),
        (("v_Walk_g01.mp4 1", "b.mp4 2"), 0),
    ],
    ids=["a label 0", "a label equal to the number of classes", "class folder", "class in the file name"],
)
def test_label_base_is_detected(tmp_path: Path, rows: tuple[str, ...], base: int) -> None:
    assert formats.label_base([a_list(tmp_path, *rows)], ["Run", "Walk", "Sit"]) == base


def test_ambiguous_label_base_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fits counting from 0 and from 1.*folder\.label_base"):
        formats.label_base([a_list(tmp_path, "a.mp4 1", "b.mp4 2")], ["Run", "Walk", "Sit"])


@pytest.mark.parametrize("label", [-1, 3, 99])
def test_label_outside_the_classes_is_refused(tmp_path: Path, label: int) -> None:
    clip_list = a_list(tmp_path, "a.mp4 0", f"b.mp4 {label}")
    base = formats.label_base([clip_list], ["run", "walk", "sit"])
    with pytest.raises(DataError, match=rf"train\.txt, line 2: label {label} of 'b.mp4' is outside the 3 classes"):
        formats.labelled(clip_list, ["run", "walk", "sit"], base)


def test_names_match_classes_in_other_spellings_but_not_by_chance() -> None:
    find = formats.class_finder(["brush hair", "C", "C++"])
    assert [find(name) for name in ("brush_hair", "BrushHair", "C", "C++", "c", "comb")] == [0, 0, 1, 2, None, None]


def test_clip_in_train_and_test_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"'a\.mp4' of the training list train\.txt stands in the test list test\.txt too"
    ):
        formats.refuse_overlap({"train.txt": [Sample("a.mp4", 0)]}, {"test.txt": [Sample("a.mp4", 0)]})


# ---------------------------------------------------------------- properties

#: Any printable name of a file, without what separates folders and rows.
NAMES = st.text(
    st.characters(exclude_characters="/\\\n\r\0:", exclude_categories=["Cs"]), min_size=1, max_size=30
).filter(lambda name: name.strip(" \t") == name and name not in (".", "..") and not name.startswith("\ufeff"))
CLIPS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".mp4")


@given(rows=st.lists(st.tuples(CLIPS, st.integers(0, 400)), min_size=1, max_size=8, unique_by=lambda row: row[0]))
def test_lists_survive_a_round_trip(rows: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lists") / "train.txt"
    for end in ("\n", "\r\n"):
        path.write_bytes(end.join(f"{clip} {label}" for clip, label in rows).encode())
        assert clips(formats.read_list(path)) == rows


@given(
    rows=st.lists(st.tuples(CLIPS, st.integers(0, 9999), st.integers(0, 400)), min_size=1, max_size=8),
    offset=st.sampled_from(["", "0 "]),
)
def test_counted_lists_survive_a_round_trip(
    rows: list[tuple[str, int, int]], offset: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lists") / "train.txt"
    unique = list({clip: (clip, frames, label) for clip, frames, label in rows}.values())
    for end in ("\n", "\r\n"):
        path.write_bytes(end.join(f"{clip} {offset}{frames} {label}" for clip, frames, label in unique).encode())
        assert clips(formats.read_counted_list(path)) == [(clip, label) for clip, _, label in unique]


@given(
    before=st.lists(st.sampled_from(["a", "..", ".", "", "b c"]), max_size=4),
    after=st.lists(st.sampled_from(["a", "..", ".", "x.mp4"]), min_size=1, max_size=4),
    slash=st.sampled_from(["/", "\\"]),
    drive=st.sampled_from(["", "C:", "c:/"]),
)
def test_no_accepted_path_leaves_the_root(before: list[str], after: list[str], slash: str, drive: str) -> None:
    text = drive + slash.join([*before, *after])
    try:
        clip = formats.clip_path(text, "here")
    except DataError:
        return
    root = Path("/somewhere/root")
    assert Path(f"{root}/{clip}").resolve().is_relative_to(root)
    assert not Path(clip).is_absolute()
    assert ".." not in Path(clip).parts


@given(
    names=st.lists(st.text("abc ,\"'()é", min_size=1).map(str.strip).filter(bool), min_size=1, unique_by=str.casefold)
)
def test_class_csv_survives_a_round_trip(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rows = [f'{index},"{name.replace(chr(34), chr(34) * 2)}"' for index, name in enumerate(names)]
    path.write_bytes("\r\n".join(["id,name", *rows]).encode())
    assert formats.read_class_csv(path) == tuple(names)


# ---------------------------------------------------------------- real files


def test_published_lists_have_the_published_counts(real_data: Path) -> None:
    expected = json.loads((GOLDENS / "vificlip_splits_manifest.json").read_text())
    checked = 0
    for name, facts in expected.items():
        path = real_data / "annotations" / "vificlip" / name
        # Some lists are kept only in part; then their hash differs and there is nothing to compare.
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            continue
        if path.suffix == ".csv":
            assert len(formats.read_class_csv(path)) == facts["rows"], name
            continue
        labels = Counter(row.label for row in formats.read_list(path).rows)
        assert sum(labels.values()) == facts["rows"], name
        assert len(labels) == facts["classes"], name
        assert (min(labels.values()), max(labels.values())) == (facts["min_per_class"], facts["max_per_class"]), name
        assert (min(labels), max(labels)) == (facts["label_min"], facts["label_max"]), name
        checked += 1
    assert checked >= 25


def test_published_label_files_are_read(real_data: Path) -> None:
    folder = real_data / "annotations"
    counts = {path.name: len(formats.read_class_csv(path)) for path in (folder / "vificlip" / "labels").glob("*.csv")}
    assert counts["kinetics_400_labels.csv"] == 400
    assert counts["kinetics_400_base_labels.csv"] == counts["kinetics_400_novel_labels.csv"] == 200
    assert (counts["ucf_101_base_labels.csv"], counts["ucf_101_novel_labels.csv"]) == (51, 50)
    assert (counts["hmdb_51_base_labels.csv"], counts["hmdb_51_novel_labels.csv"]) == (26, 25)
    assert len(formats.read_class_csv(folder / "text4vis" / "labels" / "anet1.3_labels.csv")) == 200
    maps = {
        path.parent.name: len(formats.read_classes(path))
        for path in folder.glob("mmaction2/label_maps/*/label_map.txt")
    }
    assert maps == {"activitynet": 200, "hmdb51": 51, "sthv2": 174, "ucf101": 101}


def test_absolute_frame_lists_are_refused(real_data: Path) -> None:
    with pytest.raises(DataError, match="absolute path"):
        formats.read_counted_list(real_data / "annotations" / "actionclip" / "val_frames_re.txt")


def test_absolute_frame_lists_are_read_by_class_folder_and_clip(real_data: Path) -> None:
    rows = formats.read_counted_list(real_data / "annotations/actionclip/val_frames_re.txt", foreign=True).rows
    assert (rows[0].clip, rows[0].label) == ("ice_skating/99elfyHn6wo", 164)
    assert {row.clip.count("/") for row in rows} == {1}
    assert len(rows) == 2000  # of 19,357: the sample is cut


def test_published_frame_lists_have_the_published_counts(real_data: Path) -> None:
    folder = real_data / "annotations" / "text4vis"
    counts = {path: len(formats.read_counted_list(folder / path).rows) for path in (
        "ucf101/val_rgb_split_1.txt", "hmdb51/val_rgb_split_1.txt", "activitynet/anet_val_video_fps1.txt"
    )}  # fmt: skip
    assert list(counts.values()) == [3783, 1530, 4926]
    for path in counts:
        with pytest.raises(DataError, match="every row has two numbers"):
            formats.read_list(folder / path)


def test_official_lists_end_lines_with_crlf_and_count_from_1(real_data: Path) -> None:
    folder = real_data / "annotations/ucf101_official/ucfTrainTestlist"
    assert (folder / "trainlist01.txt").read_bytes().count(b"\r\n") == 9537
    labels = [row.label for row in formats.read_list(folder / "trainlist01.txt").rows]
    assert (min(map(int, labels)), max(map(int, labels))) == (1, 101)
    assert formats.read_class_index(folder / "classInd.txt")[0] == "ApplyEyeMakeup"
