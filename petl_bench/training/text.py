"""Class prompts and descriptions as features. C classes, L tokens, D embedding channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import tokenize
from petl_bench.models.towers import PreparedText


def class_tokens(model: DualEncoder, classes: Sequence[str], template: str, device: torch.device) -> Tensor:
    """Tokens of every class's prompt, `template.format(class)`: int64 [C, L]."""
    return tokenize([template.format(name) for name in classes], model.config.context_length).to(device)


class TextFeatures:
    """Text features of the training classes [C, D]: anew every step where the text tower trains, otherwise once.

    What stands before the first block that trains is computed once in either case.
    """

    def __init__(self, model: DualEncoder, tokens: Tensor) -> None:
        self._model, self._tokens = model, tokens
        self._prepared: Tensor | PreparedText | None = None
        self._frozen: Tensor | None = None

    def __call__(self) -> Tensor:
        if self._frozen is not None:
            return self._frozen
        if self._prepared is None:
            self._prepared = self._model.prepare_text(self._tokens)
        features = self._model.encode_text(self._prepared)
        if not features.requires_grad:
            self._frozen = features
        return features


@torch.no_grad()
def description_features(
    model: DualEncoder,
    sentences: Mapping[str, Mapping[str, Sequence[str]]],
    classes: Sequence[str],
    device: torch.device,
) -> dict[str, Tensor]:
    """Frozen mean feature of each class's sentences: {"spatial": [C, D], "temporal": [C, D]}.

    `sentences` maps a kind to {class: sentences}. The frozen branch is the same tower with its adapters off (MSTA,
    Section 3.3); features are averaged as they come, not normalised.
    """
    with model.adapters_off():
        return {kind: _class_means(model, by_class, classes, device) for kind, by_class in sentences.items()}


def _class_means(
    model: DualEncoder, by_class: Mapping[str, Sequence[str]], classes: Sequence[str], device: torch.device
) -> Tensor:
    counts = [len(by_class[name]) for name in classes]
    tokens = tokenize([text for name in classes for text in by_class[name]], model.config.context_length).to(device)
    features = model.encode_text(tokens)
    return torch.stack([part.mean(dim=0) for part in features.split(counts)])
