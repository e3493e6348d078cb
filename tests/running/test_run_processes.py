"""Real `petl-bench run` processes: stopped, killed, and side by side. Every trial gets exactly one record."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

# When a signal reaches a real process is up to the scheduler of the machine; what it must never break is the test.
pytestmark = [pytest.mark.drill, pytest.mark.ci, pytest.mark.flaky(reruns=2)]


def test_a_run_leaves_one_record_per_trial_and_does_nothing_the_second_time(toy: Any) -> None:
    first = toy.run("--methods", "waiting,other", "--seeds", "0,1", "--workers", "2")
    assert first.returncode == 0, first.stderr
    assert len(toy.records()) == len(toy.executions()) == 4
    second = toy.run("--methods", "waiting,other", "--seeds", "0,1", "--workers", "2")
    assert second.returncode == 0
    assert "4 done, 0 to run" in second.stderr
    assert len(toy.executions()) == 4


def _in_the_middle(runs: Path) -> bool:
    """Whether a trial has a checkpoint and no record yet (a finished one keeps its checkpoint for a moment)."""
    return any(not (file.parent / "record.json").exists() for file in runs.glob("trials/*/checkpoint.pt"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_9_in_the_middle_loses_nothing_and_runs_nothing_twice(toy: Any, workers: str) -> None:
    arguments = ("--methods", "waiting,other", "--seeds", "0,1,2", "--workers", workers, "--set", "waiting.steps=25")
    process = toy.start_run(*arguments, "--set", "other.steps=25")
    toy.wait_until(lambda: len(toy.records()) >= 2 and _in_the_middle(toy.runs))
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    finished = len(toy.records())
    assert finished < 6

    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    assert status["counts"]["done"] == finished
    assert status["counts"]["running"] == 0
    assert status["counts"]["interrupted"] >= 1

    again = toy.run(*arguments, "--set", "other.steps=25")
    assert again.returncode == 0, again.stderr
    assert len(toy.records()) == 6
    assert sorted(toy.executions()) == sorted(
        f"end {method} {seed}" for method in ("waiting", "other") for seed in range(3)
    )
    assert any(line.split()[-1] != "0" for line in toy.executions("start")), "nothing went on from its checkpoint"


def test_two_runs_on_one_output_share_the_work(toy: Any) -> None:
    arguments = (
        "--methods",
        "waiting,other",
        "--seeds",
        "0,1,2,3",
        "--set",
        "waiting.steps=10",
        "--set",
        "other.steps=10",
    )
    processes = [toy.start_run(*arguments, "--workers", workers) for workers in ("1", "2")]
    done = [toy.finish(process) for process in processes]
    assert [process.returncode for process in done] == [0, 0], done
    assert len(toy.records()) == 8
    assert len(toy.executions("start")) == len(toy.executions("end")) == 8


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_failed_trial_does_not_stop_the_others_and_is_tried_again_later(toy: Any, workers: str) -> None:
    arguments = ("--methods", "waiting,other", "--seeds", "0,1", "--workers", workers)
    done = toy.run(*arguments, "--set", "waiting.mishap=fail")
    assert done.returncode == 1
    assert "1 of 4 trials failed" in done.stderr
    assert "non-finite loss at step 7" in done.stderr
    assert len(toy.records()) == 3
    log = next(line.split("log: ")[1] for line in done.stderr.splitlines() if "log: " in line)
    text = Path(log).read_text()
    assert "hello from waiting" in text
    assert "TrialError" in text

    status = toy.command("status", "--runs", str(toy.runs))
    assert "3 done, 1 failed" in status.stdout
    assert "non-finite loss at step 7" in status.stdout
    assert log in status.stdout
    command = next(line for line in status.stdout.splitlines() if line.startswith("fill the rest"))
    assert "petl-bench run --methods waiting,other" in command

    again = toy.run(*arguments, "--set", "waiting.mishap=fail")
    assert again.returncode == 1
    assert len(toy.executions("start waiting 0")) == 2
    assert len(toy.executions("end")) == 3
    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    assert [trial["attempts"] for trial in status["trials"] if trial["state"] == "failed"] == [2]


def test_an_unexpected_error_fails_its_trial_with_file_and_line(toy: Any) -> None:
    done = toy.run("--methods", "waiting", "--seeds", "0,1", "--workers", "1", "--set", "waiting.mishap=crash")
    assert done.returncode == 1
    assert "ZeroDivisionError: an accident" in done.stderr
    assert "toy_plugin.py, line" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(toy.records()) == 1


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(toy: Any) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1,2", "--workers", "2", "--set", "waiting.steps=6")
    done = toy.run(*arguments, "--set", "waiting.mishap=die once")
    assert done.returncode == 0, done.stderr
    assert "killed by SIGKILL" in done.stderr
    assert len(toy.records()) == len(toy.executions()) == 3
    assert "start waiting 0 3" in toy.executions("start"), "went on from the checkpoint of step 3"


def test_a_worker_that_always_dies_fails_its_trial_with_the_reason(toy: Any) -> None:
    done = toy.run("--methods", "waiting", "--seeds", "0,1", "--workers", "2", "--set", "waiting.mishap=die")
    assert done.returncode == 1
    assert "killed by SIGKILL" in done.stderr
    assert "out of memory" in done.stderr
    assert len(toy.executions("start waiting 0")) == 2
    assert len(toy.records()) == 1
    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    assert [trial["state"] for trial in status["trials"]].count("failed") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_closes_the_trial_and_the_next_run_goes_on(toy: Any, workers: str, number: signal.Signals) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1", "--workers", workers, "--set", "waiting.steps=60")
    process = toy.start_run(*arguments)
    toy.wait_until(lambda: any(toy.runs.glob("trials/*/checkpoint.pt")))
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    stopped = toy.finish(process)
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "Go on with: petl-bench run" in stopped.stderr
    assert "running trials finish their present step and keep what they have done" in stopped.stderr
    assert toy.executions() == []
    assert any(toy.runs.glob("trials/*/checkpoint.pt"))
    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    assert status["counts"]["running"] == 0
    assert status["counts"]["interrupted"] >= 1
    details = [trial["detail"] for trial in status["trials"] if trial["state"] == "interrupted"]
    # The one that computes closes its trial; one that is only starting may be gone before it can.
    assert any("stopped on request" in detail for detail in details)

    again = toy.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert len(toy.records()) == len(toy.executions()) == 2
    assert not any(toy.runs.glob("trials/*/checkpoint.pt"))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_step_under_way_is_waited_for_until_a_second_interrupt(toy: Any, workers: str, again: bool) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1", "--workers", workers, "--set", "waiting.steps=20")
    process = toy.start_run(*arguments, "--set", "waiting.mishap=long step")
    toy.wait_until(lambda: any(toy.runs.glob("trials/*/in a long step")))
    (folder,) = (path.parent for path in toy.runs.glob("trials/*/in a long step"))
    for _ in range(2):  # as from a terminal, and from a program that passes it on
        os.kill(process.pid, signal.SIGINT)
    while "running trials finish their present step" not in process.stderr.readline():
        assert process.poll() is None
    if again:
        time.sleep(0.6)
        os.kill(process.pid, signal.SIGINT)
    else:
        (folder / "end of the step").touch()
    stopped = toy.finish(process)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr
    assert json.loads((folder / "checkpoint.pt").read_text()) == (10 if again else 11)
    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    (trial,) = [trial for trial in status["trials"] if trial["key"] == folder.name]
    assert trial["state"] == "interrupted" and "goes on from its checkpoint" in trial["detail"]


def test_force_moves_the_old_records_aside(toy: Any) -> None:
    assert toy.run("--methods", "waiting", "--seeds", "0", "--workers", "1").returncode == 0
    before = toy.records()[0].read_bytes()
    done = toy.run("--methods", "waiting", "--seeds", "0", "--workers", "1", "--force")
    assert done.returncode == 0, done.stderr
    assert len(toy.executions()) == 2
    assert len(toy.records()) == 1
    kept = list(toy.runs.glob("replaced/*/record.json"))
    assert [path.read_bytes() for path in kept] == [before]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the limit of a file's size stands in for a full disk")
def test_a_full_disk_ends_the_run_with_one_line_and_keeps_what_is_done(toy: Any) -> None:
    arguments = ("--methods", "other,waiting", "--seeds", "1,0,2", "--workers", "1")
    process = toy.start_run(*arguments, "--set", "waiting.mishap=fill")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**20, 2**20))
    full = toy.finish(process)
    assert full.returncode == 2
    assert "Traceback" not in full.stderr
    assert "cannot write" in full.stderr.splitlines()[-1]
    assert "File too large" in full.stderr.splitlines()[-1]
    kept = len(toy.records())
    assert kept >= 2
    again = toy.run(*arguments, "--set", "waiting.mishap=fill")
    assert again.returncode == 0, again.stderr
    assert len(toy.records()) == len(toy.executions()) == 6
