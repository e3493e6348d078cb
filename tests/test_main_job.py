"""The main job as a user types it, in processes of its own: embedded data, real clips, and a data root with gaps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import petl_bench as pb

pytestmark = pytest.mark.slow


def petl_bench(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "petl_bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of a short run on the embedded data set."""
    folder = tmp_path_factory.mktemp("demo")
    done = petl_bench("run", "--methods", "zero_shot,lora,msta", "--seeds", "0", "--epochs", "1", folder=folder)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("Zero-shot", "LoRA", "MSTA", "Base", "Novel", "HM"))
    return folder


def test_a_second_run_does_nothing_again_and_shows_the_same_table(demo: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (demo / "runs").rglob("record.json")}
    again = petl_bench("run", "--methods", "zero_shot,lora,msta", "--seeds", "0", "--epochs", "1", folder=demo)
    assert again.returncode == 0 and "3 done, 0 to run" in again.stderr
    assert "MSTA" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in (demo / "runs").rglob("record.json")} == before


def test_the_records_hold_what_was_promised(demo: Path) -> None:
    records = pb.load_records(demo / "runs")
    assert set(records["metric"]) == {"base_top1", "novel_top1", "harmonic_mean"}
    assert set(records["method"]) == {"zero_shot", "lora", "msta"}
    wide = records.pivot_table(index="method", columns="metric", values="value")
    chance = 100 / 16
    assert (wide.loc["zero_shot", ["base_top1", "novel_top1"]] > 5 * chance).all()
    assert (wide < 100).all(axis=None)


@pytest.mark.parametrize(
    ("form", "sign"),
    [
        ("terminal", "Zero-shot"),
        ("markdown", "| LoRA"),
        ("latex", r"\toprule"),
        ("csv", "\nlora,LoRA,"),
        ("html", "<table"),
    ],
)
def test_every_format_of_the_table(form: str, sign: str, demo: Path) -> None:
    done = petl_bench("report", "--runs", "runs", "--table", "base2novel", "--format", form, folder=demo)
    assert done.returncode == 0 and sign in done.stdout, done.stderr


def test_the_table_as_json(demo: Path) -> None:
    done = petl_bench("report", "--runs", "runs", "--table", "base2novel", "--format", "json", folder=demo)
    assert "lora" in json.dumps(json.loads(done.stdout))


def test_status_says_that_all_is_done(demo: Path) -> None:
    done = petl_bench("status", "--runs", "runs", folder=demo)
    assert done.returncode == 0 and "3 trials: 3 done" in done.stdout


def test_real_clips_in_a_folder(real_data: Path, tmp_path: Path) -> None:
    done = petl_bench(
        *("run", "--methods", "zero_shot,lora,msta", "--setting", "base2novel", "--datasets", "folder"),
        *("--set", f"folder.path={real_data / 'ucf101_six'}", "--set", "folder.base_classes=Archery,BasketballDunk"),
        *("--seeds", "0", "--epochs", "1", "--output", tmp_path / "runs"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "48 clips expected, 48 found, 0 missing" in done.stderr
    values = pb.load_records(tmp_path / "runs")
    assert len(values) == 9 and values["value"].between(0, 100).all()


def test_a_data_root_with_gaps_is_counted_and_shown(real_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "UCF"
    shutil.copytree(real_data / "annotations" / "ucf101_official", root / "lists")
    shutil.copytree(real_data / "annotations" / "vificlip", root / "vificlip")
    shutil.copytree(real_data / "ucf101_six" / "videos", root / "videos")
    broken = root / "videos" / "Archery" / "v_Archery_g01_c01.avi"
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:1000])
    status = petl_bench("data", "status", "ucf101", "--data-root", root, folder=tmp_path)
    assert status.returncode == 0 and "13,320" in status.stdout and "13,272" in status.stdout
    done = petl_bench(
        *("run", "--methods", "zero_shot", "--datasets", "ucf101", "--data-root", root, "--seeds", "0"),
        *("--set", "training.bad_clips_allowed=0.1", "--output", tmp_path / "runs"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = " ".join(done.stdout.split())
    assert "base: 7 of 2,088 test clips scored (2,080 not found, 1 unreadable)" in table
    assert "novel: 16 of 1,695 test clips scored (1,679 not found, 0 unreadable)" in table
    (record,) = (tmp_path / "runs" / "trials").glob("*/details.json")
    assert "v_Archery_g01_c01.avi" in record.read_text()
