"""One optimiser step over a batch, in micro-batches and processes. B clips, T frames, C classes, D channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.step import Step
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.device import autocast, gradient_scaler
from petl_bench.training.distributed import StepTotals, Team, Then
from petl_bench.training.state import extra_state_of, has_extra_state, load_extra_state
from petl_bench.training.text import TextFeatures, class_directions


class LossNotFiniteError(TrialError):
    """The loss of a step is not finite. `named`: the clips of the batch, in the first process."""

    def __init__(self, clips: Sequence[str]) -> None:
        self.named = ", ".join(clips[:4]) + (f" and {len(clips) - 4} more" if len(clips) > 4 else "")
        super().__init__(f"the loss is not finite, clips {self.named}")


@dataclass(kw_only=True)
class Learner:
    """A model with its method, and what its steps are taken with: optimiser, loss scaling, text features."""

    model: DualEncoder
    method: Method
    options: TrainingOptions
    tokens: Tensor  #: of `class_tokens`: int64 [C, L], or [C, E, L] with E prompts per class
    descriptions: Mapping[str, Tensor]  #: by kind: [C, D]
    device: torch.device
    encode: Callable[[Tensor], Tensor]  #: what a batch's `frames` hold, e.g. [B, T, 3, H, W] -> video features [B, D]
    team: Team = field(default_factory=Team)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.options)
        self.scaler = gradient_scaler(self.device, self.options.precision)
        self.text = TextFeatures(self.model, self.tokens)
        self.trained: list[nn.Parameter] = [p for group in self.optimizer.param_groups for p in group["params"]]

    def step(self, batch: ClipBatch, wish: Callable[[], Then] = lambda: Then.GO_ON) -> StepTotals:
        """Take one step at the optimiser's present learning rate; a batch without readable clips changes nothing.

        Every loss counts by its part of the planned batch. If some clips could not be read, that is made up for at the
        end: how many all processes could read is known only then.

        The text tower runs once: micro-batches leave their gradient in `leaf`, which is sent through the tower at the
        end.

        Args:
            batch: The clips of this process; `frames` is what `encode` takes.
            wish: Asked after the backward pass, what all processes do next; only the first one may want to do anything
                else than to go on.

        Returns:
            The sums over all micro-batches and processes.

        Raises:
            LossNotFiniteError: In all processes, before any parameter is changed.
        """
        with self._autocast():
            text = self.text()
        leaf = text.detach().requires_grad_(text.requires_grad)
        loss_sum, correct = 0.0, 0
        for frames, labels in self._micro_batches(batch):
            with self._autocast():
                video = self.encode(frames)
            logits = self._logits(video, leaf)
            step = Step(self.model, video, leaf, labels, self.descriptions)
            step.logits = logits
            loss = functional.cross_entropy(logits, labels)
            extra = self.method.loss(step)
            loss = (loss if extra is None else loss + extra) * (len(labels) / batch.planned)
            loss_sum += loss.item()
            correct += int((logits.argmax(dim=-1) == labels).sum())
            if not math.isfinite(loss_sum):
                break
            self.scaler.scale(loss).backward()
        if leaf.grad is not None:
            text.backward(leaf.grad)
        totals = self.team.sum_step(StepTotals(loss_sum, correct, len(batch.clips), wish()), self.trained)
        if not math.isfinite(totals.loss):
            clips = self.team.gather([] if math.isfinite(loss_sum) else batch.clips)
            raise LossNotFiniteError([clip for part in clips for clip in part])
        if totals.clips:
            self._apply(batch.planned / totals.clips)
        self._take_over_state()
        return totals

    def _logits(self, video: Tensor, text: Tensor) -> Tensor:
        """logit_scale * cosine of video features [B, D] and text features [C, D], in fp32: [B, C]."""
        video = functional.normalize(video.float(), dim=-1)
        return self.model.logit_scale.float() * video @ class_directions(text, self.tokens).T

    def _micro_batches(self, batch: ClipBatch) -> Iterator[tuple[Tensor, Tensor]]:
        if not batch.clips:
            return
        size = self.options.micro_batch_size or len(batch.clips)
        for frames, labels in zip(batch.frames.split(size), batch.labels.split(size), strict=True):
            yield frames.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _apply(self, scale: float) -> None:
        """The optimiser's step, after the gradients were multiplied by `scale`."""
        if scale != 1.0:
            torch._foreach_mul_([parameter.grad for parameter in self.trained if parameter.grad is not None], scale)
        if self.options.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained, self.options.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _take_over_state(self) -> None:
        """Give every process the buffers and the extra state of the first one, which has seen its own clips alone.

        torch's DistributedDataParallel does the same with buffers. After every step, so that no process ever trains or
        scores with others, and a checkpoint of the first one holds for all.
        """
        if self.team.seat.count == 1:
            return
        tensors = self.model.adapter_tensors()
        buffers = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, nn.Parameter)}
        if not buffers and not has_extra_state(self.method):
            return
        mine = {name: tensor.cpu() for name, tensor in buffers.items()}, extra_state_of(self.method)
        of_first, extra = self.team.share(mine)
        if self.team.first:
            return
        with torch.no_grad():
            for name, tensor in buffers.items():
                tensor.copy_(of_first[name])
        load_extra_state(self.method, extra)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, self.options.precision)


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
