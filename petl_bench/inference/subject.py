"""What is used: the model that a trial or an adapter file describes, or a backbone as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.api.backbone import Backbone, weights_directories
from petl_bench.api.method import Method
from petl_bench.api.plugins.identity import code_version, plugin_version
from petl_bench.api.prompts import Prompts
from petl_bench.api.registry import BACKBONES
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.errors import TrialError, WeightsError
from petl_bench.models.weights import ResolvedWeights, resolve_weights
from petl_bench.system.texts import is_reference, shortened

#: The prompts of class names, if nothing says which ones were used.
PLAIN_PROMPTS = Prompts(("a video of {}.",))


class FrozenBackbone(Method):
    """Nothing is attached: the backbone as it is."""

    name = "the frozen backbone"

    def attach(self, model: Any) -> None:
        """Nothing."""

    def expected_trainable(self, config: Any) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class Subject:
    """A model as it was trained, and how the evaluation of its trial reads clips and class names."""

    title: str  #: in words, for people
    method: Method  #: bound to its task
    backbone: Backbone
    weights: ResolvedWeights
    options: TrainingOptions
    decoder: str = "auto"
    seed: int = 0  #: of the views, if they are drawn
    trial_seed: int = 0  #: what the method's hooks see as the seed
    adapter: Path | None = None
    adapter_sha256: str = ""
    trial: Trial | None = None  #: what it was trained by, if that is known
    prompts: Prompts = PLAIN_PROMPTS
    #: The classes of each evaluation of its trial; none if they are not known, or in retrieval.
    evaluations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def identity(self) -> dict[str, Any]:
        """What its features of videos depend on, besides how clips are read."""
        return {
            "method": type(self.method).name,
            "method_version": plugin_version(type(self.method)),
            "hyper_parameters": dict(self.method.values()),
            "adapter_sha256": self.adapter_sha256,
            "backbone": type(self.backbone).name,
            "backbone_version": code_version(type(self.backbone)),
            "backbone_options": dict(self.backbone.values()),
            "weights_sha256": self.weights.sha256,
            "precision": self.options.precision,
        }

    @property
    def trained_classes(self) -> tuple[str, ...]:
        """The classes that it was trained on, in the order of its labels; none in retrieval."""
        return self.method.task.classes

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that its trial evaluated, else those that it was trained on: what videos are labelled with if
        nothing else is asked for."""
        evaluated = (name for classes in self.evaluations.values() for name in classes)
        return tuple(dict.fromkeys(evaluated)) or self.trained_classes


def frozen_backbone(name: str, weights: str | None) -> Subject:
    """A backbone without an adapter. Raises WeightsError for weights that are not there, or random."""
    plugin = BACKBONES.get(name)
    resolved = resolve_weights(plugin, weights or "auto")
    if resolved.path is None:
        raise WeightsError(f"--weights {weights}: random weights rank videos at random; type --weights FILE")
    method = FrozenBackbone()
    method.bind(MethodTask("retrieval"))
    return Subject(
        title=f"frozen {name}, zero-shot",
        method=method,
        backbone=plugin(),
        weights=resolved,
        options=TrainingOptions(**plugin.training),
        notes=(f"no --adapter: the frozen backbone {name}, zero-shot",),
    )


def refuse_changed(plugin: type, version: str, trained: str) -> None:
    """Raise TrialError if a plugin's code is not that which something was trained with."""
    if version != trained:
        name = getattr(plugin, "name", plugin.__name__)
        raise TrialError(
            f"the plugin {name} is not the code that the adapter was trained with (now {version or 'packaged'}, then "
            f"{trained or 'packaged'}); load it as it was with --plugin, or train again"
        )


def weights_of(backbone: type[Backbone], label: str, sha256: str, asked: str | None, what: str) -> ResolvedWeights:
    """The weights that something was trained on. Raises WeightsError, saying what to type, if they are not here."""
    if sha256 == "random":
        raise WeightsError(f"{what} was trained on random weights, which rank videos at random: no use is made of it")
    if asked is not None:
        given = resolve_weights(backbone, asked)
        if given.sha256 != sha256:
            raise WeightsError(
                f"--weights {asked}: not the weights that {what} was trained on (sha256 {given.sha256[:12]}; it was "
                f"trained on {label or 'others'}, sha256 {sha256[:12]})"
            )
        return given
    for text in _candidates(label):
        try:
            # The label stands in a file that somebody may have sent: it must not make us fetch anything.
            found = resolve_weights(backbone, text, fetch=False)
        except WeightsError:
            continue
        if found.sha256 == sha256:
            return found
    named = f"{shortened(label, 200)}, sha256 {sha256[:12]}" if label else f"sha256 {sha256[:12]}"
    to_type = label if label.startswith("hf:") and is_reference(label) else "FILE"
    raise WeightsError(
        f"the weights that {what} was trained on ({named}) are not here. Put the file into "
        f"{weights_directories()[0]}, or type --weights {to_type}"
    )


def _candidates(label: str) -> list[str]:
    """Where the weights may be: the packaged or published ones, those in the hub's cache, a file of that name."""
    if label in ("", "packaged") or (Path(label).name != label and not label.startswith("hf:")):
        return ["auto"]
    named = [label] if label.startswith("hf:") else [str(folder / label) for folder in weights_directories()]
    return [*named, "auto"]
