"""The trackers of one attempt at a trial (`run --track`): each in a thread of its own, fed by progress and record.

A tracker changes no number and cannot fail the trial: what it raises, and that it hangs, becomes one line for the user.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from petl_bench.api.launcher import Job
from petl_bench.api.options import text_of
from petl_bench.api.registry import TRACKERS, describe
from petl_bench.api.tracker import Ending, TrackedTrial, Tracker
from petl_bench.api.trial import Notify, Progress, Trial
from petl_bench.errors import PetlBenchError, TrialStopped
from petl_bench.system import texts
from petl_bench.system.files import write_atomically
from petl_bench.system.processes import kill_below

#: The folder of an output folder that trackers write into, and the folder in it with the last step that each was told.
FOLDER, STEPS = "tracking", ".steps"
#: Within an epoch, trackers are told of progress at most so often.
EVERY_S = 1.0
#: How long trackers may take at the end of a trial that is done, and of one that is not.
FINISH_WITHIN_S, STOP_WITHIN_S = 30.0, 10.0
_LONGEST_REASON = 300

#: Trackers that hung in this process; they are not started again, since every trial would wait for them.
_hanging: set[str] = set()
_log = logging.getLogger(__name__)

_Call = Callable[[Tracker], None]


class Tracking:
    """The trackers of one attempt. `failures` are the names of those that failed, each with the reason."""

    def __init__(self, job: Job, store: Path) -> None:
        self.failures: dict[str, str] = {}
        self._names = [name for name in dict.fromkeys(job.trackers) if name not in _hanging]
        self._trial, self._folder = job.trial, store / FOLDER
        self._followers: list[_Follower] = []

    @contextlib.contextmanager
    def following(self, notify: Notify) -> Iterator[Notify]:
        """Around an attempt: what is to be told of its progress. Trackers are told if it raises."""
        if not self._names:
            yield notify
            return
        trial = tracked(self._trial)
        self._followers = [_Follower(name, trial, self._folder) for name in self._names]
        try:
            yield self._telling(notify)
        except (KeyboardInterrupt, TrialStopped):
            self._stop("interrupted")
            raise
        except BaseException:
            self._stop("failed")
            raise

    def finish(self, metrics: dict[str, float]) -> None:
        """The record was written, with these metrics."""
        self._end(lambda tracker: tracker.finish(dict(metrics)), FINISH_WITHIN_S)

    def _stop(self, ending: Ending) -> None:
        self._end(lambda tracker: tracker.stop(ending), STOP_WITHIN_S)

    def _end(self, last: _Call, seconds: float) -> None:
        followers, self._followers = self._followers, []
        for follower in followers:
            follower.close(last)
        deadline = time.monotonic() + seconds
        for follower in followers:
            if failure := follower.failure_by(deadline):
                _log.warning("tracker %s: %s", follower.name, failure)
                self.failures[follower.name] = failure

    def _telling(self, notify: Notify) -> Notify:
        """`notify`, which also tells the trackers: the last step of every epoch, and of others one per `EVERY_S`."""
        told_at = time.monotonic()

        def tell(progress: Progress) -> None:
            nonlocal told_at
            notify(progress)
            if progress.stage != "training" or progress.loss is None:
                return
            now = time.monotonic()
            if progress.step * progress.epochs == progress.epoch * progress.steps or now - told_at >= EVERY_S:
                told_at = now
                for follower in self._followers:
                    follower.progress(progress.step, _values(progress))

        return tell


def tracked(trial: Trial) -> TrackedTrial:
    """What trackers are told of a trial: nothing of its `locations`, and no text that may be a path."""
    weights = trial.weights if trial.weights in ("packaged", "random") else "file"
    parameters: dict[str, Any] = {
        "method": trial.method,
        "backbone": trial.backbone,
        "weights": weights,
        "dataset": trial.dataset,
        "setting": trial.setting,
        "split": trial.split,
        "part": trial.part,
        "shots": trial.shots,
        "seed": trial.seed,
    }
    groups = {"method": trial.hyper_parameters, "setting": trial.setting_options, "dataset": trial.dataset_options}
    groups |= {"backbone": trial.backbone_options, "training": trial.training}
    for group, values in groups.items():
        parameters |= {f"{group}.{name}": value for name, value in values.items()}
    plain = {name: _plain(value) for name, value in parameters.items() if value not in ("", None)}
    return TrackedTrial(
        key=trial.key, title=trial.title, parameters={name: value for name, value in plain.items() if _is_told(value)}
    )


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (bool, int, float)) else text_of(value)


def _is_told(value: str | int | float | bool) -> bool:
    return not (isinstance(value, str) and ("/" in value or "\\" in value))


def _values(progress: Progress) -> dict[str, float]:
    values = {"epoch": progress.epoch, "train_loss": progress.loss, "train_accuracy": progress.accuracy}
    return {name: float(value) for name, value in values.items() if value is not None}


class _Follower:
    """The thread of one tracker. It dies with the process, whatever the tracker does."""

    def __init__(self, name: str, trial: TrackedTrial, folder: Path) -> None:
        self.name = name
        self._trial, self._folder = trial, folder / name
        self._steps = folder / STEPS / f"{trial.key}-{name}"
        self._failure = ""
        self._calls: queue.SimpleQueue[tuple[int, _Call]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, name=f"petl-bench tracker {name}", daemon=True)
        self._thread.start()

    def progress(self, step: int, values: dict[str, float]) -> None:
        """Have the tracker told, as soon as it has taken in what came before."""
        if not self._failure:
            self._calls.put((step, lambda tracker: tracker.progress(step, values)))

    def close(self, last: _Call) -> None:
        """Have the tracker told the last it will be told."""
        self._calls.put((0, last))

    def failure_by(self, deadline: float) -> str:
        """Why the tracker failed, "" if it did not; one that is not ready by then hangs."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            return self._failure
        if not _hanging:
            atexit.register(_kill_what_hangs)
        _hanging.add(self.name)
        return "it does not answer"

    def _follow(self) -> None:
        try:
            for folder in (self._folder, self._steps.parent):
                folder.mkdir(parents=True, exist_ok=True)
            tracker: Tracker = TRACKERS.get(self.name)()
            told = _number_in(self._steps)
            tracker.start(replace(self._trial, last_step=told), self._folder)
            self._tell(tracker, told)
        except BaseException as error:  # also a plugin's sys.exit
            text = str(error) if isinstance(error, PetlBenchError) else describe(error)
            self._failure = texts.shortened(texts.clean(text), _LONGEST_REASON) or "failed"

    def _tell(self, tracker: Tracker, told: int) -> None:
        """What comes in, up to the last call. Steps up to `told`, by an earlier attempt, are left out."""
        while True:
            step, call = self._calls.get()
            if step == 0:
                call(tracker)
                return
            if step > told:
                write_atomically(self._steps, str(step).encode())  # before, so that no step is told twice
                call(tracker)
                told = step


def _kill_what_hangs() -> None:
    """At the end of this process: the library of a tracker that hangs would wait for processes of its own for ever."""
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for its tracebacks
    kill_below(psutil.Process())


def _number_in(file: Path) -> int:
    """The step in a file; 0 if there is none."""
    try:
        return int(file.read_bytes()[:20])
    except (FileNotFoundError, ValueError):
        return 0
