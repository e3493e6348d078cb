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


class _Counts:
    """When each count began, and when it was last shown."""

    _every_s: float  #: between two times that a count is shown
    _at_once: bool  #: whether it is shown from the beginning, and at its end in any case

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}
        self._shown: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int | None, beside: str = "") -> None:
        now = time.monotonic()
        began, before = self._began.setdefault(what, (now, done))
        last = self._shown.setdefault(what, now - self._every_s if self._at_once else now)
        if now - last >= self._every_s or (done == total and self._at_once):
            self._shown[what] = now
            rate = (done - before) / max(now - began, 1e-9) if done > before else 0.0
            self._show(what, done, total, f"{rate:,.1f} a second", beside)

    def _show(self, what: str, done: int, total: int | None, rate: str, beside: str) -> None:
        raise NotImplementedError


class _Lines(_Counts):
    """A line for what takes longer than ten seconds; nothing for what is done at once."""

    _at_once = False

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console, self._every_s = console, _LINE_EVERY_S

    def _show(self, what: str, done: int, total: int | None, rate: str, beside: str) -> None:
        of = f" of {total:,}" if total is not None else ""
        self._console.print(f"{what}: {done:,}{of} ({rate}{f'; {beside}' if beside else ''})", markup=False)


class _Bars(_Counts):
    """One bar for everything that is counted."""

    _every_s, _at_once = _BAR_EVERY_S, True

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def _show(self, what: str, done: int, total: int | None, rate: str, beside: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, rate="", beside="")
        self._progress.update(self._tasks[what], completed=done, total=total, rate=rate, beside=beside)
