"""Synthetic records, written through the same function as real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from petl_bench.records import trial_folder, write_record
from petl_bench.statistics import harmonic_mean
from petl_bench.training_options import TrainingOptions
from petl_bench.trial import EvaluationResult, Trial, TrialResult

TRAINABLE = {"zero_shot": 0, "lora": 36_864, "msta": 54_321, "full_finetune": 2_500_000}
BACKBONE = 3_000_000
CREATED = "2026-01-02T03:04:05+00:00"


def make_trial(method: str = "msta", seed: int = 0, *, training: dict[str, Any] | None = None, **values: Any) -> Trial:
    fields: dict[str, Any] = {
        "method": method,
        "method_version": "1",
        "hyper_parameters": {"bottleneck_dim": 16, "scale": 0.005},
        "setting": "base2novel",
        "setting_version": "1",
        "setting_options": {},
        "dataset": "motion",
        "dataset_version": "1",
        "dataset_options": {},
        "manifest_sha256": "a" * 64,
        "split": "1",
        "shots": 16,
        "seed": seed,
        "backbone": "viclip-tiny",
        "weights": "packaged",
        "weights_sha256": "b" * 64,
        "training": TrainingOptions(**(training or {})).values(),
        "decoder": "auto",
    }
    return Trial(**{**fields, **values})


def make_evaluation(
    accuracy: float, *, expected: int = 8, missing: Sequence[str] = (), unreadable: Sequence[str] = ()
) -> EvaluationResult:
    used = expected - len(missing) - len(unreadable)
    return EvaluationResult(
        classes=("Archery", "Basketball"),
        clips=[f"clip_{index}.mp4" for index in range(used)],
        labels=[index % 2 for index in range(used)],
        scores=np.full((used, 2), 0.5, dtype=np.float32),
        top1=accuracy,
        top5=100.0,
        expected=expected,
        missing=list(missing),
        unreadable=dict.fromkeys(unreadable, "truncated"),
    )


def make_result(
    base: float, novel: float, *, trainable: int, marks: Sequence[str] = (), **coverage: Any
) -> TrialResult:
    return TrialResult(
        metrics={"base_top1": base, "novel_top1": novel, "harmonic_mean": harmonic_mean(base, novel)},
        evaluations={"base": make_evaluation(base, **coverage), "novel": make_evaluation(novel)},
        trainable_params=trainable,
        backbone_params=BACKBONE,
        train_clips={"expected": 32, "missing": 0, "unreadable": 0, "used": 32},
        train_unreadable={},
        history=[{"epoch": 1, "loss": 0.5, "seconds": 1.5}],
        durations_s={"total": 12.5},
        environment={
            "python": "3.11",
            "device": "cpu",
            "prompt_template": "a video of {}.",
            "libraries": {"torch": "2.15"},
        },
        notes=[],
        marks=list(marks),
    )


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
