"""A trial is done if its record is whole and what others need of it is there: `run` and `status` agree on that."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.launcher import Job
from petl_bench.api.trial import EvaluationResult, TrialResult
from petl_bench.managing.status import survey
from petl_bench.records.write import write_record
from petl_bench.running.attempts.output import prepare_output
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.plan_text import plan_lines
from petl_bench.running.planning.saved_plans import save_plan
from tests.running.test_plan import spec_of

ADAPTER = "adapter.safetensors"


def finish(output: Path, job: Job) -> Path:
    """Leave what the toy's trial leaves; returns its folder."""
    folder = output / "trials" / job.trial.key
    folder.mkdir(parents=True)
    if job.trial.part == "source":
        (folder / ADAPTER).write_text(job.trial.key)
    evaluation = EvaluationResult(
        classes=("left", "right"),
        clips=["a", "b"],
        labels=[0, 1],
        scores=[[0.75, 0.25]] * 2,
        top1=50.0,
        top5=100.0,
        expected=2,
    )
    result = TrialResult(
        metrics={"top1": 50.0},
        evaluations={"all": evaluation},
        trainable_params=0,
        backbone_params=1,
        train_clips={"expected": 4, "missing": 0, "unreadable": 0, "used": 4},
        train_unreadable={},
        history=[],
        durations_s={"total": 0.1},
        environment={"device": "cpu"},
        notes=[],
        marks=[],
    )
    return write_record(folder, job.trial, result).parent


def planned(toy: Any, **changes: Any) -> Plan:
    made = plan(spec_of(toy, **changes))
    prepare_output(made.output)
    save_plan(made)
    return made


def _truncate(folder: Path) -> Path:
    path = folder / "record.json"
    path.write_bytes(path.read_bytes()[:100])
    return path


def _nan(folder: Path) -> Path:
    path = folder / "record.json"
    path.write_text(path.read_text().replace("50.0", "NaN", 1))
    return path


def _without_predictions(folder: Path) -> Path:
    path = folder / "predictions-all.npz"
    path.unlink()
    return path


def _longer_details(folder: Path) -> Path:
    path = folder / "details.json"
    path.write_bytes(path.read_bytes() + b" ")
    return path


DAMAGES = [_truncate, _nan, _without_predictions, _longer_details]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trial_is_neither_done_nor_to_do(toy_here: Any, damage: Callable[[Path], Path]) -> None:
    made = planned(toy_here, seeds=(0, 1, 2))
    folders = [finish(made.output, job) for job in made.jobs[:2]]
    assert plan(made.spec).done == {folder.name for folder in folders}
    path = damage(folders[1])

    again = plan(made.spec)
    assert again.done == {folders[0].name}
    assert [job.trial.seed for job in again.to_do] == [2]
    assert again.standing.refused.keys() == {folders[1].name}
    assert again.standing.refused[folders[1].name].startswith(f"{path}: ")
    assert "damaged" in "\n".join(plan_lines(again))

    found = survey(made.output)
    assert [trial.state for trial in found.trials] == ["done", "damaged", "missing"]
    assert found.counts["done"] == 1
    assert found.trials[1].detail.startswith(f"{path}: ")
    command = found.trials[1].detail.partition("repeat the command: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert (made.output / "replaced" / f"{folders[1].name}-1").is_dir()
    assert len(plan(made.spec).to_do) == 2


def test_a_record_without_hashes_is_done_while_its_predictions_are_there(toy_here: Any) -> None:
    made = planned(toy_here)
    folder = finish(made.output, made.jobs[0])
    record = json.loads((folder / "record.json").read_text())
    del record["files"]
    (folder / "record.json").write_text(json.dumps(record))
    assert plan(made.spec).to_do == []
    (folder / "predictions-all.npz").unlink()
    assert plan(made.spec).standing.refused.keys() == {folder.name}


def test_the_other_trials_go_on_and_what_is_damaged_stays(toy: Any) -> None:
    arguments = ("--methods", "waiting", "--workers", "1")
    assert toy.run(*arguments, "--seeds", "0").returncode == 0
    (record,) = toy.records()
    content = _truncate(record.parent).read_bytes()
    done = toy.run(*arguments, "--seeds", "0,1")
    assert done.returncode == 1
    assert "2 trials: 0 done, 1 to run" in done.stderr
    assert "1 of 2 trials failed" in done.stderr
    assert f"{record}: damaged" in done.stderr
    assert f"mv {record.parent} " in done.stderr
    assert record.read_bytes() == content
    assert len(toy.executions()) == 2
    shown = toy.command("status", "--runs", str(toy.runs)).stdout
    assert "1 done, 1 damaged" in shown
    assert str(record) in shown


def test_targets_of_a_damaged_source_are_refused_with_it(toy_here: Any) -> None:
    made = planned(toy_here, setting="toy_transfer")
    (source, *targets) = made.jobs
    _truncate(finish(made.output, source))
    again = plan(made.spec)
    assert again.to_do == []
    assert all("is damaged" in again.standing.refused[target.trial.key] for target in targets)


@pytest.mark.parametrize(
    "lose", [Path.unlink, lambda path: path.write_text("x"), lambda path: path.write_text("e" * 64)]
)
def test_a_source_that_lost_its_adapter_is_done_only_while_nothing_starts_from_it(
    toy_here: Any, lose: Callable[[Path], Any]
) -> None:
    made = planned(toy_here, setting="toy_transfer")
    (source, *targets) = made.jobs
    folder = finish(made.output, source)
    finish(made.output, targets[0])
    assert [job.trial.key for job in plan(made.spec).to_do] == [targets[1].trial.key]
    lose(folder / ADAPTER)
    again = plan(made.spec)
    assert [job.trial.key for job in again.to_do] == [source.trial.key, targets[1].trial.key]
    assert str(folder / ADAPTER) in again.standing.to_adapt[source.trial.key]
    finish(made.output, targets[1])
    assert plan(made.spec).to_do == []


def test_status_tells_of_a_lost_adapter_and_the_trial_stays_done(toy_here: Any) -> None:
    made = planned(toy_here, setting="toy_transfer")
    folders = [finish(made.output, job) for job in made.jobs]
    (folders[0] / ADAPTER).unlink()
    found = survey(made.output)
    assert [trial.state for trial in found.trials] == ["done"] * 3
    assert [bool(trial.detail) for trial in found.trials] == [True, False, False]
    assert "adapter.safetensors is gone" in found.trials[0].detail


def test_a_source_without_its_adapter_trains_again_and_nothing_is_lost(toy: Any) -> None:
    arguments = ["--setting", "toy_transfer", "--methods", "waiting", "--seeds", "0", "--workers", "0"]
    assert toy.run(*arguments).returncode == 0
    (source,) = [path.parent for path in toy.runs.glob(f"trials/*/{ADAPTER}")]
    before = (source / "record.json").read_bytes()
    (source / ADAPTER).unlink()
    target = next(path.parent for path in toy.records() if path.parent != source)
    shutil.rmtree(target)
    done = toy.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "trains again, for others start from its adapter" in done.stderr
    assert str(source / ADAPTER) in done.stderr
    assert (toy.runs / "replaced" / f"{source.name}-1" / "record.json").read_bytes() == before
    assert len(toy.records()) == 3
    assert len(toy.executions()) == 5
