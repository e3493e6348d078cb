"""Metrics on held-out training clips: of the epoch that they selected, and of trials on a partition of such clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from petl_bench.api.trial import Places, Trial, TrialResult
from petl_bench.records.judge import same_metrics
from petl_bench.records.read import read_record
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import write_record
from petl_bench.training.run_trial import run_trial
from tests.training.conftest import MakeTrial

TEST = {"base_top1", "novel_top1", "harmonic_mean"}


def run(trial: Trial, places: Places, runs: Path) -> tuple[TrialResult, Path]:
    folder = runs / "trials" / trial.key
    folder.mkdir(parents=True)
    result = run_trial(trial, places, folder, lambda progress: None)
    write_record(folder, trial, result)
    return result, folder


def test_the_selected_epoch_has_its_accuracy(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    """`val_top1` is the best of the history; the record is sound, and so is one from before that lacks it."""
    result, folder = run(make_trial("lora", {"rank": 2}, epochs=3, select="val", eval_every=1), places, tmp_path)
    assert result.metrics["val_top1"] == max(row["selection_accuracy"] for row in result.history)
    assert not verify_trial(folder).problems
    stored = read_record(folder)["metrics"]
    assert same_metrics(stored, {name: value for name, value in stored.items() if name != "val_top1"})
    assert not same_metrics(stored, {**stored, "val_top1": stored["val_top1"] / 2 + 1})


@pytest.mark.parametrize(("method", "training"), [("lora", {"select": "last"}), ("zero_shot", {"select": "val"})])
def test_others_have_none(
    make_trial: MakeTrial, places: Places, tmp_path: Path, method: str, training: dict[str, str]
) -> None:
    """Without an epoch that was selected on held-out clips there is no such number."""
    epochs = 1 if method == "lora" else 0
    result, _ = run(make_trial(method, epochs=epochs, **training), places, tmp_path)
    assert not {name for name in result.metrics if name.startswith("val_")}


@pytest.mark.parametrize("select", ["last", "val"])
def test_a_trial_of_a_tuning_is_sound(make_trial: MakeTrial, places: Places, tmp_path: Path, select: str) -> None:
    """Its metrics follow from its predictions, which are of training clips; none is named as one of test clips."""
    trial = replace(make_trial("lora", {"rank": 2}, epochs=1, select=select), tuning="held-out/0")
    result, folder = run(trial, places, tmp_path)
    assert set(result.metrics) <= {"val_top1", "val_top5", "val_mean_class_top1"}
    assert not TEST & set(result.metrics)
    assert not verify_trial(folder).problems
