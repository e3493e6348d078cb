"""A method's own way from videos to scores, and made-up training clips. B videos, C classes, M texts, D channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.api.step import Frozen, Step, cosine_logits
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput
from petl_bench.training.device import autocast
from petl_bench.training.frozen import FrozenTexts
from petl_bench.training.hooks import scores_of
from petl_bench.training.text import ClassTexts, EncodedTexts, StepTexts

#: Made-up training clips of each class, for what a method makes of them beforehand.
SHOTS = 16
#: Made-up training clips in one step.
_CLIPS_PER_STEP = 32


class Inference:
    """A model with its method, as evaluation computes with it; the task's classes are the trained ones.

    `texts`: the prompts of the classes, on the device. Text features are random and at hand, as no cost depends on
    them, unless they depend on the clip.
    """

    def __init__(
        self, model: DualEncoder, method: Method, texts: ClassTexts, device: torch.device, precision: str = "fp32"
    ) -> None:
        self.model, self.method, self.texts, self.device = model, method, texts, device
        self._precision = precision
        self._trained_class = torch.arange(texts.classes, device=device)
        self._step_texts = StepTexts(model, method, texts)
        self._frozen_texts = FrozenTexts(model, texts)
        self._at_hand = None if self._step_texts.per_video else self._made_up_texts()

    def scores(self, frames: Tensor) -> Tensor:
        """Logits [B, C] of frames [B, T, 3, H, W]."""
        with autocast(self.device, self._precision):
            output = self.model.video_output(frames, self.method.reads)
            video = self.model.finish_video(output)
        return scores_of(self.method, self.step(output, video, self.texts_of(video)))

    def encode_text(self, video: Tensor | None = None) -> Tensor:
        """Features of every prompt: [M, D], or [B, M, D] for clips with features `video` [B, D]."""
        with autocast(self.device, self._precision):
            return self.model.encode_text(self.texts.each, video)

    def texts_of(self, video: Tensor) -> EncodedTexts:
        """Those at hand, or those of clips with features `video` [B, D]."""
        if self._at_hand is not None:
            return self._at_hand
        with autocast(self.device, self._precision):
            return self._step_texts.encode(None, video)

    def step(self, output: VideoOutput, video: Tensor, texts: EncodedTexts) -> Step:
        """The step of these videos, without labels."""
        step = Step(self.model, video, texts.of_classes(), training=False, classes=self.method.task.classes)
        step.trained_class, step.several_prompts = self._trained_class, texts.several
        step.frame_features, step.patch_tokens, step.pixels = output.frame_features, output.patch_tokens, output.pixels
        if texts.class_of is not None:
            step.prompt_features, step.prompt_class = texts.leaf, texts.class_of
        step.frozen = Frozen(partial(self._frozen_video, output), self._frozen_texts, self._cosines)
        return step

    def _made_up_texts(self) -> EncodedTexts:
        each = self.texts.of_class is not None or "prompts" in self.method.reads
        count = len(self.texts.each) if each else self.texts.classes
        features = torch.randn(count, self.model.config.embed_dim, device=self.device)
        class_of = self.texts.class_of_each if each else None
        return EncodedTexts(features, self.texts.classes, class_of, self.texts.several)

    def _frozen_video(self, output: VideoOutput) -> Tensor:
        with self.model.frozen() as model, autocast(self.device, self._precision):
            return model.finish_video(output) if output.pixels is None else model.encode_video(output.pixels)

    def _cosines(self, video: Tensor, text: Tensor) -> Tensor:
        return cosine_logits(self.model, video, text, self.texts.several)


@dataclass(frozen=True)
class MadeUpSupport:
    """Training clips that `Method.prepare` gets: random features of the shapes that the model gives; see `Support`."""

    inference: Inference

    @property
    def clips(self) -> int:
        """How many there are."""
        return SHOTS * self.inference.texts.classes

    @torch.no_grad()
    def encode(self, passes: int = 1, augment: bool = False) -> Iterator[Step]:
        """Steps of all clips with labels, `passes` times."""
        inference, classes = self.inference, self.inference.texts.classes
        for _ in range(passes):
            for rows in torch.arange(self.clips).split(_CLIPS_PER_STEP):
                output = self._output(len(rows))
                video = inference.model.finish_video(output)
                step = inference.step(output, video, inference.texts_of(video))
                step.rows, step.labels = rows, (rows % classes).to(inference.device)
                yield step

    def _output(self, clips: int) -> VideoOutput:
        shapes = {name: tensor.shape[1:] for name, tensor in self._of_one.items()}
        device = self.inference.device
        tensors: dict[str, Any] = {name: torch.randn(clips, *shape, device=device) for name, shape in shapes.items()}
        return VideoOutput(**tensors)

    @cached_property
    def _of_one(self) -> dict[str, Tensor]:
        """What the video tower gives for one clip."""
        inference = self.inference
        frames = random_frames(inference.model, 1, inference.device)
        output = inference.model.video_output(frames, inference.method.reads)
        values = {each.name: getattr(output, each.name) for each in fields(output)}
        return {name: tensor for name, tensor in values.items() if tensor is not None}


def random_frames(model: DualEncoder, clips: int, device: torch.device) -> Tensor:
    """[clips, T, 3, H, W], as if normalised."""
    config = model.config
    return torch.randn(clips, config.num_frames, 3, config.image_size, config.image_size, device=device)
