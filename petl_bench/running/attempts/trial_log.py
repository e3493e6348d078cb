"""What a trial left to read: its own log, its attempts, and what the scheduler wrote where it never began."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from petl_bench.records.layout import LOG, RECORD, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.status import duration
from petl_bench.running.slurm import scheduler
from petl_bench.running.slurm.scheduler import SubmittedTask

_BLOCK = 1 << 16
#: How often to look for more of a log, and how often to ask a scheduler whether more can come.
_LOOK_EVERY_S = 0.5
_ASK_EVERY_S = 15.0


@dataclass(frozen=True)
class TrialLog:
    """Where to read about one trial."""

    key: str
    folder: Path
    task: SubmittedTask | None  #: the newest one that it was submitted in

    @property
    def path(self) -> Path:
        """Its own log, which every attempt goes on writing; it is there once the first one began."""
        return self.folder / LOG

    @property
    def done(self) -> bool:
        """Whether its record stands."""
        return (self.folder / RECORD).exists()

    def attempts(self) -> list[str]:
        """One line for each attempt: its number, where, when, and how it ended."""
        return [_attempt_line(attempt) for attempt in claims.attempts(self.folder)]

    def scheduler_says(self) -> str:
        """The scheduler's words about the newest task; "" where it does not know it any more."""
        if self.task is None:
            return ""
        return next(iter(scheduler.still_known([self.task]).values()), "")

    def scheduler_files(self) -> list[Path]:
        """The files that the scheduler wrote for the newest task: what the job printed before the trial, or instead."""
        if self.task is None:
            return []
        named = re.compile(rf"(?<![\d_]){re.escape(self.task.name)}(?!\d).*\.(out|err)")
        folder = Path(self.task.submission.folder)
        try:
            return sorted(path for path in folder.glob("*") if named.search(path.name) and path.is_file())
        except OSError:
            return []

    def running(self) -> bool:
        """Whether somebody works on it now."""
        last = claims.newest(self.folder)
        return last is not None and last.alive()

    def failed(self) -> bool:
        """Whether its last attempt failed, and nothing was submitted since."""
        last = claims.newest(self.folder)
        if last is None or last.outcome != "failed":
            return False
        return self.task is None or (last.ended_at or 0.0) >= self.task.submission.submitted_at


def trial_log(runs: Path, key: str) -> TrialLog:
    """Where to read about the trial with this key."""
    tasks = [task for task in scheduler.tasks(runs) if key in task.keys]
    return TrialLog(key, trial_folder(runs, key), tasks[-1] if tasks else None)


def tail(path: Path, lines: int) -> int:
    """The position in a file from which on it has its last `lines` lines."""
    size = position = path.stat().st_size
    kept = b""
    with path.open("rb") as file:
        while position and kept.count(b"\n") <= lines:
            start = max(0, position - _BLOCK)
            file.seek(start)
            kept = file.read(position - start) + kept
            position = start
    return size - sum(map(len, kept.splitlines(keepends=True)[-lines:] if lines else []))


def read_from(path: Path, position: int) -> Iterator[bytes]:
    """What a file holds from that position on, in blocks."""
    with path.open("rb") as file:
        file.seek(position)
        while block := file.read(_BLOCK):
            yield block


def follow(log: TrialLog, position: int, write: Callable[[bytes], None]) -> None:
    """Hand over what comes to the trial's log after `position`, until the trial ends and nothing more can come."""
    asked, queued = float("-inf"), False
    while True:
        running = log.running()
        if not running and time.monotonic() - asked >= _ASK_EVERY_S:
            asked, queued = time.monotonic(), bool(log.scheduler_says())
        ended = log.done or log.failed() or not (running or queued)
        if log.path.is_file():
            for block in read_from(log.path, position):
                write(block)
                position += len(block)
        if ended:
            return
        time.sleep(_LOOK_EVERY_S)


def _attempt_line(attempt: claims.Attempt) -> str:
    if attempt.fault:
        return f"attempt {attempt.number}: {attempt.fault}"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started_at))
    where = f"attempt {attempt.number} on {attempt.host}, process {attempt.pid}, from {began}"
    if attempt.ended_at is not None:
        how = f"{attempt.outcome} after {duration(attempt.ended_at - attempt.started_at)}"
        return f"{where}: {how}{f': {attempt.reason}' if attempt.reason else ''}"
    return f"{where}: {'runs' if attempt.alive() else 'its process is gone'}"
