"""One method, attached to a backbone and ready to be timed. B videos, C classes, D embedding channels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.costs import counting
from petl_bench.costs.inference import SHOTS, Inference, MadeUpSupport, random_frames
from petl_bench.costs.memory import peak_bytes
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import TrialError, UsageError
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.tokenizer import tokenize
from petl_bench.training.hooks import overrides
from petl_bench.training.seeding import seed_everything
from petl_bench.training.step import Learner
from petl_bench.training.text import ClassTexts, class_texts

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


@dataclass(frozen=True)
class Workload:
    """What every subject is measured with."""

    backbone: str
    weights: Path | None  #: None: random
    device: torch.device
    classes: int
    config_changes: Mapping[str, Any] = field(default_factory=dict)  #: by options of the backbone


class CannotMergeError(TrialError):
    """A method whose modules cannot be folded into the weights as they stand."""


@dataclass(frozen=True)
class ModelSizes:
    """What can be counted without a clock."""

    trainable_params: int
    total_params: int
    backbone_params: int
    adapter_bytes: int  #: 0: there is no adapter file
    video: counting.Count  #: of one video to its scores, with the texts of all classes if they depend on the video
    text: counting.Count  #: of all classes, for one video if they depend on it


@dataclass(frozen=True, eq=False)
class Item:
    """One row of a comparison: a method with its values, merged into the backbone or not."""

    method: Method
    version: str  #: of the method's plugin
    merged: bool = False
    optional: bool = False  #: left out, with a note, if its parts cannot be merged together

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
    method: Method = field(init=False)
    model: DualEncoder = field(init=False)
    sizes: ModelSizes = field(init=False)

    def build(self) -> None:
        """Make the model and count what can be counted. Raises PetlBenchError if the method cannot be attached."""
        if self.item.merged and not self.item.method.mergeable:
            raise TrialError("cannot be merged into the backbone; leave --merged yes away")
        seed_everything(0)
        workload = self.workload
        model = create_model(workload.backbone, weights=workload.weights, **workload.config_changes)
        backbone_params = counting.parameter_count(model)
        method = self.method = copy.deepcopy(self.item.method)  # other subjects may have the same one
        names = class_names(workload.classes)
        method.bind(MethodTask(classes=names, support_clips=SHOTS * len(names)))
        method.attach(model)
        self.model = model.eval()
        trainable = trainable_parameters(model)
        if overrides(method, "prepare"):
            with self.on_device():
                method.prepare(MadeUpSupport(self.inference()))
        kept = trainable or overrides(method, "prepare")
        size = counting.adapter_bytes(self.trial, model, method) if kept else 0
        if self.item.merged:
            self._merge()
        text = self._count_text()
        self.sizes = ModelSizes(
            trainable_params=trainable,
            total_params=counting.parameter_count(model),
            backbone_params=backbone_params,
            adapter_bytes=size,
            video=self._count_video(text),
            text=text,
        )

    def _merge(self) -> None:
        """Merge the method. Raises CannotMergeError with what it says against that."""
        try:
            self.method.merge(self.model)
        except UsageError as error:
            raise CannotMergeError(str(error)) from error

    def texts(self) -> ClassTexts:
        """The prompts of all classes, on the CPU: the method's own, or those of the template."""
        classes = self.workload.classes
        if not overrides(self.method, "prompts"):
            return ClassTexts(self.tokens(classes))
        return class_texts(self.model, self.method, class_names(classes), Prompts((TEMPLATE,)), torch.device("cpu"))

    def tokens(self, classes: int) -> Tensor:
        """The prompts of so many classes by the template: int64 [C, L]."""
        prompts = [TEMPLATE.format(NAMES[index % len(NAMES)]) for index in range(classes)]
        return tokenize(prompts, self.model.config.context_length)

    def inference(self, precision: str = "fp32") -> Inference:
        """The method's way from videos to scores, on the device."""
        texts, device = self.texts(), self.workload.device
        of_class = None if texts.of_class is None else texts.of_class.to(device)
        return Inference(self.model, self.method, ClassTexts(texts.tokens.to(device), of_class), device, precision)

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

    def _count_video(self, text: counting.Count) -> counting.Count:
        """Of one video to its scores: a count that cannot be had is told with its reason."""
        counts = [counting.count_video(self.model)]
        if overrides(self.method, "scores"):
            with self.on_device():
                counts.append(counting.count_scores(self.inference()))
        if self.method.text_varies == "video":
            counts.append(text)
        return counting.total(counts)

    def _count_text(self) -> counting.Count:
        """Counted over the different prompts once, and scaled to the number of classes; if the method changes prompts
        or features of classes, over all of them."""
        model = self.model
        own = overrides(self.method, "prompts") or model.text.prompt is not None
        if own or not model.is_as_built(model.features.text):
            video = torch.randn(1, model.config.embed_dim) if self.method.text_varies == "video" else None
            return counting.count_text(model, self.texts().each, video)
        different = min(len(NAMES), self.workload.classes)
        count = counting.count_text(model, self.tokens(different))
        if count.macs is None:
            return count
        return counting.Count(count.macs * self.workload.classes // different, uncounted=count.uncounted)


def class_names(classes: int) -> tuple[str, ...]:
    """So many names, each once."""
    return tuple(
        NAMES[index % len(NAMES)] + (f" {index // len(NAMES) + 1}" if index >= len(NAMES) else "")
        for index in range(classes)
    )


class Passes:
    """The passes of one subject that are timed, with inputs of one batch size on its device.

    `infer`: B videos to class scores by the method, text features at hand unless they depend on the video;
    `encode_text`: the prompts of C classes to features, for one video if they depend on it; `train`: one optimiser step
    of the harness's own loop over B clips and C classes, text included, at a rate of 0. Frames lie on the device,
    normalised: nothing is loaded, decoded or copied.
    """

    def __init__(self, subject: MeasuredMethod, batch: int, precision: str) -> None:
        self._subject, self._precision = subject, precision
        self._device = subject.workload.device
        self._model = subject.model
        self._frames = random_frames(self._model, batch, self._device)
        self._inference = subject.inference(precision)
        per_video = subject.method.text_varies == "video"
        self._video = torch.randn(1, self._model.config.embed_dim, device=self._device) if per_video else None
        self._learner: Learner | None = None
        self._batch = batch

    @torch.no_grad()
    def infer(self) -> None:
        """Class probabilities [B, C] of the videos."""
        self._inference.scores(self._frames).softmax(dim=-1)

    @torch.no_grad()
    def encode_text(self) -> None:
        """Features of the prompts."""
        self._inference.encode_text(self._video)

    def train(self) -> None:
        """One optimiser step."""
        assert self._learner is not None
        labels = torch.arange(self._batch, device=self._device) % self._subject.workload.classes
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
        subject, method = self._subject, self._subject.method
        kinds = method.description_kinds_read if method.description_count else ()
        shape = (subject.workload.classes, self._model.config.embed_dim)
        # A rate of 0 computes what any other does, and leaves the weights as they are.
        options: dict[str, Any] = {"learning_rate": 0.0, "batch_size": self._batch, "precision": self._precision}
        return Learner(
            model=self._model,
            method=method,
            options=TrainingOptions(**options),
            texts=self._inference.texts,
            descriptions={kind: torch.randn(shape, device=self._device) for kind in kinds},
            device=self._device,
            encode=lambda model, frames, mask: model.video_output(frames, method.reads, mask),
            classes=method.task.classes,
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
