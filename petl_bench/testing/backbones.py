"""What every backbone promises. Its model is built without memory for its weights, and run with narrow towers."""

from __future__ import annotations

import re
import typing
from dataclasses import fields
from functools import cached_property
from typing import Any, Literal

import torch

from petl_bench.api.backbone import Backbone
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.method import Method
from petl_bench.api.values.fields import field_types
from petl_bench.errors import WeightsError
from petl_bench.models.adapters import Bottleneck
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.tokenizer import tokenize
from petl_bench.models.weights import resolve_weights
from petl_bench.testing.checks import Skipped, documented, paper, require, training_values
from petl_bench.testing.method_subject import TorchSubject

_NARROW: dict[str, Any] = {
    "vision_width": 64, "vision_layers": 1, "vision_heads": 4, "text_width": 64, "text_layers": 1, "text_heads": 4,
    "embed_dim": 32,
}  # fmt: skip
_DIM = 4


class BackboneSubject(TorchSubject):
    """A backbone under check."""

    @cached_property
    def config(self) -> ViCLIPConfig:
        """Its configuration, with its options at their defaults."""
        return self.configured()

    def configured(self, **options: Any) -> ViCLIPConfig:
        """Its configuration with some options changed."""
        backbone: Backbone = self.create(**options)
        return backbone.model_config


SUBJECT = BackboneSubject


def config_builds(subject: BackboneSubject) -> None:
    """The model of its configuration can be built."""
    with torch.device("meta"):
        model = DualEncoder(subject.config, initialise=False)
    require(len(model.blocks()) == len(subject.config.block_widths()), "the model lacks blocks of the configuration")


def options_change_the_configuration(subject: BackboneSubject) -> None:
    """Every choice of its options gives fields of the configuration, and another configuration or normalisation."""
    known = {field.name for field in fields(subject.config)}
    tried = 0
    for option, kind in field_types(subject.plugin).items():
        choices = (True, False) if kind is bool else typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        for choice in choices:
            chosen: Backbone = subject.create(**{option: choice})
            changes = chosen.config_changes()
            require(
                changes.keys() <= known, f"{option}={choice} changes {sorted(changes.keys() - known)}: no such fields"
            )
            if choice != getattr(subject.create(), option):
                tried += 1
                same = chosen.model_config == subject.config
                same &= chosen.normalised_with() == subject.create().normalised_with()
                require(not same, f"{option}={choice} changes nothing; see config_changes()")
    if not tried:
        raise Skipped("it has no options to choose from")


def encodes_its_shapes(subject: BackboneSubject) -> None:
    """A model of its frames, pixels and tokens, but with one narrow block per tower, encodes clips and texts."""
    config = subject.config.with_(**_NARROW)
    torch.manual_seed(0)
    model = DualEncoder(config).eval()
    frames = torch.randn(2, config.num_frames, 3, config.image_size, config.image_size)
    with torch.no_grad():
        found = [model.encode_video(frames), model.encode_text(_tokens(config))]
    for features, what in zip(found, ("encode_video", "encode_text"), strict=True):
        require(tuple(features.shape) == (2, config.embed_dim), f"{what} gives {tuple(features.shape)}")
        require(bool(features.isfinite().all()), f"{what} gives features that are not finite")


def methods_attach(subject: BackboneSubject) -> None:
    """Adapters can be put at both branches of every block, and `block_widths` says how wide they are."""

    class Probe(Method):
        """A bottleneck at every branch."""

        def attach(self, model: DualEncoder) -> None:
            for block in model.blocks():
                for branch in (block.attention, block.feedforward):
                    branch.add_parallel(Bottleneck(block.width, _DIM))

        def expected_trainable(self, config: ViCLIPConfig) -> int:
            return sum(2 * ((2 * width + 1) * _DIM + width) for width in config.block_widths())

    with torch.device("meta"):
        model, method = DualEncoder(subject.config, initialise=False), Probe()
        method.attach(model)
    expected, counted = method.expected_trainable(subject.config), trainable_parameters(model)
    require(expected == counted, f"by block_widths() a bottleneck has {expected:,} parameters; there are {counted:,}")


def normalisation_is_three_numbers(subject: BackboneSubject) -> None:
    """`mean` and `std` have a number for each colour, which is above zero for `std`."""
    for name, lowest in (("mean", float("-inf")), ("std", 0.0)):
        values = getattr(subject.plugin, name)
        require(len(values) == 3 and all(value > lowest for value in values), f"{name} = {values}")


def published_weights_are_described(subject: BackboneSubject) -> None:
    """Each published file has a name without folders, where it is, its licence, and its sha256 if that is known."""
    if not subject.plugin.published:
        raise Skipped("no published weights")
    for weights in subject.plugin.published:
        require(bool(re.fullmatch(r"[^/\\\0]+", weights.file)), f"file = {weights.file!r} is not a file name")
        for field in ("where", "licence"):
            require(bool(getattr(weights, field).strip()), f"{weights.file}: {field} is empty")
        digest = weights.sha256
        require(not digest or bool(re.fullmatch("[0-9a-f]{64}", digest)), f"{weights.file}: no sha256: {digest!r}")


def weights_resolve(subject: BackboneSubject) -> None:
    """--weights auto finds a file, or says which one is wanted; packaged weights load, and give finite features."""
    try:
        found = resolve_weights(subject.plugin, "auto")
    except WeightsError as error:
        first = subject.plugin.published[0].file if subject.plugin.published else "--weights FILE"
        require(first in str(error), f"--weights auto says: {error}; it should name {first}")
        return
    require(found.path is not None and found.path.is_file(), f"packaged_weights() gives {found.path}: no such file")
    if found.label != "packaged":
        return  # a large published file: it is checked when it is used
    model = create_model(subject.config, found.path).eval()
    with torch.no_grad():
        require(bool(model.encode_text(_tokens(subject.config)).isfinite().all()), "text features are not finite")


def _tokens(config: ViCLIPConfig) -> torch.Tensor:
    return tokenize(["a video of archery.", "a video of a person who dives."], config.context_length)


#: In this order; if its model cannot be built, the others say nothing.
CHECKS = (
    config_builds,
    documented,
    paper,
    training_values,
    options_change_the_configuration,
    encodes_its_shapes,
    methods_attach,
    normalisation_is_three_numbers,
    published_weights_are_described,
    weights_resolve,
)
