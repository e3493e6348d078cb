"""The contract of a launcher: turn jobs into finished records, wherever it runs them.

A launcher decides where and when; what a trial does, and how its outcome is stored, is the same everywhere
(`petl_bench.running.attempts.execute`). The truth about a trial is what lies in its folder, never the scheduler's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from petl_bench.api.contracts import check_returns, instance_of, list_of
from petl_bench.api.options import Options, hyper
from petl_bench.api.trial import Places, Progress, Trial
from petl_bench.errors import PluginError, UsageError

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


class Watcher(Protocol):
    """Whoever wants to see a run: the live table, plain lines, a test."""

    def started(self, job: Job) -> None:
        """A trial was taken up."""

    def progress(self, job: Job, progress: Progress) -> None:
        """A running trial says where it is."""

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        """A trial came to its end, or another process was found to hold it (its end is then told later)."""

    def note(self, message: str) -> None:
        """Something that the user should know, in one line."""


class Launcher(Options):
    """Base of every launcher plugin. Fields are set with `--profile FILE.toml`; `--workers` sets `workers`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_returns(
            cls,
            run=list_of(AttemptResult, "a list with one petl_bench.api.launcher.AttemptResult for each job"),
            script=instance_of(str, "a text"),
            explain=instance_of(dict, "a dictionary, task -> what the scheduler says"),
            cancel=instance_of(list, "a list, the tasks that were taken back"),
        )

    workers: int | None = hyper(None, "trials that run at the same time; none: the launcher's own choice", minimum=0)

    def run(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> list[AttemptResult]:
        """Run every job to its end and return one outcome per job, in the order of `jobs`.

        A failed trial does not stop the others. Raises StoreError where the store cannot be written any more, and
        KeyboardInterrupt, after every running trial has been stopped cleanly, where the user interrupts.
        """
        raise PluginError(f"{type(self).__name__} must define run(self, jobs, store, watch)")

    def submit(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> None:
        """Hand the jobs over and come back at once (`run --detach`).

        Raises UsageError where this launcher runs trials itself, or where the scheduler refuses them.
        """
        raise UsageError(
            f"--detach: the {self.name} launcher runs trials itself; leave it out, or use another launcher"
        )

    def script(self, jobs: Sequence[Job], store: Path) -> str:
        """What would be handed to a scheduler for these jobs, for `--dry-run`; "" where there is none."""
        return ""

    def explain(self, tasks: Sequence[str]) -> dict[str, str]:
        """What the scheduler says about those of the tasks that it still knows as waiting or running, in words.

        Nothing where there is no scheduler, or where it does not answer: its word only explains.
        """
        return {}

    def fitness(self) -> str:
        """Whether trials can be launched from this machine, in words, for `petl-bench doctor`."""
        return "on this machine"

    def cancel(self, tasks: Sequence[str]) -> list[str]:
        """Take back tasks that are waiting or running; returns those that were. Raises UsageError with the
        scheduler's own words where it refuses."""
        return []
