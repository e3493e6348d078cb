"""Data sets of one kind alone: what the commands say of captions without classes, and of classes without captions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import petl_bench as pb
from tests.commands import petl_bench
from tests.training.conftest import write_video


@pytest.fixture
def captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four clips with captions and no classes; they are found by name, and never decoded."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.mp4").write_text(f"{number}")
    captions = {str(number): ["one", f"{number}"] for number in range(4)}
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


@pytest.mark.parametrize("setting", ["base2novel", "few_shot", "fully_supervised"])
def test_settings_of_classes_are_refused(captioned: Path, setting: str) -> None:
    done = petl_bench(
        "run", "--setting", setting, "--methods", "zero_shot", "--datasets", f"mine={captioned}", "--dry-run"
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "petl-bench: mine has captions and no classes: --setting retrieval"


TRANSFER = ("run", "--setting", "zero_shot_transfer", "--methods", "lora", "--seeds", "0", "--dry-run")


def test_a_target_without_classes_is_planned(captioned: Path) -> None:
    done = petl_bench(*TRANSFER, "--datasets", f"mine={captioned}", "--source", "ucf101")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[2:4] for line in done.stdout.splitlines() if " lora " in line]
    assert rows == [["ucf101", "source"], ["mine", "retrieval"]]


def test_a_source_without_classes_is_planned_for_retrieval_alone(captioned: Path) -> None:
    given = (*TRANSFER, "--datasets", "hmdb51", "--splits", "1", "--source", f"mine={captioned}")
    refused = petl_bench(*given)
    assert refused.returncode == 2
    assert (
        "mine has captions and no classes" in refused.stderr and "petl-bench show zero_shot_transfer" in refused.stderr
    )
    done = petl_bench(*given, "--set", "zero_shot_transfer.source_task=retrieval")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[2:4] for line in done.stdout.splitlines() if " lora " in line]
    assert rows == [["mine", "source-retrieval"], ["hmdb51", "target"]]


def test_a_method_is_trained_on_captions_alone_and_searches_another_folder(
    captioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        write_video(captioned / f"{number}.mp4", (60 * number, 90, 120), seed=number)
    shutil.copytree(captioned, tmp_path / "others")
    done = petl_bench(
        *TRANSFER[:-1], "--datasets", "others=others", "--source", f"mine={captioned}", "--epochs", "1",
        "--set", "zero_shot_transfer.source_task=retrieval", "--set", "others.test_fraction=0.5", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    records = pb.load_records(["runs"])
    found = set(zip(records["dataset"], records["part"], records["metric"], strict=True))
    assert {("mine", "source-retrieval", "source_t2v_r1"), ("others", "retrieval", "t2v_r1")} <= found


def test_the_metrics_of_both_kinds_are_shown() -> None:
    shown = petl_bench("show", "zero_shot_transfer").stdout
    assert "Metrics: top1, top5, source_top1\nMetrics in retrieval: t2v_r1, " in shown
    assert "Metrics in retrieval" not in petl_bench("show", "retrieval").stdout


def test_retrieval_is_planned(captioned: Path) -> None:
    done = petl_bench(
        "run", "--setting", "retrieval", "--methods", "zero_shot", "--datasets", f"mine={captioned}", "--dry-run"
    )
    assert done.returncode == 0 and "mine: 4 clips expected, 4 found, 0 missing" in done.stdout + done.stderr


def test_retrieval_is_refused_without_captions(captioned: Path) -> None:
    (captioned / "captions.json").unlink()
    for number in range(4):
        (captioned / "ab"[number % 2]).mkdir(exist_ok=True)
        (captioned / f"{number}.mp4").rename(captioned / "ab"[number % 2] / f"{number}.mp4")
    done = petl_bench(
        "run", "--setting", "retrieval", "--methods", "zero_shot", "--datasets", f"mine={captioned}", "--dry-run"
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "mine has classes and no captions: --setting retrieval needs captions of its clips" in done.stderr


def test_the_status_counts_captions(captioned: Path) -> None:
    done = petl_bench("data", "status", f"mine={captioned}", "--per-class")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine: 8 captions of 4 clips, under ")
    assert ["train", "1", "all", "3", "3", "0", "0"] in [line.split() for line in done.stdout.splitlines()]
    report = json.loads(petl_bench("data", "status", f"mine={captioned}", "--json").stdout)
    assert (report["classes"], report["captions"]) == ([], {"clips": 4, "texts": 8})
    assert [each["classes"] for each in report["lists"]] == [{}, {}]


def test_there_are_no_classes_to_describe(captioned: Path) -> None:
    done = petl_bench(
        "describe", "--dataset", f"mine={captioned}", "--kind", "spatial", "--count", "2",
        "--endpoint", "http://localhost:9", "--model", "m",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == "petl-bench: mine has captions and no classes: there are no classes to describe"
