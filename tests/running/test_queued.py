"""What `status` says of trials that a scheduler still knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petl_bench.api.registry import LAUNCHERS
from petl_bench.managing.status import survey
from petl_bench.running.attempts import claims
from tests.running.fake_scheduler import Folder, Scheduler, petl_bench, start_scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return start_scheduler()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs", 6)


def states(folder: Folder) -> dict[int, tuple[str, str]]:
    found = {trial.key: (trial.state, trial.detail) for trial in survey(folder.runs).trials}
    return {number: found[key] for number, key in enumerate(folder.keys)}


def attempt(folder: Folder, number: int, outcome: str) -> None:
    claim = claims.take(folder.trial(number), folder.titles[folder.keys[number]])
    assert claim is not None
    claim.end(outcome, "a reason")


def test_what_the_scheduler_knows_is_queued_with_its_words(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0], [1], [2])
    folder.record(2)
    attempt(folder, 1, "interrupted")
    running = claims.take(folder.trial(3), "a trial")
    assert running is not None
    folder.submit("8", [3], [4])
    scheduler.known |= {"7_0": "pending (Priority)", "7_1": "pending (BeginTime)", "7_2": "running", "8_0": "running"}
    found = states(folder)
    assert found[0] == ("queued", "FAKE 7_0: pending (Priority)")
    assert found[1] == ("queued", "FAKE 7_1: pending (BeginTime)")
    assert [found[number][0] for number in (2, 3, 4, 5)] == ["done", "running", "missing", "missing"]
    assert len(scheduler.asked) == 1
    assert "7_2" not in scheduler.asked[0]
    shown = petl_bench("status", "--runs", str(folder.runs)).stdout
    assert "6 trials: 1 done, 1 running, 2 queued, 2 missing" in shown
    assert "pending (Priority)" in shown
    assert json.loads(petl_bench("status", "--runs", str(folder.runs), "--json").stdout)["counts"]["queued"] == 2
    running.end("done")


def test_only_the_newest_submission_counts(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0])
    folder.submit("8", [0])
    scheduler.known["7_0"] = "pending"
    assert states(folder)[0] == ("missing", "not started")
    scheduler.known["8_0"] = "running on n2"
    assert states(folder)[0] == ("queued", "FAKE 8_0: running on n2")


def test_a_trial_that_failed_in_a_task_that_goes_on_has_failed(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", [0, 1])
    attempt(folder, 0, "failed")
    scheduler.known["7_0"] = "running"
    found = states(folder)
    assert (found[0], found[1][0]) == (("failed", "a reason"), "queued")
    folder.submit("8", [0])
    scheduler.known["8_0"] = "pending"
    assert states(folder)[0][0] == "queued"


def test_queued_trials_need_no_command(folder: Folder, scheduler: Scheduler) -> None:
    folder.submit("7", list(range(6)))
    scheduler.known["7_0"] = "pending"
    assert survey(folder.runs).commands == []
    scheduler.known.clear()
    assert survey(folder.runs).commands == [f"petl-bench run --methods msta --output {folder.runs}"]


@pytest.mark.parametrize("trouble", ["unknown", "broken"])
def test_without_the_scheduler_everything_else_stands(
    folder: Folder, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start_scheduler()
    folder.submit("7", [0], launcher="fake" if trouble == "broken" else "nowhere")
    folder.record(1)

    def explain(self: object, tasks: list[str]) -> dict[str, str]:
        raise OSError("the controller is away")

    monkeypatch.setattr(LAUNCHERS.get("fake"), "explain", explain)
    found = states(folder)
    assert (found[0][0], found[1][0]) == ("missing", "done")
    assert "cannot be asked" in caplog.text
