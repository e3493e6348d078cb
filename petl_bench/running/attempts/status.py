"""Where a folder of runs stands: nothing is written or guessed, and torch is not loaded.

Its files alone say what is done, running, failed, interrupted, cancelled, missing or damaged. Schedulers are asked
which of the rest they still know, and are not needed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from petl_bench.errors import StoreError
from petl_bench.records.files import adapter_size_fault
from petl_bench.records.judge import how_to_repeat
from petl_bench.records.layout import RECORD, UNFINISHED, trial_folder
from petl_bench.records.scan import Problem, read_all
from petl_bench.running.attempts import claims, requests
from petl_bench.running.attempts.execute import LOG
from petl_bench.running.attempts.output import SavedPlan, read_plans
from petl_bench.running.planning.lookup import started, title_of
from petl_bench.running.slurm import scheduler
from petl_bench.system import texts

TrialState = Literal["done", "running", "queued", "failed", "interrupted", "cancelled", "missing", "damaged"]
STATES: tuple[TrialState, ...] = get_args(TrialState)


@dataclass(frozen=True)
class TrialStatus:
    """Where one trial stands. `planned`: it belongs to the latest plan of some command.

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

    @property
    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state."""
        counted = Counter(trial.state for trial in self.trials)
        return {state: counted[state] for state in STATES}


def survey(runs: Path) -> Survey:
    """Look at every planned or started trial under `runs`. Raises StoreError where there is no such folder."""
    if not runs.is_dir():
        raise StoreError(f"{runs}: no such folder of runs. Say which one with --runs DIR")
    plans = read_plans(runs)
    titles = {key: title for plan in plans for key, title in plan.trials.items()}
    folders = {key: trial_folder(runs, key) for key in started(runs)}
    recorded = _recorded(runs, folders)
    queue = _queue(runs, recorded.keys())
    cancelled = requests.standing(runs)
    trials = [
        _look(key, folders.get(key), titles.get(key), recorded.get(key), queue.get(key), cancelled.get(key))
        for key in dict.fromkeys([*titles, *folders])
    ]
    known = [trial for trial in trials if trial.planned or trial.state != "missing"]
    return Survey(runs, known, _commands(plans, known))


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


def duration(seconds: float) -> str:
    """A length of time for people, e.g. `42 s`, `3 min`, `2 h 05 min`."""
    seconds = max(0.0, seconds)
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class _Queued:
    """The newest task of a trial that a scheduler still knows, and what it says about it."""

    submitted_at: float
    words: str


def _queue(runs: Path, done: Set[str]) -> Mapping[str, _Queued]:
    newest = {key: task for task in scheduler.tasks(runs) for key in task.keys if key not in done}
    known = scheduler.still_known(newest.values())
    said = {key: (task, known.get((task.submission.launcher, task.name))) for key, task in newest.items()}
    return {key: _Queued(task.submission.submitted_at, words) for key, (task, words) in said.items() if words}


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
    return ("missing", "not started") if queued is None else ("queued", queued.words)


def _state(folder: Path, last: claims.Attempt, queued: _Queued | None) -> tuple[TrialState, str]:
    if last.fault:
        return _unknown(folder, last)
    if last.alive():
        return "running", f"for {duration(time.time() - last.started_at)} on {last.host}, process {last.pid}"
    # One that failed in that very task is not queued, though the task may go on with other trials.
    failed_since = queued and last.outcome == "failed" and (last.ended_at or 0.0) >= queued.submitted_at
    if queued is not None and not failed_since:
        return "queued", queued.words
    if last.outcome == "failed":
        return "failed", last.reason
    how = last.reason if last.ended_at is not None else "its process is gone"
    return "interrupted", f"{how}; the next run {_going_on(folder)}"


def _unknown(folder: Path, last: claims.Attempt) -> tuple[TrialState, str]:
    """The state of a trial whose newest attempt says nothing: its heartbeat alone tells."""
    if last.alive():
        return "running", f"not known where: {texts.clean(last.fault)}; its heartbeat is fresh"
    return "interrupted", f"{texts.clean(last.fault)}; the next run {_going_on(folder)}"


def _going_on(folder: Path) -> str:
    kept = any((folder / name).exists() for name in UNFINISHED)
    return "goes on from its checkpoint" if kept else "starts anew"


def _taken_back(
    cancelled: requests.ControlRequest, queued: _Queued | None, tried: Sequence[claims.Attempt] = ()
) -> tuple[TrialState, str]:
    """The state of a trial that was cancelled, and what else is known of it."""
    more = f"; its last attempt failed: {tried[-1].reason}" if tried and tried[-1].outcome == "failed" else ""
    if queued is not None:
        more += f"; still in the queue, where it ends without a start: {queued.words}"
    return "cancelled", f"{cancelled}; it runs again only for a new run command{more}"


def _count(folder: Path) -> int:
    """How many attempts there were, without reading them."""
    try:
        with os.scandir(folder / claims.FOLDER) as entries:
            return sum(entry.name.endswith(".json") and entry.name[0] != "." for entry in entries)
    except OSError:
        return 0


def _commands(plans: list[SavedPlan], trials: list[TrialStatus]) -> list[str]:
    """The commands of the plans that still have something to do and that nobody works on."""
    open_keys = {trial.key for trial in trials if trial.state in ("failed", "interrupted", "cancelled", "missing")}
    return [plan.command for plan in plans if plan.command and open_keys & plan.trials.keys()]
