"""`petl-bench data status`: exact counts on stdout, one clear line for wrong use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from petl_bench.cli.data import command
from petl_bench.errors import PetlBenchError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of four listed clips are there, one of them twice with different content."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "labels.csv").write_text("id,name\n0,Run [fast]\n1,Walk\n")
    (folder / "train.txt").write_text("a.mp4 0\nb.mp4 1\n")
    (folder / "test.txt").write_text("c.mp4 0\nd.mp4 1\n")
    for name in ("a.mp4", "b.mp4", "x/c.mp4", "y/c.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


def status(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["status", *arguments])


def of_folder(root: Path, *arguments: str) -> Result:
    result = status("folder", "--set", f"folder.path={root}", *arguments)
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_counts_per_list(root: Path) -> None:
    result = of_folder(root)
    assert ["train", "1", "2", "2", "0", "0"] in rows(result)
    assert ["test", "1", "2", "0", "1", "1"] in rows(result)
    assert ["all", "clips,", "each", "once", "4", "2", "1", "1"] in rows(result)
    assert "missing: d.mp4" in result.stdout
    assert "ambiguous: c.mp4 (x/c.mp4, y/c.mp4)" in result.stdout


def test_counts_per_class(root: Path) -> None:
    found = rows(of_folder(root, "--per-class"))
    assert ["test", "1", "Run", "[fast]", "1", "0", "0", "1"] in found
    assert ["test", "1", "Walk", "1", "0", "1", "0"] in found


def test_json_has_everything(root: Path) -> None:
    report = json.loads(of_folder(root, "--json", "--set", "folder.base_classes=Walk").stdout)
    assert report["clips"] == {"expected": 4, "found": 2, "missing": 1, "ambiguous": 1}
    assert [row["name"] for row in report["lists"]] == ["train 1", "test 1", "base_train", "base_test", "novel_test"]
    assert report["lists"][1]["classes"]["Walk"] == {"expected": 1, "found": 0, "missing": 1, "ambiguous": 0}
    assert (report["missing"], report["ambiguous"]) == (["d.mp4"], {"c.mp4": ["x/c.mp4", "y/c.mp4"]})
    assert len(report["sha256"]) == 64
    assert set(report["files"]) == {"labels.csv", "train.txt", "test.txt"}


def test_unreadable_clips_are_counted_when_asked(root: Path, write_video: Callable[..., Path]) -> None:
    write_video(root / "a.mp4", 5)
    result = of_folder(root, "--decode")
    assert ["train", "1", "2", "2", "0", "0", "1"] in rows(result)
    assert "unreadable: b.mp4 (" in result.stdout
    report = json.loads(of_folder(root, "--decode", "--json").stdout)
    assert list(report["unreadable"]) == ["b.mp4"]
    assert report["clips"]["unreadable"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folders"], "unknown data set 'folders'; did you mean folder"),
        (["ucf101"], "ucf101 needs --data-root DIR"),
        (["ucf101", "--data-root", "/nowhere/at/all"], "no such folder"),
        (["folder", "--set", "folder.pth=x"], "unknown field of folder 'pth'; did you mean path"),
        (["folder", "--set", "ucf101.lists=auto"], r"expected folder\.FIELD=VALUE"),
        (["folder", "--set", "folder.path"], r"expected folder\.FIELD=VALUE"),
        (["folder", "--plugin", "nowhere.py"], "no such file"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments: list[str], message: str) -> None:
    with pytest.raises(PetlBenchError, match=message) as error:
        CliRunner().invoke(command, ["status", *arguments], catch_exceptions=False)
    assert "\n" not in str(error.value)


def test_exit_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "petl_bench", "data", "status", "ucf101", "--data-root", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("petl-bench: ")
    assert "no annotation lists found" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_torch_is_not_loaded(root: Path) -> None:
    code = (
        "import sys; from petl_bench.cli.data import command;"
        f"command(['status', 'folder', '--set', 'folder.path={root}'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_real_ucf101_lists_with_some_of_the_clips(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path))
    result = status("ucf101", "--data-root", str(real_data))
    assert result.exit_code == 0
    assert ["test", "1", "3,783", "24", "3,759", "0"] in rows(result)
    assert ["all", "clips,", "each", "once", "13,320", "48", "13,272", "0"] in rows(result)
