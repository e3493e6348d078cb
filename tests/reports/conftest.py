"""Synthetic records, written through the same function as real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_records import TRAINABLE, make_result, make_trial

from petl_bench.records import trial_folder, write_record

CREATED = "2026-01-02T03:04:05+00:00"
Store = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write one record and return its path; takes the keywords of `make_trial` and of `make_evaluation`."""

    def write(
        base: float,
        novel: float,
        method: str = "msta",
        seed: int = 0,
        *,
        runs: Path = tmp_path / "runs",
        marks: Sequence[str] = (),
        trainable: int | None = None,
        missing: Sequence[str] = (),
        unreadable: Sequence[str] = (),
        **values: Any,
    ) -> Path:
        trial = make_trial(method, seed, **values)
        trainable = TRAINABLE.get(method, 1000) if trainable is None else trainable
        result = make_result(base, novel, trainable=trainable, marks=marks, missing=missing, unreadable=unreadable)
        folder = trial_folder(runs, trial.key)
        folder.mkdir(parents=True)
        return write_record(folder, trial, result, created=CREATED)

    return write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def example(store: Store, runs: Path) -> Path:
    """Four methods, two data sets, three seeds; a cell, a seed and a clip are missing; msta stands twice."""
    ucf101 = {"dataset": "ucf101", "manifest_sha256": "c" * 64}
    for seed in range(3):
        store(40.0, 42.0, "zero_shot", seed, hyper_parameters={})
        store(80.0 + seed, 45.0 - seed, "lora", seed, hyper_parameters={"rank": 4})
        store(82.0 + seed, 45.1 - seed, "msta", seed)
        store(
            79.0 + seed, 47.0, "msta", seed, hyper_parameters={"bottleneck_dim": 32, "scale": 0.005}, trainable=108_642
        )
        store(70.0, 64.0, "zero_shot", seed, hyper_parameters={}, **ucf101)
        store(90.0 + seed / 3, 61.0, "lora", seed, hyper_parameters={"rank": 4}, **ucf101)
        store(90.1, 60.0, "full_finetune", seed, hyper_parameters={}, unreadable=["bad.mp4"], **ucf101)
    for seed in range(2):
        store(91.0, 66.0, "msta", seed, **ucf101)
    return runs
