"""Clips as video features, computed once if the method leaves the video tower alone.

B clips, V views, T frames, D embedding channels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.config import ViCLIPConfig
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput, pooled_frames
from petl_bench.training.device import autocast


@dataclass(frozen=True)
class EncodedBatch:
    """B clips with their places in the list, labels, and what the video tower gave for their V views, [B * V, ...]."""

    rows: list[int]
    clips: list[str]
    labels: list[int]
    output: VideoOutput
    views: int = 1


@torch.no_grad()
def encode(
    model: DualEncoder,
    batches: Iterable[ClipBatch],
    *,
    to_input: Callable[[Tensor], Tensor],
    batch_size: int,
    precision: str,
    device: torch.device,
    reads: Collection[str] = (),
) -> Iterator[EncodedBatch]:
    """The video tower's output for every view, batch by batch.

    Views go through the model `batch_size` at a time, and of a clip only that output stays: the device's memory does
    not grow with the number of views. A batch of no clips stays one.

    Args:
        model: In the mode that it is to compute in.
        batches: Clips with `frames` [B, V, T, 3, H, W], and the mask of their frames [B, V, T] if some are padding.
        to_input: Makes the model's input [N, T, 3, H, W] of frames on their device.
        batch_size: Views in one forward pass.
        precision: fp32, bf16 or fp16.
        device: Of the model.
        reads: What the method reads beside features (`Method.reads`).

    Yields:
        Per batch the output for its views, [B * V, ...].
    """
    for batch in batches:
        if not batch.clips:
            yield EncodedBatch([], [], [], VideoOutput(torch.empty(0)))
            continue
        outputs = []
        for part, mask in _parts(batch, batch_size):
            frames = to_input(part.to(device, non_blocking=True))
            if mask is not None:
                mask = mask.to(device, non_blocking=True)
                frames = frames * mask[..., None, None, None]  # padding is zero behind the normalisation
            with autocast(device, precision):
                outputs.append(model.video_output(frames, reads, mask))
        yield EncodedBatch(batch.rows, batch.clips, batch.labels.tolist(), joined(outputs), batch.frames.shape[1])


def _parts(batch: ClipBatch, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The views of a batch, `size` at a time: frames [N, T, 3, H, W] and their mask [N, T]."""
    frames = batch.frames.flatten(0, 1).split(size)
    masks = repeat(None) if batch.mask is None else batch.mask.flatten(0, 1).split(size)
    return zip(frames, masks, strict=False)


def joined(outputs: Sequence[VideoOutput]) -> VideoOutput:
    """The outputs for several groups of clips as one."""
    tensors: dict[str, Any] = {}
    for each in fields(VideoOutput):
        values = [getattr(output, each.name) for output in outputs]
        tensors[each.name] = None if values[0] is None else torch.cat(values)
    return VideoOutput(**tensors)


def joined_masks(masks: Sequence[Tensor | None], clips: Sequence[int]) -> Tensor | None:
    """The masks [n, T] of several groups of so many clips as one; None if there is none."""
    given = next((mask for mask in masks if mask is not None), None)
    if given is None:
        return None
    every = zip(masks, clips, strict=True)
    return torch.cat([given.new_ones(count, given.shape[1]) if mask is None else mask for mask, count in every])


def packed(output: VideoOutput, masked: int = 0) -> Tensor:
    """What is kept of the output for N clips, one row for each, [N, W]: features, or else those of frames; and behind
    them, if clips may be padded, the mask of their `masked` frames."""
    kept = (output.features if output.frame_features is None else output.frame_features).flatten(1)
    if not masked:
        return kept
    mask = kept.new_ones(len(kept), masked) if output.mask is None else output.mask.to(kept)
    return torch.cat([kept, mask], 1)


def unpacked(rows: Tensor, config: ViCLIPConfig, reads_frames: bool, masked: int = 0) -> VideoOutput:
    """The inverse of `packed`, for the output of a model of that configuration."""
    kept, mask = rows[:, : rows.shape[1] - masked], rows[:, rows.shape[1] - masked :] > 0.5 if masked else None
    if not reads_frames:
        return VideoOutput(kept, mask=mask)
    frames = kept.unflatten(1, (-1, config.embed_dim))
    return VideoOutput(pooled_frames(frames, mask, config.pooling), frames, mask=mask)


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
