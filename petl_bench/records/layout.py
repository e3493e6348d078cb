"""The names of the files in the folder of a trial, `<runs>/trials/<key>/`; they are defined here alone."""

from __future__ import annotations

import re
from pathlib import Path

#: The record, written last: a trial that has it is done.
RECORD = "record.json"
#: The trial, as it was planned.
TRIAL = "trial.json"
#: What is too long for the record: history, per-class accuracy, software.
DETAILS = "details.json"
#: The clips that were trained on.
TRAIN_LIST = "train_list.txt"
#: The trained tensors (`petl_bench.training.checkpoint.save_adapter`).
ADAPTER = "adapter.safetensors"
#: What the attempts at a trial printed, with the tracebacks of what went wrong.
LOG = "log.txt"

#: State of training: model, optimiser, random states, history (`petl_bench.training.fit`).
CHECKPOINT = "checkpoint.pt"
#: Scores of the clips evaluated so far, for one trained state (`petl_bench.training.kept`).
EVALUATED = "evaluated.pt"
#: Features of the training clips, if they are encoded once (`petl_bench.training.kept`).
ENCODED = "encoded.pt"
#: Files that an unfinished trial goes on from; gone once its record is written.
UNFINISHED = (CHECKPOINT, EVALUATED, ENCODED)


def trial_folder(runs: str | Path, key: str) -> Path:
    """The folder of the trial with this key."""
    return Path(runs) / "trials" / key


def is_key(text: str) -> bool:
    """Whether a text, such as one from a file, has the form of a trial's key, and so leads nowhere else as a path."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def predictions_name(evaluation: str) -> str:
    """The file with the predictions of an evaluation, such as "base" or "test"."""
    return f"predictions-{evaluation}.npz"
