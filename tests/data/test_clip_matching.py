"""Which files are the clips that lists name, in the layouts that users have."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.api.dataset import Sample
from petl_bench.data.found.clip_matching import FileMatch, match_clips
from petl_bench.data.found.tree import Tree, walk


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return root


def find(root: Path, clip: str, *classes: str) -> tuple[str, ...]:
    return match(root, clip, *classes).files


def match(root: Path, clip: str, *classes: str) -> FileMatch:
    return match_clips(walk(root), [[Sample(clip, 0)]], classes)[clip]


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


def test_nothing_outside_the_root_is_found(tmp_path: Path) -> None:
    make(tmp_path, "secret.mp4", "root/x.mp4")
    assert find(tmp_path / "root", "../secret.mp4") == ()
    assert find(tmp_path / "root", str(tmp_path / "secret.mp4")) == ()


@pytest.mark.parametrize("clip", ["Run/v_1.avi", "Run/v_1", "v_1", "/nas/frames/Run/v_1", "other/v_1"])
def test_frame_folders_are_found_like_files(tmp_path: Path, clip: str) -> None:
    assert find(make(tmp_path, "rawframes/Run/v_1/img_00001.jpg"), clip, "Run", "Walk") == ("rawframes/Run/v_1",)


@pytest.mark.parametrize("clip", ["Run/1.mp4", "Run/1", "1", "/nas/Run/1"])
def test_the_video_goes_before_its_frames(tmp_path: Path, clip: str) -> None:
    make(tmp_path, "frames/Run/1/img_00001.jpg", "videos/Run/1.mp4")
    found = match(tmp_path, clip, "Run", "Walk")
    assert (found.files, found.frames_beside) == (("videos/Run/1.mp4",), ("frames/Run/1",))


def test_frames_that_fit_by_path_go_before_a_video_that_fits_by_name_alone(tmp_path: Path) -> None:
    make(tmp_path, "s01/1/img_00001.jpg", "1.mp4")
    assert find(tmp_path, "s01/1") == ("s01/1",)


# ---------------------------------------------------------------- several clips


def matched(there: Sequence[str], *lists: Sequence[str], classes: Sequence[str] = ()) -> dict[str, str | None]:
    """Clip -> its file; None for a missing clip, "?" for an ambiguous one. All have one label."""
    tree = Tree(Path("/data"), tuple(sorted(there)), ())
    found = match_clips(tree, [[Sample(clip, 0) for clip in clips] for clips in lists], classes)
    return {
        clip: None if not match.files else "?" if match.contested or len(match.files) > 1 else match.files[0]
        for clip, match in found.items()
    }


@pytest.mark.parametrize("prefix", ["", "videos/", "a/b/"])
@pytest.mark.parametrize("list_prefix", ["", "data/", "home/me/"])
def test_a_missing_clip_is_not_replaced_by_one_that_another_row_names(prefix: str, list_prefix: str) -> None:
    rows = [f"{list_prefix}s1/walk_01.mp4", f"{list_prefix}s2/walk_01.mp4"]
    there = f"{prefix}s2/walk_01.mp4"
    assert matched([there], rows) == {rows[0]: None, rows[1]: there}
    assert matched([there], rows[:1], rows[1:]) == {rows[0]: None, rows[1]: there}
    assert matched([there], rows[1:], rows[:1]) == {rows[0]: None, rows[1]: there}


@pytest.mark.parametrize("there", ["s2/walk.avi", "S2/Walk.mp4", "videos/s2/WALK.MKV"])
def test_a_claim_by_path_is_one_in_another_case_and_format(there: str) -> None:
    assert matched([there], ["s1/walk.mp4", "s2/walk.mp4"]) == {"s1/walk.mp4": None, "s2/walk.mp4": there}


def test_a_row_s_own_file_does_not_free_a_second_one_that_it_names() -> None:
    there = ["s2/walk.mp4", "videos/s2/walk.mp4"]
    assert matched(there, ["s1/walk.mp4", "s2/walk.mp4"]) == {"s1/walk.mp4": None, "s2/walk.mp4": "s2/walk.mp4"}


def test_rows_that_fit_one_file_by_its_name_alone_are_ambiguous() -> None:
    assert matched(["1.mp4"], ["s1/1.mp4", "s2/1.mp4"]) == {"s1/1.mp4": "?", "s2/1.mp4": "?"}
    assert matched(["x/1.mp4"], ["s1/1.mp4", "s2/1.avi"]) == {"s1/1.mp4": "?", "s2/1.avi": "?"}
    assert matched(["x/1.mp4"], ["s1/1.mp4"], ["s2/1.mp4"]) == {"s1/1.mp4": "?", "s2/1.mp4": "?"}
    # the second one has a file of its own
    assert matched(["x/1.mp4", "s2/1.mp4"], ["s1/1.mp4", "s2/1.mp4"])["s1/1.mp4"] == "x/1.mp4"


def test_renamed_class_folders_are_told_apart_by_the_others() -> None:
    there, rows = ["Run/1.mp4", "walking/1.mp4"], ["Run/1.mp4", "Walk/1.mp4"]
    assert matched(there, rows, classes=["Run", "Walk"]) == dict(zip(rows, there, strict=True))


def test_a_list_may_have_leading_folders_that_the_root_lacks() -> None:
    there = [f"{side}/{n:04d}.mp4" for side in ("Run", "Walk") for n in range(4)]
    rows = [f"frames/UCF/{path}" for path in there]
    assert matched(there, rows) == dict(zip(rows, there, strict=True))


def test_the_longest_end_that_agrees_wins() -> None:
    rows = ["a/Run/1.mp4"]
    assert matched(["1.mp4", "Run/1.mp4", "Walk/1.mp4"], rows) == {rows[0]: "Run/1.mp4"}
    assert matched(["b/Run/1.mp4", "b/Walk/1.mp4"], rows) == {rows[0]: "b/Run/1.mp4"}
    assert matched(["b/Run/1.mp4", "c/Run/1.mp4"], rows) == {rows[0]: "?"}
    assert matched(["c/a/Run/1.mp4", "b/Run/1.mp4"], rows) == {rows[0]: "c/a/Run/1.mp4"}
    assert matched(["1.mp4", "b/2.mp4"], ["2.mp4", "x/1.mp4"]) == {"2.mp4": "b/2.mp4", "x/1.mp4": "1.mp4"}


def test_one_clip_in_several_lists_is_one_clip_under_a_shorter_name_too() -> None:
    names = ["Run/1.mp4", "1.mp4", "videos/Run/1.avi"]
    assert matched(["Run/1.mp4"], *([name] for name in names)) == dict.fromkeys(names, "Run/1.mp4")
    assert matched(["all/1.mp4"], ["Run/1.mp4"], ["1.mp4"]) == {"Run/1.mp4": "all/1.mp4", "1.mp4": "all/1.mp4"}


def test_two_rows_of_one_list_are_two_clips() -> None:
    assert matched(["Run/1.mp4"], ["Run/1.avi", "Run/1.mp4"]) == {"Run/1.avi": None, "Run/1.mp4": "Run/1.mp4"}
    assert matched(["a/Run/1.mkv"], ["Run/1.avi", "Run/1.mp4"]) == {"Run/1.avi": "?", "Run/1.mp4": "?"}
    assert matched(["1.mp4"], ["1.mp4", "Run/1.mp4"]) == {"1.mp4": "1.mp4", "Run/1.mp4": None}


def test_letter_case_tells_two_files_apart() -> None:
    both = ["a/X.mp4", "a/x.mp4"]
    assert matched(both, both) == dict(zip(both, both, strict=True))
    assert matched(both[1:], both) == {"a/X.mp4": None, "a/x.mp4": "a/x.mp4"}


_PATH = st.lists(st.sampled_from(["s1", "s2", "Run", "Walk"]), max_size=3).map(lambda parts: "/".join([*parts, ""]))
_NAMED = st.builds("{}{}".format, _PATH, st.sampled_from(["1.mp4", "1.avi", "2.mp4"]))


@given(st.sets(_NAMED, max_size=6), st.sets(_NAMED, min_size=1, max_size=6))
def test_no_file_serves_two_rows_of_a_list_and_a_row_s_own_path_is_its_file(there: set[str], rows: set[str]) -> None:
    found = matched(sorted(there), sorted(rows), classes=["Run", "Walk"])
    files = [file for file in found.values() if file not in (None, "?")]
    assert len(files) == len(set(files))
    assert all(found[clip] == clip for clip in rows & there)


def test_many_clips_of_equal_names_are_matched_quickly() -> None:
    """Folders that agree, folders named otherwise, and none: nothing may take the square of the number of clips."""
    names = [f"{folder:03d}/{n}.mp4" for folder in range(500) for n in range(5)]
    assert matched([f"x/{name}" for name in names], names) == {name: f"x/{name}" for name in names}
    assert set(matched([f"other-{name}" for name in names], names).values()) == {"?"}
    assert set(matched([f"{n}.mp4" for n in range(5)], names).values()) == {"?"}
