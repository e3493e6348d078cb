"""Why a trial cannot train, told alike when it is planned and when it runs. Without torch, because plans are."""

from __future__ import annotations

from pathlib import Path

from petl_bench.api.dataset import Dataset
from petl_bench.api.method import Method
from petl_bench.api.training_options import TrainingOptions
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


def against_split_batches(method: Method, options: TrainingOptions) -> str:
    """Why a method that trains with statistics of its batches cannot train with these options, in words: its numbers
    would depend on how a batch is split. "" if it can."""
    if not (method.batch_statistics and options.epochs):
        return ""
    micro, batch = options.micro_batch_size, options.batch_size
    if options.processes > 1:
        wrong, instead = f"training.processes={options.processes}", "training.processes=1"
    elif micro is not None and micro < batch:
        wrong = f"training.micro_batch_size={micro} beside training.batch_size={batch}"
        instead = f"training.micro_batch_size=none, or training.batch_size={micro}"
    else:
        return ""
    return (
        f"{method.name or type(method).__name__} trains with statistics of the clips that it sees at once (batch "
        f"norm), and {wrong} would change its numbers: set {instead}"
    )
