"""A report over 100,000 records, from the files on disk to the printed table; 10,000 are to be read in under 3 s."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pytest_benchmark.fixture import BenchmarkFixture

from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.cli.report import command
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import RecordReader

RECORDS = 100_000
SEEDS, VALUES, DATASETS = 3, 100, 42


@pytest.fixture(scope="module")
def many_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """100,000 record files: 8 methods x 100 values of a field x 42 data sets x 3 seeds, as far as that goes."""
    runs = tmp_path_factory.mktemp("many") / "runs"
    options: Any = TrainingOptions
    training = options().values()
    for number in range(RECORDS):
        rest, seed = divmod(number, SEEDS)
        rest, dataset = divmod(rest, DATASETS)
        method, value = divmod(rest, VALUES)
        trial = Trial(
            method=f"method_{method}",
            method_version="1",
            hyper_parameters={"bottleneck_dim": value, "scale": 0.005, "dropout": 0.1},
            setting="base2novel",
            setting_version="1",
            setting_options={},
            dataset=f"dataset_{dataset:02d}",
            dataset_version="1",
            dataset_options={},
            manifest_sha256="a" * 64,
            split="1",
            shots=16,
            seed=seed,
            backbone="viclip-b16",
            weights="ViCLIP-B_InternVid-FLT-10M.pth",
            weights_sha256="b" * 64,
            training=training,
            decoder="auto",
        )
        base, novel = 60 + value / 5 + seed, 50 + method + seed / 2
        counts = {"expected": 1000, "found": 1000, "unreadable": 0, "used": 1000}
        record = {
            "schema": 1,
            "key": trial.key,
            "status": "done",
            "trial": asdict(trial),
            "metrics": {"base_top1": base, "novel_top1": novel, "harmonic_mean": 2 * base * novel / (base + novel)},
            "marks": [],
            "coverage": {"base": counts, "novel": counts},
            "train_clips": {"expected": 816, "missing": 0, "unreadable": 0, "used": 816},
            "trainable_params": 1000 * (method + 1),
            "backbone_params": 149_603_841,
            "durations_s": {"prepare": 1.5, "train": 100.25, "total": 110.5},
            "notes": ["training clips: published draw 1"],
            "attempts": 1,
            "created": f"2026-01-02T03:04:{number % 60:02d}+00:00",
            "petl_bench": "0.1.0",
            "environment": {"python": "3.11.7", "device": "cuda", "threads": 2, "prompt_template": "a video of {}."},
        }
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
        for name in ("predictions-base.npz", "predictions-novel.npz"):
            (folder / name).touch()  # looked for, and not read: there are too many trials
    yield runs
    shutil.rmtree(runs)


def _report(runs: Path) -> str:
    done = CliRunner().invoke(command, ["--runs", str(runs), "--table", "base2novel", "--format", "tidy"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") > RECORDS / SEEDS * 3
    return done.stdout


@pytest.mark.timeout(900)
def test_report_over_100000_records(benchmark: BenchmarkFixture, many_records: Path) -> None:
    """Every record is read, and every file beside it looked for."""
    benchmark.pedantic(_report, args=[many_records], rounds=2)


@pytest.mark.timeout(900)
def test_reading_100000_records(benchmark: BenchmarkFixture, many_records: Path) -> None:
    """As above, without the table."""
    benchmark.pedantic(lambda: RecordReader(many_records).frame(), rounds=2)


@pytest.mark.timeout(900)
def test_page_of_100000_records(benchmark: BenchmarkFixture, many_records: Path, tmp_path: Path) -> None:
    """As much as one page holds: under 20 MB, with a note of what is left out."""
    arguments = ["--runs", str(many_records), "--output", f"{tmp_path}/"]
    benchmark.pedantic(lambda: CliRunner().invoke(command, arguments, catch_exceptions=False), rounds=1)
    page = (tmp_path / "index.html").read_bytes()
    assert len(page) < 20e6
    assert b"more rows have no room here" in page
