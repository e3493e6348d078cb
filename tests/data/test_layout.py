"""Walking a data root: clips, annotation files, and an account of everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.data import layout, listing
from petl_bench.data.layout import find_annotation, scan, sharing
from petl_bench.errors import DataError


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return root


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


def test_missing_root_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*--data-root"):
        scan(tmp_path / "nowhere")


def test_root_that_cannot_be_listed_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing.os, "scandir", lambda place: (_ for _ in ()).throw(PermissionError(13, "denied")))
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
