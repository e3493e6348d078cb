"""The state of every trial of a folder of runs: nothing is written or guessed, and torch is not loaded.

Its files alone say what is done, running, failed, interrupted, cancelled, missing or damaged. Schedulers are asked
which of the rest they still know, and are not needed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from petl_bench.api.options import text_of
from petl_bench.managing.folders import refuse_absent
from petl_bench.managing.lookup import started, title_of
from petl_bench.records.files import adapter_size_fault
from petl_bench.records.judge import how_to_repeat
from petl_bench.records.layout import LOG, RECORD, UNFINISHED, trial_folder
from petl_bench.records.scan import Problem, read_all
from petl_bench.records.tunings import Tuning, read_tunings
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.submissions import still_known, submitted_tasks
from petl_bench.running.planning.saved_plans import SavedPlan, command_for, read_plans
from petl_bench.system import texts
from petl_bench.system.commands import made_anew
from petl_bench.system.words import duration

TrialState = Literal["done", "running", "queued", "failed", "interrupted", "cancelled", "missing", "damaged"]
STATES: tuple[TrialState, ...] = get_args(TrialState)
#: When the newest task that a scheduler still knows was submitted, and what it says about that task.
_Queued = tuple[float, str]


@dataclass(frozen=True)
class TrialStatus:
    """The state of one trial. `planned`: it belongs to the latest plan of some command.

    A trial that is done has a `detail` only if its adapter is gone, from which others could start.
    """

    key: str
    title: str
    state: TrialState
    detail: str
    log: Path | None
    attempts: int
    planned: bool


@dataclass(frozen=True)
class Survey:
    """Every trial of a folder of runs, and the commands that fill the rest."""

    runs: Path
    trials: list[TrialStatus]
    commands: list[str]
    tunings: list[str] = field(default_factory=list)  #: how far each is, with the command that goes on

    @property
    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state."""
        counted = Counter(trial.state for trial in self.trials)
        return {state: counted[state] for state in STATES}


def survey(runs: Path) -> Survey:
    """Look at every planned or started trial under `runs`. Raises StoreError if there is no such folder."""
    refuse_absent(runs)
    plans = read_plans(runs)
    planned = {key: title for plan in plans for key, title in plan.trials.items()}
    folders = {key: trial_folder(runs, key) for key in started(runs)}
    recorded = _recorded(runs, folders)
    queue = _queue(runs, recorded.keys())
    cancelled = requests.standing(runs)
    trials = [
        _look(key, folders.get(key), planned.get(key), recorded.get(key), queue.get(key), cancelled.get(key))
        for key in dict.fromkeys([*planned, *folders])
    ]
    known = [trial for trial in trials if trial.planned or trial.state != "missing"]
    return Survey(runs, known, _commands(plans, known), [_tuning_line(runs, each) for each in read_tunings(runs)])


def _tuning_line(runs: Path, tuning: Tuning) -> str:
    """How far a tuning is, in one line. Its file may come from elsewhere."""
    name = f"tuning of {tuning.method}, {tuning.setting}, {' '.join(tuning.datasets)}, {tuning.objective}"
    ended = sum(each.objective is not None or bool(each.fault) for each in tuning.proposals)
    line = f"{name}: {ended} of {tuning.budget} proposals"
    if tuning.best is not None:
        values = " ".join(f"{name}={text_of(value)}" for name, value in tuning.best.values.items())
        return texts.clean(f"{line}, chosen {values}")
    command = made_anew(tuning.command)
    return texts.clean(f"{line}, go on with: {command_for(command, runs)}" if command else line)


def _recorded(runs: Path, keys: Iterable[str]) -> dict[str, tuple[TrialState, str]]:
    """State and detail of the trials that have a record."""
    problems: list[Problem] = []
    found: dict[str, tuple[TrialState, str]] = {}
    for key, record in read_all(runs / "trials", sorted(keys), problems):
        lost = adapter_size_fault(f"{runs}/trials/{key}", record)
        detail = f"its {lost[0]} {lost[1]}; it runs again if another trial is to start from it" if lost else ""
        found[key] = ("done", detail)
    said = {each.trial: texts.clean(f"{each}. {how_to_repeat(each.path.parent)}") for each in problems}
    return found | {trial: ("damaged", words) for trial, words in said.items()}


def _queue(runs: Path, done: Set[str]) -> dict[str, _Queued]:
    """Of the trials that are not `done`, those that a scheduler still knows."""
    newest = {key: task for task in submitted_tasks(runs) for key in task.keys if key not in done}
    known = still_known(newest.values())
    said = {key: (task.submission, known.get(task.identity)) for key, task in newest.items()}
    return {key: (submission.submitted_at, words) for key, (submission, words) in said.items() if words}


def _look(
    key: str,
    folder: Path | None,
    title: str | None,
    recorded: tuple[TrialState, str] | None,
    queued: _Queued | None,
    cancelled: requests.ControlRequest | None,
) -> TrialStatus:
    planned = title is not None
    if folder is None:
        state, detail = _taken_back(cancelled, queued) if cancelled else _waiting(queued)
        return TrialStatus(key, title or key[:8], state, detail, None, 0, planned)
    if recorded is not None and title is not None:
        return TrialStatus(key, title, *recorded, _log(folder, recorded[0]), _count(folder), planned)
    tried = claims.attempts(folder)
    if recorded is None and (folder / RECORD).exists():  # looked at after its attempts: it ended a moment ago
        recorded = _recorded(folder.parent.parent, [key]).get(key)
    if recorded is not None:
        title = title or title_of(folder, tried)
        return TrialStatus(key, title, *recorded, _log(folder, recorded[0]), len(tried), planned)
    state, detail = _state(folder, tried[-1], queued) if tried else _waiting(queued)
    if cancelled and state == "running":
        detail = f"{detail}; {cancelled}: it stops soon"
    elif cancelled:
        state, detail = _taken_back(cancelled, queued, tried)
    if not planned:
        detail = f"{detail}; in no present plan"
    return TrialStatus(key, title or title_of(folder, tried), state, detail, _log(folder, state), len(tried), planned)


def _log(folder: Path, state: TrialState) -> Path | None:
    """The log that tells more about a trial; its record tells enough of one that is recorded."""
    return folder / LOG if state not in ("done", "damaged") and (folder / LOG).exists() else None


def _waiting(queued: _Queued | None) -> tuple[TrialState, str]:
    """The state of a trial that never began."""
    return ("missing", "not started") if queued is None else ("queued", queued[1])


def _state(folder: Path, last: claims.Attempt, queued: _Queued | None) -> tuple[TrialState, str]:
    """The state of a trial by its newest attempt; of one whose file is damaged, its heartbeat alone tells."""
    fault = texts.clean(last.fault)
    if last.alive():
        if fault:
            return "running", f"not known where: {fault}; its heartbeat is fresh"
        return "running", f"for {duration(time.time() - last.started_at)} on {last.host}, process {last.pid}"
    failed = last.outcome == "failed"
    # One that failed in that very task is not queued, though the task may go on with other trials.
    if queued is not None and not fault and not (failed and (last.ended_at or 0.0) >= queued[0]):
        return "queued", queued[1]
    if failed:
        return "failed", last.reason
    how = fault or (last.reason if last.ended_at is not None else "its process is gone")
    kept = any((folder / name).exists() for name in UNFINISHED)
    return "interrupted", f"{how}; the next run {'goes on from its checkpoint' if kept else 'starts anew'}"


def _taken_back(
    cancelled: requests.ControlRequest, queued: _Queued | None, tried: Sequence[claims.Attempt] = ()
) -> tuple[TrialState, str]:
    """The state of a trial that was cancelled, and what else is known of it."""
    more = f"; its last attempt failed: {tried[-1].reason}" if tried and tried[-1].outcome == "failed" else ""
    if queued is not None:
        more += f"; still in the queue, where it ends without a start: {queued[1]}"
    return "cancelled", f"{cancelled}; it runs again only for a new run command{more}"


def _count(folder: Path) -> int:
    """How many attempts there were, without reading them."""
    try:
        with os.scandir(folder / claims.FOLDER) as entries:
            return sum(entry.name.endswith(".json") and entry.name[0] != "." for entry in entries)
    except OSError:
        return 0


def _commands(plans: list[SavedPlan], trials: list[TrialStatus]) -> list[str]:
    """The commands of the plans that still have something to do and on which no process works."""
    open_keys = {trial.key for trial in trials if trial.state in ("failed", "interrupted", "cancelled", "missing")}
    return list(dict.fromkeys(plan.command for plan in plans if plan.command and open_keys & plan.trials.keys()))
