"""Trials and results as a real run would leave them, made on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.method import Recipe
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import EvaluationResult, Trial, TrialResult
from petl_bench.api.values.resolution import recipe_values, usual_training

TRAINABLE = {"zero_shot": 0, "lora": 36_864, "msta": 54_321, "full_finetune": 2_500_000}
BACKBONE = 3_000_000
#: What the records say of the weights that ship with viclip-tiny.
WEIGHTS_SHA256 = "b" * 64
#: So many that even few clips are told from guessing; clips are of the first two.
CLASSES = ("Archery", "Basketball", *[f"Class {number}" for number in range(998)])


def make_trial(
    method: str = "msta",
    seed: int = 0,
    *,
    training: dict[str, Any] | None = None,
    as_planned: bool = False,
    **values: Any,
) -> Trial:
    """A trial with these values. `as_planned`: fields of its plugins that are not given are as a run has them."""
    fields: dict[str, Any] = {
        "method": method,
        "method_version": "1",
        "hyper_parameters": {} if as_planned else {"bottleneck_dim": 16, "scale": 0.005},
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
        "weights_sha256": WEIGHTS_SHA256,
        "decoder": "auto",
    }
    fields |= values
    rate = tuned_rate(method, fields["setting"], fields["backbone"])
    options = TrainingOptions(**{"learning_rate": rate, **(training or {})}).values()
    trial = Trial(**{"training": options, **fields})
    return _as_planned(trial, training or {}) if as_planned else trial


def _as_planned(trial: Trial, training: dict[str, Any]) -> Trial:
    method, setting, dataset = METHODS.get(trial.method), SETTINGS.get(trial.setting), DATASETS.get(trial.dataset)
    chosen = setting(**trial.setting_options)
    usual = usual_training(method, chosen, BACKBONES.get(trial.backbone), dataset)
    usual |= {"epochs": 0} if trial.method == "zero_shot" else {}
    hyper = recipe_values(method, trial.setting, trial.backbone) | dict(trial.hyper_parameters)
    return replace(
        trial,
        hyper_parameters=method(**hyper).values(),
        setting_options=chosen.values(),
        dataset_options=dataset(**trial.dataset_options).values(),
        training=TrainingOptions(**{**usual, **training}).values(),
    )


def tuned_rate(method: str, setting: str, backbone: str) -> float:
    """The learning rate that the method's recipe has as tuned; the engine's default if there is none."""
    recipes = METHODS.get(method).recipes if method in METHODS.names() else ()
    own = [each for each in recipes if each.setting == setting and each.backbone in (None, backbone) and each.tuned]
    rates = [
        each.training["learning_rate"] for each in sorted(own, key=_for_a_backbone) if "learning_rate" in each.training
    ]
    return rates[-1] if rates else TrainingOptions().learning_rate


def _for_a_backbone(recipe: Recipe) -> bool:
    return recipe.backbone is not None


def exact(accuracy: float, left_out: int = 0) -> float:
    """The accuracy nearest to this one that `make_evaluation` can have, whose scores then give it."""
    used = 8 - left_out
    return 100.0 * round(accuracy / 100 * used) / used


def make_evaluation(
    accuracy: float, *, expected: int = 8, missing: Sequence[str] = (), unreadable: Sequence[str] = ()
) -> EvaluationResult:
    """Clips of which about `accuracy` percent are right, as near as their number allows; the first ones are."""
    used = expected - len(missing) - len(unreadable)
    labels = [index % 2 for index in range(used)]
    right = np.arange(used) < round(accuracy / 100 * used)
    scores = np.zeros((used, len(CLASSES)), dtype=np.float32)
    scores[:, :2] = np.where(np.eye(2, dtype=bool)[labels] == right[:, None], 0.75, 0.25)
    return EvaluationResult(
        classes=CLASSES,
        clips=[f"clip_{index}.mp4" for index in range(used)],
        labels=labels,
        scores=scores,
        top1=accuracy,
        top5=100.0,
        expected=expected,
        missing=list(missing),
        unreadable=dict.fromkeys(unreadable, "truncated"),
    )


def drawn_evaluation(random: np.random.Generator, clips: int, chance: float) -> EvaluationResult:
    """Clips of two classes, each of which is right with this probability."""
    evaluation = make_evaluation(0.0, expected=clips)
    right = random.random(clips) < chance
    evaluation.scores = np.where(np.eye(2, dtype=bool)[evaluation.labels] == right[:, None], 0.75, 0.25)
    evaluation.classes = evaluation.classes[:2]
    evaluation.top1 = 100 * float(right.mean())
    return evaluation


def make_result(
    base: float, novel: float, *, trainable: int, marks: Sequence[str] = (), **coverage: Any
) -> TrialResult:
    metrics = {"base_top1": base, "novel_top1": novel, "harmonic_mean": harmonic_mean(base, novel)}
    evaluations = {"base": make_evaluation(base, **coverage), "novel": make_evaluation(novel)}
    return result_of(metrics, evaluations, trainable=trainable, marks=marks)


def result_of(
    metrics: Mapping[str, float],
    evaluations: Mapping[str, EvaluationResult],
    *,
    trainable: int,
    marks: Sequence[str] = (),
    train_used: int = 32,
    train_expected: int = 32,
) -> TrialResult:
    """What a trial of any setting leaves."""
    return TrialResult(
        metrics=dict(metrics),
        evaluations=dict(evaluations),
        trainable_params=trainable,
        backbone_params=BACKBONE,
        train_clips={
            "expected": train_expected,
            "missing": train_expected - train_used,
            "unreadable": 0,
            "used": train_used,
        },
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
