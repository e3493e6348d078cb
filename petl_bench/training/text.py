"""Class prompts and descriptions as features. C classes, E prompts per class, L tokens, D embedding channels.

With one prompt a class's feature is that of its prompt. With several it is the mean of their features, each normalised
first and the mean left as it is: what a video's cosine with a class is then, is the mean of its cosines with the
class's prompts, as in ViCLIP's zero-shot evaluation. Training and evaluation do the same, and gradients flow through
every prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.prompts import Prompts
from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import token_lengths, tokenize
from petl_bench.models.towers import PreparedText


def class_tokens(model: DualEncoder, classes: Sequence[str], prompts: Prompts, device: torch.device) -> Tensor:
    """Tokens of every class's prompts: int64 [C, E, L], or [C, L] if there is one template.

    Raises TrialError if every class's prompts are cut before its name.
    """
    texts = [text for name in classes for text in prompts.of(name)]
    tokens: Tensor = tokenize(texts, model.config.context_length).unflatten(0, (len(classes), len(prompts.templates)))
    if len(classes) > 1 and (tokens == tokens[:1]).all():
        raise TrialError(
            f"the prompt has no room for a class's name: the text tower reads {model.config.context_length} tokens, "
            f"which are the same for all {len(classes)} classes; shorten the data set's template"
        )
    return (tokens if len(prompts.templates) > 1 else tokens.squeeze(1)).to(device)


def prompt_notes(model: DualEncoder, classes: Sequence[str], prompts: Prompts) -> list[str]:
    """What is lost of the prompts of these classes, in words: those that are cut, and classes that look the same."""
    texts = [tuple(prompts.of(name)) for name in classes]
    lengths = token_lengths(text for of_class in texts for text in of_class)
    context = model.config.context_length
    notes = []
    if cut := sum(length > context for length in lengths):
        notes.append(
            f"{cut} of {len(lengths)} prompts are longer than the text context of {context} tokens and were cut"
        )
    tokens = tokenize([text for of_class in texts for text in of_class], context).unflatten(0, (len(texts), -1))
    alike = len(classes) - len(torch.unique(tokens.flatten(1), dim=0))
    if alike:
        notes.append(
            f"{alike} of {len(classes)} classes have the same prompts as another one and cannot be told from it"
        )
    return notes


def by_template(tokens: Tensor) -> list[Tensor]:
    """The tokens of `class_tokens`, one [C, L] for each template."""
    return [tokens] if tokens.ndim == 2 else list(tokens.unbind(dim=1))


def encoded_classes(model: DualEncoder, texts: Sequence[Tensor | PreparedText]) -> Tensor:
    """Features of classes [C, D] from their prompts: `by_template`, or what `prepare_text` made of each."""
    if len(texts) == 1:
        return model.encode_text(texts[0])
    # One template after the other: an evaluation holds the activations of one of them at a time.
    features = [functional.normalize(model.encode_text(each).float(), dim=-1) for each in texts]
    return torch.stack(features).mean(dim=0)


def class_directions(features: Tensor, tokens: Tensor) -> Tensor:
    """What a normalised video feature is multiplied with for its (mean) cosine with each class: fp32 [C, D].

    `features`: of `encoded_classes`, from these tokens. The mean over several prompts is not normalised again.
    """
    return functional.normalize(features.float(), dim=-1) if tokens.ndim == 2 else features.float()


class TextFeatures:
    """Features of the training classes [C, D]: anew every step if a method touches the text tower, otherwise once.

    What stands before the first block that trains is computed once in either case. `tokens`: of `class_tokens`.
    """

    def __init__(self, model: DualEncoder, tokens: Tensor) -> None:
        self._model, self._tokens = model, tokens
        self._prepared: list[Tensor | PreparedText] | None = None
        self._frozen: Tensor | None = None

    def __call__(self) -> Tensor:
        if self._frozen is not None:
            return self._frozen
        if self._prepared is None:
            self._prepared = [self._model.prepare_text(each) for each in by_template(self._tokens)]
        features = encoded_classes(self._model, self._prepared)
        if self._model.untouched(self._model.text):
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
    Section 3.3); features are averaged as they come, not normalised. Raises UsageError if the backbone's own weights
    have been trained already, and the method keeps no copy of them (`reads_original`).
    """
    with model.frozen() as frozen:
        return {kind: _class_means(frozen, by_class, classes, device) for kind, by_class in sentences.items()}


def _class_means(
    model: DualEncoder, by_class: Mapping[str, Sequence[str]], classes: Sequence[str], device: torch.device
) -> Tensor:
    counts = [len(by_class[name]) for name in classes]
    tokens = tokenize([text for name in classes for text in by_class[name]], model.config.context_length).to(device)
    features = model.encode_text(tokens)
    return torch.stack([part.mean(dim=0) for part in features.split(counts)])
