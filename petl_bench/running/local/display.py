"""What a run shows while it runs, on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from petl_bench.api.launcher import AttemptResult, Job, Watcher
from petl_bench.api.trial import Progress
from petl_bench.system.texts import lines, name
from petl_bench.system.words import duration

#: Plain lines: at most one line of progress per trial in this time, beside its start and its end.
_LINE_EVERY_S = 10.0


@contextlib.contextmanager
def watching(total: int) -> Iterator[Watcher]:
    """The watcher that fits stderr, for a run of that many trials."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines(console, total)
        return
    table = LiveTable(console, total)
    # The trials' own output goes to their logs; redirecting it here as well would take it from there.
    with Live(table, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        yield table


@dataclass
class _Running:
    job: Job
    started: float
    progress: Progress = field(default_factory=lambda: Progress(stage="starting"))
    told: float = 0.0


class PlainLines:
    """One line when a trial starts, now and then while it runs, and when it ends."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.running: dict[str, _Running] = {}
        self.ended = 0

    def started(self, job: Job) -> None:
        """Say that a trial starts."""
        self.running[job.trial.key] = _Running(job, time.monotonic())
        self.say(f"start   {job.trial.title}")

    def progress(self, job: Job, progress: Progress) -> None:
        """Keep the progress, and tell it from time to time."""
        running = self.running[job.trial.key]
        running.progress = progress
        now = time.monotonic()
        if now - max(running.told, running.started) >= _LINE_EVERY_S:
            running.told = now
            self.say(f"running {job.trial.title}: {describe(progress)}")

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        """Say how a trial ended."""
        running = self.running.pop(job.trial.key, None)
        took = f"  ({duration(time.monotonic() - running.started)})" if running else ""
        if outcome.state != "elsewhere":
            self.ended += 1
        self.say(f"{ending(outcome)}{took}  [{self.ended}/{self.total}]")

    def note(self, message: str) -> None:
        """Something that the user should know."""
        self.say(f"note    {message}")

    def say(self, line: str) -> None:
        """Write one line; a closed terminal does not end a run."""
        with contextlib.suppress(BrokenPipeError):
            self.console.print(Text(lines(line)))


class LiveTable(PlainLines):
    """The running trials as a table that follows their progress; what ended scrolls above it."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, total)
        self.began = time.monotonic()

    def started(self, job: Job) -> None:
        """Add a row."""
        self.running[job.trial.key] = _Running(job, time.monotonic())

    def progress(self, job: Job, progress: Progress) -> None:
        """Change the trial's row."""
        self.running[job.trial.key].progress = progress

    def __rich__(self) -> Group:
        table = Table("trial", "stage", "epoch", "loss", "accuracy", "time left", box=None, pad_edge=False)
        for running in list(self.running.values()):
            table.add_row(Text(name(running.job.trial.title)), *_cells(running.progress))
        summary = f"{self.ended} of {self.total} trials ended, {duration(time.monotonic() - self.began)}"
        return Group(table, Text(summary, style="dim"))


def ending(outcome: AttemptResult) -> str:
    """How a trial ended, in one line."""
    if outcome.state == "done":
        return f"done    {outcome.title}  {_metrics(outcome.metrics)}"
    if outcome.state == "elsewhere":
        return f"waiting {outcome.title}: {outcome.reason}"
    return f"{outcome.state:<7} {outcome.title}: {outcome.reason}"


def describe(progress: Progress) -> str:
    """A trial's progress in words, with what is known of it."""
    parts = [progress.stage]
    if progress.epochs:
        parts.append(f"epoch {progress.epoch}/{progress.epochs}")
    elif progress.steps:
        parts.append(f"{progress.step}/{progress.steps}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.accuracy is not None:
        parts.append(f"{progress.accuracy_of} {progress.accuracy:.1f} %")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def _cells(progress: Progress) -> list[str]:
    in_steps = progress.steps and not progress.epochs
    return [
        f"{progress.stage} {progress.step}/{progress.steps}" if in_steps else progress.stage,
        f"{progress.epoch}/{progress.epochs}" if progress.epochs else "",
        "" if progress.loss is None else f"{progress.loss:.3f}",
        "" if progress.accuracy is None else f"{progress.accuracy:.1f} %",
        "" if progress.seconds_left is None else duration(progress.seconds_left),
    ]


def _metrics(metrics: dict[str, float] | None) -> str:
    return "  ".join(f"{name} {value:.2f}" for name, value in (metrics or {}).items())
