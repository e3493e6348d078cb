"""`petl-bench cancel`: only this folder's unfinished trials, and only what the scheduler still knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petl_bench.errors import UsageError
from petl_bench.running import claims
from petl_bench.running.submissions import cancelled_tasks
from tests.running.fake_scheduler import Folder, Scheduler, petl_bench, start_scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return start_scheduler()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs", 6)


def cancel(folder: Folder, *arguments: str) -> str:
    result = petl_bench("cancel", "--runs", str(folder.runs), *arguments)
    assert result.exit_code == 0
    return result.stdout


def test_only_unfinished_trials_of_this_folder_that_are_queued(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1], [2])
    folder.record(1)
    scheduler.known |= {"7_0": "pending", "7_1": "running", "9_0": "of another folder"}
    assert cancel(folder) == "cancelled fake 7: 1 task, 1 trial\n"
    assert scheduler.cancelled == ["7_0"]
    assert scheduler.known.keys() == {"7_1", "9_0"}
    assert cancelled_tasks(folder.runs) == {"7_0"}


def test_an_earlier_submission_that_is_still_queued_goes_too(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    folder.submit("8", [0, 1], [2])
    scheduler.known |= dict.fromkeys(("7_0", "8_0", "8_1"), "pending")
    assert cancel(folder) == "cancelled fake 7: 1 task, 1 trial\ncancelled fake 8: 2 tasks, 3 trials\n"


def test_named_trials_alone(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1])
    scheduler.known |= {"7_0": "pending", "7_1": "pending"}
    cancel(folder, "seed 1")
    assert scheduler.cancelled == ["7_1"]


def test_trials_that_share_a_task_are_cancelled_on_request_only(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0, 1, 2], [3])
    folder.record(2)
    scheduler.known |= {"7_0": "running", "7_1": "pending"}
    with pytest.raises(UsageError, match=r"fake 7_0 also holds 1 other trials .*--whole-tasks. Nothing was cancelled"):
        cancel(folder, "seed 0", "seed 3")
    assert scheduler.cancelled == []
    cancel(folder, "seed 0", "seed 1")
    assert scheduler.cancelled == ["7_0"]
    scheduler.known["7_0"] = "running"
    cancel(folder, "seed 0", "--whole-tasks")
    assert scheduler.cancelled == ["7_0", "7_0"]


def test_what_ended_meanwhile_and_what_others_submitted_is_told(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    folder.submit("8", [1])
    path = next((folder.runs / "submissions").glob("fake-8-*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "user": "somebody"}))
    scheduler.known |= {"7_0": "running", "8_0": "running"}
    scheduler.late.add("7_0")
    shown = cancel(folder)
    assert "ended before it could be cancelled: fake 7: 1 task, 1 trial" in shown
    assert "left alone: fake 8: 1 task, 1 trial: submitted by another user" in shown
    assert "nothing was cancelled" in shown
    assert scheduler.cancelled == ["7_0"]


def test_local_processes_are_not_touched(folder: Folder, scheduler: Scheduler) -> None:
    claim = claims.take(folder.trial(0), "a trial")
    assert claim is not None
    shown = cancel(folder)
    assert f"process {claim.attempt.pid}: no scheduler knows it; stop it with Ctrl-C" in shown
    assert shown.endswith(f"nothing was cancelled: no scheduler that answers knows a job of {folder.runs}\n")
    claim.end("done")


def test_a_refusal_is_the_schedulers_own_words(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    scheduler.known["7_0"] = "pending"
    scheduler.refuses = "Access denied"
    with pytest.raises(UsageError, match="fcancel: Access denied"):
        cancel(folder)


def test_an_unknown_trial_cancels_nothing(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    scheduler.known["7_0"] = "pending"
    with pytest.raises(UsageError, match="unknown trial 'seed 77'"):
        cancel(folder, "seed 0", "seed 77")
    assert scheduler.cancelled == []
