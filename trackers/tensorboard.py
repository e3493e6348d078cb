"""TensorBoard's event files, written by TensorBoard's own code, without TensorFlow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import petl_bench as pb

_LONGEST_NAME = 200


@pb.register_tracker("tensorboard")
class TensorBoard(pb.Tracker):
    """TensorBoard: a run per trial. To look: tensorboard --logdir OUTPUT/tracking/tensorboard

    The names of its files have a number for each attempt, and not the name of the machine.
    """

    modules = ("tensorboard",)
    install = "pip install 'petl-bench[tensorboard]'"

    def start(self, trial: pb.TrackedTrial, folder: Path) -> None:
        """Open a new event file in the trial's folder; the first one has the parameters."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._step = trial.last_step
        run = folder / re.sub(r"[^\w.+-]+", "-", trial.title).strip("-")[-_LONGEST_NAME:]
        run.mkdir(exist_ok=True)
        number = len(list(run.glob("events.out.tfevents.*")))
        self._records = RecordWriter((run / f"events.out.tfevents.{number:06}").open("xb"))
        self._write(file_version="brain.Event:2")
        if number == 0:
            self._write(summary=hparams_pb(dict(trial.parameters), trial_id=trial.key))

    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """A point for each value."""
        self._step = step
        self._write_scalars({f"train/{name.removeprefix('train_')}": value for name, value in values.items()})

    def finish(self, metrics: Mapping[str, float]) -> None:
        """A point for each metric, at the last step."""
        self._write_scalars({f"metrics/{name}": value for name, value in metrics.items()})
        self._records.close()

    def stop(self, ending: str) -> None:
        """Close the file."""
        self._records.close()

    def _write_scalars(self, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=self._step, summary=Summary(value=scalars))

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()
