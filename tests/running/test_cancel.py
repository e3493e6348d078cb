"""`petl-bench cancel`: this folder's unfinished trials alone, and what the scheduler still knows of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petl_bench.errors import UsageError
from petl_bench.managing.status import survey
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.requests import ask_for, standing
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
    lines = result.stdout.splitlines(keepends=True)
    assert "petl-bench status --runs" in lines[-1]
    return "".join(lines[:-1])


def cancelled(folder: Folder) -> list[int]:
    """The trials that stay cancelled until somebody asks for them."""
    return sorted(folder.keys.index(key) for key in standing(folder.runs))


def test_only_unfinished_trials_of_this_folder_that_are_queued(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1], [2])
    folder.record(1)
    scheduler.known |= {"7_0": "pending", "7_1": "running", "9_0": "of another folder"}
    said = "cancelled fake 7: 1 task, 1 trial\ncancelled 4 trials that no scheduler and no process had\n"
    assert cancel(folder) == said
    assert scheduler.cancelled == ["7_0"]
    assert scheduler.known.keys() == {"7_1", "9_0"}
    assert cancelled(folder) == [0, 2, 3, 4, 5], "whatever is not done, wherever it waits"


def test_an_earlier_submission_that_is_still_queued_goes_too(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    folder.submit("8", [0, 1], [2])
    scheduler.known |= dict.fromkeys(("7_0", "8_0", "8_1"), "pending")
    said = cancel(folder, "seed 0", "seed 1", "seed 2")
    assert said == "cancelled fake 7: 1 task, 1 trial\ncancelled fake 8: 2 tasks, 3 trials\n"


def test_named_trials_alone(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1])
    scheduler.known |= {"7_0": "pending", "7_1": "pending"}
    cancel(folder, "seed 1")
    assert scheduler.cancelled == ["7_1"]
    assert cancelled(folder) == [1]


def test_trials_that_share_a_task_are_cancelled_on_request_only(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0, 1, 2], [3])
    folder.record(2)
    scheduler.known |= {"7_0": "running", "7_1": "pending"}
    with pytest.raises(UsageError, match=r"fake 7_0 also holds 1 other trials .*--whole-tasks. Nothing was cancelled"):
        cancel(folder, "seed 0", "seed 3")
    assert (scheduler.cancelled, cancelled(folder)) == ([], [])
    cancel(folder, "seed 0", "seed 1")
    assert scheduler.cancelled == ["7_0"]
    scheduler.known["7_0"] = "running"
    cancel(folder, "seed 0", "--whole-tasks")
    assert scheduler.cancelled == ["7_0", "7_0"]
    assert cancelled(folder) == [0, 1], "the one that is done stays so"


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
    assert scheduler.cancelled == ["7_0"]
    assert 1 not in cancelled(folder)


def test_a_process_that_no_scheduler_knows_is_told_to_stop(folder: Folder, scheduler: Scheduler) -> None:
    claim = claims.take(folder.trial(0), "a trial")
    assert claim is not None
    shown = cancel(folder, "seed 0")
    assert f"process {claim.attempt.pid}, and stops within about 10 s" in shown
    assert cancelled(folder) == [0]
    claim.end("interrupted")


def test_where_everything_is_done_nothing_is_cancelled(folder: Folder, scheduler: Scheduler) -> None:
    folder.record(0)
    said = petl_bench("cancel", "--runs", str(folder.runs), "seed 0").stdout
    assert said == "nothing was cancelled: these trials have a record\n"
    assert not (folder.runs / "requests").exists()


def test_a_refusal_is_the_schedulers_own_words_and_the_cancellation_holds(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    scheduler.known["7_0"] = "pending"
    scheduler.refuses = "Access denied"
    with pytest.raises(UsageError, match="fcancel: Access denied"):
        cancel(folder, "seed 0")
    assert cancelled(folder) == [0]


def test_an_unknown_trial_cancels_nothing(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    scheduler.known["7_0"] = "pending"
    with pytest.raises(UsageError, match="unknown trial 'seed 77'"):
        cancel(folder, "seed 0", "seed 77")
    assert (scheduler.cancelled, cancelled(folder)) == ([], [])


def test_status_shows_what_is_cancelled_until_it_is_asked_for(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1])
    scheduler.known |= {"7_0": "pending", "7_1": "running"}
    failed = claims.take(folder.trial(2), "a trial")
    running = claims.take(folder.trial(3), "a trial")
    assert failed is not None and running is not None
    failed.end("failed", "too many unreadable clips")
    scheduler.refuses = "the controller is away"
    with pytest.raises(UsageError):
        cancel(folder, *(f"seed {number}" for number in range(4)))
    found = {trial.key: trial for trial in survey(folder.runs).trials}
    states = [found[key].state for key in folder.keys]
    assert states == ["cancelled", "cancelled", "cancelled", "running", "missing", "missing"]
    assert "still in the queue, where it ends without a start: FAKE 7_0: pending" in found[folder.keys[0]].detail
    assert found[folder.keys[2]].detail.endswith("its last attempt failed: too many unreadable clips")
    assert found[folder.keys[3]].detail.endswith("it stops soon")
    shown = petl_bench("status", "--runs", str(folder.runs)).stdout
    assert "3 cancelled" in shown and "fill the rest with: petl-bench run --methods msta" in shown
    ask_for(folder.runs, folder.keys)
    states = [trial.state for trial in survey(folder.runs).trials]
    assert states == ["queued", "queued", "failed", "running", "missing", "missing"]
    running.end("interrupted")
