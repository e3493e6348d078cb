"""Counting on stderr while something takes long: a bar with a rate on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

#: Seconds between two changes of a bar, and between two plain lines.
_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 10.0


class Notify(Protocol):
    """Told what is counted, how many are done and of how many (None: not known), and more to show beside."""

    def __call__(self, what: str, done: int, total: int | None, beside: str = "") -> None: ...


@contextmanager
def showing_progress() -> Iterator[Notify]:
    """The way of counting that fits stderr; it may be told of every single step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[beside]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress)


class _Rate:
    """When each count began, and when it was last shown."""

    def __init__(self, every_s: float, at_once: bool) -> None:
        self._every_s = every_s
        self._at_once = at_once
        self._began: dict[str, tuple[float, int]] = {}
        self._shown: dict[str, float] = {}

    def due(self, what: str, finished: bool) -> bool:
        """Whether it is time to show it."""
        now = time.monotonic()
        last = self._shown.setdefault(what, now - self._every_s if self._at_once else now)
        if now - last < self._every_s and not (finished and self._at_once):
            return False
        self._shown[what] = now
        return True

    def per_second(self, what: str, done: int) -> float:
        """Done in each second since the first time that it was told."""
        now = time.monotonic()
        began, before = self._began.setdefault(what, (now, done))
        return (done - before) / max(now - began, 1e-9) if done > before else 0.0


class _Lines:
    """A line for what takes longer than ten seconds; nothing for what is done at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = _Rate(_LINE_EVERY_S, at_once=False)

    def __call__(self, what: str, done: int, total: int | None, beside: str = "") -> None:
        rate = self._rate.per_second(what, done)
        if self._rate.due(what, done == total):
            of = f" of {total:,}" if total is not None else ""
            more = f"; {beside}" if beside else ""
            self._console.print(f"{what}: {done:,}{of} ({rate:,.1f} a second{more})", markup=False)


class _Bars:
    """One bar for everything that is counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._rate = _Rate(_BAR_EVERY_S, at_once=True)

    def __call__(self, what: str, done: int, total: int | None, beside: str = "") -> None:
        rate = self._rate.per_second(what, done)
        if not self._rate.due(what, done == total):
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, rate="", beside="")
        self._progress.update(
            self._tasks[what], completed=done, total=total, rate=f"{rate:,.1f} a second", beside=beside
        )
