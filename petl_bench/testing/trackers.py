"""What every tracker promises: tried on a made-up trial that is interrupted once, in a folder that goes afterwards.

Trackers that could send something elsewhere are asked to keep it here, by the variables of their own libraries.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

from petl_bench.api.tracker import TrackedTrial, Tracker
from petl_bench.running.planning.trackers import missing_modules
from petl_bench.testing.checks import Skipped, Subject, documented, require

_TRIAL = TrackedTrial(
    key="0123456789abcdef" * 4,
    title="lora motion seed 0 (01234567)",
    parameters={"method": "lora", "method.rank": 8, "training.learning_rate": 0.01, "training.compile": False},
)
_METRICS = {"base_top1": 75.0, "novel_top1": 50.0, "harmonic_mean": 60.0}
_OFFLINE = {"WANDB_MODE": "offline"}
_ELSEWHERE = ("MLFLOW_TRACKING_URI",)
#: Names shorter than this are found by chance in what is packed or hashed.
_SHORTEST = 4


class TrackerSubject(Subject):
    """A tracker under check."""

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """Nothing is sent to another machine."""
        if missing := missing_modules(self.plugin):
            raise Skipped(f"not installed: {', '.join(missing)}")
        with mock.patch.dict(os.environ, _OFFLINE):
            for name in _ELSEWHERE:
                os.environ.pop(name, None)
            yield

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder of the tracker's own."""
        with tempfile.TemporaryDirectory(prefix="petl-bench-check-") as folder:
            yield Path(folder)

    def follow_interrupted(self, folder: Path) -> None:
        """Two attempts at one trial."""
        first: Tracker = self.create()
        first.start(_TRIAL, folder)
        first.progress(2, {"epoch": 1.0, "train_loss": 1.5, "train_accuracy": 40.0})
        first.stop("interrupted")
        self.follow(folder, replace(_TRIAL, last_step=2), step=4)

    def follow(self, folder: Path, trial: TrackedTrial = _TRIAL, step: int = 2) -> None:
        """An attempt to its end, with one step."""
        tracker: Tracker = self.create()
        tracker.start(trial, folder)
        tracker.progress(step, {"epoch": 2.0, "train_loss": 0.5})
        tracker.finish(_METRICS)


SUBJECT = TrackerSubject


def follows_a_trial(subject: TrackerSubject) -> None:
    """start, progress and finish of a trial raise nothing."""
    with subject.folder() as folder:
        subject.follow(folder)


def goes_on_after_an_interruption(subject: TrackerSubject) -> None:
    """A trial that was interrupted, or failed, is followed again with the same key."""
    with subject.folder() as folder:
        subject.follow_interrupted(folder)
    with subject.folder() as folder:
        tracker: Tracker = subject.create()
        tracker.start(_TRIAL, folder)
        tracker.stop("failed")
        subject.follow(folder)


def follows_a_trial_without_steps(subject: TrackerSubject) -> None:
    """A trial that trains nothing has metrics alone."""
    with subject.folder() as folder:
        tracker: Tracker = subject.create()
        tracker.start(_TRIAL, folder)
        tracker.finish(_METRICS)


def writes_nothing_private(subject: TrackerSubject) -> None:
    """No file that it leaves has the name of the machine or the user, the home folder, or its own place in it."""
    with subject.folder() as folder:
        subject.follow_interrupted(folder)
        private = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(folder), str(Path.cwd())}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = file.read_bytes() + file.name.encode()
            for text in sorted(private):
                found = len(text) >= _SHORTEST and text.encode() in content
                require(not found, f"{file.relative_to(folder)} has {text!r} in it")


#: In this order; if it cannot follow a trial, the others say nothing.
CHECKS = (
    follows_a_trial,
    documented,
    goes_on_after_an_interruption,
    follows_a_trial_without_steps,
    writes_nothing_private,
)
