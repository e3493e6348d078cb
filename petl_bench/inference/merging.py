"""An adapter folded into the weights of its backbone, so that a plain model computes what the adapted one computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.errors import UsageError
from petl_bench.inference.model import AdaptedModel
from petl_bench.models.conversion import published_names
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import tokenize
from petl_bench.training.hooks import overrides
from petl_bench.training.text import by_template, class_directions, class_tokens, encoded_classes

#: How far a feature of the plain model may be from that of the adapted one, as a part of the largest feature.
LARGEST_DIFFERENCE = 1e-4
#: What both are compared on.
_CLIPS, _TEXTS = 2, ("archery", "a video of riding a bike.", "a person who opens a bottle")


def merged_model(adapted: AdaptedModel) -> tuple[DualEncoder, float]:
    """A plain model, to which nothing is attached, with the adapter in its weights. `adapted` is used up.

    Returns:
        The model on the CPU, in evaluation mode, and the largest difference between its features of made-up clips and
        texts and those of the adapted model, as a part of the largest feature: rounding.

    Raises:
        UsageError: The method cannot be merged; the part that cannot is named.
    """
    model, method = adapted.model.float().cpu().eval(), adapted.subject.method
    _refuse_what_stays(model, method)
    expected = _features(model)
    if method.mergeable:
        method.merge(model)
    plain = DualEncoder(model.config, initialise=False)
    plain.load_published_state_dict(model.published_state_dict())
    differences = {tower: _difference(found, expected[tower]) for tower, found in _features(plain.eval()).items()}
    for tower, difference in differences.items():
        if not difference <= LARGEST_DIFFERENCE:
            raise UsageError(
                f"{method.name} cannot be merged: what it does in the {tower} tower is not a matter of weights alone "
                f"(features differ by {difference:.1g} of the largest)"
            )
    return plain, max(differences.values())


@torch.no_grad()
def class_embeddings(model: DualEncoder, classes: Sequence[str], prompts: Prompts) -> Tensor:
    """What a normalised video feature is multiplied with for its cosine with each of C classes: fp32 [C, D].

    The normalised text feature of its prompt; of several prompts the mean of theirs, which is not normalised again.
    """
    tokens = class_tokens(model, classes, prompts, torch.device("cpu"))
    return class_directions(encoded_classes(model, by_template(tokens)), tokens)


def _refuse_what_stays(model: DualEncoder, method: Method) -> None:
    """Raise UsageError for a method that computes with more than the backbone's own weights after a merge."""
    name = method.name
    for hook, what in (("scores", "the way it scores classes is"), ("prompts", "its own prompts of classes are")):
        if overrides(method, hook):
            raise UsageError(f"{name} cannot be merged: {what} not in the weights; export without --merge")
    if method.novel != "text" or method.text_varies != "never":
        raise UsageError(
            f"{name} cannot be merged: its texts are not those of a text tower alone; export without --merge"
        )
    of_backbone = {name for parts in published_names(model.config).values() for name in parts}
    added = model.adapter_tensors().keys() - of_backbone
    if added and not method.mergeable:
        where = " and ".join(sorted({_place_of(each) for each in added}))
        raise UsageError(f"{name} cannot be merged: its modules {where} stay; export without --merge")


def _place_of(name: str) -> str:
    tower = name.partition(".")[0]
    return f"in the {tower} tower" if tower in ("video", "text") else "behind the towers"


@torch.no_grad()
def _features(model: DualEncoder) -> Mapping[str, Tensor]:
    """Of made-up clips and texts, by tower."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    shape = (_CLIPS, config.num_frames, 3, config.image_size, config.image_size)
    tokens = tokenize(list(_TEXTS), config.context_length)
    return {
        "video": model.encode_video(torch.randn(shape, generator=generator)),
        "text": model.logit_scale * model.encode_text(tokens),
    }


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
