"""The frozen model beside the adapted one: what `Step.frozen` is computed with."""

from __future__ import annotations

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.errors import PluginError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput
from petl_bench.training.text import ClassTexts, EncodedTexts, by_template, encoded_classes, encoded_in_parts


def frozen_video(model: DualEncoder, method: Method, output: VideoOutput) -> Tensor:
    """Features [N, D] of clips by the frozen model, from the video tower's output, or from the clips that it holds.

    Raises PluginError if the method adapts the tower, and does not read the clips.
    """
    if output.pixels is None and not model.untouched(model.video):
        raise PluginError(
            f"{method.name} reads step.frozen.video_features outside of training, and adapts the video tower: "
            'declare reads = ("pixels",), so that the clips are there to be encoded again'
        )
    with model.frozen() as frozen:
        return frozen.finish_video(output) if output.pixels is None else frozen.encode_video(output.pixels, output.mask)


class FrozenTexts:
    """Features of classes, or of texts, by the frozen model; computed once, when they are first asked for."""

    def __init__(self, model: DualEncoder, texts: ClassTexts, *, retrieval: bool = False) -> None:
        self._model, self._texts, self._retrieval = model, texts, retrieval
        self._features: Tensor | None = None

    @torch.no_grad()
    def __call__(self, chosen: Tensor | None = None) -> Tensor:
        """[C, D]; in retrieval [M, D], of all texts or of the `chosen` ones, which are computed anew."""
        if self._retrieval and chosen is not None:
            with self._model.frozen() as model:
                return encoded_in_parts(model, self._texts.each[chosen])
        if self._features is None:
            with self._model.frozen() as model:
                self._features = self._encoded(model)
        return self._features

    def _encoded(self, model: DualEncoder) -> Tensor:
        if self._retrieval:
            return encoded_in_parts(model, self._texts.each)
        if self._texts.of_class is None:
            return encoded_classes(model, by_template(self._texts.tokens))
        texts = self._texts
        each = model.encode_text(texts.each)
        return EncodedTexts(each, texts.classes, texts.class_of_each, texts.several).of_classes()
