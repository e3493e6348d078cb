"""The cache folder decides numbers: what others can write is refused, in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from petl_bench.api.registry import DATASETS
from petl_bench.data.found.fingerprints import Fingerprints
from petl_bench.data.found.manifest import build_manifest
from petl_bench.data.found.scan_results import ScanResult, ScanResults
from petl_bench.errors import DataError, StoreError
from petl_bench.system import cache
from tests.commands import petl_bench


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702, 0o1777])
def test_a_cache_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("PETL_BENCH_CACHE", str(folder))
    assert cache.cache_folder() == folder
    folder.chmod(mode)
    with pytest.raises(StoreError, match=rf"others can write to it \(mode {mode & 0o777:o}\).*chmod -R go-w {folder}"):
        cache.cache_folder()


@pytest.mark.parametrize("command", [["data", "status", "motion"], ["run", "--methods", "zero_shot", "--dry-run"]])
def test_commands_end_with_one_line_and_status_2(tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    done = petl_bench(*command, environment={"PETL_BENCH_CACHE": str(folder)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"petl-bench: {folder}: others can write to it")
    assert len(done.stderr.splitlines()) == 1
    assert list(folder.iterdir()) == []


def test_a_cache_that_is_not_there_is_made_private(tmp_path: Path) -> None:
    cache.make_private(tmp_path / "a" / "b")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]
    cache.make_private(tmp_path / "a")  # is there
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"):
        cache.make_private(tmp_path / "file")


@pytest.mark.parametrize("forged", ["file", "folder"])
def test_forged_fingerprints_do_not_hide_other_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, forged: str
) -> None:
    for label in ("Run", "Walk"):
        for number in range(3):
            (tmp_path / "mine" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "mine" / label / f"{number}.mp4").write_text(f"{label} {number}")
    data = DATASETS.get("folder")(path=str(tmp_path / "mine"))
    true = build_manifest(data, tmp_path / "mine", tmp_path / "cache")
    file = Fingerprints(true.root, tmp_path / "cache")._file
    assert file.stat().st_mode & 0o077 == 0
    known = true.found["Run/0.mp4"].fingerprint
    file.write_text(file.read_text().replace(known, "0" * 64))
    assert build_manifest(data, tmp_path / "mine", tmp_path / "cache").sha256 != true.sha256  # it is believed
    place = file if forged == "file" else file.parent
    place.chmod(0o777)
    assert build_manifest(data, tmp_path / "mine", tmp_path / "cache").sha256 == true.sha256
    assert f"chmod -R go-w {place}" in caplog.text


def test_forged_scan_results_quarantine_nothing_and_are_replaced(tmp_path: Path) -> None:
    results = ScanResults(tmp_path / "cache", "some", Path("/data"))
    with results.adding() as add:
        add(ScanResult("a.mp4", "1", "forged"))
    results.file.chmod(0o666)
    assert results._load() == {}
    with results.adding() as add:
        add(ScanResult("b.mp4", "2"))
    assert set(results._load()) == {"b.mp4"}
    assert results.file.stat().st_mode & 0o077 == 0


def test_rendered_data_that_others_can_write_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    motion = DATASETS.get("motion")()
    monkeypatch.setattr(motion, "_write", lambda folder: None)
    folder = motion.render(tmp_path / "cache")
    assert motion.render(tmp_path / "cache") == folder
    folder.chmod(0o777)
    with pytest.raises(DataError, match=f"{folder}: others can write"):
        motion.render(tmp_path / "cache")
