"""The one training loop. B clips, T frames, C classes, D embedding channels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from petl_bench.data.loading import ClipBatch
from petl_bench.errors import TrialError
from petl_bench.method import Method, Step
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.checkpoint import load_checkpoint, save_checkpoint
from petl_bench.training.distributed import StepTotals, Team
from petl_bench.training.precision import autocast, gradient_scaler
from petl_bench.training.schedule import learning_rate
from petl_bench.training.seeding import random_state, restore_random_state
from petl_bench.training.text import TextFeatures
from petl_bench.training_options import TrainingOptions
from petl_bench.trial import Notify, Progress

#: epoch (from 1) -> accuracy in percent on which the best epoch is chosen
Select = Callable[[int], float]


@dataclass
class Fit:
    """What one training run works on, and its state."""

    model: DualEncoder
    method: Method
    options: TrainingOptions
    batches: Callable[[int], Iterable[ClipBatch]]  #: epoch (from 0) -> its batches
    clips: int  #: clips per epoch, for the schedule
    tokens: Tensor  #: int64 [C, L]
    descriptions: Mapping[str, Tensor]
    device: torch.device
    checkpoint: Path
    notify: Notify
    select: Select | None = None
    checkpoint_seconds: float = 30.0
    team: Team = field(default_factory=Team)
    history: list[dict[str, float]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_adapter: dict[str, Tensor] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.clips / self.options.batch_size)


def fit(run: Fit) -> None:
    """Train for `options.epochs` epochs, going on from the checkpoint where there is one.

    Leaves the model at the chosen epoch: the last, or the best where `run.select` is given. Raises TrialError at the
    first non-finite loss; the last good checkpoint stays. Every process of `run.team` calls this, and all end with the
    same model; the first one writes the checkpoint.
    """
    optimizer = make_optimizer(run.model, run.options)
    scaler = gradient_scaler(run.device, run.options.precision)
    text = TextFeatures(run.model, run.tokens)
    first = _resume(run, optimizer, scaler)
    saved_at = time.monotonic()
    for epoch in range(first, run.options.epochs):
        run.history.append(_train_epoch(run, epoch, optimizer, scaler, text))
        _keep_best(run, epoch + 1)
        states = run.team.gather(random_state())
        due = time.monotonic() - saved_at >= run.checkpoint_seconds or epoch + 1 == run.options.epochs
        if run.team.first and due:
            save_checkpoint(run.checkpoint, _state(run, epoch + 1, optimizer, scaler, states))
            saved_at = time.monotonic()
    if run.best_adapter:
        run.model.load_adapter_state(run.best_adapter)


def make_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay on matrices only, not on biases, norms and scalars."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        eps=options.adam_epsilon,
    )


def _train_epoch(
    run: Fit, epoch: int, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler, text: TextFeatures
) -> dict[str, float]:
    """One pass over the training clips; returns the epoch's row of the history.

    Batch k of an epoch has its place in the schedule whatever can be read of it; one that holds no readable clip
    changes nothing.
    """
    run.model.train()
    started = time.monotonic()
    clips, correct, loss_sum, rate = 0, 0, 0.0, 0.0
    for position, batch in enumerate(run.batches(epoch)):
        step = epoch * run.steps_per_epoch + position
        rate = _set_learning_rate(run, optimizer, step)
        totals = _train_step(run, batch, optimizer, scaler, text, step)
        clips, correct = clips + totals.clips, correct + totals.correct
        loss_sum += totals.loss * batch.planned
        if clips == 0:
            continue
        seconds_per_step = (time.monotonic() - started) / (position + 1)
        run.notify(
            Progress(
                stage="training",
                epoch=epoch + 1,
                epochs=run.options.epochs,
                step=step + 1,
                steps=run.options.epochs * run.steps_per_epoch,
                loss=loss_sum / clips,
                accuracy=100.0 * correct / clips,
                seconds_left=seconds_per_step * (run.options.epochs * run.steps_per_epoch - step - 1),
            )
        )
    if clips == 0:
        raise TrialError(f"epoch {epoch + 1}: no readable training clip is left")
    return {
        "epoch": epoch + 1,
        "loss": loss_sum / clips,
        "train_accuracy": 100.0 * correct / clips,
        "learning_rate": rate,
        "seconds": time.monotonic() - started,
    }


def _train_step(
    run: Fit,
    batch: ClipBatch,
    optimizer: torch.optim.AdamW,
    scaler: torch.amp.GradScaler,
    text: TextFeatures,
    step: int,
) -> StepTotals:
    """One optimiser step over a batch, in micro-batches and processes; returns the sums over all of these.

    Every loss counts by its part of the planned batch. Where some clips could not be read, that is made up for at the
    end: how many all processes could read is known only then.

    The text tower runs once: micro-batches leave their gradient in `leaf`, which is sent through the tower at the end.
    """
    with autocast(run.device, run.options.precision):
        text_features = text()
    leaf = text_features.detach().requires_grad_(text_features.requires_grad)
    loss_sum, correct = 0.0, 0
    for frames, labels in _micro_batches(run, batch):
        with autocast(run.device, run.options.precision):
            video = run.model.encode_video(frames)
        logits = _logits(run.model, video, leaf)
        loss = functional.cross_entropy(logits, labels)
        extra = run.method.loss(Step(run.model, video, leaf, logits, labels, run.descriptions))
        loss = (loss if extra is None else loss + extra) * (len(labels) / batch.planned)
        loss_sum += loss.item()
        correct += int((logits.argmax(dim=-1) == labels).sum())
        if not math.isfinite(loss_sum):
            break
        scaler.scale(loss).backward()
    if leaf.grad is not None:
        text_features.backward(leaf.grad)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    totals = run.team.sum_step(loss_sum, correct, len(batch.clips), trained)
    if not math.isfinite(totals.loss):
        clips = run.team.gather([] if math.isfinite(loss_sum) else batch.clips)
        raise TrialError(_not_finite(run, step, [clip for part in clips for clip in part]))
    if totals.clips:
        _apply(run, optimizer, scaler, trained, batch.planned / totals.clips)
    return totals


def _micro_batches(run: Fit, batch: ClipBatch) -> Iterable[tuple[Tensor, Tensor]]:
    if not batch.clips:
        return
    size = run.options.micro_batch_size or len(batch.clips)
    for frames, labels in zip(batch.frames.split(size), batch.labels.split(size), strict=True):
        yield frames.to(run.device, non_blocking=True), labels.to(run.device, non_blocking=True)


def _logits(model: DualEncoder, video: Tensor, text: Tensor) -> Tensor:
    """logit_scale * cosine of video [B, D] and text [C, D] features, in fp32: [B, C]."""
    video = functional.normalize(video.float(), dim=-1)
    return model.logit_scale.float() * video @ functional.normalize(text.float(), dim=-1).T


def _apply(
    run: Fit, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler, trained: Sequence[Tensor], scale: float
) -> None:
    """The optimiser's step, after the gradients were multiplied by `scale`."""
    if scale != 1.0:
        torch._foreach_mul_([parameter.grad for parameter in trained if parameter.grad is not None], scale)
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


def _keep_best(run: Fit, epoch: int) -> None:
    """Where an epoch is selected: evaluate at the first, every `eval_every`-th and the last epoch; the first best
    stays."""
    if run.select is None or not (epoch in (1, run.options.epochs) or epoch % run.options.eval_every == 0):
        return
    accuracy = run.select(epoch)
    run.history[-1]["selection_accuracy"] = accuracy
    if accuracy > run.best_accuracy:
        run.best_accuracy = accuracy
        run.best_adapter = {name: tensor.clone() for name, tensor in run.model.adapter_state().items()}


def _state(
    run: Fit,
    epochs_done: int,
    optimizer: torch.optim.AdamW,
    scaler: torch.amp.GradScaler,
    random_states: list[dict[str, object]],
) -> dict[str, Any]:
    return {
        "epochs_done": epochs_done,
        "adapter": run.model.adapter_state(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "random": random_states,
        "history": run.history,
        "best_accuracy": run.best_accuracy,
        "best_adapter": run.best_adapter,
    }


def _resume(run: Fit, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler) -> int:
    """Restore the checkpoint, if any, which the first process reads for all; returns the first epoch to train."""
    state = run.team.share(load_checkpoint(run.checkpoint) if run.team.first else None)
    if state is None:
        return 0
    run.model.load_adapter_state(state["adapter"])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    restore_random_state(state["random"][run.team.seat.rank])
    run.history[:] = state["history"]
    run.best_accuracy, run.best_adapter = state["best_accuracy"], state["best_adapter"]
    return int(state["epochs_done"])


def _not_finite(run: Fit, step: int, clips: Sequence[str]) -> str:
    kept = (
        f"the last good checkpoint is {run.checkpoint}" if run.checkpoint.is_file() else "no checkpoint was written yet"
    )
    named = ", ".join(clips[:4]) + (f" and {len(clips) - 4} more" if len(clips) > 4 else "")
    return (
        f"the loss is not finite at step {step + 1} (epoch {step // run.steps_per_epoch + 1}), clips {named}; {kept}. "
        f"Try a lower rate: --set training.learning_rate={run.options.learning_rate / 3:.2g}"
    )
