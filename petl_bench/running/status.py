"""Where a folder of runs stands, from its files alone: nothing is written or guessed, and torch is not loaded."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petl_bench.errors import StoreError
from petl_bench.records import RECORD, trial_folder
from petl_bench.running import claims
from petl_bench.running.execute import CHECKPOINT, LOG
from petl_bench.running.output import SavedPlan, read_plans

TrialState = Literal["done", "running", "failed", "interrupted", "missing"]
STATES: tuple[TrialState, ...] = ("done", "running", "failed", "interrupted", "missing")


@dataclass(frozen=True)
class TrialStatus:
    """Where one trial stands. `planned`: it belongs to the latest plan of some command."""

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
    found = _started(runs)
    trials = [_look(runs, key, title, planned=True) for key, title in titles.items()]
    trials += [_look(runs, key, "", planned=False) for key in found if key not in titles]
    known = [trial for trial in trials if trial.planned or trial.state != "missing"]
    return Survey(runs, known, _commands(plans, known))


def duration(seconds: float) -> str:
    """A length of time for people, e.g. `42 s`, `3 min`, `2 h 05 min`."""
    seconds = max(0.0, seconds)
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _started(runs: Path) -> list[str]:
    try:
        return sorted(path.name for path in (runs / "trials").iterdir() if re.fullmatch("[0-9a-f]{64}", path.name))
    except FileNotFoundError:
        return []


def _look(runs: Path, key: str, title: str, planned: bool) -> TrialStatus:
    folder = trial_folder(runs, key)
    tried = claims.attempts(folder)
    state, detail = _state(folder, tried[-1] if tried else None)
    if not planned and state != "done":
        detail = f"{detail}; in no present plan"
    log = folder / LOG if state != "done" and (folder / LOG).exists() else None
    return TrialStatus(key, title or _title(tried, key), state, detail, log, len(tried), planned)


def _title(tried: list[claims.Attempt], key: str) -> str:
    return next((attempt.title for attempt in tried if attempt.title), key[:8])


def _state(folder: Path, last: claims.Attempt | None) -> tuple[TrialState, str]:
    if (folder / RECORD).exists():
        return "done", ""
    if last is None:
        return "missing", "not started"
    if last.alive():
        return "running", f"for {duration(time.time() - last.started_at)} on {last.host}, process {last.pid}"
    if last.outcome == "failed":
        return "failed", last.reason
    how = last.reason if last.ended_at is not None else "its process is gone"
    kept = "goes on from its checkpoint" if (folder / CHECKPOINT).exists() else "starts anew"
    return "interrupted", f"{how}; the next run {kept}"


def _commands(plans: list[SavedPlan], trials: list[TrialStatus]) -> list[str]:
    """The commands of the plans that still have something to do and that nobody works on."""
    open_keys = {trial.key for trial in trials if trial.state in ("failed", "interrupted", "missing")}
    return [plan.command for plan in plans if open_keys & plan.trials.keys()]
