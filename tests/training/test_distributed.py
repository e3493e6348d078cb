"""One trial over several processes: the numbers of one process, one end for all of them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from petl_bench.api.trial import Places, Progress, Trial, TrialResult, canonical_json
from petl_bench.errors import TrialError
from petl_bench.training import distributed
from petl_bench.training.checkpoint import load_adapter, load_checkpoint
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import Seat, seat_of
from petl_bench.training.run_trial import run_trial

MakeTrial = Callable[..., Trial]
WritePlugin = Callable[..., Path]

#: A large epsilon keeps Adam from blowing rounding up into whole steps where a gradient is next to nothing.
STEADY = {"adam_epsilon": 1e-3, "learning_rate": 1e-2}
MSTA = {"bottleneck_dim": 8, "dropout": 0.0, "scale": 0.5}

#: Code for the processes that a trial starts, and only for them: do `{what}` in training step 2.
IN_MEMBERS = """
import itertools, multiprocessing, os, signal, time
from petl_bench.training.step import Learner
step, taken = Learner.step, itertools.count()

def hostile(*arguments):
    if next(taken) == 2:
        {what}
    return step(*arguments)

if multiprocessing.parent_process() is not None:
    Learner.step = hostile
"""


def run(trial: Trial, places: Places, folder: Path) -> TrialResult:
    folder.mkdir(exist_ok=True)
    return run_trial(trial, places, folder, lambda progress: None)


def shared(trial: Trial, processes: int = 2) -> Trial:
    return replace(trial, training={**trial.training, "processes": processes})


def agree(one: tuple[TrialResult, Path], other: tuple[TrialResult, Path]) -> None:
    """The same result, up to rounding."""
    (left, left_folder), (right, right_folder) = one, other
    assert right.metrics == left.metrics
    assert right.train_clips == left.train_clips
    assert right.train_unreadable == left.train_unreadable
    assert right.marks == left.marks
    for ours, theirs in zip(left.history, right.history, strict=True):
        for name in set(ours) - {"seconds"}:
            assert theirs[name] == pytest.approx(ours[name], rel=5e-5), name
    for name, evaluation in left.evaluations.items():
        assert right.evaluations[name].clips == evaluation.clips
        assert right.evaluations[name].labels == evaluation.labels
        assert right.evaluations[name].unreadable == evaluation.unreadable
        np.testing.assert_allclose(right.evaluations[name].scores, evaluation.scores, atol=1e-5)
    adapters = [load_adapter(folder / "adapter.safetensors")[1] for folder in (left_folder, right_folder)]
    assert adapters[0].keys() == adapters[1].keys()
    for name, tensor in adapters[0].items():
        np.testing.assert_allclose(adapters[1][name].numpy(), tensor.numpy(), atol=2e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "hyper", "training"),
    [
        # 12 clips in batches of 5, 5 and 2; both towers adapted, a loss over classes, text trained through a leaf
        ("msta", MSTA, {"batch_size": 5, "micro_batch_size": 2, "clip_grad_norm": 0.5}),
        # the second process never has a clip of the batch
        ("adaptformer", {"bottleneck_dim": 8, "dropout": 0.0}, {"batch_size": 1, "epochs": 1}),
        ("lora", {"rank": 2}, {"select": "val", "eval_every": 1, "views": 3, "view_sampling": "random"}),
    ],
    ids=["msta", "one-clip-batches", "val"],
)
def test_two_processes_give_the_numbers_of_one(
    method: str,
    hyper: dict[str, object],
    training: dict[str, object],
    make_trial: MakeTrial,
    small_plugin: WritePlugin,
    places: Places,
    tmp_path: Path,
) -> None:
    trial = make_trial(method, hyper, **{**STEADY, **training})
    places = replace(places, plugins=(small_plugin(),))
    alone = run(trial, replace(places, plugins=()), tmp_path / "alone")
    together = run(shared(trial), replace(places, loader_workers=2), tmp_path / "together")
    agree((alone, tmp_path / "alone"), (together, tmp_path / "together"))


@pytest.mark.drill
@pytest.mark.ci
def test_two_processes_leave_out_the_clips_that_one_leaves_out(
    squares: Path, make_trial: MakeTrial, small_plugin: WritePlugin, places: Places, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    for clip in ("red_square/train_1.mp4", "green_square/train_4.mp4", "green_square/test_8.mp4"):
        (some / clip).write_text("<html>not found</html>")
    trial = make_trial("msta", MSTA, dataset={"path": str(some)}, bad_clips_allowed=0.5, batch_size=5, **STEADY)
    alone = run(trial, places, tmp_path / "alone")
    together = run(shared(trial, 3), replace(places, plugins=(small_plugin(),)), tmp_path / "together")
    agree((alone, tmp_path / "alone"), (together, tmp_path / "together"))
    assert len(together.train_unreadable) == 2 and together.train_clips["used"] == 10


class Killed(Exception):
    pass


@pytest.mark.drill
@pytest.mark.ci
def test_an_interrupted_shared_trial_resumes_with_the_same_numbers(
    make_trial: MakeTrial, small_plugin: WritePlugin, places: Places, tmp_path: Path, every_step: float
) -> None:
    # With dropout: every process goes on with its own random state.
    trial = shared(make_trial("adaptformer", {"bottleneck_dim": 8, "dropout": 0.5}, epochs=3))
    places = replace(places, plugins=(small_plugin(),))
    whole = run(trial, places, tmp_path / "whole")

    def die(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 3:
            raise Killed

    folder = tmp_path / "cut"
    folder.mkdir()
    with pytest.raises(Killed):
        run_trial(trial, places, folder, die, checkpoint_seconds=every_step)
    assert multiprocessing.active_children() == []
    state = load_checkpoint(folder / "checkpoint.pt")
    assert state is not None and (state["epoch"]["number"], state["epoch"]["steps"]) == (1, 3)
    assert not np.array_equal(*(process["random"]["cpu"] for process in state["processes"]))
    resumed = run(trial, places, folder)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    for name, evaluation in whole.evaluations.items():
        assert np.array_equal(resumed.evaluations[name].scores, evaluation.scores)


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("raise ZeroDivisionError('of the second')", r"process 2 of 2 .*ZeroDivisionError: of the second.*log\.txt"),
        ("from petl_bench.errors import DataError; raise DataError('a clear line')", "^a clear line$"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"process 2 of 2 of this trial was killed by SIGKILL; see .*log\.txt"),
        ("os._exit(3)", r"process 2 of 2 of this trial ended with status 3; see .*log\.txt"),
        ("time.sleep(600)", r"process 1 of 2 of this trial waited 3 s for the others"),
    ],
    ids=["error", "people's error", "killed", "exit", "hang"],
)
def test_a_process_that_fails_ends_the_trial(
    what: str,
    words: str,
    make_trial: MakeTrial,
    small_plugin: WritePlugin,
    places: Places,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "sleep" in what:
        monkeypatch.setattr(distributed, "ANSWER_WITHIN_S", 3.0)
    places = replace(places, plugins=(small_plugin(IN_MEMBERS.format(what=what)),))
    with pytest.raises(TrialError, match=words):
        run(shared(make_trial("lora", {"rank": 2})), places, tmp_path / "run")
    assert multiprocessing.active_children() == []
    if "raise" in what:
        log = (tmp_path / "run" / "log.txt").read_text()
        assert "Traceback" in log and "in hostile" in log
    # Nothing of the failure stays in this process: the next trial runs.
    assert run(make_trial("zero_shot"), replace(places, plugins=()), tmp_path / "next").metrics


@pytest.mark.drill
@pytest.mark.ci
def test_a_loss_that_is_not_finite_in_one_process_ends_the_trial_in_all(
    make_trial: MakeTrial, small_plugin: WritePlugin, places: Places, tmp_path: Path
) -> None:
    spoil = "arguments[1].frames.fill_(float('nan'))"
    places = replace(places, plugins=(small_plugin(IN_MEMBERS.format(what=spoil)),))
    with pytest.raises(TrialError, match=r"not finite at step 3 \(epoch 1\), clips .*\.mp4.*no checkpoint"):
        run(shared(make_trial("lora", {"rank": 2})), places, tmp_path / "run")


@pytest.mark.drill
@pytest.mark.ci
def test_a_clip_list_that_is_bad_beyond_the_allowed_part_ends_all(
    squares: Path, make_trial: MakeTrial, small_plugin: WritePlugin, places: Places, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    shutil.copytree(squares, some)
    for clip in ("red_square/train_1.mp4", "green_square/train_4.mp4", "green_square/train_3.mp4"):
        (some / clip).write_text("<html>not found</html>")
    trial = shared(make_trial("lora", {"rank": 2}, dataset={"path": str(some)}, bad_clips_allowed=0.05))
    with pytest.raises(TrialError, match=r"\d of 24 clips cannot be read"):
        run(trial, replace(places, plugins=(small_plugin(),)), tmp_path / "run")


TRIAL_IN_A_PROCESS = """
import json, sys
from pathlib import Path
from petl_bench.api.registry import load_plugin_file
from petl_bench.training.run_trial import join_trial, run_trial
from petl_bench.api.trial import Places, Trial

if __name__ == "__main__":
    role, trial, cache, plugin, folder = sys.argv[1:]
    trial = Trial.from_json(json.loads(Path(trial).read_text()))
    places = Places(cache=Path(cache), plugins=(Path(plugin),), loader_workers=2)
    load_plugin_file(plugin)
    if role == "join":
        join_trial(trial, places, Path(folder))
    else:
        result = run_trial(trial, places, Path(folder), lambda progress: print(progress.stage, flush=True))
        print("loss", result.history[-1]["loss"])
"""


@pytest.fixture
def start(small_plugin: WritePlugin, places: Places, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A trial in a process of its own: `start(trial, role, environment)`."""
    script = tmp_path / "one_trial.py"
    script.write_text(TRIAL_IN_A_PROCESS)

    def begin(trial: Trial, role: str = "run", **environment: str) -> subprocess.Popen[str]:
        file, folder = tmp_path / "trial.json", tmp_path / "run"
        file.write_text(canonical_json(asdict(trial)))
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, script, role, file, places.cache, small_plugin(), folder],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_others_end_with_the_first_process(
    number: signal.Signals, make_trial: MakeTrial, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(shared(make_trial("lora", {"rank": 2}, epochs=1000), 2))
    try:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "training":
            assert process.poll() is None
        others = psutil.Process(process.pid).children(recursive=True)
        assert len(others) > 4  # the second process, and what decodes for both
        process.send_signal(number)
        started = time.monotonic()
        process.wait(10)
        _, alive = psutil.wait_procs(others, timeout=10)
        assert alive == []
        assert time.monotonic() - started < 10
    finally:
        process.kill()


@pytest.mark.drill
@pytest.mark.ci
def test_an_outside_launcher_may_start_all_processes(
    make_trial: MakeTrial,
    start: Callable[..., subprocess.Popen[str]],
    small_plugin: WritePlugin,
    places: Places,
    tmp_path: Path,
) -> None:
    trial = shared(make_trial("adaptformer", {"bottleneck_dim": 8, "dropout": 0.0}, epochs=1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    first, second = start(trial, "run", RANK="0", **common), start(trial, "join", RANK="1", **common)
    output, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert second.wait(30) == 0
    alone = run(shared(trial, 1), places, tmp_path / "alone")
    assert float(output.split()[-1]) == pytest.approx(alone.history[-1]["loss"], rel=1e-5)


def test_a_seat_comes_from_the_launcher_s_variables() -> None:
    launcher = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert seat_of(4, launcher) == Seat(3, 4, 3, 4, launched=True)
    assert seat_of(4, {**launcher, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}) == Seat(3, 4, 1, 2, launched=True)
    assert seat_of(1, launcher) == Seat()
    assert seat_of(2, {}) == Seat(0, 2, 0, 2)
    with pytest.raises(TrialError, match=r"started 4 processes .*--set training\.processes=4"):
        seat_of(2, launcher)


@pytest.mark.parametrize(
    ("name", "devices", "count", "expected"),
    [("auto", 2, 2, "cuda:1"), ("auto", 1, 2, "cpu"), ("cpu", 2, 2, "cpu"), ("auto", 1, 1, "cuda"), ("cuda", 1, 2, "")],
)
def test_every_process_has_a_device_of_its_own(
    name: str, devices: int, count: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: devices > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    seat = Seat(count - 1, count, count - 1, count)
    if expected:
        assert str(resolve_device(name, seat)) == expected
        return
    with pytest.raises(TrialError, match=r"2 processes share this trial, 1 CUDA .*--set training\.processes=1"):
        resolve_device(name, seat)


def test_only_the_first_process_runs_the_trial(
    make_trial: MakeTrial, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="process 2 of 2 must call join_trial"):
        run(shared(make_trial("zero_shot")), places, tmp_path / "run")
