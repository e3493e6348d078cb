"""Clips as video features, computed once if the method leaves the video tower alone.

B clips, V views, T frames, D embedding channels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.device import autocast


@dataclass(frozen=True)
class EncodedBatch:
    """B clips with their places in the list, labels, and features of their views [B, V, D], not normalised."""

    rows: list[int]
    clips: list[str]
    labels: list[int]
    features: Tensor


@torch.no_grad()
def encode(
    model: DualEncoder,
    batches: Iterable[ClipBatch],
    *,
    to_input: Callable[[Tensor], Tensor],
    batch_size: int,
    precision: str,
    device: torch.device,
) -> Iterator[EncodedBatch]:
    """The features of every view, batch by batch.

    Views go through the model `batch_size` at a time, and of a clip only its features stay: the device's memory does
    not grow with the number of views. A batch of no clips stays one.

    Args:
        model: In the mode that it is to compute in.
        batches: Clips with `frames` [B, V, T, 3, H, W].
        to_input: Makes the model's input [N, T, 3, H, W] of frames on their device.
        batch_size: Views in one forward pass.
        precision: fp32, bf16 or fp16.
        device: Of the model.

    Yields:
        Per batch the features [B, V, D], not normalised.
    """
    for batch in batches:
        if not batch.clips:
            yield EncodedBatch([], [], [], torch.empty(0))
            continue
        features = []
        for part in batch.frames.flatten(0, 1).split(batch_size):
            frames = to_input(part.to(device, non_blocking=True))
            with autocast(device, precision):
                features.append(model.encode_video(frames))
        of_views = torch.cat(features).unflatten(0, (-1, batch.frames.shape[1]))
        yield EncodedBatch(batch.rows, batch.clips, batch.labels.tolist(), of_views)


@dataclass
class Remembered:
    """The features of lists that were encoded as a whole; a list is encoded again if the video tower may change.

    A part of one is never kept, so that features depend on their list alone, and not on when a trial was stopped.
    """

    keep: bool  #: whether lists come again, and the video tower is left alone
    lists: dict[Hashable, list[EncodedBatch]] = field(default_factory=dict)

    def of(self, name: Hashable, encoded: Iterable[EncodedBatch], start: int) -> Iterator[EncodedBatch]:
        """The batches of the list `name` from the batch `start` on: as they are remembered, else those of `encoded`,
        which is lazy and begins there."""
        if name in self.lists:
            yield from self.lists[name][start:]
            return
        whole = self.keep and start == 0
        kept: list[EncodedBatch] = []
        for batch in encoded:
            if whole:
                kept.append(batch)
            yield batch
        if whole:
            self.lists[name] = kept
