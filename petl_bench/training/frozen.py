"""The frozen model beside the adapted one: what `Step.frozen` is computed with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.text import ClassTexts, EncodedTexts, by_template, encoded_classes, encoded_in_parts


@contextmanager
def frozen_model(model: DualEncoder, method: Method) -> Iterator[DualEncoder]:
    """The model without what is attached: the copy that a method declares to read, else the same one with its adapters
    off."""
    if method.reads_original:
        yield model.original
        return
    with model.adapters_off():
        yield model


class FrozenTexts:
    """Features of classes, or of texts, by the frozen model; computed once, when they are first asked for."""

    def __init__(self, model: DualEncoder, method: Method, texts: ClassTexts, *, retrieval: bool = False) -> None:
        self._model, self._method, self._texts, self._retrieval = model, method, texts, retrieval
        self._features: Tensor | None = None

    @torch.no_grad()
    def __call__(self, chosen: Tensor | None = None) -> Tensor:
        """[C, D]; in retrieval [M, D], of all texts or of the `chosen` ones, which are computed anew."""
        if self._retrieval and chosen is not None:
            with frozen_model(self._model, self._method) as model:
                return encoded_in_parts(model, self._texts.each[chosen])
        if self._features is None:
            with frozen_model(self._model, self._method) as model:
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
