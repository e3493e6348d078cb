"""The manifest: which clips are there, what it refuses, and a hash that follows the data and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.data.decoding.clips import read_clip
from petl_bench.data.found import fingerprints
from petl_bench.data.found.manifest import Manifest, build_manifest
from petl_bench.data.found.scan_results import ScanResult, ScanResults
from petl_bench.errors import DataError

TRAIN = (Sample("Run/1.mp4", 0), Sample("Walk/2.mp4", 1))
TEST = (Sample("Run/3.mp4", 0), Sample("Walk/4.mp4", 1))


class Listed(Dataset):
    """A data set of given lists."""

    name = "listed"

    def __init__(self, train: tuple[Sample, ...] = TRAIN, test: tuple[Sample, ...] = TEST) -> None:
        self._annotations = Annotations(("Run", "Walk"), {1: train}, {1: test}, notes=("a note",))

    def annotations(self, root: Path) -> Annotations:
        return self._annotations


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for sample in (*TRAIN, *TEST):
        file = folder / sample.clip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sample.clip * 100)
    return folder


def build(root: Path, dataset: Dataset | None = None) -> Manifest:
    return build_manifest(dataset or Listed(), root, root.parent / "cache")


def test_everything_found(root: Path) -> None:
    manifest = build(root)
    assert manifest.found["Run/1.mp4"].path == root / "Run/1.mp4"
    assert manifest.found["Run/1.mp4"].bytes == 900
    assert (len(manifest.found), manifest.missing, manifest.ambiguous) == (4, (), {})
    assert manifest.notes == ("a note",)


def test_hash_is_the_same_elsewhere_and_later(root: Path, tmp_path: Path) -> None:
    first = build(root)
    shutil.copytree(root, tmp_path / "elsewhere")
    os.utime(root / "Run/1.mp4", (1, 1))
    assert build(tmp_path / "elsewhere").sha256 == build(root).sha256 == first.sha256


def test_hash_follows_content_lists_labels_and_names(root: Path) -> None:
    hashes = {build(root).sha256}
    hashes.add(build(root, Listed(train=TRAIN[:1])).sha256)
    hashes.add(build(root, Listed(train=(TRAIN[0], Sample("Walk/2.mp4", 0)))).sha256)
    renamed = Listed()
    renamed._annotations = Annotations(("Run", "Stroll"), {1: TRAIN}, {1: TEST})
    hashes.add(build(root, renamed).sha256)
    (root / "Run/1.mp4").write_text("other content")
    hashes.add(build(root).sha256)
    (root / "Run/1.mp4").unlink()
    hashes.add(build(root).sha256)
    assert len(hashes) == 6


def test_change_at_the_end_of_a_long_file_changes_the_hash(root: Path) -> None:
    file = root / "Run/1.mp4"
    file.write_bytes(b"a" * 300_000)
    first = build(root).sha256
    file.write_bytes(b"a" * 299_999 + b"b")
    assert build(root).sha256 != first


def test_files_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(root)
    monkeypatch.setattr(fingerprints, "_fingerprint", lambda *_: pytest.fail("read again"))
    assert build(root) == first


@pytest.mark.parametrize(
    "content",
    [
        *("", "not json", "[]", "[" * 100_000, '{"version": 1}', '{"version": 1, "files": {"Run/1.mp4": 3}}'),
        *('{"version": 2, "files": {"Run/1.mp4": 3, "Run/3.mp4": [[1], "x", 2]}}', '{"version": 2, "files": [1]}'),
    ],
)
def test_damaged_cache_is_replaced(root: Path, content: str) -> None:
    first = build(root)
    (cache,) = (root.parent / "cache").rglob("*.json")
    cache.write_text(content)
    assert build(root).sha256 == first.sha256
    assert set(json.loads(cache.read_text())["files"]) == set(first.found)


def test_cache_that_cannot_be_written_does_no_harm(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root.parent / "cache").write_text("a file where the cache should be")
    assert len(build(root).found) == 4
    assert "not remembered" in caplog.text


def test_missing_clips_are_counted(root: Path) -> None:
    (root / "Walk/4.mp4").unlink()
    manifest = build(root)
    assert manifest.missing == ("Walk/4.mp4",)
    assert (manifest.expected, len(manifest.found), manifest.ambiguous) == (4, 3, {})


def test_file_that_cannot_be_read_counts_as_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = fingerprints._fingerprint

    def refuse(place: str, size: int) -> str:
        if place.endswith("/4.mp4"):
            raise PermissionError(13, "Permission denied")
        return read(place, size)

    monkeypatch.setattr(fingerprints, "_fingerprint", refuse)
    manifest = build(root)
    assert manifest.missing == ("Walk/4.mp4",)
    assert "Walk/4.mp4 (Permission denied)" in manifest.notes[-1]


def test_different_files_of_one_name_are_ambiguous_and_equal_ones_are_not(root: Path) -> None:
    clips = (Sample("1.mp4", 0), Sample("Walk/2.mp4", 1))
    (root / "copy").mkdir()
    shutil.copy(root / "Run/1.mp4", root / "copy/1.mp4")
    assert "1.mp4" in build(root, Listed(train=clips)).found
    (root / "copy/1.mp4").write_text("something else")
    manifest = build(root, Listed(train=clips))
    assert manifest.ambiguous == {"1.mp4": ("Run/1.mp4", "copy/1.mp4")}
    assert (set(manifest.ambiguous), manifest.missing) == ({"1.mp4"}, ())
    assert "1.mp4" not in manifest.found


def test_one_file_is_not_used_for_clips_of_two_classes(tmp_path: Path) -> None:
    root = tmp_path / "flat"
    root.mkdir()
    (root / "1.mp4").write_text("x")
    manifest = build(root, Listed(train=(Sample("a/1.mp4", 0), Sample("b/1.mp4", 1)), test=()))
    assert set(manifest.ambiguous) == {"a/1.mp4", "b/1.mp4"}


def test_one_file_that_trains_and_is_tested_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"Run/1\.mp4: trains as 'Run/1.mp4' and is tested as '1.mp4' in split 1"):
        build(root, Listed(test=(Sample("1.mp4", 0),)))


def test_copy_of_a_training_clip_among_test_clips_is_noted(root: Path) -> None:
    shutil.copy(root / "Run/1.mp4", root / "Run/3.mp4")
    assert build(root).notes[-1].startswith("1 test clips of split 1 have the content of a training clip")


def test_a_missing_clip_leaves_the_one_of_the_same_name_alone(root: Path) -> None:
    """One list names both, or one trains and the other one is tested."""
    (root / "s2").mkdir()
    (root / "s2/walk_01.mp4").write_text("walk")
    rows = (Sample("s1/walk_01.mp4", 1), Sample("s2/walk_01.mp4", 1))
    for train, test in ((rows, ()), (rows[:1], rows[1:]), (rows[1:], rows[:1])):
        manifest = build(root, Listed(train=train, test=test))
        assert (list(manifest.found), manifest.missing) == (["s2/walk_01.mp4"], ("s1/walk_01.mp4",))


def test_a_list_with_a_folder_more_is_found_and_its_hash_is_that_of_the_files(root: Path) -> None:
    """All classes have clips of the same names."""
    for path in ("Run/7.mp4", "Walk/7.mp4"):
        (root / path).write_text(path)
    rows = (Sample("UCF/Run/7.mp4", 0), Sample("UCF/Walk/7.mp4", 1))
    manifest = build(root, Listed(train=rows, test=()))
    assert {clip: file.path for clip, file in manifest.found.items()} == {
        clip: root / clip.removeprefix("UCF/") for clip, _ in ((row.clip, row.label) for row in rows)
    }


def test_the_account_says_what_becomes_of_every_clip_on_disk(root: Path) -> None:
    for name, text in {
        "Run/9.mp4": "in no list", "copy/Run/1.mp4": "Run/1.mp4" * 100, "x/8.mp4": "one", "y/8.mp4": "other",
        "Run/5.DAT": "", "Run/6.DAT": "", "Run/notes.txt": "",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    frames_of(root / "frames/Walk/2", "img_00001.jpg")
    (root / "Walk/4.mp4").unlink()
    (root / "Walk/4.mp4").symlink_to("nowhere")
    manifest = build(root, Listed(train=(Sample("1.mp4", 0), TRAIN[1], Sample("8.mp4", 1))))
    account = manifest.account
    assert {use: some.count for use, some in account.clips.items()} == {
        "used": 3, "copies": 1, "frames_beside": 1, "ambiguous": 2, "in_no_list": 1,
    }  # fmt: skip
    assert (account.used, account.seen, account.unknown) == (3, 8, 2)
    assert account.clips["in_no_list"].example == "Run/9.mp4"
    warnings = list(account.warnings())
    assert warnings == [
        "2 of 10 things that may be clips are of kinds that are not read, and are left out: 2 .dat (e.g. Run/5.DAT)",
        "1 links lead to nothing, and count as nothing else, e.g. Walk/4.mp4",
    ]
    assert set(warnings) <= set(manifest.notes)
    assert manifest.missing == ("Walk/4.mp4",)


def test_names_that_no_file_can_have_are_missing(root: Path) -> None:
    rows = tuple(Sample(name, 0) for name in ("a\0b.mp4", "x" * 300 + ".mp4", "Run/new\nline.mp4", "\ud800.mp4"))
    manifest = build(root, Listed(train=rows, test=()))
    assert set(manifest.missing) == {row.clip for row in rows}


def frames_of(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(name.encode() * 10)
    return folder


def test_frame_folders_are_found_and_fingerprinted(root: Path) -> None:
    (root / "Run/1.mp4").unlink()
    folder = frames_of(root / "frames/Run/1", "img_00001.jpg", "img_00002.jpg")
    first = build(root)
    assert first.found["Run/1.mp4"].path == folder.resolve()
    assert first.found["Run/1.mp4"].bytes == 260
    assert not first.missing
    (folder / "img_00003.jpg").write_text("one more")
    assert build(root).sha256 != first.sha256


def test_frames_beside_a_video_are_noted_and_change_nothing(root: Path) -> None:
    first = build(root)
    frames_of(root / "frames/Run/1", "img_00001.jpg")
    manifest = build(root)
    assert (manifest.sha256, manifest.found) == (first.sha256, first.found)
    assert manifest.notes[-1] == (
        "1 clips have a video file and a folder of frames; the video is used, e.g. Run/1.mp4 and not frames/Run/1"
    )


def test_frame_folder_with_gaps_is_there_and_reading_it_says_what_is_missing(root: Path) -> None:
    (root / "Run/1.mp4").unlink()
    frames_of(root / "Run/1", "img_00001.jpg", "img_00003.jpg")
    manifest = build(root)
    with pytest.raises(DataError, match=r"Run/1: 1 of 3 frames are missing: 2"):
        read_clip(manifest.found["Run/1.mp4"].path, range)


def test_quarantine_follows_the_stored_scan_and_leaves_the_hash_alone(root: Path) -> None:
    before = build(root)
    assert before.quarantined == {}
    results = ScanResults(root.parent / "cache", "listed", before.root)
    with results.adding() as add:
        for clip, reason in (("Run/1.mp4", "broken"), ("Walk/2.mp4", ""), ("Run/3.mp4", "hopeless")):
            add(ScanResult(clip, before.found[clip].fingerprint, reason))
    manifest = build(root)
    assert manifest.quarantined == {"Run/1.mp4": "broken", "Run/3.mp4": "hopeless"}
    assert manifest.sha256 == before.sha256
    (root / "Run/1.mp4").write_text("downloaded again")
    assert build(root).quarantined == {"Run/3.mp4": "hopeless"}
    results.forget()
    assert build(root).quarantined == {}


def test_progress_is_told(root: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    build_manifest(Listed(), root, root.parent / "cache", lambda *step: told.append(step))
    assert ("folders listed", 3, None) in told
    assert told[-1] == ("clips looked at", 4, 4)
