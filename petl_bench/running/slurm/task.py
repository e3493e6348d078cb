"""What one task of a SLURM job does: a few trials, one after the other or side by side, in the source as submitted.

A task carries the path of a list of jobs and a range in it. SLURM warns before it ends a task: with SIGUSR2 some time
before the time limit, and with SIGTERM on preemption, requeue and cancellation. Then the running trial writes a
checkpoint and stops. Before the time limit the task asks SLURM to run it again, as long as it gets on; after SIGTERM
SLURM decides, unless that came at the limit itself. SLURM runs again what asks for it, even if it was cancelled
meanwhile: so a task looks for cancellations before it asks (`petl_bench.running.attempts.requests`), and again before
it begins a trial.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from petl_bench.api.launcher import AttemptResult, Job, Watcher
from petl_bench.api.trial import Places, Progress, Trial
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.execute import execute, written
from petl_bench.running.attempts.requests import cancellation_of
from petl_bench.running.slurm import queue
from petl_bench.system.files import write_atomically

#: How often to look whether another process has let go of a trial.
_LOOK_EVERY_S = 2.0
#: How often a trial is started in one task whose worker process dies.
_STARTS = 2


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    """Write jobs for the tasks of one submission."""
    values = [asdict(job) for job in jobs]
    write_atomically(path, json.dumps(values, default=str).encode() + b"\n")


def read_jobs(path: Path, first: int, count: int) -> list[Job]:
    """`count` jobs of such a file, from `first` on."""
    values = json.loads(path.read_text(encoding="utf-8"))[first : first + count]
    return [
        Job(**{**each, "trial": Trial.from_json(each["trial"]), "places": _places(each["places"])}) for each in values
    ]


def _places(values: dict[str, Any]) -> Places:
    paths = {name: None if values[name] is None else Path(values[name]) for name in ("cache", "data_root", "weights")}
    return Places(**{**values, **paths, "plugins": tuple(map(Path, values["plugins"]))})


def run_task(jobs: str, first: int, count: int, store: str, workers: int, attempts: int, grace_s: float) -> None:
    """Run trials `first` to `first + count` of the file `jobs`; called by submitit inside the SLURM job.

    `attempts`: how often the task may be started without getting on (no newer checkpoint, no finished trial) until it
    is given up. `grace_s`: SLURM warns at least so many seconds before the time limit.
    """
    warning, output = _Warning(grace_s), Path(store)
    todo = read_jobs(Path(jobs), first, count)
    before = written(todo, output)
    if workers > 1 and len(todo) > 1:  # one alone keeps what it has done at a warning
        _run_side_by_side(todo, output, workers, warning)
    else:
        _run_in_turn(todo, output, warning)
    if _worth_another_start(todo, output, before, attempts) and warning.time_is_up:
        _ask_for_another_start()


class _Warning:
    """Why the task should stop; "" as long as it need not."""

    def __init__(self, grace_s: float) -> None:
        self.reason = ""
        self.time_is_up = False
        self._grace_s = grace_s
        self._warned_at = 0.0
        self.interrupts = False  #: whether a warning also interrupts what this process is doing
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._warn)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)

    def __call__(self) -> str:
        return self.reason

    def _warn(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR2 and not self.reason:
            self.time_is_up = True
            self._warned_at = time.monotonic()
            self.reason = "the time limit of the SLURM job is near"
        else:
            self.reason = self.reason or "SLURM preempted, requeued or cancelled the job (SIGTERM)"
            if number == signal.SIGTERM and time.monotonic() - self._warned_at < self._grace_s:
                self.time_is_up = False  # too soon for the limit: a user ended the job, perhaps for good
        if self.interrupts:
            self.interrupts = False  # once: it takes a moment to stop
            raise KeyboardInterrupt


def _run_in_turn(todo: Sequence[Job], store: Path, warning: _Warning) -> None:
    """Every trial once; one that another process holds is looked at again after the others.

    The holder may be dead (the node of an earlier start of this task): then its heartbeat goes stale, and the trial is
    taken over. If the heartbeat moves on, it lives, and the trial is left to it.
    """
    heartbeats: dict[str, float] = {}
    waiting = list(todo)
    while waiting and not warning():
        held = []
        for job in waiting:
            if warning():
                return
            outcome = execute(job, store, _no_progress, stop=warning)
            _tell(outcome)
            if outcome.state == "elsewhere":
                last = claims.newest(trial_folder(store, job.trial.key))
                beat = 0.0 if last is None else last.heartbeat
                if beat == heartbeats.setdefault(job.trial.key, beat):
                    held.append(job)
        if len(held) == len(waiting):
            time.sleep(_LOOK_EVERY_S)
        waiting = held


def _run_side_by_side(todo: Sequence[Job], store: Path, workers: int, warning: _Warning) -> None:
    """Trials in worker processes; at a warning they are stopped as by Ctrl-C, and keep their last checkpoints."""
    from petl_bench.running.local.launcher import LocalLauncher

    warning.interrupts = True
    try:
        if not warning():
            LocalLauncher(workers=workers, attempts=_STARTS).run(todo, store, _Printing())
    except KeyboardInterrupt:
        print(f"stopped: {warning()}", flush=True)
    finally:
        warning.interrupts = False


def _worth_another_start(todo: Sequence[Job], store: Path, before: Mapping[Path, int], attempts: int) -> bool:
    left = [job for job in todo if not (trial_folder(store, job.trial.key) / RECORD).exists()]
    if all(cancellation_of(store, job) for job in left):
        return False
    got_on = bool(written(todo, store).items() - before.items())
    return got_on or int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1 < attempts


def _ask_for_another_start() -> None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    try:
        queue.requeue(name)
        print(f"asked SLURM to run {name} again", flush=True)
        time.sleep(queue.PATIENCE_S)  # SLURM ends this process now; leaving first would end the job
    except queue.NoAnswer as error:
        print(f"could not ask SLURM to run {name} again: {error}", file=sys.stderr, flush=True)


def _no_progress(progress: Progress) -> None:
    """Files alone tell the progress here."""


def _tell(outcome: AttemptResult) -> None:
    print(f"{outcome.title}: {outcome.state}{f' ({outcome.reason})' if outcome.reason else ''}", flush=True)
    for name, reason in outcome.failed_trackers.items():
        print(f"tracker {name} was left out: {reason}", flush=True)


class _Printing(Watcher):
    """What the trials of a job do, in the job's own log; files alone tell their progress."""

    def started(self, job: Job) -> None:
        print(f"{job.trial.title}: started", flush=True)

    def progress(self, job: Job, progress: Progress) -> None:
        return

    def finished(self, job: Job, outcome: AttemptResult) -> None:
        _tell(outcome)

    def note(self, message: str) -> None:
        print(message, flush=True)
