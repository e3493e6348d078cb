"""One task of a SLURM job: warned, cancelled, and started again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petl_bench.errors import StoreError
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.output import identify, prepare_output
from petl_bench.running.planning.plan import plan
from petl_bench.running.slurm import queue as slurm_queue
from petl_bench.running.slurm import task as slurm_task
from tests.running.test_plan import spec_of

HANDLED = (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT)


class Task:
    """A task with two trials of ten steps; `at_step` happens in the first trial's second step."""

    def __init__(self, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.toy, self.runs = toy, toy.runs
        self.requeued: list[str] = []
        self.at_step: list[Callable[[], object]] = []
        prepare_output(self.runs)
        planned = plan(spec_of(toy, seeds=(0, 1), set=("waiting.steps=10",))).jobs
        self.keys = {job.trial.key for job in planned}
        asked, _ = requests.ask_for(self.runs, self.keys)
        self.jobs = [replace(job, asked=asked, output_id=identify(self.runs)) for job in planned]
        self.file = toy.folder / "jobs.json"
        slurm_task.write_jobs(self.file, self.jobs)
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setattr(slurm_queue, "requeue", self.requeued.append)
        monkeypatch.setattr(slurm_queue, "PATIENCE_S", 0.0)
        monkeypatch.setattr(slurm_task, "_no_progress", self._progress)

    def start(self, restarts: int = 0, attempts: int = 5) -> list[str]:
        """The task to its end; the trials that it started."""
        before = len(self.toy.executions("start"))
        os.environ["SLURM_RESTART_COUNT"] = str(restarts)
        slurm_task.run_task(str(self.file), 0, 2, str(self.runs), 1, attempts, 60.0)
        return self.toy.executions("start")[before:]

    def cancel(self) -> None:
        requests.cancel(self.runs, self.keys)

    def _progress(self, progress: Any) -> None:
        if progress.epoch == 2:
            for act in self.at_step:
                act()


@pytest.fixture
def task(toy_here: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    yield Task(toy_here, monkeypatch)
    for number, handler in before.items():
        signal.signal(number, handler)


def warn(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


TIME_IS_UP, ENDED = warn(signal.SIGUSR2), warn(signal.SIGTERM)


def test_near_the_time_limit_it_asks_for_another_start_which_goes_on(task: Task) -> None:
    task.at_step = [TIME_IS_UP, TIME_IS_UP]
    assert task.start() == ["start waiting 0 0"]
    assert task.requeued == ["7"]
    task.at_step = []
    assert task.start(restarts=1) == ["start waiting 0 2", "start waiting 1 0"]
    assert task.requeued == ["7"]


def test_a_cancelled_task_does_not_ask_for_another_start(task: Task) -> None:
    task.at_step = [TIME_IS_UP, task.cancel]
    task.start()
    assert task.requeued == []
    (tried,) = claims.attempts(task.runs / "trials" / task.jobs[0].trial.key)
    assert tried.outcome == "interrupted"
    assert tried.reason.startswith("cancelled with petl-bench cancel by ")


def test_a_start_that_was_granted_before_the_cancellation_runs_nothing_and_asks_for_no_other(task: Task) -> None:
    task.at_step = [TIME_IS_UP]
    task.start()
    assert task.requeued == ["7"]
    task.cancel()
    assert task.start(restarts=1) == []
    assert task.requeued == ["7"]
    requests.ask_for(task.runs, task.keys)
    assert task.start(restarts=2) == [], "asked for again by a command that has tasks of its own"


def test_a_task_that_is_ended_by_hand_after_the_warning_does_not_ask_for_another_start(task: Task) -> None:
    """scancel; a time limit comes later than that, and SLURM repeats a preempted job by itself."""
    task.at_step = [TIME_IS_UP, ENDED]
    task.start()
    assert task.requeued == []


def test_the_time_limit_itself_asks_for_another_start(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that needed longer than the warning to stop: SIGTERM comes with the limit."""
    now = slurm_task.time.monotonic()
    later = lambda: monkeypatch.setattr(slurm_task.time, "monotonic", lambda: now + 100)  # noqa: E731
    task.at_step = [TIME_IS_UP, later, ENDED]
    task.start()
    assert task.requeued == ["7"]


@pytest.mark.parametrize("hour", [3600.0, -3600.0])
def test_a_clock_that_is_set_does_not_count_as_getting_nowhere(
    task: Task, hour: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = slurm_task.time.time
    task.at_step = [lambda: monkeypatch.setattr("time.time", lambda: now() + hour), TIME_IS_UP]
    task.start(restarts=4, attempts=5)
    assert task.requeued == ["7"], "a checkpoint was written"


def test_a_task_without_its_folder_makes_nothing_anew(task: Task) -> None:
    aside = Path(f"{task.runs}.aside")
    task.at_step = [lambda: task.runs.rename(aside)]
    with pytest.raises(StoreError):
        task.start()
    assert not task.runs.exists()
    prepare_output(task.runs)
    identify(task.runs)
    task.at_step = []
    with pytest.raises(StoreError, match="another folder"):
        task.start(restarts=1)
    assert list((task.runs / "trials").iterdir()) == []
    shutil.rmtree(task.runs)
    aside.rename(task.runs)
    left = claims.newest(task.runs / "trials" / task.jobs[0].trial.key)
    assert left is not None and left.ended_at is None
    claims.finish(task.runs / "trials" / task.jobs[0].trial.key, left, "interrupted", "its process is gone")
    assert len(task.start(restarts=2)) == 2
    assert len(task.toy.executions("end")) == 2
