"""Cancelling trials: for every command and process that works on them or waits for them, and their scheduler's tasks.

The cancellation is written first (`petl_bench.running.attempts.requests`), and holds even if the scheduler does
nothing: what runs stops when it looks for it, what starts later does not begin, and what waits is not submitted. Of the
scheduler's tasks only those of this output folder are ended, and only those that it still knows.
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
from petl_bench.running.attempts.submissions import SubmittedTask, still_known, submitted_tasks


@dataclass(frozen=True)
class Cancelled:
    """What was cancelled, and which tasks of it were ended, had ended already, or are other users' and stay."""

    trials: frozenset[str]
    tasks: list[SubmittedTask]
    too_late: list[SubmittedTask]
    of_others: list[SubmittedTask]
    processes: dict[str, claims.Attempt]  #: trials that run without a scheduler: key -> the attempt that runs

    @property
    def elsewhere(self) -> frozenset[str]:
        """The cancelled trials that are in no task and no process that is known: they waited."""
        return self.trials - self.processes.keys() - _keys([*self.tasks, *self.too_late])


def cancel(runs: Path, titles: Mapping[str, str], wanted: Collection[str], whole_tasks: bool) -> Cancelled:
    """Cancel trials that have no record, and end their tasks, as far as a scheduler still knows them.

    Args:
        runs: the output folder.
        titles: all trials of the folder, key -> title.
        wanted: the keys of those to cancel. Trials in tasks of other users are left to these.
        whole_tasks: whether a task may be ended that also holds trials that are not wanted.

    Raises:
        UsageError: before anything is cancelled, if a task also holds trials that are not wanted (unless
            `whole_tasks`); with the scheduler's own words if it refuses to end a task, whose trials are cancelled all
            the same.
        StoreError: if the cancellation cannot be written.
    """
    open_keys = {key for key in titles if not (trial_folder(runs, key) / RECORD).exists()}
    candidates = [task for task in submitted_tasks(runs) if open_keys.intersection(wanted, task.keys)]
    known = still_known(candidates)
    found = [task for task in candidates if task.identity in known]
    user = getpass.getuser()
    mine = [task for task in found if task.submission.user == user]
    if not whole_tasks:
        _refuse_shared(mine, titles, open_keys.difference(wanted))
    of_others = [task for task in found if task.submission.user != user]
    trials = open_keys.intersection({*wanted, *_keys(mine)}) - _keys(of_others)
    if trials:
        requests.cancel(runs, trials)
    taken = _take_back(mine)
    return Cancelled(
        trials=frozenset(trials),
        tasks=[task for task in mine if task.identity in taken],
        too_late=[task for task in mine if task.identity not in taken],
        of_others=of_others,
        processes=_running(runs, open_keys.intersection(wanted) - _keys(found)),
    )


def _keys(tasks: Collection[SubmittedTask]) -> set[str]:
    return {key for task in tasks for key in task.keys}


def _refuse_shared(tasks: Collection[SubmittedTask], titles: Mapping[str, str], others: set[str]) -> None:
    for task in tasks:
        shared = [titles[key] for key in task.keys if key in others]
        if shared:
            raise UsageError(
                f"{task.submission.launcher} {task.name} also holds {len(shared)} other trials ({shared[0]}, ...); "
                "cancel them with it: --whole-tasks. Nothing was cancelled"
            )


def _take_back(tasks: Collection[SubmittedTask]) -> set[tuple[str, str]]:
    """End the tasks; those that were ended, by launcher and name."""
    names: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        names[task.submission.launcher].append(task.name)
    ended = {launcher: LAUNCHERS.get(launcher)().cancel(listed) for launcher, listed in names.items()}
    return {(launcher, name) for launcher, listed in ended.items() for name in listed}


def _running(runs: Path, keys: set[str]) -> dict[str, claims.Attempt]:
    newest = {key: claims.newest(trial_folder(runs, key)) for key in sorted(keys)}
    return {key: attempt for key, attempt in newest.items() if attempt is not None and attempt.alive()}
