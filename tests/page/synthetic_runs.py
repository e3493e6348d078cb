"""Runs with histories and predictions of their own, as a comparison of several methods would leave them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "reports"))

from synthetic_records import TRAINABLE, make_trial, result_of

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.trial import EvaluationResult
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record

Build = Callable[..., str]
#: What no name of a method, class or clip may do to a page.
HOSTILE = "_%&<script>alert(1)</script><b>$\\\u2028\"'"
CREATED = "2026-01-02T03:04:05+00:00"
CLASSES = {"base": ("archery", "basketball", "bowling"), "novel": ("surfing", "yoga", "diving")}
CLIPS_OF_CLASS = 6
SKILL = {"zero_shot": 0.3, "lora": 0.6, "msta": 0.75}


def add_run(runs: Path, method: str, seed: int, *, epochs: int = 3, **values: Any) -> str:
    """Write one trial whose scores are drawn; the first clip of every class is missed by all. Returns its key."""
    classes = values.pop("classes", CLASSES)
    given = {"hyper_parameters": {}} if method == "zero_shot" else {}
    # Not motion, whose files would be rendered for the pictures of clips.
    trial = make_trial(method, seed, **{"dataset": "ucf101", **given, **values})
    rng = np.random.default_rng([seed, len(method)])
    evaluations = {name: _evaluation(names, SKILL.get(method, 0.5), rng) for name, names in classes.items()}
    base, novel = (each.top1 for each in evaluations.values())
    result = result_of(
        {"base_top1": base, "novel_top1": novel, "harmonic_mean": harmonic_mean(base, novel)},
        evaluations,
        trainable=TRAINABLE.get(method, 1000),
    )
    result.history = [
        {"epoch": epoch, "loss": 2.0 / epoch + seed / 10, "train_accuracy": 60.0 + epoch, "learning_rate": 0.01 / epoch}
        for epoch in range(1, epochs + 1)
        if method != "zero_shot"
    ]
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, trial, result, created=CREATED)
    return trial.key


def add_runs_of_hostile_class(runs: Path) -> None:
    """Three methods with two seeds, on classes of which one has the name HOSTILE."""
    classes = {"base": ("archery", HOSTILE, "bowling"), "novel": ("surfing", "yoga", "diving")}
    for method in SKILL:
        for seed in range(2):
            add_run(runs, method, seed, classes=classes)


def _evaluation(classes: tuple[str, ...], skill: float, rng: np.random.Generator) -> EvaluationResult:
    count = len(classes)
    labels = [label for label in range(count) for _ in range(CLIPS_OF_CLASS)]
    scores = rng.random((len(labels), count)).astype(np.float32)
    for place, label in enumerate(labels):
        if place % CLIPS_OF_CLASS == 0:
            scores[place, label] = -1.0
        elif rng.random() < skill:
            scores[place, label] = 2.0
    right = scores.argmax(axis=1) == labels
    return EvaluationResult(
        classes=classes,
        clips=[f"{classes[label]}/clip_{place:03d}.mp4" for place, label in enumerate(labels)],
        labels=labels,
        scores=scores,
        top1=float(100 * right.mean()),
        top5=100.0,
        expected=len(labels),
    )


def add_costs(runs: Path, method: str, metrics: dict[str, float]) -> None:
    """Write one record of measured costs."""
    trial = make_trial(method, 0, setting="cost", hyper_parameters={}, shots=None)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    evaluations = {"test": _evaluation(("a", "b"), 0.5, rng)}
    write_record(folder, trial, result_of(metrics, evaluations, trainable=1000), created=CREATED)
