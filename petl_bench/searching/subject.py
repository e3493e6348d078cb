"""What is searched with: the model that a trial or an adapter file describes, or a backbone as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.api.backbone import Backbone, weights_directories
from petl_bench.api.method import Method
from petl_bench.api.plugins.identity import code_version, plugin_version
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.errors import StoreError, TrialError, UsageError, WeightsError
from petl_bench.models.weights import ResolvedWeights, resolve_weights
from petl_bench.records.judge import adapter_fault, how_to_repeat, judge
from petl_bench.records.layout import ADAPTER, RECORD, trial_folder
from petl_bench.system.files import sha256_of_file
from petl_bench.training.checkpoint import load_adapter, task_of
from petl_bench.training.hooks import overrides
from petl_bench.training.seeding import derived_seed

#: What the header of an adapter file must say (`load_adapter`).
_HEADER = ("method", "hyper_parameters", "backbone", "weights_sha256", "train_classes")


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
    """A model as it was trained, and how the evaluation of its trial reads clips."""

    title: str  #: in words, for people
    method: Method  #: bound to its task
    backbone: Backbone
    weights: ResolvedWeights
    options: TrainingOptions
    decoder: str = "auto"
    seed: int = 0  #: of the views, if they are drawn
    adapter: Path | None = None
    adapter_sha256: str = ""
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
        notes=(f"no --adapter: the frozen backbone {name} ranks the videos, zero-shot",),
    )


def adapted(place: Path, weights: str | None) -> Subject:
    """The model of a trial's folder, or of an adapter file.

    A file beside the record of its trial is read as that trial. Of another one only method, hyper-parameters, backbone
    and the hash of the weights are known; clips are then read as by default.

    Raises:
        TrialError: The trial is not finished, or its adapter is damaged or was not kept.
        UsageError: The method does not score free texts.
        WeightsError: The weights that it was trained on are not here.
        StoreError: The file is no adapter.
    """
    if place.is_dir():
        return _of_trial(place, weights)
    header, _ = load_adapter(place)
    if (place.parent / RECORD).exists() and place.parent.name == header.get("trial"):
        return _of_trial(place.parent, weights)
    return _of_file(place, header, weights)


def _of_trial(folder: Path, weights: str | None) -> Subject:
    if not (folder / RECORD).exists():
        raise TrialError(f"trial {folder.name[:8]} is not finished; run its command again, or see petl-bench status")
    record, problem = judge(folder)
    if problem is not None:
        raise TrialError(f"{problem}. {how_to_repeat(folder)}")
    trial = Trial.from_json(record["trial"])
    adapter = _adapter_of(trial_folder(folder.parent.parent, trial.start_from) if trial.start_from else folder)
    plugin, backbone = METHODS.get(trial.method), BACKBONES.get(trial.backbone)
    _refuse_changed(plugin, plugin_version(plugin), trial.method_version)
    _refuse_changed(backbone, code_version(backbone), trial.backbone_version)
    method = plugin(**trial.hyper_parameters, **trial.locations.get(trial.method, {}))
    task = MethodTask("retrieval" if "retrieval" in method.tasks else method.tasks[0])
    bind(method, task if adapter is None else task_of(load_adapter(adapter)[0]))
    found = _weights(backbone, trial.weights, trial.weights_sha256, weights, f"trial {trial.title}")
    return Subject(
        title=f"{trial.title} on {trial.backbone}",
        method=method,
        backbone=backbone(**trial.backbone_options),
        weights=found,
        options=TrainingOptions(**trial.training),
        decoder=trial.decoder,
        seed=derived_seed(trial),
        adapter=adapter,
        adapter_sha256="" if adapter is None else sha256_of_file(adapter),
    )


def _adapter_of(folder: Path) -> Path | None:
    """The adapter in a trial's folder, compared with its record; None if the trial trained nothing."""
    if fault := adapter_fault(folder):
        raise TrialError(f"the adapter cannot be used: {fault}. {how_to_repeat(folder)}")
    adapter = folder / ADAPTER
    return adapter if adapter.is_file() else None


def _of_file(file: Path, header: Mapping[str, Any], weights: str | None) -> Subject:
    if lacking := [name for name in _HEADER if name not in header]:
        raise StoreError(f"{file}: not an adapter of petl-bench, for its header lacks {', '.join(lacking)}")
    name, key = str(header["method"]), str(header.get("trial", ""))[:8]
    backbone = BACKBONES.get(str(header["backbone"]))
    method = METHODS.get(name)(**header["hyper_parameters"])
    bind(method, task_of(header))
    found = _weights(backbone, "", str(header["weights_sha256"]), weights, f"adapter {file}")
    unknown = (
        f"{file}: its trial {key} is not beside it; clips are read as by default: one view, backbone options unset"
    )
    return Subject(
        title=f"{name} ({key}) on {backbone.name}",
        method=method,
        backbone=backbone(),
        weights=found,
        options=TrainingOptions(**backbone.training),
        adapter=file,
        adapter_sha256=sha256_of_file(file),
        notes=(unknown,),
    )


def bind(method: Method, task: MethodTask) -> None:
    """Bind a method to its task. Raises UsageError if it cannot score free texts, or keep its features of videos."""
    if method.novel != "text":
        raise UsageError(
            f"{method.name} scores the classes it was trained on alone, and no free texts: no search with it"
        )
    if "retrieval" not in method.tasks and overrides(method, "scores"):
        raise UsageError(f"{method.name} scores classes alone, and no free texts: no search with it")
    if large := {"tokens", "pixels"} & set(method.reads):
        raise UsageError(
            f"{method.name} compares texts with the {' and '.join(sorted(large))} of videos, too large for an index: "
            "no search with it"
        )
    method.bind(task)


def _refuse_changed(plugin: type, version: str, trained: str) -> None:
    if version != trained:
        name = getattr(plugin, "name", plugin.__name__)
        raise TrialError(
            f"the plugin {name} is not the code that the adapter was trained with (now {version or 'packaged'}, then "
            f"{trained or 'packaged'}); load it as it was with --plugin, or train again"
        )


def _weights(backbone: type[Backbone], label: str, sha256: str, asked: str | None, what: str) -> ResolvedWeights:
    """The weights that something was trained on. Raises WeightsError, saying what to type, if they are not here."""
    if sha256 == "random":
        raise WeightsError(f"{what} was trained on random weights, which rank videos at random: no search with it")
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
            found = resolve_weights(backbone, text)
        except WeightsError:
            continue
        if found.sha256 == sha256:
            return found
    named = f"{label}, sha256 {sha256[:12]}" if label else f"sha256 {sha256[:12]}"
    raise WeightsError(
        f"the weights that {what} was trained on ({named}) are not here. Put the file into "
        f"{weights_directories()[0]}, or type --weights FILE"
    )


def _candidates(label: str) -> list[str]:
    """Where the weights may be: the packaged or published ones, those of the hub, a file of that name."""
    if label in ("", "packaged"):
        return ["auto"]
    named = [label] if label.startswith("hf:") else [str(folder / label) for folder in weights_directories()]
    return [*named, "auto"]
