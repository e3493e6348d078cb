"""Template tracker: where running trials are shown."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import petl_bench as pb


@pb.register_tracker("template_tracker")
class TemplateTracker(pb.Tracker):
    """A CSV file for each trial: step, name, value."""

    # The modules that must be installed, asked before any trial runs; import them inside the methods.
    modules = ()
    install = ""

    def start(self, trial: pb.TrackedTrial, folder: Path) -> None:
        """Begin, or go on after an interruption: the key is the same, and only later steps follow."""
        self.file = (folder / f"{trial.key[:16]}.csv").open("a", encoding="utf-8", newline="")
        self.writer = csv.writer(self.file)
        if self.file.tell() == 0:
            self.writer.writerows(["", name, value] for name, value in trial.parameters.items())

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """After each epoch, and in between at most once per second: epoch, train_loss, train_accuracy."""
        self.writer.writerows([step, name, value] for name, value in values.items())
        self.file.flush()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """The trial is done; its record has these metrics."""
        self.writer.writerows(["", name, value] for name, value in metrics.items())
        self.file.close()

    def stop(self, ending: str) -> None:
        """The attempt ended without a record: "failed" or "interrupted"."""
        self.file.close()
