"""One method, attached to a backbone and ready to be timed. B videos, C classes, D embedding channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.costs import counting
from petl_bench.costs.memory import peak_bytes
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import TrialError
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.tokenizer import tokenize
from petl_bench.training.device import autocast
from petl_bench.training.seeding import seed_everything
from petl_bench.training.step import Learner
from petl_bench.training.text import ClassTexts

#: Class names of one to six words; with them a prompt has 9.2 tokens on average and 12 at most, as long as the 400 of
#: Kinetics (8.3 and 13).
NAMES = (
    "archery",
    "riding a bike",
    "playing the guitar",
    "swimming",
    "catching or throwing a ball",
    "cutting an apple",
    "person walking the dog",
    "water skiing",
    "brushing teeth",
    "playing the piano in the house",
    "opening a bottle of wine",
)
TEMPLATE = "a video of {}."
#: Training clips of each class, of those methods that keep something of every one.
SHOTS = 16


@dataclass(frozen=True)
class Workload:
    """What every subject is measured with."""

    backbone: str
    weights: Path | None  #: None: random
    device: torch.device
    classes: int

    @property
    def task(self) -> MethodTask:
        """For methods whose shapes depend on it: so many classes, with the clips of the usual few-shot protocol."""
        return MethodTask("classification", tuple(map(str, range(self.classes))), SHOTS * self.classes)


@dataclass(frozen=True)
class ModelSizes:
    """What can be counted without a clock."""

    trainable_params: int
    total_params: int
    backbone_params: int
    adapter_bytes: int
    video: counting.Count
    text: counting.Count  #: of all classes


@dataclass(frozen=True, eq=False)
class Item:
    """One row of a comparison: a method with its values, merged into the backbone or not."""

    method: Method
    version: str  #: of the method's plugin
    merged: bool = False

    @property
    def title(self) -> str:
        """For progress lines and failures."""
        return f"{self.method.name}{' merged' if self.merged else ''}"


@dataclass(eq=False)
class MeasuredMethod:
    """A row of a comparison with its model. `trial` is one of those that record it."""

    item: Item
    trial: Trial
    workload: Workload
    model: DualEncoder = field(init=False)
    sizes: ModelSizes = field(init=False)

    def build(self) -> None:
        """Make the model and count what can be counted. Raises PetlBenchError if the method cannot be attached."""
        method = self.item.method
        if self.item.merged and not method.mergeable:
            raise TrialError("cannot be merged into the backbone; leave --merged yes away")
        seed_everything(0)
        workload = self.workload
        model = create_model(workload.backbone, weights=workload.weights)
        backbone_params = counting.parameter_count(model)
        method.bind(workload.task)
        method.attach(model)
        trainable = trainable_parameters(model)
        size = counting.adapter_bytes(self.trial, model, method) if trainable else 0
        if self.item.merged:
            method.merge(model)
        self.model = model.eval()
        self.sizes = ModelSizes(
            trainable_params=trainable,
            total_params=counting.parameter_count(model),
            backbone_params=backbone_params,
            adapter_bytes=size,
            video=counting.count_video(model),
            text=self._count_text(),
        )

    def tokens(self, classes: int) -> Tensor:
        """The prompts of so many classes: int64 [C, L]."""
        prompts = [TEMPLATE.format(NAMES[index % len(NAMES)]) for index in range(classes)]
        return tokenize(prompts, self.model.config.context_length)

    @property
    def trains(self) -> bool:
        """Whether training steps are measured: something trains, and is not folded into frozen weights."""
        return self.sizes.trainable_params > 0 and not self.item.merged

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """The model on the device; on a GPU it leaves again, so that every subject has the memory to itself."""
        device = self.workload.device
        self.model.to(device)
        try:
            yield
        finally:
            if device.type == "cuda":
                self.model.zero_grad(set_to_none=True)
                self.model.to("cpu")
                torch.cuda.empty_cache()

    def _count_text(self) -> counting.Count:
        """Counted over the different prompts once, and scaled to the number of classes."""
        different = min(len(NAMES), self.workload.classes)
        count = counting.count_text(self.model, self.tokens(different))
        if count.macs is None:
            return count
        return counting.Count(count.macs * self.workload.classes // different, uncounted=count.uncounted)


class Passes:
    """The passes of one subject that are timed, with inputs of one batch size on its device.

    `infer`: B videos to class scores, the text features at hand; `encode_text`: C prompts to features; `train`: one
    optimiser step of the harness's own loop over B clips and C classes, text included, at a rate of 0. Frames lie on
    the device, normalised: nothing is loaded, decoded or copied.
    """

    def __init__(self, subject: MeasuredMethod, batch: int, precision: str) -> None:
        self._subject, self._precision = subject, precision
        self._device = subject.workload.device
        self._model = subject.model
        config = self._model.config
        size = config.image_size
        self._frames = torch.randn(batch, config.num_frames, 3, size, size, device=self._device)
        self._tokens = subject.tokens(subject.workload.classes).to(self._device)
        self._text = torch.randn(subject.workload.classes, config.embed_dim, device=self._device)
        self._learner: Learner | None = None
        self._batch = batch

    @torch.no_grad()
    def infer(self) -> None:
        """Class probabilities [B, C] of the videos."""
        with autocast(self._device, self._precision):
            features = self._model.encode_video(self._frames)
        features = functional.normalize(features.float(), dim=-1)
        (self._model.logit_scale.float() * features @ self._text.T).softmax(dim=-1)

    @torch.no_grad()
    def encode_text(self) -> None:
        """Features [C, D] of the prompts."""
        with autocast(self._device, self._precision):
            self._model.encode_text(self._tokens)

    def train(self) -> None:
        """One optimiser step."""
        assert self._learner is not None
        labels = torch.arange(self._batch, device=self._device) % len(self._tokens)
        clips = [str(index) for index in range(self._batch)]
        self._learner.step(ClipBatch(self._frames, labels, clips, list(range(self._batch)), self._batch))

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside, the model is in training mode and has an optimiser whose moments are there already."""
        self._model.train()
        self._learner = self._learner or self._new_learner()
        if not self._learner.optimizer.state:
            _allocate_moments(self._learner.optimizer)
        try:
            yield
        finally:
            self._model.eval()
            if self._device.type == "cuda":
                self._learner = None

    def peak_of_inference(self) -> int:
        """Bytes: weights, and the most that a pass holds besides."""
        return self._weights() + peak_bytes(self._device, self.infer)

    def peak_of_training(self) -> int:
        """Bytes: weights, moments of the optimiser, and the most that a step holds besides. Only within `training`."""
        assert self._learner is not None
        return self._weights() + _moments(self._learner.optimizer) + peak_bytes(self._device, self.train)

    def _weights(self) -> int:
        return counting.weight_bytes(self._model) + self._frames.numel() * self._frames.element_size()

    def _new_learner(self) -> Learner:
        subject, config = self._subject, self._model.config
        kinds = subject.item.method.description_kinds_read if subject.item.method.description_count else ()
        shape = (subject.workload.classes, config.embed_dim)
        # A rate of 0 computes what any other does, and leaves the weights as they are.
        options: dict[str, Any] = {"learning_rate": 0.0, "batch_size": self._batch, "precision": self._precision}
        return Learner(
            model=self._model,
            method=subject.item.method,
            options=TrainingOptions(**options),
            texts=ClassTexts(self._tokens),
            descriptions={kind: torch.randn(shape, device=self._device) for kind in kinds},
            device=self._device,
            encode=lambda model, frames: model.video_output(frames, subject.item.method.reads),
        )


def _allocate_moments(optimizer: torch.optim.Optimizer) -> None:
    """AdamW allocates its moments in its first step; take that step with gradients of zero."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _moments(optimizer: torch.optim.Optimizer) -> int:
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
