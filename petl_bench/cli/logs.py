"""`petl-bench logs TRIAL`: the log of one trial, wherever it ran."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from petl_bench.cli.options import runs_option, tell
from petl_bench.system import texts

if TYPE_CHECKING:
    from petl_bench.managing.trial_log import TrialLog


@click.command(name="logs")
@click.argument("trial")
@runs_option
@click.option("--follow", is_flag=True, help="Go on printing what comes, until the trial ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each file.")
def command(trial: str, runs: Path, follow: bool, tail: int | None) -> None:
    """Print the log of the TRIAL: a key, its beginning, or words of a title, as `petl-bench status` shows them.

    The log goes to standard output, without what a terminal would obey (the file has it all); the attempts, and what a
    scheduler says, to standard error. For a trial that never began, what the scheduler wrote for its job is printed.
    """
    from petl_bench.managing import trial_log
    from petl_bench.managing.lookup import find_trial, titles

    known = titles(runs)
    key = find_trial(known, trial, runs)
    log = trial_log.trial_log(runs, key)
    tell(f"{known[key]}  {key}")
    for line in log.attempts():
        tell(line)
    words = "" if log.done else log.scheduler_says()
    if words:
        tell(words)
    out = _Out()
    position = _print_own(log, tail, out) if log.path.exists() else _print_the_schedulers(log, tail, words, out)
    if follow:
        trial_log.follow(log, position, out.write)


class _Out:
    """Standard output, for blocks of bytes that may be anything."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, block: bytes) -> None:
        """Print what can be shown of it."""
        sys.stdout.write(texts.lines(self._decoder.decode(block)))
        sys.stdout.flush()


def _print_own(log: TrialLog, lines: int | None, out: _Out) -> int:
    """Print the trial's own log; the position after it."""
    for path in log.scheduler_files():
        tell(f"what its job printed: {path}")
    tell(f"log: {log.path}")
    return _print(log.path, lines, out)


def _print_the_schedulers(log: TrialLog, lines: int | None, words: str, out: _Out) -> int:
    """Print what there is about a trial that never began; 0, where its own log will begin."""
    if log.task is None:
        tell("not started, and not submitted to a scheduler")
        return 0
    submission = log.task.submission
    if not words:
        tell(f"{submission.launcher} {log.task.name}: the scheduler does not know it any more")
    files = log.scheduler_files()
    tell("not started; what its job printed:" if files else f"not started; its job wrote nothing: {submission.folder}")
    for path in files:
        tell(f"{path}:")
        _print(path, lines, out)
    return 0


def _print(path: Path, lines: int | None, out: _Out) -> int:
    from petl_bench.errors import StoreError
    from petl_bench.managing.trial_log import read_from, tail

    if not path.is_file():
        raise StoreError(f"{path}: not a file; move it away, and the next attempt writes its log there")
    try:
        position = 0 if lines is None else tail(path, lines)
        for block in read_from(path, position):
            out.write(block)
            position += len(block)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    return position
