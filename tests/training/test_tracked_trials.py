"""A trial that trackers follow: the same numbers, to the bit, as one that none follows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from petl_bench.api.launcher import Job
from petl_bench.api.trial import Places, Trial
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_record
from petl_bench.running.attempts.execute import execute
from tests.training.test_interruption import without_times

TRACKERS = ("tensorboard", "wandb", "mlflow")


def test_records_are_equal_with_and_without_trackers(
    make_trial: Callable[..., Trial], places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trial = make_trial("adaptformer", {"bottleneck_dim": 8, "dropout": 0.5}, epochs=3)
    folders = []
    for name, trackers in (("plain", ()), ("tracked", TRACKERS)):
        job = Job(trial=trial, places=places, trackers=trackers)
        outcome = execute(job, tmp_path / name, lambda progress: None)
        assert (outcome.state, outcome.failed_trackers) == ("done", {})
        folders.append(trial_folder(tmp_path / name, trial.key))
    plain, tracked = map(read_record, folders)
    assert without_times(plain) == without_times(tracked)
    assert "adapter.safetensors" in plain["files"], "whose sha256 is compared as well"
    assert sorted(path.name for path in (tmp_path / "tracked/tracking").iterdir()) == [".steps", *sorted(TRACKERS)]
