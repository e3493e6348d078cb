"""Losses that compare the clips of a batch with each other, in micro-batches and processes.

Such a loss of a part of a batch is another loss. So everything is encoded without a graph first, and gathered from all
micro-batches and processes; the loss is computed on these features as leaves; then each micro-batch is encoded again,
with the same draws, and the gradient of its leaves is sent through the towers (GradCache: Gao et al., RepL4NLP 2021).
It equals one pass over the batch up to rounding. A batch in one part, of one process, is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from petl_bench.data.loading.batches import ClipBatch
from petl_bench.models.towers import VideoOutput
from petl_bench.training.hooks import loss_of
from petl_bench.training.seeding import random_state, restore_random_state
from petl_bench.training.step import Learner, MicroBatch, right_answers
from petl_bench.training.text import EncodedTexts
from petl_bench.training.video import joined_masks

#: The tensors of an encoded part, by name; "video" is the finished feature.
Features = dict[str, Tensor]


@dataclass(frozen=True)
class _Batch:
    """A batch over all processes: features of its clips as leaves, and which of them this process has encoded."""

    features: Features
    labels: Tensor
    rows: Tensor
    mine: slice
    parts: list[MicroBatch]  #: of this process
    mask: Tensor | None  #: bool [B, T], which frames are real; None: all


def whole_batch_gradients(learner: Learner, batch: ClipBatch) -> tuple[float, int]:
    """Leave the gradients of a batch's loss as this process's part of their sum; its part of the loss, and right
    answers among its clips. Every process of the team calls it."""
    parts = list(learner.micro_batches(batch))
    if learner.team.seat.count == 1 and len(parts) <= 1:
        return _in_one_pass(learner, batch, parts)
    return _in_two_passes(learner, batch, parts)


def _in_one_pass(learner: Learner, batch: ClipBatch, parts: list[MicroBatch]) -> tuple[float, int]:
    if not parts:
        return 0.0, 0
    features, mask = _encode(learner, parts[0])
    whole = _Batch(features, parts[0].labels, parts[0].rows, slice(0, len(parts[0].rows)), parts, mask)
    texts = _texts(learner, whole)
    loss, correct = _loss(learner, whole, texts, batch.planned)
    if torch.isfinite(loss):
        learner.scaler.scale(loss).backward()
    return loss.item(), correct


def _in_two_passes(learner: Learner, batch: ClipBatch, parts: list[MicroBatch]) -> tuple[float, int]:
    count = learner.team.seat.count
    before = {name: buffer.clone() for name, buffer in _buffers(learner).items()}
    states, encoded = [], []
    for part in parts:
        states.append(random_state(learner.device))
        with torch.no_grad():
            encoded.append(_encode(learner, part))
    by_clips = {name: buffer.clone() for name, buffer in _buffers(learner).items()}
    whole = _gathered(learner, parts, encoded)
    if not len(whole.rows):
        return 0.0, 0
    with _equal_draws(learner):
        texts = _texts(learner, whole)
        leaf = replace(texts, leaf=texts.leaf.detach().requires_grad_(texts.leaf.requires_grad))
        # All processes compute the whole loss: each gives its part of the gradients that are added up.
        loss, correct = _loss(learner, whole, leaf, batch.planned)
        loss = loss / count
        if not torch.isfinite(loss):
            return loss.item(), correct
        learner.scaler.scale(loss).backward()
        if leaf.leaf.grad is not None:
            texts.leaf.backward(leaf.leaf.grad)
    after = random_state(learner.device)
    # Buffers that the clips moved do so once more, to where they are; others were moved by texts, scores or the loss.
    # They are asked for each time: a pass may have assigned another tensor.
    by_loss = {name: each.clone() for name, each in _buffers(learner).items() if not torch.equal(each, by_clips[name])}
    _set_buffers(learner, before)
    first = whole.mine.start
    for part, state in zip(parts, states, strict=True):
        restore_random_state(state, learner.device)
        features, _ = _encode(learner, part)
        last = first + len(part.rows)
        _send_back(features, {name: _gradient(leaf, first, last, count) for name, leaf in whole.features.items()})
        first = last
    restore_random_state(after, learner.device)
    _set_buffers(learner, by_loss)
    return loss.item(), correct


def _encode(learner: Learner, part: MicroBatch) -> tuple[Features, Tensor | None]:
    """The features of the part's clips, and the mask of their frames."""
    with learner.autocast():
        output = learner.encode(learner.model, part.frames, part.mask)
        found = {
            "video": learner.model.finish_video(output),
            "frame_features": output.frame_features,
            "patch_tokens": output.patch_tokens,
            "pixels": output.pixels,
        }
    return {name: tensor for name, tensor in found.items() if tensor is not None}, output.mask


def _gathered(learner: Learner, parts: list[MicroBatch], encoded: list[tuple[Features, Tensor | None]]) -> _Batch:
    """The batch over all processes, in the order of their ranks."""
    mask = joined_masks([mask for _, mask in encoded], [len(part.rows) for part in parts])
    mine = (
        {name: torch.cat([each[name] for each, _ in encoded]).cpu() for name in encoded[0][0]} if encoded else {},
        torch.cat([part.labels for part in parts]).cpu() if parts else torch.empty(0, dtype=torch.int64),
        torch.cat([part.rows for part in parts]) if parts else torch.empty(0, dtype=torch.int64),
        None if mask is None else mask.cpu(),
    )
    everyone = learner.team.exchange(mine)
    rank, device = learner.team.seat.rank, learner.device
    first = sum(len(of_process[2]) for of_process in everyone[:rank])
    with_clips = [of_process for of_process in everyone if len(of_process[2])]
    mask = joined_masks([of_process[3] for of_process in with_clips], [len(of_process[2]) for of_process in with_clips])
    names = with_clips[0][0] if with_clips else {}
    features = {
        name: torch.cat([of_process[0][name] for of_process in with_clips]).to(device).requires_grad_()
        for name in names
    }
    return _Batch(
        features,
        torch.cat([of_process[1] for of_process in everyone]).to(device),
        torch.cat([of_process[2] for of_process in everyone]),
        slice(first, first + len(mine[2])),
        parts,
        None if mask is None else mask.to(device),
    )


def _texts(learner: Learner, whole: _Batch) -> EncodedTexts:
    """The texts of the batch: in retrieval those that belong to a clip of it, else all, or those the method chooses.

    If they depend on the clips, their gradient reaches the leaves of these too.
    """
    chosen = learner.chosen(whole.rows, whole.labels)
    if chosen is None and learner.positives is not None:
        chosen = whole.labels.unique()
    with learner.autocast():
        return learner.text.encode(chosen, whole.features["video"] if learner.text.per_video else None)


def _loss(learner: Learner, whole: _Batch, texts: EncodedTexts, planned: int) -> tuple[Tensor, int]:
    """The loss by its part of the planned batch, and the right answers among the clips of this process."""
    features = whole.features
    beside = {name: features.get(name) for name in ("frame_features", "patch_tokens", "pixels")}
    output = VideoOutput(features["video"], mask=whole.mask, **beside)
    positive = None
    if learner.positives is not None and texts.chosen is not None:
        positive = learner.positives(whole.rows, texts.chosen.cpu()).to(learner.device)
    part = MicroBatch(torch.empty(0), whole.labels, whole.rows)
    step = learner.step_of(part, output, features["video"], texts, positive, partial(_frozen_video, learner, whole))
    loss = loss_of(learner.method, step) * (len(whole.rows) / planned)
    step.logits = step.logits[whole.mine]
    step.labels = step.labels[whole.mine]
    step.positive = None if positive is None else positive[whole.mine]
    return loss, right_answers(step)


def _frozen_video(learner: Learner, whole: _Batch) -> Tensor:
    """Features [B, D] of all clips by the frozen model; every process calls it, or none."""
    mine = [learner.frozen_video(part).cpu() for part in whole.parts]
    everyone = learner.team.exchange(torch.cat(mine) if mine else None)
    return torch.cat([each for each in everyone if each is not None]).to(learner.device)


def _gradient(leaf: Tensor, first: int, last: int, count: int) -> Tensor | None:
    return None if leaf.grad is None else leaf.grad[first:last] * count


def _send_back(features: Features, gradients: Mapping[str, Tensor | None]) -> None:
    pairs = [(features[name], gradient) for name, gradient in gradients.items() if gradient is not None]
    pairs = [(tensor, gradient) for tensor, gradient in pairs if tensor.requires_grad]
    if pairs:
        torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])


def _buffers(learner: Learner) -> dict[str, Tensor]:
    """The persistent buffers of what is attached, such as the running statistics of a batch norm."""
    tensors = learner.model.adapter_tensors()
    return {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, nn.Parameter)}


@torch.no_grad()
def _set_buffers(learner: Learner, values: Mapping[str, Tensor]) -> None:
    buffers = _buffers(learner)
    for name, value in values.items():
        buffers[name].copy_(value)


@contextmanager
def _equal_draws(learner: Learner) -> Iterator[None]:
    """Every process draws the same while it computes the loss of the whole batch."""
    if learner.team.seat.count == 1:
        yield
        return
    before = random_state(learner.device)
    torch.manual_seed(learner.step_seed())
    try:
        yield
    finally:
        restore_random_state(before, learner.device)
