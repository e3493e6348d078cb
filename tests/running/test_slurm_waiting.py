"""A command that waits for trials in SLURM: cancelled under it, with its folder moved away, or its clock set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.layout import trial_folder
from petl_bench.running.attempts import claims, requests, snapshot
from petl_bench.running.attempts.output import identify, prepare_output
from petl_bench.running.attempts.snapshot import Snapshot
from petl_bench.running.attempts.submissions import Submission, save_submission
from petl_bench.running.planning.plan import plan
from petl_bench.running.slurm import batch as slurm_batch
from petl_bench.running.slurm import launcher as slurm
from petl_bench.running.slurm import queue as slurm_queue
from petl_bench.running.slurm.launcher import SlurmLauncher
from tests.running.test_plan import spec_of
from tests.running.test_stopping import Silent


class Queue:
    """SLURM as the launcher sees it: every submission is one array, and a test says what leaves the queue.

    `next_looks` are done one after the other when the waiting command sleeps between two looks.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, slurm_queue.QueueState] = {}
        self.submitted: list[list[str]] = []  #: the keys of every array
        self.next_looks: list[Callable[[], object]] = []

    def submit(self, launcher: SlurmLauncher, groups: Sequence[Sequence[Job]], store: Path, source: Path) -> Submission:
        self.submitted.append([job.trial.key for group in groups for job in group])
        number = str(len(self.submitted))
        tasks = {f"{number}_{index}": [job.trial.key for job in group] for index, group in enumerate(groups)}
        self.tasks |= dict.fromkeys(tasks, slurm_queue.QueueState("PENDING", "Priority", ""))
        return save_submission(store, launcher.name, number, tasks, store / "submissions", asked=groups[0][0].asked)

    def sleep(self, seconds: float) -> None:
        assert self.next_looks, "it goes on waiting"
        self.next_looks.pop(0)()


class Waiting:
    """Commands that wait for the trials of one output folder."""

    def __init__(self, toy: Any, queue: Queue) -> None:
        self.queue, self.runs = queue, toy.runs
        self.plan = plan(spec_of(toy, seeds=(0, 1, 2)))
        self.keys = [job.trial.key for job in self.plan.jobs]
        self.watch = Silent()
        self.notes: list[str] = []
        self.watch.note = self.notes.append  # type: ignore[method-assign]
        prepare_output(self.runs)

    def jobs(self) -> list[Job]:
        """What a command that starts now asks for."""
        asked, _ = requests.ask_for(self.runs, set(self.keys))
        identity = identify(self.runs)
        return [replace(job, asked=asked, output_id=identity) for job in self.plan.jobs]

    def run(self, *looks: Callable[[], object], **profile: Any) -> list[AttemptResult]:
        """A command from its start to its end; between its looks at the folder the given things happen."""
        self.queue.next_looks[:0] = looks
        return SlurmLauncher(**profile).run(self.jobs(), self.runs, self.watch)

    def finish(self, number: int, outcome: str = "failed") -> None:
        """A task comes to the trial, and the attempt ends."""
        claim = claims.take(trial_folder(self.runs, self.keys[number]), "a trial")
        assert claim is not None
        claim.end(outcome, "an accident")

    def cancel(self, *numbers: int) -> None:
        """`petl-bench cancel`, as far as it reaches the folder."""
        requests.cancel(self.runs, {self.keys[number] for number in numbers})


@pytest.fixture
def waiting(toy_here: Any, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    queue = Queue()
    monkeypatch.setattr(slurm_batch, "largest_array", lambda: 1000)
    monkeypatch.setattr(slurm_batch, "submit", queue.submit)
    monkeypatch.setattr(
        snapshot, "take_snapshot", lambda store, plugins: Snapshot(path=store, sha256="", plugins=tuple(plugins))
    )
    monkeypatch.setattr(slurm_queue, "queued", lambda patience_s=0.0: dict(queue.tasks))
    monkeypatch.setattr(slurm_queue, "last_words", lambda tasks: {})
    monkeypatch.setattr(slurm, "time", SimpleNamespace(sleep=queue.sleep))
    return Waiting(toy_here, queue)


def states(outcomes: list[AttemptResult]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_a_cancelled_trial_is_not_submitted_again(waiting: Waiting) -> None:
    def cancelled() -> None:
        waiting.finish(0)
        waiting.cancel(1, 2)
        waiting.queue.tasks.clear()

    found = waiting.run(cancelled)
    assert states(found) == ["failed", "cancelled", "cancelled"]
    assert found[1].reason.startswith("cancelled with petl-bench cancel by ")
    assert waiting.queue.submitted == [waiting.keys]


def test_what_is_cancelled_after_the_look_is_not_submitted_either(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM has lost the tasks, and the cancellation comes while the accounting is asked for their last words."""

    def words(tasks: Sequence[str]) -> dict[str, str]:
        waiting.cancel(0, 1, 2)
        return {}

    monkeypatch.setattr(slurm_queue, "last_words", words)
    found = waiting.run(waiting.queue.tasks.clear, lambda: None)
    assert states(found) == ["cancelled"] * 3
    assert len(waiting.queue.submitted) == 1


def test_two_waiting_commands_end_alike(waiting: Waiting) -> None:
    second: list[AttemptResult] = []

    def start_second() -> None:
        second.extend(waiting.run(lambda: waiting.cancel(0, 1, 2)))

    first = waiting.run(start_second)
    assert states(first) == states(second) == ["cancelled"] * 3
    assert waiting.queue.submitted == [waiting.keys]
    assert "3 trials are in the queue already; they are waited for" in waiting.notes


def test_trials_that_wait_for_room_are_cancelled_before_they_are_submitted(waiting: Waiting) -> None:
    found = waiting.run(lambda: waiting.cancel(0, 1, 2), max_submitted=1)
    assert states(found) == ["cancelled"] * 3
    assert waiting.queue.submitted == [waiting.keys[:1]]


def test_a_command_that_starts_later_asks_for_them_again_and_the_earlier_one_does_not(waiting: Waiting) -> None:
    later: list[AttemptResult] = []

    def ends() -> None:
        for number in range(3):
            waiting.finish(number)

    def cancelled_and_asked_for_again() -> None:
        waiting.cancel(0, 1, 2)
        later.extend(waiting.run(ends))

    first = waiting.run(cancelled_and_asked_for_again)
    assert states(first) == ["cancelled"] * 3
    assert states(later) == ["failed"] * 3, "they ran"
    assert waiting.queue.submitted == [waiting.keys] * 2, "tasks of the first command end without the trials"


def test_queued_tasks_are_recognised_though_the_clock_was_set_back(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = waiting.run(waiting.queue.tasks.clear, lambda: waiting.cancel(0, 1, 2))
    assert states(old) == ["cancelled"] * 3
    monkeypatch.setattr("petl_bench.running.attempts.submissions.time.time", lambda: 1000.0)

    def second() -> None:
        waiting.run(lambda: waiting.cancel(0, 1, 2))

    waiting.run(second)
    assert len(waiting.queue.submitted) == 2


@pytest.mark.parametrize("what", ["moved", "removed", "another", "made anew"])
def test_a_folder_that_is_not_the_same_ends_the_command_and_is_left_as_it_is(waiting: Waiting, what: str) -> None:
    aside = waiting.runs.with_name("aside")

    def change() -> None:
        waiting.queue.tasks.clear()
        if what == "removed":
            shutil.rmtree(waiting.runs)
            return
        waiting.runs.rename(aside)
        if what == "another":
            (waiting.runs / "trials").mkdir(parents=True)
        if what == "made anew":
            prepare_output(waiting.runs)
            identify(waiting.runs)

    says = "is gone" if what in ("moved", "removed") else "this is another folder"
    with pytest.raises(StoreError, match=says):
        waiting.run(change)
    assert len(waiting.queue.submitted) == 1
    assert "without their folder they end at once" in waiting.notes[-1]
    if what in ("moved", "removed"):
        assert not waiting.runs.exists()
        return
    assert list(waiting.runs.glob("trials/*")) == list(waiting.runs.glob("submissions")) == []
    shutil.rmtree(waiting.runs)
    aside.rename(waiting.runs)
    found = waiting.run(lambda: [waiting.finish(number) for number in range(3)])
    assert states(found) == ["failed"] * 3, "put back, it goes on"


def test_a_path_that_slurm_would_change_is_refused(waiting: Waiting) -> None:
    for name in ("50%j", "back\\slash"):
        store = waiting.runs.with_name(name)
        with pytest.raises(UsageError, match="SLURM cannot write below a path with"):
            SlurmLauncher().script(waiting.jobs(), store)
        with pytest.raises(UsageError, match="SLURM cannot write below a path with"):
            SlurmLauncher().submit(waiting.jobs(), store, waiting.watch)
        assert not store.exists()
