"""A measurement as a trial of the setting `cost`, and as a record of it. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petl_bench.api.method import Method
from petl_bench.api.trial import Trial, TrialResult
from petl_bench.costs import PROTOCOL_VERSION
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record

SETTING = "cost"


def trial_of(
    method: Method,
    method_version: str,
    *,
    setting_version: str,
    references: Mapping[str, str],
    backbone: str,
    backbone_options: Mapping[str, Any] | None = None,
    weights: str,
    weights_sha256: str,
    device: str,
    threads: int,
    precision: str,
    batch: int | str,
    classes: int,
    merged: bool,
) -> Trial:
    """The trial that a measurement is recorded as: everything that it depends on stands in its key, save the code.

    It reads no data: data set, split and shots are empty, and the seed is 0.
    """
    return Trial(
        method=method.name,
        method_version=method_version,
        hyper_parameters=method.values(),
        setting=SETTING,
        setting_version=setting_version,
        setting_options={
            "protocol": PROTOCOL_VERSION,
            "device": device,
            "threads": threads,
            "precision": precision,
            "batch_size": batch,
            "classes": classes,
            "merged": merged,
            **references,
        },
        dataset="",
        dataset_version="",
        dataset_options={},
        manifest_sha256="",
        split="",
        shots=None,
        seed=0,
        backbone=backbone,
        backbone_options=dict(backbone_options or {}),
        weights=weights,
        weights_sha256=weights_sha256,
        training={"precision": precision},
        decoder="",
        locations={method.name: locations} if (locations := method.locations()) else {},
    )


def record(
    output: Path,
    trial: Trial,
    *,
    metrics: Mapping[str, float],
    absent: Mapping[str, str],
    rounds: Sequence[dict[str, float]],
    trainable_params: int,
    backbone_params: int,
    environment: Mapping[str, Any],
    seconds: float,
    notes: Sequence[str],
    marks: Sequence[str],
) -> Path:
    """Write the record; its history (details.json) has one row per round. Raises StoreError if it cannot be written."""
    folder = trial_folder(output, trial.key)
    folder.mkdir(parents=True, exist_ok=True)
    result = TrialResult(
        metrics=dict(metrics),
        evaluations={},
        trainable_params=trainable_params,
        backbone_params=backbone_params,
        train_clips={"expected": 0, "missing": 0, "unreadable": 0, "used": 0},
        train_unreadable={},
        history=list(rounds),
        durations_s={"total": round(seconds, 3)},
        environment=dict(environment),
        notes=[*(f"{name}: not measured: {reason}" for name, reason in absent.items()), *notes],
        marks=list(marks),
    )
    return write_record(folder, trial, result)
