"""Taking submitted trials back from a scheduler: only tasks of this output folder, only those that it still knows."""

from __future__ import annotations

import getpass
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from petl_bench.errors import UsageError
from petl_bench.records import RECORD, trial_folder
from petl_bench.registry import LAUNCHERS
from petl_bench.running import claims, scheduler
from petl_bench.running.scheduler import Task
from petl_bench.running.submissions import save_cancellation


@dataclass(frozen=True)
class Cancelled:
    """What was taken back, what ended before it could be, what belongs to others, and what no scheduler knows."""

    tasks: list[Task]
    too_late: list[Task]
    of_others: list[Task]
    processes: dict[str, claims.Attempt]  #: trials that run where no scheduler is: key -> the attempt that runs


def cancel(runs: Path, titles: Mapping[str, str], wanted: Collection[str], whole_tasks: bool) -> Cancelled:
    """Cancel the tasks of the trials in `wanted` that have no record, as far as a scheduler still knows them.

    `titles` are all trials of the folder. Raises UsageError, before anything is cancelled, where a task also holds
    trials that are not wanted (unless `whole_tasks`); with the scheduler's own words where it refuses.
    """
    open_keys = {key for key in titles if not (trial_folder(runs, key) / RECORD).exists()}
    candidates = [task for task in scheduler.tasks(runs) if open_keys.intersection(wanted, task.keys)]
    known = scheduler.still_known(candidates)
    found = [task for task in candidates if (task.submission.launcher, task.name) in known]
    user = getpass.getuser()
    mine = [task for task in found if task.submission.user == user]
    if not whole_tasks:
        _refuse_shared(mine, titles, open_keys.difference(wanted))
    taken = _take_back(runs, mine)
    queued = {key for task in found for key in task.keys}
    return Cancelled(
        tasks=[task for task in mine if task in taken],
        too_late=[task for task in mine if task not in taken],
        of_others=[task for task in found if task.submission.user != user],
        processes=_running(runs, open_keys.intersection(wanted) - queued),
    )


def _refuse_shared(tasks: list[Task], titles: Mapping[str, str], others: set[str]) -> None:
    for task in tasks:
        shared = [titles[key] for key in task.keys if key in others]
        if shared:
            raise UsageError(
                f"{task.submission.launcher} {task.name} also holds {len(shared)} other trials ({shared[0]}, ...); "
                "cancel them with it: --whole-tasks. Nothing was cancelled"
            )


def _take_back(runs: Path, tasks: list[Task]) -> list[Task]:
    by_launcher: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_launcher[task.submission.launcher].append(task)
    taken = []
    for launcher, listed in by_launcher.items():
        names = [task.name for task in listed]
        # Before the scheduler acts: a command that waits for these tasks must not submit them again.
        save_cancellation(runs, names)
        ended = set(LAUNCHERS.get(launcher)().cancel(names))
        taken += [task for task in listed if task.name in ended]
    return taken


def _running(runs: Path, keys: set[str]) -> dict[str, claims.Attempt]:
    newest = {key: claims.newest(trial_folder(runs, key)) for key in sorted(keys)}
    return {key: attempt for key, attempt in newest.items() if attempt is not None and attempt.alive()}
