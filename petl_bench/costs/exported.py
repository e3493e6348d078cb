"""Records of costs as the JSON of pytest-benchmark, so that `pytest-benchmark compare` works on them. Without torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from petl_bench.api.trial import Trial
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_details, read_record

#: What is exported: the name of a benchmark, the column of its rounds, in milliseconds.
_BENCHMARKS = {"train_step": "train", "inference": "inference", "text": "text"}
#: The layout of pytest-benchmark's files that this follows.
_LAYOUT = "5.1.0"


def pytest_benchmark_json(output: Path, trials: Iterable[Trial]) -> str:
    """The measurements of these trials: one benchmark per pass, one value per round, in seconds.

    Raises StoreError if a record cannot be read.
    """
    benchmarks: list[dict[str, Any]] = []
    environment: Mapping[str, Any] = {}
    for trial in trials:
        folder = trial_folder(output, trial.key)
        record = read_record(folder)
        details = read_details(folder, record)
        environment = details["environment"]
        benchmarks += _benchmarks(trial, record, details["history"])
    values = {
        "machine_info": _machine(environment),
        "commit_info": _commit(environment),
        "benchmarks": benchmarks,
        "datetime": datetime.now(UTC).isoformat(),
        "version": _LAYOUT,
    }
    return json.dumps(values, indent=1) + "\n"


def _benchmarks(
    trial: Trial, record: Mapping[str, Any], rounds: Sequence[Mapping[str, float]]
) -> Iterable[dict[str, Any]]:
    options = trial.setting_options
    merged = "-merged" if options["merged"] else ""
    case = f"{trial.method}{merged}-{trial.backbone}-b{options['batch_size']}-{options['precision']}"
    for name, column in _BENCHMARKS.items():
        seconds = [row[column] / 1000 for row in rounds if column in row]
        if seconds:
            yield {
                "group": f"{name} {trial.backbone} batch {options['batch_size']} {options['precision']}",
                "name": f"{name}[{case}]",
                "fullname": f"petl-bench cost::{name}[{case}]",
                "params": {"case": case},
                "param": case,
                "extra_info": {"trial": record["trial"], "metrics": record["metrics"]},
                "options": {
                    "disable_gc": False,
                    "timer": "perf_counter",
                    "min_rounds": len(seconds),
                    "max_time": 0.0,
                    "min_time": 0.0,
                    "warmup": True,
                },
                "stats": _stats(seconds),
            }


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    """The statistics that pytest-benchmark stores, by its own definitions."""
    many = len(seconds) > 1
    q1, middle, q3 = statistics.quantiles(seconds, n=4, method="inclusive") if many else [seconds[0]] * 3
    mean, spread = statistics.fmean(seconds), statistics.stdev(seconds) if many else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(abs(value - mean) > spread for value in seconds)
    outliers = sum(not low <= value <= high for value in seconds)
    return {
        "min": min(seconds),
        "max": max(seconds),
        "mean": mean,
        "stddev": spread,
        "rounds": len(seconds),
        "median": middle,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outliers,
        "stddev_outliers": far,
        "outliers": f"{far};{outliers}",
        "ld15iqr": min(value for value in seconds if value >= low),
        "hd15iqr": max(value for value in seconds if value <= high),
        "ops": 1 / mean,
        "total": sum(seconds),
        "iterations": 1,
        "data": list(seconds),
    }


def _machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "node": "",
        "processor": environment.get("processor", ""),
        "machine": environment.get("device", ""),
        "system": environment.get("platform", ""),
        "python_version": environment.get("python", ""),
        "cpu": {"brand_raw": environment.get("processor", "")},
    }


def _commit(environment: Mapping[str, Any]) -> dict[str, Any]:
    git = environment.get("git") or {}
    return {"id": git.get("commit", "unversioned"), "dirty": bool(git.get("dirty", False)), "branch": "", "time": None}
