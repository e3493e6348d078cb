"""The clips that a trial trains on: the batches of every epoch. B clips, D channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from petl_bench.api.dataset import Sample
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput
from petl_bench.records.layout import ENCODED
from petl_bench.training.kept import Kept, Listed, Part
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.video import EncodedBatch, encode, packed, unpacked

#: the model, what a batch's `frames` hold, the mask of frames or None -> the video tower's output
Encode = Callable[[DualEncoder, Tensor, Tensor | None], VideoOutput]

#: epoch, k (both from 0) -> the batches of the epoch from the k-th on
Batches = Callable[[int, int], Iterator[ClipBatch]]


def training_batches(prepared: PreparedTrial, found: Sequence[Sample]) -> tuple[Batches, Encode]:
    """The batches of an epoch from the k-th on, and what makes the video tower's output of their `frames`.

    If the method leaves the video tower alone and views are fixed, every clip is read and encoded once, before the
    first epoch, and batches hold that output [B, W] in the place of frames.
    """
    reads = prepared.method.reads
    if prepared.options.train_views == "fixed" and prepared.keeps_video:
        features = cache(partial(_fixed_features, prepared, found))
        config, of_frames, masked = prepared.model.config, _keeps_frames(prepared), _masked_frames(prepared)
        batches = partial(_feature_batches, prepared, found, features)
        return batches, lambda _, rows, mask: unpacked(rows, config, of_frames, masked)
    batches = partial(_frame_batches, prepared, found)
    return batches, lambda model, frames, mask: model.video_output(frames, reads, mask)


def _keeps_frames(prepared: PreparedTrial) -> bool:
    return "frames" in prepared.method.reads or prepared.model.features.pools


def _masked_frames(prepared: PreparedTrial) -> int:
    """How many frames have a mask that is kept of a clip; 0 if no clip is padded."""
    spec = prepared.loader.spec
    return spec.num_frames if spec.pads else 0


def _frame_batches(prepared: PreparedTrial, found: Sequence[Sample], epoch: int, start: int) -> Iterator[ClipBatch]:
    yield from prepared.loader.train_batches(found, epoch, prepared.options.batch_size, start=start)
    prepared.share_findings()


def _feature_batches(
    prepared: PreparedTrial,
    found: Sequence[Sample],
    features_once: Callable[[], dict[int, Tensor]],
    epoch: int,
    start: int,
) -> Iterator[ClipBatch]:
    features = features_once()
    cuts = prepared.loader.train_cuts(len(found), epoch, prepared.options.batch_size)
    for planned_rows, planned in cuts[start:]:
        rows = [row for row in planned_rows if row in features]
        yield ClipBatch(
            frames=torch.stack([features[row] for row in rows]) if rows else torch.empty(0),
            labels=torch.tensor([found[row].label for row in rows], dtype=torch.int64),
            clips=[found[row].clip for row in rows],
            rows=rows,
            planned=planned,
        )


def encode_training_clips(prepared: PreparedTrial, read: Iterable[ClipBatch]) -> Iterator[EncodedBatch]:
    """What the video tower gives for batches of training clips, in the mode that the model is in; without gradients."""
    return encode(
        prepared.model,
        (_as_one_view(batch) for batch in read),
        to_input=lambda frames: frames,
        batch_size=prepared.options.eval_batch_size,
        precision=prepared.options.precision,
        device=prepared.device,
        reads=prepared.method.reads,
    )


def _as_one_view(batch: ClipBatch) -> ClipBatch:
    """A batch of training clips with a dimension of views."""
    mask = None if batch.mask is None else batch.mask.unsqueeze(1)
    return replace(batch, frames=batch.frames.unsqueeze(1), mask=mask)


def _width(prepared: PreparedTrial) -> int:
    """Numbers that are kept of a clip."""
    config = prepared.model.config
    return config.embed_dim * (config.num_frames if _keeps_frames(prepared) else 1) + _masked_frames(prepared)


def _fixed_features(prepared: PreparedTrial, found: Sequence[Sample]) -> dict[int, Tensor]:
    """What the video tower gives [W] for the training clips that could be read, by their rows; the same in every
    process."""
    size = prepared.options.eval_batch_size

    def batches(start: int) -> Iterator[Part]:
        read = prepared.loader.fixed_batches(found, size, start=start)
        for batch in encode_training_clips(prepared, read):
            yield Part(1, batch.rows, packed(batch.output, _masked_frames(prepared)).cpu())

    name = "training clips"
    kept = Kept(
        path=prepared.folder / ENCODED,
        trial=prepared.trial.key,
        purpose="features",
        lists={name: Listed(found, _width(prepared))},
        loader=prepared.loader,
        pace=prepared.pace,
        state=lambda: "",  # the video tower is left alone, whatever trains
        stop=prepared.stop,
        team=prepared.team,
        keep_whole=True,  # every attempt needs them
    )
    whole = kept.go_through(name, batches, prepared.progress("loading", found))
    prepared.share_findings()
    return prepared.team.share(dict(zip(whole.rows, whole.values, strict=True)))
