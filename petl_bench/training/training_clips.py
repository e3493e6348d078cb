"""The clips that a trial trains on: which are held out, and the batches of every epoch. B clips, D channels."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from petl_bench.api.dataset import Sample
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import TrialError
from petl_bench.records.layout import ENCODED
from petl_bench.training.kept import Kept, Listed, Part
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.refusals import NOTHING_TO_HOLD_OUT
from petl_bench.training.video import encode

#: epoch, k (both from 0) -> the batches of the epoch from the k-th on
Batches = Callable[[int, int], Iterator[ClipBatch]]


def split_for_validation(prepared: PreparedTrial) -> tuple[list[Sample], list[Sample]]:
    """Training clips and, if `select` is val, a seeded part of every class that is held out from them.

    Raises TrialError if no class has two clips.
    """
    if prepared.options.select != "val":
        return list(prepared.task.train), []
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in prepared.task.train:
        by_class[sample.label].append(sample)
    train: list[Sample] = []
    held_out: list[Sample] = []
    for label, samples in sorted(by_class.items()):
        shuffled = random.Random(f"val/{prepared.trial.seed}/{label}").sample(samples, len(samples))
        count = min(len(samples) - 1, max(1, round(prepared.options.val_fraction * len(samples))))
        held_out += shuffled[:count]
        train += shuffled[count:]
    if not held_out:
        raise TrialError(NOTHING_TO_HOLD_OUT)
    held, clips = len(held_out), len(prepared.task.train)
    prepared.notes.append(f"{held} of {clips} training clips were held out to select the epoch")
    return train, held_out


def training_batches(prepared: PreparedTrial, found: Sequence[Sample]) -> tuple[Batches, Callable[[Tensor], Tensor]]:
    """The batches of an epoch from the k-th on, and what makes video features [B, D] of their `frames`.

    If the method leaves the video tower alone and views are fixed, every clip is read and encoded once, before the
    first epoch, and batches hold features [B, D] in the place of frames.
    """
    if prepared.options.train_views == "fixed" and prepared.model.untouched(prepared.model.video):
        features = cache(partial(_fixed_features, prepared, found))
        return partial(_feature_batches, prepared, found, features), lambda features: features
    return partial(_frame_batches, prepared, found), prepared.model.encode_video


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


def _fixed_features(prepared: PreparedTrial, found: Sequence[Sample]) -> dict[int, Tensor]:
    """Features [D] of the training clips that could be read, by their rows; the same in every process."""
    size = prepared.options.eval_batch_size

    def batches(start: int) -> Iterator[Part]:
        read = prepared.loader.fixed_batches(found, size, start=start)
        for batch in encode(
            prepared.model,
            (replace(batch, frames=batch.frames.unsqueeze(1)) for batch in read),
            to_input=lambda frames: frames,
            batch_size=size,
            precision=prepared.options.precision,
            device=prepared.device,
        ):
            yield Part(1, batch.rows, batch.features[:, 0].cpu() if batch.rows else batch.features)

    name = "training clips"
    kept = Kept(
        path=prepared.folder / ENCODED,
        trial=prepared.trial.key,
        purpose="features",
        lists={name: Listed(found, prepared.model.config.embed_dim)},
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
