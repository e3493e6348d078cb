"""Why a trial cannot train, told alike when it is planned and when it runs. Without torch, because plans are."""

from __future__ import annotations

from pathlib import Path

from petl_bench.api.dataset import Dataset
from petl_bench.api.values.named_folders import status_command
from petl_bench.errors import DataError

NOTHING_TO_HOLD_OUT = "--select val needs at least two training clips of some class; use --select last"
ONE_CLIP_TO_HOLD_OUT = "--select val needs at least two training clips; use --select last"


def no_training_clips(dataset: Dataset, listed: int, root: Path) -> DataError:
    """The error if none of the `listed` training clips of a task can be read."""
    return DataError(
        f"{dataset.name}: none of the {listed} training clips is under {root}, or can be read. "
        f"See: {status_command(dataset, root)}"
    )
