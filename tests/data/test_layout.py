"""Finding clips and annotation files in the layouts that users have."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from petl_bench.data import layout
from petl_bench.data.layout import ClipIndex, find_annotation, scan, sharing
from petl_bench.errors import DataError


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return root


def find(root: Path, clip: str, *classes: str) -> tuple[str, ...]:
    return ClipIndex(scan(root), classes).find(clip).files


@pytest.mark.parametrize(
    ("there", "clip"),
    [
        ("v_Run_g01.avi", "v_Run_g01.avi"),
        ("UCF-101/Run/v_Run_g01.avi", "v_Run_g01.avi"),
        ("v_Run_g01.avi", "Run/v_Run_g01.avi"),
        ("videos/Run/v_Run_g01.avi", "Run/v_Run_g01.avi"),
        ("Run/v_Run_g01.mp4", "Run/v_Run_g01.avi"),
        ("Run/v_Run_g01.MP4", "v_Run_g01"),
        ("HandStandPushups/v_HandStandPushups_g01.avi", "HandstandPushups/v_HandstandPushups_g01.avi"),
        ("train/Run/x.mp4", "val/x.mp4"),
        ("a/#_2_[b]_(c)!+&.avi", "#_2_[b]_(c)!+&.avi"),
        ("a/movie.2001.part.avi", "movie.2001.part.mp4"),
        ("-start_000001.mp4", "-start_000001.mp4"),
    ],
)
def test_clips_are_found_in_any_layout(tmp_path: Path, there: str, clip: str) -> None:
    assert find(make(tmp_path, there), clip, "Run", "Walk") == (there,)


def test_decomposed_file_names_are_found(tmp_path: Path) -> None:
    there = unicodedata.normalize("NFD", "café.mp4")
    assert find(make(tmp_path, there), unicodedata.normalize("NFC", "café.mp4")) == (there,)


def test_path_decides_between_equal_names(tmp_path: Path) -> None:
    make(tmp_path, "Run/1.mp4", "Walk/1.mp4", "Walk/1.avi")
    assert find(tmp_path, "Walk/1.mp4", "Run", "Walk") == ("Walk/1.mp4",)
    assert find(tmp_path, "1.mp4", "Run", "Walk") == ("Run/1.mp4", "Walk/1.mp4")


def test_a_clip_is_never_taken_from_another_class(tmp_path: Path) -> None:
    make(tmp_path, "Walk/1.mp4")
    assert find(tmp_path, "Run/1.mp4", "Run", "Walk") == ()
    assert find(tmp_path, "Run/1.mp4", "Run") == ("Walk/1.mp4",)


def test_hidden_files_and_other_files_are_no_clips(tmp_path: Path) -> None:
    make(tmp_path, "Run/._1.mp4", ".trash/1.mp4", "Run/poster.jpg", "Run/.1.jpg")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    assert scan(tmp_path).videos == ()


def test_links_are_followed_once(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "x.mp4")
    root = make(tmp_path / "root", "a/y.mp4")
    (root / "linked").symlink_to(outside)
    (root / "a" / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "a")
    assert scan(root).videos == ("a/y.mp4", "linked/x.mp4")


def test_nothing_outside_the_root_is_found(tmp_path: Path) -> None:
    make(tmp_path, "secret.mp4", "root/x.mp4")
    assert find(tmp_path / "root", "../secret.mp4") == ()
    assert find(tmp_path / "root", str(tmp_path / "secret.mp4")) == ()


def test_missing_root_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*--data-root"):
        scan(tmp_path / "nowhere")


def test_root_that_cannot_be_listed_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.os, "scandir", lambda place: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(DataError, match="the folder cannot be listed"):
        scan(tmp_path)


def test_folders_of_numbered_images_are_clips(tmp_path: Path) -> None:
    make(
        tmp_path,
        "Run/a/img_00001.jpg",
        "Run/a/img_00002.jpg",
        "Run/a/flow_x_00001.jpg",
        "Run/b.mp4",
        "Run/0001.jpg",  # a picture in a folder of clips makes it no clip
        "Walk/c/00000.PNG",
        "Walk/d/poster.jpg",
        "Walk/e/flow_x_00001.jpg",
        "1.jpg",
    )
    tree = scan(tmp_path)
    assert tree.videos == ("Run/a", "Run/b.mp4", "Walk/c")
    assert tree.frame_folders == {"Run/a", "Walk/c"}


@pytest.mark.parametrize("clip", ["Run/v_1.avi", "Run/v_1", "v_1", "/nas/frames/Run/v_1", "other/v_1"])
def test_frame_folders_are_found_like_files(tmp_path: Path, clip: str) -> None:
    assert find(make(tmp_path, "rawframes/Run/v_1/img_00001.jpg"), clip, "Run", "Walk") == ("rawframes/Run/v_1",)


@pytest.mark.parametrize("clip", ["Run/1.mp4", "Run/1", "1", "/nas/Run/1"])
def test_the_video_goes_before_its_frames(tmp_path: Path, clip: str) -> None:
    make(tmp_path, "frames/Run/1/img_00001.jpg", "videos/Run/1.mp4")
    match = ClipIndex(scan(tmp_path), ["Run", "Walk"]).find(clip)
    assert (match.files, match.frames_beside) == (("videos/Run/1.mp4",), ("frames/Run/1",))


def test_frames_that_fit_by_path_go_before_a_video_that_fits_by_name_alone(tmp_path: Path) -> None:
    make(tmp_path, "s01/1/img_00001.jpg", "1.mp4")
    assert find(tmp_path, "s01/1") == ("s01/1",)


def test_many_folders_give_the_same_tree_whatever_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"c{n % 7}/d{n}/{n}.mp4" for n in range(60)))
    (tmp_path / "linked").symlink_to(tmp_path / "c3")
    whole = scan(tmp_path)
    monkeypatch.setattr(layout, "_LISTED_AT_ONCE", 3)
    monkeypatch.setattr(layout, "_LISTING_THREADS", 1)
    told: list[int] = []
    assert scan(tmp_path, told.append) == whole
    assert len(whole.videos) == 60
    assert (told[-1], told) == (68, sorted(told))


def test_a_shared_tree_is_not_walked_again(tmp_path: Path) -> None:
    tree = scan(make(tmp_path, "a/1.mp4"))
    make(tmp_path, "a/2.mp4")
    with sharing(tree):
        assert scan(tmp_path) is tree
        assert scan(tmp_path / "a").videos == ("1.mp4", "2.mp4")
    assert scan(tmp_path).videos == ("a/1.mp4", "a/2.mp4")


def test_annotations_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    make(
        tmp_path,
        "lists/base2novel_splits/ucf_splits/val1.txt",
        "other/hmdb_splits/val1.txt",
        "val2.txt",
        "deep/val3.txt",
    )
    tree = scan(tmp_path)
    assert find_annotation(tree, "ucf_splits/val1.txt") == tmp_path / "lists/base2novel_splits/ucf_splits/val1.txt"
    assert find_annotation(tree, "ucf_splits/val2.txt", "./val2.txt") == tmp_path / "val2.txt"
    assert find_annotation(tree, "ucf_splits/val3.txt", "./val3.txt") is None


def test_equal_copies_of_a_list_are_one_and_different_ones_are_refused(tmp_path: Path) -> None:
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=r"several different files are called labels\.csv: a/labels\.csv, b/.*c/"):
        find_annotation(scan(tmp_path), "labels.csv")
    (tmp_path / "c" / "labels.csv").unlink()
    assert find_annotation(scan(tmp_path), "labels.csv") == tmp_path / "a/labels.csv"
