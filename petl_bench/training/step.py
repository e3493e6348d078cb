"""One optimiser step over a batch, in micro-batches and processes. B clips, T frames, C classes, D channels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import repeat, zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from petl_bench.api.method import Method
from petl_bench.api.step import Frozen, Step, cosine_logits
from petl_bench.api.training_options import TrainingOptions
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import PluginError, TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput
from petl_bench.training.averages import Averages
from petl_bench.training.device import autocast, gradient_scaler
from petl_bench.training.distributed import StepTotals, Team, Then
from petl_bench.training.frozen import FrozenTexts
from petl_bench.training.hooks import calling, chosen_texts, loss_of, overrides, scores_of
from petl_bench.training.state import extra_state_of, has_extra_state, load_extra_state
from petl_bench.training.text import ClassTexts, EncodedTexts, StepTexts, gives_prompts


class LossNotFiniteError(TrialError):
    """The loss of a step is not finite. `named`: the clips of the batch, in the first process."""

    def __init__(self, clips: Sequence[str]) -> None:
        self.named = ", ".join(clips[:4]) + (f" and {len(clips) - 4} more" if len(clips) > 4 else "")
        super().__init__(f"the loss is not finite, clips {self.named}")


@dataclass(frozen=True)
class MicroBatch:
    """Clips that go through the video tower together, on the device."""

    frames: Tensor  #: what `Learner.encode` takes, e.g. [B, T, 3, H, W]
    labels: Tensor  #: int64 [B]
    rows: Tensor  #: int64 [B], on the CPU
    mask: Tensor | None = None  #: bool [B, T], which frames are real; None: all


@dataclass(kw_only=True)
class Learner:
    """A model with its method, and what its steps are taken with: optimiser, loss scaling, text features."""

    model: DualEncoder
    method: Method
    options: TrainingOptions
    texts: ClassTexts  #: of the training classes
    descriptions: Mapping[str, Tensor]  #: by kind: [C, D]
    device: torch.device
    #: what the video tower gives for what a batch's `frames` hold, e.g. [B, T, 3, H, W], and its mask [B, T] or None
    encode: Callable[[DualEncoder, Tensor, Tensor | None], VideoOutput]
    team: Team = field(default_factory=Team)
    classes: tuple[str, ...] = ()
    seed: int = 0  #: of the trial
    #: retrieval: rows of clips [B], texts [M] -> bool [B, M], which texts belong to which clips
    positives: Callable[[Tensor, Tensor], Tensor] | None = None
    epoch: int = 0  #: of the next step
    number: int = 0  #: of the next step, in all epochs

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.model, self.options, self.method)
        self.scaler = gradient_scaler(self.device, self.options.precision)
        retrieval = self.positives is not None
        self.text = StepTexts(self.model, self.method, self.texts, retrieval=retrieval)
        self.frozen_texts = FrozenTexts(self.model, self.texts, retrieval=retrieval)
        self.averages = Averages(self.model, self.method)
        self.trained: list[nn.Parameter] = [p for group in self.optimizer.param_groups for p in group["params"]]

    def step(self, batch: ClipBatch, wish: Callable[[], Then] = lambda: Then.GO_ON) -> StepTotals:
        """Take one step at the optimiser's present learning rate; a batch without readable clips changes nothing.

        Every loss counts by its part of the planned batch. If some clips could not be read, that is made up for at the
        end: how many all processes could read is known only then.

        The text tower runs once: micro-batches leave their gradient in `leaf`, which is sent through the tower at the
        end. If the loss compares the clips of a batch with each other, it is that of the whole batch, see
        `whole_batch.py`.

        Args:
            batch: The clips of this process; `frames` is what `encode` takes.
            wish: Asked after the backward pass, what all processes do next; only the first one may want to do anything
                else than to go on.

        Returns:
            The sums over all micro-batches and processes.

        Raises:
            LossNotFiniteError: In all processes, before any parameter is changed.
            PluginError: A hook of the method returned what it must not.
        """
        if self.method.whole_batch or self.positives is not None:
            from petl_bench.training.whole_batch import whole_batch_gradients

            loss_sum, correct = whole_batch_gradients(self, batch)
        else:
            loss_sum, correct = self._gradients(batch)
        totals = self.team.sum_step(StepTotals(loss_sum, correct, len(batch.clips), wish()), self.trained)
        if not math.isfinite(totals.loss):
            clips = self.team.gather([] if math.isfinite(loss_sum) else batch.clips)
            raise LossNotFiniteError([clip for part in clips for clip in part])
        if totals.clips:
            self._apply(batch.planned / totals.clips)
            self.averages.after_step()
        self._take_over_state()
        return totals

    def _gradients(self, batch: ClipBatch) -> tuple[float, int]:
        """Leave the gradients of this process's clips; their part of the loss, and right answers."""
        chosen = self._chosen_in_all_processes(batch)
        text = None if self.text.per_video else self._encode_texts(chosen)
        leaf = None if text is None else replace(text, leaf=text.leaf.detach().requires_grad_(text.leaf.requires_grad))
        loss_sum, correct = 0.0, 0
        for part in self.micro_batches(batch):
            with self.autocast():
                output = self.encode(self.model, part.frames, part.mask)
                video = self.model.finish_video(output)
                texts = leaf or self.text.encode(chosen, video)
            step = self.step_of(part, output, video, texts)
            loss = loss_of(self.method, step) * (len(part.labels) / batch.planned)
            loss_sum += loss.item()
            correct += right_answers(step)
            if not math.isfinite(loss_sum):
                break
            self.scaler.scale(loss).backward()
        if text is not None and leaf is not None and leaf.leaf.grad is not None:
            text.leaf.backward(leaf.leaf.grad)
        return loss_sum, correct

    def _encode_texts(self, chosen: Tensor | None) -> EncodedTexts:
        """Text features for a batch, if they do not depend on the clips themselves."""
        with self.autocast():
            return self.text.encode(chosen)

    def _chosen_in_all_processes(self, batch: ClipBatch) -> Tensor | None:
        """The texts that the method chooses for the whole batch, the same in every process of the team."""
        if not overrides(self.method, "choose"):
            return None
        everyone = self.team.exchange(list(zip(batch.rows, batch.labels.tolist(), strict=True)))
        # Of N processes, each has every N-th clip of the batch.
        clips = [clip for each in zip_longest(*everyone) for clip in each if clip is not None]
        if not clips:
            return None
        rows, labels = (torch.tensor(values, dtype=torch.int64) for values in zip(*clips, strict=True))
        return self.chosen(rows, labels.to(self.device))

    def chosen(self, rows: Tensor, labels: Tensor) -> Tensor | None:
        """The texts that the method chooses for the clips of these rows, int64 [M]; None: all."""
        if not overrides(self.method, "choose"):
            return None
        nothing = torch.empty(len(rows), 0, device=self.device)
        step = self.bare_step(nothing, torch.empty(0, 0), rows)
        step.labels = labels
        return chosen_texts(self.method, step, len(self.texts.each))

    def step_of(
        self,
        part: MicroBatch,
        output: VideoOutput,
        video: Tensor,
        texts: EncodedTexts,
        positive: Tensor | None = None,
        frozen_video: Callable[[], Tensor] | None = None,
    ) -> Step:
        """The step of these clips, with its scores. `frozen_video` computes `step.frozen.video_features`, by default of
        the part's frames."""
        step = self.bare_step(video, texts.of_classes(), part.rows)
        step.labels, step.positive, step.mask = part.labels, positive, output.mask
        step.frame_features, step.patch_tokens, step.pixels = output.frame_features, output.patch_tokens, output.pixels
        if gives_prompts(self.method):
            step.prompt_features, step.prompt_class = texts.leaf, texts.class_of
        step.several_prompts = texts.several
        step.frozen = self._frozen(frozen_video or partial(self.frozen_video, part), texts.chosen)
        step.logits = scores_of(self.method, step)
        return step

    def step_seed(self) -> int:
        """The seed of what is drawn for the next step, the same in every process."""
        return random.Random(f"step/{self.seed}/{self.number}").getrandbits(62)

    def bare_step(self, video: Tensor, text: Tensor, rows: Tensor) -> Step:
        """A step without what is computed of clips and texts."""
        step = Step(self.model, video, text, descriptions=self.descriptions, classes=self.classes)
        step.epoch, step.number, step.rows, step.seed = self.epoch, self.number, rows, self.seed
        step.generator = torch.Generator().manual_seed(self.step_seed())
        if self.positives is None:
            step.trained_class = torch.arange(self.texts.classes, device=self.device)
        return step

    def frozen_video(self, part: MicroBatch) -> Tensor:
        """Features [B, D] of clips by the frozen model."""
        with torch.no_grad(), self.autocast(), self.model.frozen() as model:
            return model.finish_video(self.encode(model, part.frames, part.mask))

    def _frozen(self, video: Callable[[], Tensor], chosen: Tensor | None) -> Frozen:
        def text() -> Tensor:
            with self.autocast():
                return self.frozen_texts(None if self.positives is None else chosen)

        def logits(video: Tensor, text: Tensor) -> Tensor:
            return cosine_logits(self.model, video, text, self.texts.several)

        return Frozen(video, text, logits)

    def micro_batches(self, batch: ClipBatch) -> Iterator[MicroBatch]:
        """The batch in parts that are encoded one after the other; nothing if no clip could be read."""
        if not batch.clips:
            return
        size = self.options.micro_batch_size or len(batch.clips)
        rows = torch.tensor(batch.rows, dtype=torch.int64)
        masks = repeat(None) if batch.mask is None else batch.mask.to(self.device, non_blocking=True).split(size)
        parts = zip(*(part.split(size) for part in (batch.frames, batch.labels, rows)), strict=True)
        for (frames, labels, of), mask in zip(parts, masks, strict=False):
            on_device = frames.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
            yield MicroBatch(*on_device, of, mask)

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

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of forward passes."""
        return autocast(self.device, self.options.precision)


def right_answers(step: Step) -> int:
    """Clips whose highest score is that of their class; in retrieval, of one of their texts."""
    best = step.logits.argmax(dim=-1)
    if step.positive is not None:
        return int(step.positive.gather(1, best[:, None]).sum())
    return int((best == step.labels).sum())


def make_optimizer(model: nn.Module, options: TrainingOptions, method: Method | None = None) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters; weight decay on matrices only, not on biases, norms and scalars.

    Parameters that fit one of the method's `parameter_groups` are in groups of their own, with `rate_factor`.
    """
    from timm.optim import param_groups_weight_decay  # here, because timm takes half a second to import

    # Asked for a decay of 1, because timm makes a single group of all parameters if there is none. The matrices come
    # first: checkpoints hold the optimiser's state in this order, and the gradient's norm is summed in it.
    groups = [group for group in reversed(param_groups_weight_decay(model, weight_decay=1.0)) if group["params"]]
    factors: Mapping[str, tuple[float, float]] = {}
    if method is not None:
        with calling(method, "parameter_groups(model)"):
            factors = method.parameter_groups(model)  # type: ignore[arg-type]
    if method is not None and factors:
        groups = _by_factors(model, f"{method.name or type(method).__name__}.parameter_groups", groups, factors)
    for group in groups:
        group["weight_decay"] *= options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum, fused=True)
    betas = (options.beta1, options.beta2)
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=betas, eps=options.adam_epsilon, fused=True)


def _by_factors(
    model: nn.Module, label: str, groups: list[dict[str, Any]], factors: Mapping[str, tuple[float, float]]
) -> list[dict[str, Any]]:
    """The groups, divided by the patterns of `Method.parameter_groups`; PluginError for one that fits nothing, or has
    no two factors."""
    if not isinstance(factors, Mapping):
        raise PluginError(f"{label} gave {type(factors).__name__}: expected {{pattern: (rate factor, decay factor)}}")
    names = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for pattern, given in factors.items():
        pair = isinstance(given, (tuple, list)) and len(given) == 2
        if not pair or not all(isinstance(each, (int, float)) and 0 <= each < math.inf for each in given):
            raise PluginError(f"{label}: {pattern!r}: expected two factors from 0 on, of rate and decay, not {given!r}")
        if not any(fnmatchcase(name, pattern) for name in names.values()):
            raise PluginError(f"{label}: no trained parameter fits {pattern!r}")
    divided: dict[tuple[int, str], dict[str, Any]] = {}
    for index, group in enumerate(groups):
        for parameter in group["params"]:
            name = names[id(parameter)]
            pattern = next((pattern for pattern in factors if fnmatchcase(name, pattern)), "")
            rate, decay = factors.get(pattern, (1.0, 1.0))
            empty = {"params": [], "weight_decay": group["weight_decay"] * decay, "rate_factor": rate}
            divided.setdefault((index, pattern), empty)["params"].append(parameter)
    return list(divided.values())
