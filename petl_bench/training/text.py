"""Class prompts and descriptions as features. C classes, E prompts per class, L tokens, D embedding channels.

With one prompt a class's feature is that of its prompt. With several it is the mean of their features, each normalised
first and the mean left as it is: what a video's cosine with a class is then, is the mean of its cosines with the
class's prompts, as in ViCLIP's zero-shot evaluation. Training and evaluation do the same, and gradients flow through
every prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import token_lengths, tokenize
from petl_bench.models.towers import PreparedText
from petl_bench.training.hooks import overrides, prompts_of

#: Texts of retrieval that go through the text tower together, if all of them are encoded.
TEXTS_PER_PASS = 256


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


def class_prompts(method: Method, classes: Sequence[str], prompts: Prompts) -> Sequence[Sequence[str]]:
    """The prompts of every class: the method's own, else those of the templates."""
    return prompts_of(method, classes) or [prompts.of(name) for name in classes]


def prompt_notes(model: DualEncoder, texts: Sequence[Sequence[str]]) -> list[str]:
    """What is lost of the prompts of classes, in words: those that are cut, and classes that look the same."""
    lengths = token_lengths(text for of_class in texts for text in of_class)
    context = model.config.context_length
    notes = []
    if cut := sum(length > context for length in lengths):
        notes.append(
            f"{cut} of {len(lengths)} prompts are longer than the text context of {context} tokens and were cut"
        )
    tokens = tokenize([text for of_class in texts for text in of_class], context)
    different = {of_class.numpy().tobytes() for of_class in tokens.split([len(of_class) for of_class in texts])}
    if alike := len(texts) - len(different):
        notes.append(f"{alike} of {len(texts)} classes have the same prompts as another one and cannot be told from it")
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
    """Features of the training classes [C, D]: anew every step if the text tower is touched, otherwise once.

    What stands before the first block that is touched is computed once in either case. `tokens`: of `class_tokens`.
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
        if not features.requires_grad and self._model.text_is_untouched:
            self._frozen = features
        return features


@dataclass(frozen=True)
class ClassTexts:
    """The prompts of C classes as tokens; in retrieval M texts, each of them a class."""

    tokens: Tensor  #: int64 [C, L] or [C, E, L] of the data set's templates; [M, L] of a method's own prompts
    of_class: Tensor | None = None  #: int64 [M], the class of each of a method's own prompts

    @property
    def classes(self) -> int:
        """C."""
        return len(self.tokens) if self.of_class is None else int(self.of_class.max()) + 1

    @property
    def each(self) -> Tensor:
        """Every prompt: int64 [M, L], class by class."""
        return self.tokens.flatten(0, -2)

    @property
    def class_of_each(self) -> Tensor:
        """The class of every prompt: int64 [M]."""
        if self.of_class is not None:
            return self.of_class
        count = len(self.tokens)
        return torch.arange(count, device=self.tokens.device).repeat_interleave(len(self.each) // count)

    @property
    def several(self) -> bool:
        """Whether a class has more than one."""
        return len(self.each) > self.classes


def class_texts(
    model: DualEncoder, method: Method, classes: Sequence[str], prompts: Prompts, device: torch.device
) -> ClassTexts:
    """The method's own prompts of the classes, else those of the templates.

    Raises TrialError if every class's prompts are cut before its name, PluginError for prompts that are none.
    """
    own = prompts_of(method, classes)
    if own is None:
        return ClassTexts(class_tokens(model, classes, prompts, device))
    tokens = tokenize([text for texts in own for text in texts], model.config.context_length)
    counts = torch.tensor([len(texts) for texts in own])
    return ClassTexts(tokens.to(device), torch.arange(len(own)).repeat_interleave(counts).to(device))


def plain_texts(model: DualEncoder, texts: Sequence[str], device: torch.device) -> ClassTexts:
    """Texts of retrieval as they are, without a template."""
    return ClassTexts(tokenize(texts, model.config.context_length).to(device))


def text_notes(model: DualEncoder, texts: Sequence[str]) -> list[str]:
    """What is lost of texts of retrieval, in words."""
    context = model.config.context_length
    if cut := sum(length > context for length in token_lengths(texts)):
        return [f"{cut} of {len(texts)} texts are longer than the text context of {context} tokens and were cut"]
    return []


def encoded_in_parts(model: DualEncoder, tokens: Tensor) -> Tensor:
    """Features [M, D] of texts int64 [M, L], so many at a time that memory does not grow with M."""
    return torch.cat([model.encode_text(part) for part in tokens.split(TEXTS_PER_PASS)])


@dataclass(frozen=True)
class EncodedTexts:
    """Text features of a step: what `Step.text_features`, `prompt_features` and `prompt_class` are made from."""

    leaf: Tensor  #: [C, D] of the classes; of every prompt, [M, D] or [B, M, D], if `class_of` is given
    classes: int
    class_of: Tensor | None = None  #: int64 [M]
    several: bool = False  #: whether class features are means of unit vectors
    chosen: Tensor | None = None  #: int64 [M], which texts of all were encoded; None: all

    def of_classes(self) -> Tensor:
        """[C, D] or [B, C, D]: the feature of a class's prompt, or the mean of the unit vectors of several."""
        if self.class_of is None or not self.several:
            return self.leaf
        unit = functional.normalize(self.leaf.float(), dim=-1)
        sums = unit.new_zeros(*unit.shape[:-2], self.classes, unit.shape[-1]).index_add(-2, self.class_of, unit)
        counts = torch.bincount(self.class_of, minlength=self.classes).clamp(min=1)
        return sums / counts[:, None]


def gives_prompts(method: Method) -> bool:
    """Whether a step holds the features of every prompt: the method reads them, or they are all that there is."""
    return "prompts" in method.reads or method.text_varies == "video"


class StepTexts:
    """Text features as a method's steps need them, of classes or, in retrieval, of texts."""

    def __init__(self, model: DualEncoder, method: Method, texts: ClassTexts, *, retrieval: bool = False) -> None:
        self.texts = texts
        self._model, self._method, self._retrieval = model, method, retrieval
        self._of_classes = TextFeatures(model, texts.tokens)
        own = texts.of_class is not None or overrides(method, "choose")
        self._each = own or "prompts" in method.reads or method.text_varies == "video"
        self._kept: Tensor | None = None
        self._fixed: bool | None = None  #: whether text features never change; None until the first step

    @property
    def per_video(self) -> bool:
        """Whether text features depend on the clip, and are computed with every micro-batch."""
        return self._method.text_varies == "video"

    def encode(self, chosen: Tensor | None = None, video: Tensor | None = None) -> EncodedTexts:
        """The features of all texts, or of the `chosen` ones; those of clips with features `video` [B, D] if they
        depend on these."""
        if not self._each and not self._retrieval and chosen is None:
            several = self.texts.several
            return EncodedTexts(self._of_classes(), self.texts.classes, several=several)
        each, class_of = self.texts.each, self.texts.class_of_each
        if chosen is not None:
            each, class_of = each[chosen], class_of[chosen]
        if self._retrieval:
            return EncodedTexts(self._of_texts(each, chosen, video), len(each), chosen=chosen)
        features = self._features(each, chosen is None, video)
        several = self.texts.several or chosen is not None
        return EncodedTexts(features, self.texts.classes, class_of, several, chosen)

    def _of_texts(self, each: Tensor, chosen: Tensor | None, video: Tensor | None) -> Tensor:
        """Features of texts of retrieval: computed once for all of them if they never change."""
        if not self._never_change():
            whole = chosen is None and not self.per_video
            return encoded_in_parts(self._model, each) if whole else self._features(each, False, video)
        if self._kept is None:
            with torch.no_grad():
                self._kept = encoded_in_parts(self._model, self.texts.each)
        return self._kept if chosen is None else self._kept[chosen]

    def _features(self, each: Tensor, whole: bool, video: Tensor | None) -> Tensor:
        if self.per_video:
            return self._model.encode_text(each, video)
        if self._kept is not None and whole:
            return self._kept
        features = self._model.encode_text(each)
        if whole and self._never_change():
            self._kept = features
        return features

    def _never_change(self) -> bool:
        if self._fixed is None:
            self._fixed = not self.per_video and self._model.text_is_untouched
        return self._fixed


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
