"""What a tracker plugin is: it shows running trials in a tool such as TensorBoard, and never decides anything.

The record of a trial is the truth. A tracker is told a copy of what the trial reports while it runs, and of the metrics
that were recorded. One that fails, hangs or is slow is left out; the trial goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from petl_bench.api.plugins.contracts import member

#: How an attempt at a trial ended if it left no record.
Ending = Literal["failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """What a tracker is told of a trial. No path, host, user or clip is in it."""

    key: str  #: 64 hexadecimal digits; the same in every attempt
    title: str  #: as in progress lines, e.g. `msta motion seed 0 (1a2b3c4d)`
    #: `method`, `backbone`, `dataset`, `setting`, `seed`, ...; hyper-parameters as `method.NAME`, training options as
    #: `training.NAME`. A list is a text with commas.
    parameters: Mapping[str, str | int | float | bool]
    last_step: int = 0  #: the last step that an earlier attempt was followed to; 0 if there was none


class Tracker:
    """Base of every tracker plugin. One object follows one attempt at one trial.

    All calls come from one thread of the trial's process, beside the training. What a call raises is told to the user
    in one line, and the tracker is called no more in that attempt.

    A trial that was interrupted, or is run again, is started with the same key, and should go on in the same run of the
    tool; `progress` is then called for later steps only.
    """

    name: ClassVar[str] = ""
    #: The modules that must be installed; asked before any trial runs. Import them inside methods.
    modules: ClassVar[tuple[str, ...]] = ()
    #: What to type if one is missing.
    install: ClassVar[str] = ""

    @member(required=True)
    def start(self, trial: TrackedTrial, folder: Path) -> None:
        """An attempt begins.

        Args:
            trial: what may be told of it.
            folder: `OUTPUT/tracking/NAME`, which exists. All trials of an output folder share it, also those that run
                at the same time.
        """
        raise NotImplementedError

    @member(required=True)
    def progress(self, step: int, values: Mapping[str, float]) -> None:
        """Called after each epoch, and within an epoch at most once per second.

        Args:
            step: optimiser steps that are done, from 1; greater than in every call before, of earlier attempts too.
            values: `epoch` (from 1); `train_loss`, and `train_accuracy` in percent (retrieval: V2T R@1 in the batch),
                of the clips of this epoch so far.
        """
        raise NotImplementedError

    @member(required=True)
    def finish(self, metrics: Mapping[str, float]) -> None:
        """The trial is done, with these metrics in its record. The last call."""
        raise NotImplementedError

    def stop(self, ending: Ending) -> None:
        """The attempt ended without a record. The last call; the reason, which may name files, is not told."""
        return
