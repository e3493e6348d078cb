"""A trial that is stopped goes on with the numbers of one that never was: bit for bit, wherever it was stopped."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from petl_bench.api.launcher import Job
from petl_bench.api.trial import Places, Progress, Stop, Trial, TrialResult, canonical_json
from petl_bench.data.decoding.clips import Choose, DecodedClip, read_clip
from petl_bench.errors import TrialStopped
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_record
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.execute import execute
from petl_bench.training import checkpoint, preparation
from petl_bench.training.checkpoint import Pace, load_adapter, load_checkpoint, save_checkpoint
from petl_bench.training.run_trial import run_trial

MakeTrial = Callable[..., Trial]
WritePlugin = Callable[..., Path]

DROPOUT = {"bottleneck_dim": 8, "dropout": 0.5}
BOTH_TOWERS = {"rank": 2, "towers": "both"}


class Counted:
    """Gives a reason to stop the `number`-th time that it is asked (from 1); with 0, never."""

    def __init__(self, number: int = 0) -> None:
        self.number, self.asked = number, 0

    def __call__(self) -> str:
        self.asked += 1
        return f"asked {self.asked} times" if self.asked == self.number else ""


def run(trial: Trial, places: Places, folder: Path, stop: Stop | None = None, **more: Any) -> TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(trial, places, folder, lambda progress: None, stop=stop or Counted(), **more)


def stopped(trial: Trial, places: Places, folder: Path, number: int, **more: Any) -> dict[str, Any] | None:
    """Run until `stop` was asked so many times; returns the checkpoint."""
    with pytest.raises(TrialStopped, match=f"^asked {number} times$"):
        run(trial, places, folder, Counted(number), **more)
    return load_checkpoint(folder / "checkpoint.pt")


def assert_same(one: tuple[TrialResult, Path], other: tuple[TrialResult, Path]) -> None:
    """Everything that both trials say and leave behind, but for times."""
    (left, left_folder), (right, right_folder) = one, other
    # Nor for the state of the checkout, in which somebody may be working.
    plain = {"evaluations": {}, "history": [], "durations_s": {}, "environment": {}}
    assert replace(right, **plain) == replace(left, **plain)
    assert right.environment.keys() == left.environment.keys()
    assert [right.environment[name] for name in ("device", "threads")] == [
        left.environment[name] for name in ("device", "threads")
    ]
    histories = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in result.history]
        for result in (one[0], other[0])
    ]
    assert histories[1] == histories[0]
    assert list(other[0].evaluations) == list(one[0].evaluations)
    for name, evaluation in one[0].evaluations.items():
        again = other[0].evaluations[name]
        assert np.array_equal(again.scores, evaluation.scores)
        assert replace(again, scores=None) == replace(evaluation, scores=None)
    (metadata, tensors), (metadata_again, tensors_again) = (
        load_adapter(folder / "adapter.safetensors") for folder in (left_folder, right_folder)
    )
    assert metadata_again == metadata
    assert tensors_again.keys() == tensors.keys()
    assert all(torch.equal(tensors_again[name], tensor) for name, tensor in tensors.items())


@pytest.fixture
def spoilt(squares: Path, tmp_path: Path) -> dict[str, str]:
    """The squares with unreadable clips: two for training, one for testing."""
    some = tmp_path / "spoilt"
    shutil.copytree(squares, some)
    for clip in ("red_square/train_1.mp4", "green_square/train_4.mp4", "green_square/test_8.mp4"):
        (some / clip).write_text("<html>not found</html>")
    return {"path": str(some)}


#: 12 training clips; two evaluations of 6 clips.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "dropout": ("adaptformer", DROPOUT, {"batch_size": 5}),
    "micro-batches": (
        "lora",
        BOTH_TOWERS,
        {"batch_size": 5, "micro_batch_size": 2, "clip_grad_norm": 0.5},
    ),
    "fp16": ("adaptformer", DROPOUT, {"precision": "fp16", "epochs": 2}),
    "val": ("adaptformer", DROPOUT, {"select": "val", "eval_every": 1, "eval_batch_size": 1}),
    "best-on-test": ("msta", {"bottleneck_dim": 8}, {"select": "best-on-test", "eval_batch_size": 3}),
    "everything": ("full_finetune", {}, {"batch_size": 6, "epochs": 1}),
    "context": ("coop", {}, {"batch_size": 6, "epochs": 1, "optimizer": "sgd"}),
    "text of each clip": ("cocoop", {}, {"batch_size": 6, "micro_batch_size": 4, "epochs": 1}),
    "tokens": ("vpt", {}, {"batch_size": 6, "epochs": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_trial_may_be_stopped_after_any_step_and_any_batch(
    case: str, make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    method, hyper, training = CASES[case]
    trial = make_trial(method, hyper, **training)
    asked = Counted()
    whole = run(trial, places, tmp_path / "whole", asked)
    assert asked.asked > 3
    for number in range(1, asked.asked + 1):
        folder = tmp_path / f"stopped {number}"
        assert stopped(trial, places, folder, number) is not None
        assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))


def test_a_stop_after_finish_or_within_a_variant_changes_nothing(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("wise_ft", batch_size=6, epochs=1, learning_rate=1e-2)
    asked = Counted()
    whole = run(trial, places, tmp_path / "whole", asked)
    assert list(whole.variants) == [f"alpha={point / 10}" for point in range(11)]
    assert whole.variants["alpha=0.5"] == whole.metrics
    for number in (2, 3, 4, 11, asked.asked):
        folder = tmp_path / f"stopped {number}"
        assert stopped(trial, places, folder, number) is not None
        assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))


def test_text_of_each_clip_is_counted_first(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    one_prompt = run(make_trial("cocoop", epochs=1), places, tmp_path / "one view")
    views = run(make_trial("cocoop", epochs=1, views=2), places, tmp_path / "two views")
    said = "text features depend on the clip: 24 texts go through the text tower in each epoch, {} in the evaluations"
    assert said.format(24) in one_prompt.notes
    assert said.format(48) in views.notes


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_clips_that_cannot_be_read_before_or_after_the_stop(
    workers: int, spoilt: dict[str, str], make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("adaptformer", DROPOUT, dataset=spoilt, batch_size=1, epochs=1, bad_clips_allowed=0.5)
    whole = run(trial, places, tmp_path / "whole")
    assert len(whole.train_unreadable) == 2 and whole.train_clips["used"] == 10
    places = replace(places, loader_workers=workers)
    known = set()
    for number in range(1, 13) if workers == 0 else (3, 9):
        folder = tmp_path / f"stopped {number}"
        state = stopped(trial, places, folder, number)
        assert state is not None
        known.add(len(state["processes"][0]["unreadable"]))
        assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))
    assert len(known) > 1


def test_a_trial_may_be_stopped_again_and_again(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("msta", {"bottleneck_dim": 8}, select="val", eval_every=1, batch_size=3)
    whole, folder = run(trial, places, tmp_path / "whole"), tmp_path / "stopped"
    before = (0, 0)
    for _ in range(3):
        state = stopped(trial, places, folder, 1)
        assert state is not None
        place = state["epoch"]["number"], state["epoch"]["steps"]
        assert place > before
        before = place
    result = run(trial, places, folder)
    assert_same((whole, tmp_path / "whole"), (result, folder))


def test_an_attempt_that_ends_without_warning_goes_on_from_the_last_checkpoint(
    make_trial: MakeTrial, places: Places, tmp_path: Path, every_step: float
) -> None:
    trial = make_trial("adaptformer", DROPOUT, select="val", eval_every=1, epochs=3)
    whole = run(trial, places, tmp_path / "whole")
    folder = tmp_path / "cut"
    folder.mkdir()
    for step in (2, 3, 5):

        def die(progress: Progress, last: int = step) -> None:
            if progress.stage == "training" and progress.step == last:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run_trial(trial, places, folder, die, checkpoint_seconds=every_step)
    assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))


def test_the_rest_of_the_epoch_alone_is_read_again(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial("adaptformer", DROPOUT, epochs=1, batch_size=5)
    opened: list[str] = []

    def reading(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        opened.append(path.stem)
        return read_clip(path, choose, decoder)

    monkeypatch.setattr(preparation, "replace", partial(replace, read=reading))
    stopped(trial, replace(places, cache=tmp_path / "cache"), tmp_path / "stopped", 2)
    assert len(opened) == 10
    opened.clear()
    run(trial, replace(places, cache=tmp_path / "another cache"), tmp_path / "stopped")
    assert [name.split("_")[0] for name in opened] == ["train"] * 2 + ["test"] * 12


def test_seconds_add_up_over_attempts(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("adaptformer", DROPOUT, epochs=1)
    calls = Counted(2)

    def slowly(progress: Progress) -> None:
        if progress.stage == "training":
            time.sleep(0.3)

    (tmp_path / "run").mkdir()
    with pytest.raises(TrialStopped):
        run_trial(trial, places, tmp_path / "run", slowly, stop=calls)
    result = run(trial, places, tmp_path / "run")
    assert result.history[0]["seconds"] >= 0.3  # of two steps, the first has slept when its seconds were taken
    assert result.durations_s["train"] >= 0.6
    assert result.durations_s["total"] >= result.durations_s["train"]


def test_a_stop_in_the_evaluation_keeps_the_finished_training(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    trial = make_trial("adaptformer", DROPOUT, epochs=2, eval_batch_size=2)
    state = stopped(trial, places, tmp_path / "run", 8)  # six steps, then the evaluations
    assert state is not None and state["epoch"]["number"] == 2
    stages: list[str] = []
    run_trial(trial, places, tmp_path / "run", lambda progress: stages.append(progress.stage))
    assert "training" not in stages and "evaluating" in stages


def test_a_trial_that_trains_nothing_stops_too(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    trial = make_trial("zero_shot")
    assert stopped(trial, places, tmp_path / "run", 1) is None
    assert run(trial, places, tmp_path / "run").metrics == run(trial, places, tmp_path / "whole").metrics


# ---------------------------------------------------------------- several processes


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.timeout(900)
def test_all_processes_of_a_shared_trial_stop_at_the_same_step(
    spoilt: dict[str, str],
    make_trial: MakeTrial,
    small_plugin: WritePlugin,
    places: Places,
    tmp_path: Path,
) -> None:
    trial = make_trial(
        "adaptformer",
        DROPOUT,
        dataset=spoilt,
        select="val",
        eval_every=1,
        eval_batch_size=1,
        bad_clips_allowed=0.5,
        processes=2,
    )
    places = replace(places, plugins=(small_plugin(),))
    whole = run(trial, places, tmp_path / "whole")
    for number in (1, 3, 4, 8, 10):
        folder = tmp_path / f"stopped {number}"
        state = stopped(trial, places, folder, number)
        assert state is not None and len(state["processes"]) == 2
        assert not (folder / "log.txt").exists() or "Traceback" not in (folder / "log.txt").read_text()
        assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))


TRIAL_IN_A_PROCESS = """
import json, signal, sys, time
from dataclasses import replace
from pathlib import Path
from petl_bench.data.decoding.clips import read_clip
from petl_bench.errors import TrialStopped
from petl_bench.api.registry import load_plugin_file
from petl_bench.training import checkpoint, preparation
from petl_bench.training.run_trial import run_trial
from petl_bench.api.trial import Places, Trial

def read_slowly(path, choose, decoder):
    time.sleep(0.05)
    return read_clip(path, choose, decoder)

def slow_recipe(spec, **values):
    return replace(spec, **{**values, "cache": None, "read": read_slowly})

preparation.replace = slow_recipe  # so that a signal finds clips being read, in every process

if __name__ == "__main__":
    trial, cache, plugin, folder = sys.argv[1:]
    trial = Trial.from_json(json.loads(Path(trial).read_text()))
    places = Places(cache=Path(cache), plugins=(Path(plugin),), loader_workers=2)
    load_plugin_file(plugin)
    checkpoint.WRITING_PART = 1.0
    reason = ""

    def warned(number, frame):
        global reason
        reason = signal.Signals(number).name

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, warned)
    try:
        run_trial(
            trial, places, Path(folder), lambda progress: print(progress.step, flush=True),
            stop=lambda: reason, checkpoint_seconds=0.0,
        )
    except TrialStopped as stopped:
        print(f"stopped by {stopped}", flush=True)
"""


@pytest.fixture
def start(small_plugin: WritePlugin, tmp_path: Path) -> Iterator[Callable[[Trial], subprocess.Popen[str]]]:
    """A trial in a process of its own, with processes below it that decode."""
    script = tmp_path / "one_trial.py"
    script.write_text(TRIAL_IN_A_PROCESS)
    started: list[subprocess.Popen[str]] = []

    def begin(trial: Trial) -> subprocess.Popen[str]:
        file, folder = tmp_path / "trial.json", tmp_path / "run"
        file.write_text(canonical_json(asdict(trial)))
        folder.mkdir(exist_ok=True)
        started.append(
            subprocess.Popen(
                [sys.executable, script, file, tmp_path / "cache", small_plugin(), folder],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    while process.stdout.readline().strip() != str(step):
        assert process.poll() is None


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_warning_that_reaches_every_process_stops_the_trial_and_harms_no_clip(
    number: signal.Signals,
    processes: int,
    make_trial: MakeTrial,
    start: Callable[[Trial], subprocess.Popen[str]],
    small_plugin: WritePlugin,
    places: Places,
    tmp_path: Path,
) -> None:
    trial = make_trial("adaptformer", DROPOUT, epochs=400, batch_size=4, processes=processes)
    process = start(trial)
    wait_for_step(process, 5)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) > 3
    for one in [*below, psutil.Process(process.pid)]:
        one.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == f"stopped by {number.name}"
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state is not None
    assert [of["unreadable"] for of in state["processes"]] == [{}] * processes


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.flaky(reruns=2)
def test_kill_9_between_steps_and_while_writing(
    make_trial: MakeTrial, start: Callable[[Trial], subprocess.Popen[str]], places: Places, tmp_path: Path
) -> None:
    trial = make_trial("adaptformer", DROPOUT, epochs=8)
    whole = run(trial, places, tmp_path / "whole")
    folder = tmp_path / "run"
    for step in (3, 10):
        process = start(trial)
        wait_for_step(process, step)
        process.kill()
        process.communicate()
    (folder / ".checkpoint.pt.left-by-a-kill").write_bytes(b"half")
    state = load_checkpoint(folder / "checkpoint.pt")
    assert state is not None and 9 <= 3 * state["epoch"]["number"] + state["epoch"]["steps"] < 24
    assert_same((whole, tmp_path / "whole"), (run(trial, places, folder), folder))
    assert list(folder.glob(".checkpoint.pt*")) == []


# ---------------------------------------------------------------- attempts


def test_the_reason_is_in_the_attempt_and_in_the_log(make_trial: MakeTrial, places: Places, tmp_path: Path) -> None:
    one = Job(trial=make_trial("adaptformer", DROPOUT), places=places)
    whole = execute(one, tmp_path / "whole", lambda progress: None)
    store, folder = tmp_path / "runs", trial_folder(tmp_path / "runs", one.trial.key)
    for number, asked in ((1, 2), (2, 1), (3, 4)):
        outcome = execute(one, store, lambda progress: None, stop=Counted(asked))
        assert (outcome.state, outcome.reason) == ("interrupted", f"asked {asked} times")
        attempt = claims.newest(folder)
        assert attempt is not None and attempt.number == number
        assert (attempt.outcome, attempt.reason) == ("interrupted", f"asked {asked} times")
        assert (folder / "checkpoint.pt").exists() and not (folder / "record.json").exists()
        log = (folder / "log.txt").read_text()
        assert log.splitlines()[-1] == f"stopped: asked {asked} times"
        assert "Traceback" not in log
    done = execute(one, store, lambda progress: None, stop=Counted())
    assert done.state == "done" and done.metrics == whole.metrics
    assert not (folder / "checkpoint.pt").exists()
    records = [read_record(trial_folder(root, one.trial.key)) for root in (tmp_path / "whole", store)]
    assert [record["attempts"] for record in records] == [1, 4]
    assert without_times(records[0]) == without_times(records[1])


def without_times(record: dict[str, Any]) -> str:
    plain = {name: value for name, value in record.items() if name not in ("attempts", "durations_s", "created")}
    plain["files"] = {name: file for name, file in record["files"].items() if name != "details.json"}
    return json.dumps(plain, sort_keys=True, default=str)


def test_code_that_leaves_the_process_fails_its_trial_alone(
    make_trial: MakeTrial, places: Places, tmp_path: Path
) -> None:
    one = Job(trial=make_trial("adaptformer", DROPOUT), places=places)

    def leave(progress: Progress) -> None:
        if progress.stage == "training":
            raise SystemExit(7)

    outcome = execute(one, tmp_path, leave)
    assert outcome.state == "failed" and "SystemExit: 7" in outcome.reason
    attempt = claims.newest(trial_folder(tmp_path, one.trial.key))
    assert attempt is not None and attempt.outcome == "failed"


# ---------------------------------------------------------------- the file


def test_a_checkpoint_of_another_format_is_not_used_and_that_is_said(
    make_trial: MakeTrial, places: Places, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial = make_trial("adaptformer", DROPOUT)
    whole = run(trial, places, tmp_path / "whole")
    (tmp_path / "old").mkdir()
    torch.save({"epochs_done": 1, "adapter": {}, "random": []}, tmp_path / "old" / "checkpoint.pt")
    with caplog.at_level(logging.WARNING):
        again = run(trial, places, tmp_path / "old")
    assert "was written by another version of petl-bench; the trial starts anew" in caplog.text
    assert_same((whole, tmp_path / "whole"), (again, tmp_path / "old"))


@pytest.mark.parametrize(("took", "next_after"), [(0.1, 30.0), (3.0, 57.0), (60.0, 1140.0)])
def test_writing_takes_no_more_than_a_twentieth_of_the_time(
    took: float, next_after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("petl_bench.training.checkpoint.time.monotonic", lambda: now)
    pace = Pace(30.0)
    now += 29.9
    assert not pace.due()
    now += 0.2
    assert pace.due()
    with pace.writing():
        now += took
    now += next_after - 0.1
    assert not pace.due()
    now += 0.2
    assert pace.due()


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match=r"cannot write .*checkpoint\.pt: No space left"):
        save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file) == {"format": checkpoint.FORMAT, "step": 1}
    assert list(tmp_path.iterdir()) == [file]
