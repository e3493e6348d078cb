"""Walking a data root: clips, annotation files, and an account of everything else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.data.found import listing
from petl_bench.data.found import tree as tree_module
from petl_bench.data.found.entries import KINDS, Counted
from petl_bench.data.found.tree import Tree, find_annotation, given_root, sharing, walk
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
    assert walk(tmp_path).files == ()


def test_links_are_followed_once(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "x.mp4")
    root = make(tmp_path / "root", "a/y.mp4")
    (root / "linked").symlink_to(outside)
    (root / "a" / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "a")
    assert walk(root).files == ("a/y.mp4", "linked/x.mp4")


def test_links_that_lead_nowhere_count_as_themselves_and_their_neighbours_are_found(tmp_path: Path) -> None:
    make(tmp_path, "Run/a.mp4", "Run/z.mp4", "Walk/b.mp4")
    (tmp_path / "Run/loop").symlink_to("loop")
    (tmp_path / "Run/m.mp4").symlink_to("m.mp4")
    (tmp_path / "Run/gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "Run/below.mp4").symlink_to("a.mp4/below")
    tree = walk(tmp_path)
    assert tree.files == ("Run/a.mp4", "Run/z.mp4", "Walk/b.mp4")
    assert tree.entries.kinds["link_loops"] == Counted(2, "Run/loop")
    assert tree.entries.kinds["broken_links"] == Counted(2, "Run/below.mp4")


@pytest.mark.parametrize("refused", ["stat", "is_dir"])
def test_an_entry_that_cannot_be_looked_at_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    make(tmp_path, "Run/a.mp4", "Run/b.mp4", "Run/c.mp4")
    (tmp_path / "Run/b.mp4").unlink()
    (tmp_path / "Run/b.mp4").symlink_to("a.mp4")
    list_folder = listing.os.scandir

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self._entry = entry

        def __getattr__(self, name: str) -> object:
            if name == refused and self._entry.name == "b.mp4":
                raise PermissionError(13, "Permission denied")
            return getattr(self._entry, name)

    class Folder:
        def __init__(self, place: str) -> None:
            self._entries = list_folder(place)

        def __enter__(self) -> Iterator[Entry]:
            return map(Entry, self._entries)

        def __exit__(self, *_: object) -> None:
            self._entries.close()

    if refused == "is_dir":
        (tmp_path / "Run/b.mp4").unlink()
        (tmp_path / "Run/b.mp4").write_text("b")
    monkeypatch.setattr(listing.os, "scandir", Folder)
    tree = walk(tmp_path)
    assert tree.files == ("Run/a.mp4", "Run/c.mp4")
    assert tree.entries.unreadable == {"Run/b.mp4": "Permission denied"}
    assert_adds_up(tree)


def test_a_listing_that_breaks_off_keeps_what_it_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "Run/a.mp4", "Run/b.mp4", "Walk/c.mp4")
    list_folder = listing.os.scandir

    @contextmanager
    def broken(place: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        def entries() -> Iterator[os.DirEntry[str]]:
            for number, entry in enumerate(sorted(list_folder(place), key=lambda entry: entry.name)):
                if place.endswith("Run") and number == 1:
                    raise OSError(5, "Input/output error")
                yield entry

        yield entries()

    monkeypatch.setattr(listing.os, "scandir", broken)
    tree = walk(tmp_path)
    assert tree.files == ("Run/a.mp4", "Walk/c.mp4")
    assert tree.entries.unreadable == {"Run": "the folder cannot be listed whole: Input/output error"}
    assert_adds_up(tree)


def test_names_that_are_not_utf8_are_told_and_cannot_be_clips(tmp_path: Path) -> None:
    make(tmp_path, "Run/a.mp4", "Run/é\n.mp4")
    for name in (b"Run/caf\xe9.mp4", b"\xff/b.mp4"):
        place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        place.parent.mkdir(exist_ok=True)
        place.write_text("x")
    tree = walk(tmp_path)
    assert tree.files == ("Run/a.mp4", "Run/é\n.mp4")
    reason = "the name is not UTF-8; rename it"
    assert tree.entries.unreadable == {"Run/caf\\udce9.mp4": reason, "\\udcff": reason}
    assert_adds_up(tree)


def assert_adds_up(tree: Tree) -> None:
    """Every entry that the system shows (of folders that were read, by one path each) is in one kind."""
    assert sum(some.count for some in tree.entries.kinds.values()) == tree.entries.total
    assert set(tree.entries.kinds) <= set(KINDS)
    others = sum(some.count for some in tree.entries.other_files.values())
    assert others == tree.entries.count("other_files")
    clips = tree.entries.count("videos") + tree.entries.count("frame_folders")
    assert clips == len(tree.files)


def test_every_entry_is_accounted_for(tmp_path: Path) -> None:
    make(
        tmp_path / "root",
        *("a/1.mp4", "a/2.DAT", "a/3.DAT", "a/4.rm", "a/notes.md", "a/README", "a/clip", "a/.hidden", "list.csv"),
        *("f/img_00001.jpg", "f/img_00002.jpg", "f/depth.png", "pics/x.jpg", "pics/y.jpg", "cover/x.jpg", ".git/x.mp4"),
    )
    make(tmp_path, "outside/5.mp4")
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "outside")
    (root / "c").symlink_to("a")
    (root / "d.mp4").symlink_to("a/1.mp4")
    (root / "gone").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    tree = walk(root)
    counts = {kind: some.count for kind, some in tree.entries.kinds.items()}
    assert counts == {
        "videos": 3, "frame_folders": 1, "frames": 3, "folders": 4, "lists": 1, "images": 3, "other_files": 6,
        "hidden": 2, "seen_already": 1, "broken_links": 1, "special": 1,
    }  # fmt: skip
    assert tree.entries.total == 26
    assert tree.entries.outside == Counted(1, "b")
    assert tree.linked_again == ("c",)
    assert tree.entries.other_files[".dat"] == Counted(2, "a/2.DAT")
    perhaps = tree.entries.perhaps_clips
    assert {name: some.count for name, some in perhaps.items()} == {
        ".dat": 2, ".rm": 1, "no extension": 1, "folders of images that are not numbered as frames": 1,
    }  # fmt: skip
    assert_adds_up(tree)


_NAMES = st.sampled_from(["a", "b.mp4", "1.jpg", "img_2.png", "c.txt", "d.rm", ".e", "README", "f.md"])


@given(st.sets(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), max_size=12))
def test_the_account_adds_up_for_any_tree(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    root = tmp_path_factory.mktemp("root")
    for path in sorted(paths):
        with contextlib.suppress(OSError):  # a file where a folder of that name is
            make(root, path)
    tree = walk(root)
    assert_adds_up(tree)
    seen = [path.relative_to(root).as_posix() for path in root.rglob("*")]
    looked_into = [path for path in seen if not any(part.startswith(".") for part in path.split("/")[:-1])]
    assert tree.entries.total == len(looked_into)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "/".join(["y" * 200] * 30)])
def test_a_root_that_cannot_be_a_path_is_one_clear_line(name: str) -> None:
    with pytest.raises(DataError, match="no such folder"):
        walk(Path("/tmp") / name)
    with pytest.raises(DataError, match="no such folder"):
        given_root("ucf101", Path("/tmp") / name, "clips")


def test_missing_root_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*--data-root"):
        walk(tmp_path / "nowhere")


def test_root_that_cannot_be_listed_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing.os, "scandir", lambda place: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(DataError, match="the folder cannot be listed"):
        walk(tmp_path)


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
    tree = walk(tmp_path)
    assert tree.files == ("Run/a", "Run/b.mp4", "Walk/c")
    assert tree.frame_folders == {"Run/a", "Walk/c"}


def test_many_folders_give_the_same_tree_whatever_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"c{n % 7}/d{n}/{n}.mp4" for n in range(60)))
    (tmp_path / "linked").symlink_to(tmp_path / "c3")
    whole = walk(tmp_path)
    monkeypatch.setattr(tree_module, "_LISTED_AT_ONCE", 3)
    monkeypatch.setattr(tree_module, "_LISTING_THREADS", 1)
    told: list[int] = []
    assert walk(tmp_path, told.append) == whole
    assert len(whole.files) == 60
    assert (told[-1], told) == (68, sorted(told))


def test_a_shared_tree_is_not_walked_again(tmp_path: Path) -> None:
    tree = walk(make(tmp_path, "a/1.mp4"))
    make(tmp_path, "a/2.mp4")
    with sharing(tree):
        assert walk(tmp_path) is tree
        assert walk(tmp_path / "a").files == ("1.mp4", "2.mp4")
    assert walk(tmp_path).files == ("a/1.mp4", "a/2.mp4")


def test_annotations_are_found_by_the_end_of_their_path(tmp_path: Path) -> None:
    make(
        tmp_path,
        "lists/base2novel_splits/ucf_splits/val1.txt",
        "other/hmdb_splits/val1.txt",
        "val2.txt",
        "deep/val3.txt",
    )
    tree = walk(tmp_path)
    assert find_annotation(tree, "ucf_splits/val1.txt") == tmp_path / "lists/base2novel_splits/ucf_splits/val1.txt"
    assert find_annotation(tree, "ucf_splits/val2.txt", "./val2.txt") == tmp_path / "val2.txt"
    assert find_annotation(tree, "ucf_splits/val3.txt", "./val3.txt") is None


def test_equal_copies_of_a_list_are_one_and_different_ones_are_refused(tmp_path: Path) -> None:
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=r"several different files are called labels\.csv: a/labels\.csv, b/.*c/"):
        find_annotation(walk(tmp_path), "labels.csv")
    (tmp_path / "c" / "labels.csv").unlink()
    assert find_annotation(walk(tmp_path), "labels.csv") == tmp_path / "a/labels.csv"
