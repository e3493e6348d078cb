"""The contract of a method: what a plugin author writes, and nothing else.

A method is a dataclass of hyper-parameters (see `options.hyper`) with `attach`. Register it with
`@register_method("name")`. This module does not import torch, so that `list` and `show` answer at once; method files
reach torch through `petl_bench`'s lazy attributes or inside their functions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.options import Options
from petl_bench.api.paper import Paper
from petl_bench.api.plugins.contracts import member
from petl_bench.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Recipe:
    """Values that a method is run with in one setting: `training` overrides `TrainingOptions`, `hyper` the method's
    fields.

    A recipe with a backbone wins over one without and over the backbone's own training values; the command
    line over all.
    `source` says where the values come from (a paper's table, or how they were chosen); `tuned` whether the learning
    rate was chosen for this method in this setting, and not taken over from another method or setting.
    """

    setting: str
    backbone: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    hyper: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    tuned: bool = True


@dataclass
class Step:
    """What a method's extra loss may look at in one training step. B clips, C classes, D embedding channels."""

    model: DualEncoder
    video_features: Tensor  #: [B, D], not normalised
    #: [C, D], one per training class: of its prompt, not normalised; of several prompts the mean of their unit vectors
    text_features: Tensor
    logits: Tensor  #: [B, C]
    labels: Tensor  #: int64 [B]
    #: by kind that the method reads ("spatial", "temporal"): [C, D], frozen means of each class's description features
    descriptions: Mapping[str, Tensor]


class Method(Options):
    """Base of every method.

    Class attributes a plugin sets: `paper`, `recipes`, `settings` and `backbones` it supports (None: all), `version`
    (raise it when results change), `identity_at_start` (the adapted model equals the frozen one before training),
    `mergeable`.
    """

    paper: ClassVar[Paper | None] = None
    version: ClassVar[int] = 1
    recipes: ClassVar[Sequence[Recipe]] = ()
    settings: ClassVar[Sequence[str] | None] = None
    backbones: ClassVar[Sequence[str] | None] = None
    identity_at_start: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "attach" in vars(cls):
            cls.attach = _freezing(vars(cls)["attach"])  # type: ignore[method-assign]

    @member(required=True)
    def attach(self, model: DualEncoder) -> None:
        """Put this method's modules at the model's sites, or unfreeze parameters. Everything else is frozen
        beforehand."""

    @member(required=True)
    def expected_trainable(self, config: ViCLIPConfig) -> int:
        """Number of trainable parameters by the method's own formula; must equal the count in the model."""
        raise NotImplementedError

    def loss(self, step: Step) -> Tensor | None:
        """An extra term, added to the cross-entropy; None for no term.

        Args:
            step: the model and the features of one training step; see `Step` for the shapes.

        Returns:
            A scalar, or None.
        """
        return None

    def extra_state(self) -> Mapping[str, Any]:
        """What this method keeps besides trained parameters and persistent buffers, by name: a counter, a memory.

        Tensors, and values that JSON gives back as they were (numbers, texts, lists, dictionaries with texts as keys);
        all finite. It goes into checkpoints, the selected epoch and the adapter file. If several processes
        share a trial, the others take over the first one's after every step.
        """
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `extra_state` gave, after `attach`; tensors come on the CPU. Define both, or neither."""
        if state:
            raise PluginError(
                f"{self.name or type(self).__name__} keeps {', '.join(state)} (extra_state), but has no "
                "load_extra_state(self, state) to take it back"
            )

    def merge(self, model: DualEncoder) -> None:
        """Fold the adapter into the backbone's weights; only called if `mergeable`."""
        raise PluginError(f"{type(self).__name__} cannot be merged into the backbone")

    @property
    def description_count(self) -> int:
        """Sentences of each kind per class that `loss` needs; 0 if it needs none."""
        return 0

    @property
    def description_kinds_read(self) -> tuple[str, ...]:
        """The kinds of descriptions that `loss` reads, if it needs any; files of another kind are not read."""
        return ("spatial", "temporal")


def _freezing(attach: Any) -> Any:
    """Freeze the model before the outermost `attach` runs, so that a method says only what it trains.

    Afterwards the new modules are in the model's own mode: no dropout in a model that is in evaluation mode.
    """

    @functools.wraps(attach)
    def wrapper(self: Method, model: DualEncoder) -> None:
        model.begin_attach(self)
        attach(self, model)
        model.train(model.training)

    return wrapper


def has_tuned_rate(method: type[Method], setting: str, backbone: str, learning_rate: float) -> bool:
    """Whether a method's recipe gives this learning rate, as tuned; a recipe for the backbone wins over one for all."""
    found: Recipe | None = None
    for wanted in (None, backbone):
        for recipe in method.recipes:
            if (recipe.setting, recipe.backbone) == (setting, wanted) and "learning_rate" in recipe.training:
                found = recipe
    return found is not None and found.tuned and found.training["learning_rate"] == learning_rate
