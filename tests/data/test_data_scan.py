"""`petl-bench data scan`: what it says of clips, what it keeps, and that no clip can end it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from petl_bench.api.registry import DATASETS
from petl_bench.cli.data import command
from petl_bench.data.found import scanning
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.found.scan_results import ScanResult, ScanResults
from petl_bench.data.found.scanning import Examined, examine
from petl_bench.errors import PetlBenchError

WriteVideo = Callable[..., Path]


def png_folder(folder: Path, *numbers: int) -> Path:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(np.full((8, 11, 3), number, np.uint8)).save(folder / f"img_{number:05d}.png")
    return folder


# ---------------------------------------------------------------- one clip


def test_ordinary_clip(tmp_path: Path, write_video: WriteVideo) -> None:
    assert examine(write_video(tmp_path / "a.mp4", 20)) == Examined(num_frames=20)


def test_variable_rate_is_seen_and_rounded_times_are_not(tmp_path: Path, write_video: WriteVideo) -> None:
    times = [0, 1, 2, 3, 8, 9, 10, 20, 21, 22]
    assert examine(write_video(tmp_path / "a.mp4", 10, times=times)).variable_rate
    assert not examine(write_video(tmp_path / "b.mp4", 10)).variable_rate
    assert not examine(write_video(tmp_path / "c.mkv", 10)).variable_rate


def test_frame_folder_is_read_whole(tmp_path: Path) -> None:
    folder = png_folder(tmp_path / "clip", *range(1, 31))
    assert examine(folder) == Examined(num_frames=30, remarks=("odd size: 11 x 8",))
    (folder / "img_00012.png").write_bytes(b"not an image")  # none of the eight frames that are read first
    assert examine(folder).reason == "img_00012.png: not a JPEG, PNG, WebP, BMP, TIFF or PPM image"
    (folder / "img_00012.png").unlink()
    assert examine(folder).reason == "1 of 30 frames are missing: 12. Extract the folder's frames again"


def test_odd_real_clips(real_data: Path) -> None:
    odd = real_data / "odd_videos"
    assert examine(odd / "abseiling_vfr_90frames.mp4") == Examined(num_frames=90, variable_rate=True)
    assert examine(odd / "abseiling_2frames.mp4") == Examined(num_frames=2)
    for name in ("abseiling_hevc.mp4", "abseiling_vp9.webm", "unordered.mov", "test_non_zero_start.mp4"):
        assert not examine(odd / name).remarks
    remarks = {
        "video_90.mov": "turned by 90 degrees (metadata)",
        "video_270.mov": "turned by 270 degrees (metadata)",
        "abseiling_odd_227x171_yuv444p.mp4": "odd size: 227 x 171",
        "bitflipped_mid_v_Basketball_g01_c01.avi": "1 damaged frames, concealed by the decoder",
        "truncated60_v_Basketball_g01_c01.avi": "the header says 141 frames, the file holds 85",
        "av1_video.mkv": "decord: cannot find video stream",
    }
    for name, remark in remarks.items():
        found = examine(odd / name)
        assert remark in "; ".join(found.remarks), name
        assert not found.reason
    reasons = {
        "audio_only.mp4": "the file has no video stream",
        "html_error_page.mp4": "the file is a web page",
        "zero_bytes.mp4": "the file is empty (0 bytes)",
        "truncated60_abseiling_k400.mp4": "moov atom not found",
        "corrupted.mp4": "cannot decode (h264): decord:",
    }
    for name, reason in reasons.items():
        assert reason in examine(odd / name).reason


def test_hmdb51_files_have_an_even_rate(real_data: Path) -> None:
    clips = sorted((real_data / "real_clips").glob("*.avi"))
    found = [examine(clip) for clip in clips]
    assert len(found) == 3
    assert not any(clip.variable_rate or clip.reason for clip in found)
    assert all("packed B-frames" in clip.remarks[0] for clip in found)


# ---------------------------------------------------------------- what is kept


@given(st.lists(st.tuples(st.text(min_size=1), st.text(), st.booleans()), max_size=8))
def test_results_come_back_as_they_were_stored(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, bool]]
) -> None:
    results = ScanResults(tmp_path_factory.mktemp("cache"), "some", Path("/data"))
    stored = [ScanResult(path, "f", reason, gave_up, 7, True, ("a", "b")) for path, reason, gave_up in rows]
    for result in stored:
        with results.adding() as add:
            add(result)
    assert results._load() == {result.path: result for result in stored}


def test_a_torn_line_costs_one_result(tmp_path: Path) -> None:
    results = ScanResults(tmp_path, "some", Path("/data"))
    with results.adding() as add:
        add(ScanResult("a.mp4", "1"))
        add(ScanResult("b.mp4", "2"))
    results.file.write_bytes(results.file.read_bytes()[:-9])
    with results.adding() as add:
        add(ScanResult("c.mp4", "3"))
    assert set(results._load()) == {"a.mp4", "c.mp4"}


@pytest.mark.parametrize(
    "line",
    [
        '{"path": 3, "fingerprint": "1", "remarks": []}',
        '{"path": "b", "fingerprint": "1", "num_frames": "9", "remarks": []}',
        '{"path": "b", "fingerprint": "1", "reason": ["x"], "remarks": []}',
        "[" * 100_000,
        "7",
    ],
)
def test_a_line_of_wrong_types_is_passed_over(tmp_path: Path, line: str) -> None:
    results = ScanResults(tmp_path, "some", Path("/data"))
    with results.adding() as add:
        add(ScanResult("a.mp4", "1"))
    results.file.write_text(f"{results.file.read_text()}{line}\n")
    assert results._load() == {"a.mp4": ScanResult("a.mp4", "1")}


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]\n", b'{"petl_bench_scan": 0}\n{"path": "a"}\n']
)
def test_a_file_of_another_kind_counts_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    results = ScanResults(tmp_path, "some", Path("/data"))
    results.file.parent.mkdir()
    results.file.write_bytes(content)
    assert results._load() == {}
    with results.adding() as add:
        add(ScanResult("a.mp4", "1"))
    assert set(results._load()) == {"a.mp4"}


# ---------------------------------------------------------------- the command


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_video: WriteVideo) -> Path:
    """Two classes: three ordinary clips, a short one, a broken one, a frame folder, one with a gap."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    (folder / "Run").mkdir(parents=True)
    (folder / "Walk").mkdir()
    for name, count in (("Run/a", 10), ("Run/b", 10), ("Walk/a", 12), ("Walk/short", 3)):
        write_video(folder / f"{name}.mp4", count)
    (folder / "Walk/broken.mp4").write_bytes(b"nothing that can be decoded")
    png_folder(folder / "Run/frames", *range(10))
    png_folder(folder / "Walk/gap", 1, 2, 4)
    return folder


def data(subcommand: str, root: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(command, [subcommand, "folder", "--set", f"folder.path={root}", *arguments])
    assert result.exit_code == 0, result.output
    return result


def scanned(root: Path, *arguments: str) -> dict:
    return json.loads(data("scan", root, "--workers", "1", "--json", *arguments).stdout)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Clips are read in this process, and noted."""
    noted: list[str] = []

    def in_this_process(paths: dict[str, Path], workers: int, timeout_s: float) -> Iterator[tuple[str, Examined]]:
        for name, path in paths.items():
            noted.append(name)
            yield name, examine(path)

    monkeypatch.setattr(scanning, "_examined", in_this_process)
    return noted


def test_the_whole_report(root: Path) -> None:
    report = scanned(root)
    assert report["clips"] == {
        "found": 7, "scanned": 7, "readable": 5, "unreadable": 2, "short": 1, "variable_rate": 0, "odd": 1,
    }  # fmt: skip
    assert set(report["unreadable"]) == {"Walk/broken.mp4", "Walk/gap"}
    assert "1 of 4 frames are missing: 3" in report["unreadable"]["Walk/gap"]
    assert report["short"] == {"Walk/short.mp4": 3}
    assert report["odd"] == {"Run/frames": ["odd size: 11 x 8"]}
    assert Path(report["scan"]).is_file()


def test_the_table(root: Path, reads: list[str]) -> None:
    result = data("scan", root)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert any(row[:2] == ["unreadable", "2"] for row in rows)
    assert any(row[:2] == ["readable", "5"] for row in rows)
    assert "unreadable: Walk/gap: 1 of 4 frames are missing: 3" in result.stdout
    assert "short: Walk/short.mp4: 3 frames" in result.stdout
    assert "results: " in result.stdout


def test_a_second_scan_reads_what_is_new_or_changed(root: Path, reads: list[str], write_video: WriteVideo) -> None:
    scanned(root)
    assert len(reads) == 7
    reads.clear()
    assert data("scan", root, "--json").stderr == "7 clips were scanned before and have not changed\n"
    assert reads == []
    write_video(root / "Walk/broken.mp4", 9)
    write_video(root / "Run/new.mp4", 9)
    assert scanned(root)["clips"]["unreadable"] == 1
    assert sorted(reads) == ["Run/new.mp4", "Walk/broken.mp4"]
    reads.clear()
    scanned(root, "--fresh")
    assert len(reads) == 8


def test_a_sample_is_seeded_and_grows(root: Path, reads: list[str]) -> None:
    assert scanned(root, "--sample", "2")["clips"]["scanned"] == 2
    first = sorted(reads)
    scanned(root, "--sample", "4")
    assert len(reads) == 4
    reads.clear()
    scanned(root, "--fresh", "--sample", "2")
    assert sorted(reads) == first
    scanned(root, "--fresh", "--sample", "2", "--seed", "1")
    assert sorted(reads[2:]) != first
    assert scanned(root, "--sample", "99")["clips"]["scanned"] == 7


def test_unreadable_clips_are_the_quarantine_of_runs_and_in_status(root: Path, reads: list[str]) -> None:
    manifest = build_manifest(DATASETS.get("folder")(path=str(root)), root, root.parent / "cache")
    scanned(root)
    after = build_manifest(DATASETS.get("folder")(path=str(root)), root, root.parent / "cache")
    assert set(after.quarantined) == {"Walk/broken.mp4", "Walk/gap"}
    assert after.sha256 == manifest.sha256
    status = json.loads(data("status", root, "--json").stdout)
    counts = {kind: status["clips"][kind] for kind in ("readable", "unreadable", "not_scanned")}
    assert counts == {"readable": 5, "unreadable": 2, "not_scanned": 0}
    assert status["unreadable"] == dict(after.quarantined)
    shown = data("status", root).stdout
    assert "runs leave out the 2 unreadable clips" in shown
    assert status["scan"] in shown
    Path(status["scan"]).unlink()
    assert json.loads(data("status", root, "--json").stdout)["clips"]["not_scanned"] == 7


def test_ctrl_c_keeps_what_was_read(root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read = scanning._examined

    def interrupted(*arguments: object) -> Iterator[tuple[str, Examined]]:
        for number, outcome in enumerate(read(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(scanning, "_examined", interrupted)
    result = CliRunner().invoke(command, ["scan", "folder", "--set", f"folder.path={root}"])
    assert result.exit_code == 1
    assert "stopped after 3 of 7 clips, which are kept; the same command goes on" in result.stderr
    monkeypatch.setattr(scanning, "_examined", read)
    reads.clear()
    assert scanned(root)["clips"]["scanned"] == 7
    assert len(reads) == 4


HOSTILE = """
import os, signal, time
from petl_bench.data.found import scanning
def examine(path):
    if path.name == "a.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "b.mp4":
        time.sleep(3600)
    return scanning.Examined(num_frames=9)
"""


@pytest.mark.drill
@pytest.mark.ci
def test_a_clip_that_kills_or_hangs_its_process_is_named_and_tried_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    (tmp_path / "hostile_examination.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    hostile = importlib.import_module("hostile_examination")
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "examine", hostile.examine)
        patch.setattr(scanning, "_examined", _REAL_EXAMINED)
        report = scanned(root, "--timeout", "3")
    assert set(report["unreadable"]) == {"Run/a.mp4", "Run/b.mp4", "Walk/a.mp4"}
    assert report["unreadable"]["Run/b.mp4"] == "gave up after 3 s"
    assert report["unreadable"]["Run/a.mp4"].startswith("the process that read it died (exit status ")
    assert scanned(root)["clips"]["unreadable"] == 0
    assert sorted(reads) == ["Run/a.mp4", "Run/b.mp4", "Walk/a.mp4"]


_REAL_EXAMINED = scanning._examined


@pytest.mark.drill
@pytest.mark.ci
def test_ctrl_c_on_the_command_line_and_going_on(tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video(tmp_path / "one.mp4", 250)
    for label in ("Run", "Walk"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(100):
            shutil.copy(video, tmp_path / "mine" / label / f"{number}.mp4")
    line = [sys.executable, "-m", "petl_bench", "data", "scan", "folder", "--workers", "1"]
    line += ["--set", f"folder.path={tmp_path / 'mine'}", "--json"]
    environment = {**os.environ, "PETL_BENCH_CACHE": str(tmp_path / "cache")}
    scan = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(file.read_text().count("\n") > 3 for file in (tmp_path / "cache").glob("scans/*.jsonl")):
            break
        time.sleep(0.01)
    scan.send_signal(signal.SIGINT)
    out, told = scan.communicate(timeout=60)
    assert (scan.returncode, out) == (130, "")
    assert "the same command goes on" in told
    assert "Traceback" not in told
    again = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert "clips were scanned before and have not changed" in again.stderr
    assert json.loads(again.stdout)["clips"]["readable"] == 200


def test_results_that_cannot_be_kept_are_one_clear_line(root: Path, reads: list[str]) -> None:
    folder = root.parent / "cache" / "scans"
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    with pytest.raises(PetlBenchError, match=r"cannot write .*scans/folder-") as error:
        CliRunner().invoke(command, ["scan", "folder", "--set", f"folder.path={root}"], catch_exceptions=False)
    assert "\n" not in str(error.value)


def test_real_odd_videos_by_a_list(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "mine"
    root.mkdir()
    (root / "videos").symlink_to(real_data / "odd_videos")
    names = sorted(path.name for path in (real_data / "odd_videos").iterdir())
    (root / "labels.csv").write_text("id,name\n0,odd\n1,odder\n")
    plain = [name for name in names if " " not in name]
    (root / "train.txt").write_text("".join(f"{name} 0\n" for name in plain[:-3]))
    (root / "test.txt").write_text("".join(f"{name} 1\n" for name in plain[-3:]))
    report = json.loads(data("scan", root, "--workers", "2", "--json").stdout)
    assert report["clips"]["found"] == len(plain) == 34
    assert set(report["unreadable"]) == {
        "audio_only.mp4",
        "corrupted.mp4",
        "html_error_page.mp4",
        "truncated2_headeronly_v_Basketball_g01_c01.avi",
        "truncated60_R6llTwEh07w.mp4",
        "truncated60_abseiling_k400.mp4",
        "zero_bytes.mp4",
    }
    assert report["variable_rate"] == ["abseiling_vfr_90frames.mp4"]
    assert report["short"]["abseiling_7frames.mp4"] == 7
    assert "abseiling_8frames.mp4" not in report["short"]


def test_progress_elsewhere_than_on_a_terminal_is_lines(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data("scan", root, "--fresh").stderr == ""  # done before the first line is due
    monkeypatch.setattr("petl_bench.cli.progress._LINE_EVERY_S", 0.0)
    lines = data("scan", root, "--fresh").stderr.splitlines()
    assert lines[-1].startswith("clips read: 7 of 7 (")
    assert lines[-1].endswith(" a second; 2 unreadable)")
    assert any(line.startswith("folders listed: ") for line in lines)


def test_progress_on_a_terminal_is_a_bar(root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    result = data("scan", root)
    assert "clips read" in result.stderr
    assert "7/7" in result.stderr
    assert "2 unreadable" in result.stderr
    assert "clips read" not in result.stdout
