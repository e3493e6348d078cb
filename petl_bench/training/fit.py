"""The one training loop. B clips, T frames, C classes, D embedding channels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from petl_bench.api.method import Method, Step
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Notify, Progress, Stop, go_on
from petl_bench.data.loading.batches import ClipBatch, ClipLoader
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.finite import not_finite, tensors_in
from petl_bench.training.checkpoint import Pace, load_checkpoint, save_checkpoint
from petl_bench.training.distributed import StepTotals, Team, Then
from petl_bench.training.precision import autocast, gradient_scaler
from petl_bench.training.schedule import learning_rate
from petl_bench.training.seeding import random_state, restore_random_state
from petl_bench.training.state import (
    State,
    extra_state_of,
    has_extra_state,
    load_extra_state,
    load_state,
    state_of,
)
from petl_bench.training.text import TextFeatures, class_directions

#: epoch (from 1) -> accuracy in percent on which the best epoch is chosen. The second argument keeps the training, and
#: is to be called, in every process, before anything of that evaluation is kept for another attempt.
Select = Callable[[int, Callable[[], None]], float]


@dataclass
class Fit:
    """What one training run works on, and its state."""

    model: DualEncoder
    method: Method
    options: TrainingOptions
    batches: Callable[[int, int], Iterable[ClipBatch]]  #: epoch, k (both from 0) -> its batches from the k-th on
    loader: ClipLoader  #: behind `batches`; what it found out about clips goes into the checkpoint
    clips: int  #: clips per epoch, for the schedule
    tokens: Tensor  #: of `class_tokens`: int64 [C, L], or [C, E, L] with E prompts per class
    descriptions: Mapping[str, Tensor]
    device: torch.device
    checkpoint: Path
    notify: Notify
    encode: Callable[[Tensor], Tensor]  #: what a batch's `frames` hold -> video features [B, D]
    select: Select | None = None
    pace: Pace = field(default_factory=lambda: Pace(30.0))
    stop: Stop = go_on
    team: Team = field(default_factory=Team)
    history: list[dict[str, float]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_state: State | None = None
    started: float = field(default_factory=time.monotonic)
    stop_reason: str = ""
    earlier_s: float = 0.0  #: seconds that earlier attempts spent, up to the checkpoint

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.clips / self.options.batch_size)


@dataclass
class Epoch:
    """The epoch under way, over all processes: how far it is, and what its row of the history will be made from."""

    number: int = 0  #: from 0
    steps: int = 0  #: that are done
    clips: int = 0
    correct: int = 0
    loss: float = 0.0  #: sum over clips
    learning_rate: float = 0.0  #: of the last step
    seconds: float = 0.0  #: in all attempts

    def row(self) -> dict[str, float]:
        """The row of the history. Raises TrialError where no clip could be read."""
        if self.clips == 0:
            raise TrialError(f"epoch {self.number + 1}: no readable training clip is left")
        return {
            "epoch": self.number + 1,
            "loss": self.loss / self.clips,
            "train_accuracy": 100.0 * self.correct / self.clips,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }


@dataclass
class _Learner:
    """What takes the steps."""

    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    text: TextFeatures


def fit(run: Fit) -> None:
    """Train for `options.epochs` epochs, going on from the checkpoint where there is one.

    Leaves the model at the chosen epoch: the last, or the best where `run.select` is given. Raises TrialError at the
    first non-finite loss, after an epoch that leaves anything non-finite, and where fp16 skipped every step; the last
    good checkpoint stays. Raises TrialStopped where `run.stop` gives a reason, after a checkpoint was written.
    Every process of `run.team` calls this, and all end with the same model; the first one decides when to write a
    checkpoint or to stop.
    """
    learner = _learner(run)
    epoch = _resume(run, learner)
    to_train = epoch.number < run.options.epochs
    while epoch.number < run.options.epochs:
        _train_epoch(run, epoch, learner)
        _end_epoch(run, epoch, learner)
        epoch = Epoch(epoch.number + 1)
    if to_train:
        _refuse_skipped(run, learner)
        _save(run, epoch, learner, run.team.gather(_of_process(run)))
    if run.best_state is not None:
        load_state(run.model, run.method, run.best_state)


def _learner(run: Fit) -> _Learner:
    return _Learner(
        make_optimizer(run.model, run.options),
        gradient_scaler(run.device, run.options.precision),
        TextFeatures(run.model, run.tokens),
    )


class Steps:
    """Optimiser steps over batches that the caller holds, outside of any epoch: what is measured as a training step.

    The rate stays `options.learning_rate`.
    """

    def __init__(self, run: Fit) -> None:
        self._run, self._learner = run, _learner(run)
        self.optimizer = self._learner.optimizer

    def __call__(self, batch: ClipBatch) -> None:
        """One step. Raises TrialError for a loss that is not finite."""
        _train_step(self._run, batch, self._learner, 0)


def make_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay on matrices only, not on biases, norms and scalars."""
    from timm.optim import param_groups_weight_decay  # here, because timm takes half a second to import

    # Asked for a decay of 1, because timm makes a single group of all parameters if there is none. The matrices come
    # first: checkpoints hold the optimiser's state in this order, and the gradient's norm is summed in it.
    groups = [group for group in reversed(param_groups_weight_decay(model, weight_decay=1.0)) if group["params"]]
    for group in groups:
        group["weight_decay"] *= options.weight_decay
    betas = (options.beta1, options.beta2)
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=betas, eps=options.adam_epsilon, fused=True)


def _train_epoch(run: Fit, epoch: Epoch, learner: _Learner) -> None:
    """What is left of one pass over the training clips.

    Batch k of an epoch has its place in the schedule whatever can be read of it; one that holds no readable clip
    changes nothing.
    """
    run.model.train()
    began = time.monotonic() - epoch.seconds
    for batch in run.batches(epoch.number, epoch.steps):
        step = epoch.number * run.steps_per_epoch + epoch.steps
        epoch.learning_rate = _set_learning_rate(run, learner.optimizer, step)
        totals = _train_step(run, batch, learner, step)
        epoch.steps += 1
        epoch.clips += totals.clips
        epoch.correct += totals.correct
        epoch.loss += totals.loss * batch.planned
        epoch.seconds = time.monotonic() - began
        _tell(run, epoch)
        if totals.then != Then.GO_ON:
            _save(run, epoch, learner, run.team.gather(_of_process(run)))
        if totals.then == Then.STOP:
            raise TrialStopped(run.team.share(run.stop_reason))


def _tell(run: Fit, epoch: Epoch) -> None:
    if epoch.clips == 0:
        return
    step, steps = epoch.number * run.steps_per_epoch + epoch.steps, run.options.epochs * run.steps_per_epoch
    run.notify(
        Progress(
            stage="training",
            epoch=epoch.number + 1,
            epochs=run.options.epochs,
            step=step,
            steps=steps,
            loss=epoch.loss / epoch.clips,
            accuracy=100.0 * epoch.correct / epoch.clips,
            seconds_left=epoch.seconds / epoch.steps * (steps - step),
        )
    )


def _end_epoch(run: Fit, epoch: Epoch, learner: _Learner) -> None:
    """Write the epoch's row, and keep its model where it is the best so far."""
    row = epoch.row()
    _refuse_not_finite(run, epoch, learner)
    if run.select is not None and _is_evaluated(run, epoch.number + 1):
        before = run.team.gather(_of_process(run))
        # The next attempt goes on with this evaluation, for which the training must be kept once.
        keep_training = cache(lambda: _save(run, epoch, learner, before))
        accuracy = row["selection_accuracy"] = run.select(epoch.number + 1, keep_training)
        if accuracy > run.best_accuracy:  # the first of equal ones stays
            run.best_accuracy = accuracy
            run.best_state = state_of(run.model, run.method)
    run.history.append(row)


def _is_evaluated(run: Fit, epoch: int) -> bool:
    """Whether an epoch (from 1) may be selected: the first, every `eval_every`-th and the last."""
    return epoch in (1, run.options.epochs) or epoch % run.options.eval_every == 0


def _train_step(
    run: Fit,
    batch: ClipBatch,
    learner: _Learner,
    step: int,
) -> StepTotals:
    """One optimiser step over a batch, in micro-batches and processes; returns the sums over all of these.

    Every loss counts by its part of the planned batch. Where some clips could not be read, that is made up for at the
    end: how many all processes could read is known only then.

    The text tower runs once: micro-batches leave their gradient in `leaf`, which is sent through the tower at the end.
    """
    with autocast(run.device, run.options.precision):
        text_features = learner.text()
    leaf = text_features.detach().requires_grad_(text_features.requires_grad)
    loss_sum, correct = 0.0, 0
    for frames, labels in _micro_batches(run, batch):
        with autocast(run.device, run.options.precision):
            video = run.encode(frames)
        logits = _logits(run.model, video, class_directions(leaf, run.tokens))
        loss = functional.cross_entropy(logits, labels)
        extra = run.method.loss(Step(run.model, video, leaf, logits, labels, run.descriptions))
        loss = (loss if extra is None else loss + extra) * (len(labels) / batch.planned)
        loss_sum += loss.item()
        correct += int((logits.argmax(dim=-1) == labels).sum())
        if not math.isfinite(loss_sum):
            break
        learner.scaler.scale(loss).backward()
    if leaf.grad is not None:
        text_features.backward(leaf.grad)
    trained = [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]
    totals = run.team.sum_step(StepTotals(loss_sum, correct, len(batch.clips), _wish(run)), trained)
    if not math.isfinite(totals.loss):
        clips = run.team.gather([] if math.isfinite(loss_sum) else batch.clips)
        raise TrialError(_not_finite(run, step, [clip for part in clips for clip in part]))
    if totals.clips:
        _apply(run, learner, trained, batch.planned / totals.clips)
    _take_over_state(run)
    return totals


def _take_over_state(run: Fit) -> None:
    """Give every process the buffers and the extra state of the first one, which has seen its own clips alone.

    torch's DistributedDataParallel does the same with buffers. After every step, so that no process ever trains or
    scores with others, and a checkpoint of the first one holds for all.
    """
    if run.team.seat.count == 1:
        return
    buffers = {
        name: tensor for name, tensor in run.model.adapter_tensors().items() if not isinstance(tensor, nn.Parameter)
    }
    if not buffers and not has_extra_state(run.method):
        return
    mine = {name: tensor.cpu() for name, tensor in buffers.items()}, extra_state_of(run.method)
    of_first, extra = run.team.share(mine)
    if run.team.first:
        return
    with torch.no_grad():
        for name, tensor in buffers.items():
            tensor.copy_(of_first[name])
    load_extra_state(run.method, extra)


def _micro_batches(run: Fit, batch: ClipBatch) -> Iterable[tuple[Tensor, Tensor]]:
    if not batch.clips:
        return
    size = run.options.micro_batch_size or len(batch.clips)
    for frames, labels in zip(batch.frames.split(size), batch.labels.split(size), strict=True):
        yield frames.to(run.device, non_blocking=True), labels.to(run.device, non_blocking=True)


def _logits(model: DualEncoder, video: Tensor, directions: Tensor) -> Tensor:
    """logit_scale * cosine of video features [B, D] and classes, see `class_directions` [C, D], in fp32: [B, C]."""
    video = functional.normalize(video.float(), dim=-1)
    return model.logit_scale.float() * video @ directions.T


def _apply(run: Fit, learner: _Learner, trained: Sequence[Tensor], scale: float) -> None:
    """The optimiser's step, after the gradients were multiplied by `scale`."""
    if scale != 1.0:
        torch._foreach_mul_([parameter.grad for parameter in trained if parameter.grad is not None], scale)
    optimizer, scaler = learner.optimizer, learner.scaler
    if run.options.clip_grad_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(trained, run.options.clip_grad_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


def _set_learning_rate(run: Fit, optimizer: torch.optim.AdamW, step: int) -> float:
    rate = learning_rate(
        step,
        peak=run.options.learning_rate,
        warmup_steps=round(run.options.warmup_epochs * run.steps_per_epoch),
        total_steps=run.options.epochs * run.steps_per_epoch,
        final_ratio=run.options.final_lr_ratio,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _wish(run: Fit) -> Then:
    """What the first process wants all of them to do after the step under way."""
    if not run.team.first:
        return Then.GO_ON
    run.stop_reason = run.stop()
    if run.stop_reason:
        return Then.STOP
    return Then.SAVE if run.pace.due() else Then.GO_ON


def _of_process(run: Fit) -> dict[str, Any]:
    """The part of the state that is each process's own."""
    unreadable, remarks = run.loader.findings()
    return {"random": random_state(run.device), "unreadable": unreadable, "remarks": remarks}


def _save(run: Fit, epoch: Epoch, learner: _Learner, processes: list[dict[str, Any]]) -> None:
    """Write the checkpoint, in the first process; `processes` are the parts of all, by rank. Raises TrialError, in all
    of them, where there is anything that is not finite."""
    _refuse_not_finite(run, epoch, learner)
    if not run.team.first:
        return
    with run.pace.writing():
        save_checkpoint(
            run.checkpoint,
            {
                "epoch": asdict(epoch),
                "state": state_of(run.model, run.method),
                "optimizer": learner.optimizer.state_dict(),
                "scaler": learner.scaler.state_dict(),
                "processes": processes,
                "history": run.history,
                "best_accuracy": run.best_accuracy,
                "best_state": run.best_state,
                "seconds": run.earlier_s + time.monotonic() - run.started,
            },
        )


def _resume(run: Fit, learner: _Learner) -> Epoch:
    """Restore the checkpoint, if any, which the first process reads for all; returns the epoch to go on with."""
    state = run.team.share(load_checkpoint(run.checkpoint) if run.team.first else None)
    if state is None:
        return Epoch()
    load_state(run.model, run.method, state["state"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scaler.load_state_dict(state["scaler"])
    own = state["processes"][run.team.seat.rank]
    restore_random_state(own["random"], run.device)
    run.loader.learn(own["unreadable"], own["remarks"])
    run.history[:] = state["history"]
    run.best_accuracy, run.best_state = state["best_accuracy"], state["best_state"]
    run.earlier_s = state["seconds"]
    return Epoch(**state["epoch"])


def _refuse_not_finite(run: Fit, epoch: Epoch, learner: _Learner) -> None:
    """Raise TrialError where a parameter, buffer, moment of the optimiser or extra state is not finite.

    Every process has the same ones, and so the same answer.
    """
    tensors = dict(run.model.adapter_tensors())
    for name, parameter in run.model.named_parameters():
        for kind, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"{name} ({kind} of the optimiser)"] = value
    if has_extra_state(run.method):
        tensors |= dict(tensors_in(extra_state_of(run.method), "extra_state"))
    if fault := not_finite(tensors):
        raise TrialError(f"after step {epoch.steps} of epoch {epoch.number + 1}, {fault}; {_what_to_try(run)}")


def _refuse_skipped(run: Fit, learner: _Learner) -> None:
    """Raise TrialError where the loss scaling of fp16 skipped every step, or so many that gradients of the loss itself
    overflow: what is left is not what was to be trained. Some skipped steps at the start are usual."""
    if not learner.scaler.is_enabled():
        return
    taken = max((int(state["step"]) for state in learner.optimizer.state.values()), default=0)
    if taken and learner.scaler.get_scale() >= 1:
        return
    steps = run.options.epochs * run.steps_per_epoch
    raise TrialError(
        f"{steps - taken} of {steps} steps were skipped, because their gradients were not finite in fp16, and the loss "
        f"scale fell to {learner.scaler.get_scale():g}. Try --set training.precision=bf16 or fp32, or more steps"
    )


def _not_finite(run: Fit, step: int, clips: Sequence[str]) -> str:
    named = ", ".join(clips[:4]) + (f" and {len(clips) - 4} more" if len(clips) > 4 else "")
    at = f"step {step + 1} (epoch {step // run.steps_per_epoch + 1})"
    return f"the loss is not finite at {at}, clips {named}; {_what_to_try(run)}"


def _what_to_try(run: Fit) -> str:
    kept = (
        f"the last good checkpoint is {run.checkpoint}" if run.checkpoint.is_file() else "no checkpoint was written yet"
    )
    precision = "" if run.options.precision == "fp32" else ", or --set training.precision=fp32"
    return f"{kept}. Try a lower rate: --set training.learning_rate={run.options.learning_rate / 3:.2g}{precision}"
