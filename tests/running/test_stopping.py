"""A trial that is stopped on request, in the launcher: not done, not failed, and not taken up again in that run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.api.trial import Progress
from petl_bench.records.layout import trial_folder
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.agenda import Agenda
from petl_bench.running.attempts.execute import execute
from petl_bench.running.attempts.output import prepare_output
from petl_bench.running.planning.plan import plan
from tests.running.test_plan import spec_of


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_trial_is_left_to_the_next_run_and_stops_no_other(toy: Any, workers: str) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1,2", "--workers", workers, "--set", "waiting.steps=6")
    arguments += ("--set", "waiting.mishap=stop once")
    first = toy.run(*arguments)
    assert first.returncode == 1
    assert "interrupted waiting toys" in first.stderr and "the job's time is up" in first.stderr
    assert "Traceback" not in first.stderr
    assert len(toy.executions("start waiting 0")) == 1
    assert len(toy.records()) == 2
    status = json.loads(toy.command("status", "--runs", str(toy.runs), "--json").stdout)
    assert (status["counts"]["done"], status["counts"]["interrupted"], status["counts"]["failed"]) == (2, 1, 0)
    (left,) = [trial for trial in status["trials"] if trial["state"] == "interrupted"]
    assert left["detail"] == "the job's time is up; the next run goes on from its checkpoint"
    log = Path(left["log"]).read_text()
    assert log.splitlines()[-1] == "stopped: the job's time is up" and "Traceback" not in log

    again = toy.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert len(toy.records()) == 3
    assert toy.executions("start waiting 0")[-1] == "start waiting 0 3", "went on from the checkpoint of step 3"


class Silent:
    """A watcher that remembers how trials ended."""

    def __init__(self) -> None:
        self.ended: list[AttemptResult] = []

    def started(self, job: Job) -> None: ...

    def progress(self, job: Job, progress: object) -> None: ...

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        self.ended.append(outcome)

    def note(self, message: str) -> None: ...


def test_trials_that_start_from_a_stopped_one_are_put_off_with_it(toy_here: Any) -> None:
    jobs = plan(spec_of(toy_here, setting="toy_transfer")).jobs
    agenda = Agenda(jobs, toy_here.runs, Silent(), attempts=2)
    source = agenda.next()
    assert source is not None and source.trial.part == "source"
    agenda.settle(
        source, AttemptResult(key=source.trial.key, title=source.trial.title, state="interrupted", reason="time is up")
    )
    assert agenda.next() is None
    assert not agenda.pending
    results = agenda.results()
    assert [outcome.state for outcome in results] == ["interrupted"] * len(jobs)
    assert all("starts from was stopped" in outcome.reason for outcome in results[1:])


def test_the_reason_reaches_the_attempt_through_execute(toy_here: Any) -> None:
    (job,) = plan(spec_of(toy_here, set=("waiting.steps=3",))).jobs
    answers = iter(["", "preempted by a job of more weight", "preempted by a job of more weight"])
    outcome = execute(job, toy_here.runs, lambda progress: None, stop=lambda: next(answers))
    assert (outcome.state, outcome.reason) == ("interrupted", "preempted by a job of more weight")
    folder = trial_folder(toy_here.runs, job.trial.key)
    attempt = claims.newest(folder)
    assert attempt is not None and (attempt.outcome, attempt.reason) == ("interrupted", outcome.reason)
    assert execute(job, toy_here.runs, lambda progress: None).state == "done"
    assert toy_here.executions("start")[-1].split()[-1] == "2"


def test_a_running_trial_stops_when_it_is_cancelled_and_goes_on_when_it_is_asked_for(
    toy_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_EVERY_S", 0.0)
    (job,) = plan(spec_of(toy_here, set=("waiting.steps=6",))).jobs
    prepare_output(toy_here.runs)

    def cancel_in_step_3(progress: Any) -> None:
        if progress.epoch == 3:
            requests.cancel(toy_here.runs, {job.trial.key})

    outcome = execute(job, toy_here.runs, cancel_in_step_3)
    assert outcome.state == "cancelled"
    assert outcome.reason.startswith("cancelled with petl-bench cancel by ")
    assert execute(job, toy_here.runs, lambda progress: None) == outcome
    asked, _ = requests.ask_for(toy_here.runs, {job.trial.key})
    assert execute(replace(job, asked=asked), toy_here.runs, lambda progress: None).state == "done"
    assert toy_here.executions("start") == ["start waiting 0 0", "start waiting 0 3"]


def test_cancel_reaches_a_run_on_this_machine_and_a_new_run_asks_again(toy: Any) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1,2,3", "--workers", "2", "--set", "waiting.steps=50")
    process = toy.start_run(*arguments)
    toy.wait_until(lambda: bool(toy.executions("start")))
    cancelled = toy.command("cancel", "--runs", str(toy.runs))
    assert cancelled.returncode == 0, cancelled.stderr
    first = toy.finish(process)
    assert first.returncode == 1, first.stderr
    left = 4 - len(toy.records())
    assert left >= 1, "what had begun may have ended meanwhile"
    assert f"{left} of 4 trials were cancelled" in first.stderr
    assert "try them again with: petl-bench run" in first.stderr
    status = toy.command("status", "--runs", str(toy.runs)).stdout
    assert f"{left} cancelled" in status and "fill the rest with: petl-bench run" in status

    again = toy.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"{left} trials were cancelled with petl-bench cancel by" in again.stderr
    assert "this command asks for them again" in again.stderr
    assert len(toy.records()) == len(toy.executions()) == 4


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_whose_folder_is_moved_away_makes_nothing_anew_and_goes_on_when_it_is_back(
    toy: Any, workers: str
) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0,1,2", "--workers", workers, "--set", "waiting.steps=30")
    process = toy.start_run(*arguments)
    toy.wait_until(lambda: any(toy.runs.glob("trials/*/checkpoint.pt")))
    aside = toy.runs.rename(toy.folder / "aside")
    stopped = toy.finish(process)
    assert stopped.returncode == 2, stopped.stderr
    assert str(toy.runs) in stopped.stderr.splitlines()[-1] and "Traceback" not in stopped.stderr
    assert not toy.runs.exists()
    aside.rename(toy.runs)
    again = toy.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert len(toy.records()) == len(toy.executions()) == 3


@pytest.mark.parametrize("looked_at_every_s", [0.001, 10.0], ids=["seen in a step", "seen at the record"])
def test_a_trial_that_was_taken_over_is_left_to_its_new_owner(
    toy_here: Any, looked_at_every_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan(spec_of(toy_here, set=("waiting.steps=3",))).jobs
    folder = trial_folder(toy_here.runs, job.trial.key)
    monkeypatch.setattr(claims, "HEARTBEAT_EVERY_S", looked_at_every_s)
    taker: list[claims.Claim] = []

    def take_over(progress: Progress) -> None:
        """As another process does that sees nothing of this one for long."""
        if progress.step == 2:
            with monkeypatch.context() as patch:
                patch.setattr(claims.Attempt, "alive", lambda attempt, now=None: False)
                claim = claims.take(folder, job.trial.title)
            assert claim is not None
            taker.append(claim)

    outcome = execute(job, toy_here.runs, take_over)
    assert outcome.state == "elsewhere"
    assert outcome.reason == "another process took the trial over, for this one was suspended for long"
    assert not list(folder.glob("predictions-*")) and not (folder / "record.json").exists()
    first, second = claims.attempts(folder)
    assert (first.outcome, first.reason) == ("interrupted", outcome.reason) and second.ended_at is None
    taker[0].end("interrupted")
    assert execute(job, toy_here.runs, lambda progress: None).state == "done"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_log_that_cannot_be_written_ends_the_run_with_a_line(toy_here: Any, workers: str) -> None:
    arguments = ("--methods", "waiting", "--seeds", "0-1", "--workers", workers)
    keys = [job.trial.key for job in plan(spec_of(toy_here, seeds=(0, 1))).jobs]
    for key in keys:
        (trial_folder(toy_here.runs, key) / "log.txt").mkdir(parents=True)
    done = toy_here.run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "log.txt: Is a directory" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
