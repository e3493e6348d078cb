"""Cancelling trials: for everybody who works on them or waits for them, and their tasks in a scheduler.

The cancellation is written first (running/requests.py), and holds whatever the scheduler does: what runs stops when it
looks for it, what starts later does not begin, and what waits is not submitted. Of the scheduler's tasks only those of
this output folder are ended, and only those that it still knows.
"""

from __future__ import annotations

import getpass
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from petl_bench.api.registry import LAUNCHERS
from petl_bench.errors import UsageError
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.running.attempts import claims, requests
from petl_bench.running.slurm import scheduler
from petl_bench.running.slurm.scheduler import SubmittedTask


@dataclass(frozen=True)
class Cancelled:
    """What was cancelled; which tasks of it were ended, ended before they could be, or are others' and left alone."""

    trials: frozenset[str]
    tasks: list[SubmittedTask]
    too_late: list[SubmittedTask]
    of_others: list[SubmittedTask]
    processes: dict[str, claims.Attempt]  #: trials that run where no scheduler is: key -> the attempt that runs

    @property
    def elsewhere(self) -> frozenset[str]:
        """The cancelled trials that are in no task and no process that is known: they waited, or nobody had them."""
        in_tasks = {key for task in (*self.tasks, *self.too_late) for key in task.keys}
        return self.trials - self.processes.keys() - in_tasks


def cancel(runs: Path, titles: Mapping[str, str], wanted: Collection[str], whole_tasks: bool) -> Cancelled:
    """Cancel the trials in `wanted` that have no record, and end their tasks, as far as a scheduler still knows them.

    `titles` are all trials of the folder. Trials in tasks of other users are left to these. Raises UsageError, before
    anything is cancelled, where a task also holds trials that are not wanted (unless `whole_tasks`); with the
    scheduler's own words where it refuses to end a task, whose trials are cancelled all the same. Raises StoreError
    where the cancellation cannot be written.
    """
    open_keys = {key for key in titles if not (trial_folder(runs, key) / RECORD).exists()}
    candidates = [task for task in scheduler.tasks(runs) if open_keys.intersection(wanted, task.keys)]
    known = scheduler.still_known(candidates)
    found = [task for task in candidates if (task.submission.launcher, task.name) in known]
    user = getpass.getuser()
    mine = [task for task in found if task.submission.user == user]
    if not whole_tasks:
        _refuse_shared(mine, titles, open_keys.difference(wanted))
    of_others = [task for task in found if task.submission.user != user]
    trials = open_keys.intersection(wanted)
    trials |= {key for task in mine for key in task.keys if key in open_keys}
    trials -= {key for task in of_others for key in task.keys}
    if trials:
        requests.cancel(runs, trials)
    taken = _take_back(mine)
    queued = {key for task in found for key in task.keys}
    return Cancelled(
        trials=frozenset(trials),
        tasks=[task for task in mine if task in taken],
        too_late=[task for task in mine if task not in taken],
        of_others=of_others,
        processes=_running(runs, open_keys.intersection(wanted) - queued),
    )


def _refuse_shared(tasks: list[SubmittedTask], titles: Mapping[str, str], others: set[str]) -> None:
    for task in tasks:
        shared = [titles[key] for key in task.keys if key in others]
        if shared:
            raise UsageError(
                f"{task.submission.launcher} {task.name} also holds {len(shared)} other trials ({shared[0]}, ...); "
                "cancel them with it: --whole-tasks. Nothing was cancelled"
            )


def _take_back(tasks: list[SubmittedTask]) -> list[SubmittedTask]:
    by_launcher: dict[str, list[SubmittedTask]] = defaultdict(list)
    for task in tasks:
        by_launcher[task.submission.launcher].append(task)
    taken = []
    for launcher, listed in by_launcher.items():
        ended = set(LAUNCHERS.get(launcher)().cancel([task.name for task in listed]))
        taken += [task for task in listed if task.name in ended]
    return taken


def _running(runs: Path, keys: set[str]) -> dict[str, claims.Attempt]:
    newest = {key: claims.newest(trial_folder(runs, key)) for key in sorted(keys)}
    return {key: attempt for key, attempt in newest.items() if attempt is not None and attempt.alive()}
