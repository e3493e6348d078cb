"""What schedulers say about the tasks of an output folder. Their word explains, it decides nothing."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from petl_bench.api.registry import LAUNCHERS
from petl_bench.errors import PetlBenchError
from petl_bench.running.slurm.submissions import Submission, read_submissions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubmittedTask:
    """One task of a submission: the unit that a scheduler waits with, runs and cancels."""

    submission: Submission
    name: str

    @property
    def keys(self) -> Sequence[str]:
        """The trials that it holds."""
        return self.submission.tasks[self.name]


def tasks(runs: Path) -> list[SubmittedTask]:
    """Every task ever submitted for the trials of an output folder, the oldest first."""
    return [SubmittedTask(submission, name) for submission in read_submissions(runs) for name in submission.tasks]


def still_known(tasks: Iterable[SubmittedTask]) -> dict[tuple[str, str], str]:
    """What the schedulers say about those tasks that wait or run: (launcher, task) -> words.

    Each launcher is asked once for all of them. One that is not there or does not answer says nothing.
    """
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for task in tasks:
        names[task.submission.launcher][task.name] = None
    return {
        (launcher, name): words
        for launcher, listed in names.items()
        for name, words in _explained(launcher, list(listed)).items()
    }


def _explained(launcher: str, names: Sequence[str]) -> dict[str, str]:
    try:
        said: dict[str, str] = LAUNCHERS.get(launcher)().explain(names)
    except (PetlBenchError, OSError) as error:
        _log.warning("the %s launcher cannot be asked about submitted trials: %s", launcher, error)
        return {}
    return said
