"""The contract of a launcher: turn jobs into finished records, wherever it runs them.

A launcher decides where and when; what a trial does, and how its outcome is stored, is the same everywhere
(`petl_bench.running.attempts.execute`). The truth about a trial is what lies in its folder, never the scheduler's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from petl_bench.api.options import Options, hyper
from petl_bench.api.plugins.contracts import check_returns, instance_of, list_of, member
from petl_bench.api.trial import Places, Progress, Trial
from petl_bench.errors import UsageError

#: done: a record stands. failed: the attempt ended with a reason. elsewhere: another process holds the trial now.
#: interrupted: stopped on request; a checkpoint, if there is one, stays for the next run.
#: cancelled: taken back with `petl-bench cancel`; it runs again only for a command that is started after that.
State = Literal["done", "failed", "elsewhere", "interrupted", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial and where its files lie on the machine that runs it, and what the command that asks for it found."""

    trial: Trial
    places: Places
    asked: int = 0  #: the newest request of the output folder then (`running.requests`); later ones may cancel the job
    trackers: Sequence[str] = ()  #: those that are told of it (`run --track`)
    output_id: str = ""  #: the output folder's identity then (`running.folder_identity`); "": any will do


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """How one attempt at a trial ended. `reason` and `log` are for people; `metrics` are those of the record."""

    key: str
    title: str
    state: State
    reason: str = ""
    log: Path | None = None
    metrics: dict[str, float] | None = None
    failed_trackers: Mapping[str, str] = field(default_factory=dict)  #: each with the reason; the trial went on


class Watcher(Protocol):
    """Is told how a run proceeds: the live table, plain lines, a test."""

    def started(self, job: Job) -> None:
        """A trial was taken up."""

    def progress(self, job: Job, progress: Progress) -> None:
        """A running trial reports its stage, epoch and step."""

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        """A trial came to its end, or another process was found to hold it (its end is then told later)."""

    def note(self, message: str) -> None:
        """Something that the user should know, in one line."""


class Launcher(Options):
    """Base of every launcher plugin. Fields are set with `--profile FILE.toml`; `--workers` sets `workers`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_returns(cls)

    workers: int | None = hyper(None, "trials that run at the same time; none: the launcher's own choice", minimum=0)

    @member(list_of(AttemptResult, "a list with one pb.AttemptResult for each job"), required=True)
    def run(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> list[AttemptResult]:
        """Run every job to its end and return one result per job, in the order of `jobs`.

        A failed trial does not stop the others. A job whose trial starts from another one's adapter comes after it.

        Args:
            jobs: the trials to run, each with the places of its files.
            store: the output folder; every trial has a folder of its own in it.
            watch: is told of every trial that starts, proceeds and ends.

        Raises:
            StoreError: if the store cannot be written any more.
            KeyboardInterrupt: if the user interrupts, after every running trial has been stopped cleanly.
        """
        raise NotImplementedError

    def submit(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> None:
        """Hand the jobs over and come back at once (`run --detach`).

        Raises UsageError if this launcher runs trials itself, or if the scheduler refuses them.
        """
        raise UsageError(
            f"--detach: the {self.name} launcher runs trials itself; leave it out, or use another launcher"
        )

    @member(instance_of(str, "a text"))
    def script(self, jobs: Sequence[Job], store: Path) -> str:
        """What would be handed to a scheduler for these jobs, for `--dry-run`; "" if there is nothing."""
        return ""

    @member(instance_of(dict, "a dictionary, task -> what the scheduler says"))
    def explain(self, tasks: Sequence[str]) -> dict[str, str]:
        """What the scheduler says about those of the tasks that it still knows as waiting or running, in words.

        Empty if there is no scheduler, or if it does not answer: its word only explains.
        """
        return {}

    def fitness(self) -> str:
        """Whether trials can be launched from this machine, in words, for `petl-bench doctor`."""
        return "on this machine"

    @member(instance_of(list, "a list, the tasks that were taken back"))
    def cancel(self, tasks: Sequence[str]) -> list[str]:
        """Take back tasks that are waiting or running; returns those that were. Raises UsageError with the
        scheduler's own words if it refuses."""
        return []
