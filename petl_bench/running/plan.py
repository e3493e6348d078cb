"""From what the user asked for to trials with keys: names resolved, values settled, data sets found. Without torch.

Values of a trial are settled in this order, the later one winning: defaults, the setting's training values, the
method's recipe for the setting, the backbone's training values, the method's recipe for both, the command line.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.backbone import Backbone
from petl_bench.cache import cache_folder
from petl_bench.data.descriptions import described
from petl_bench.data.manifest import Manifest, build_manifest
from petl_bench.dataset import Dataset
from petl_bench.errors import DataError, PetlBenchError, PluginError, UsageError, unknown
from petl_bench.launcher import Job
from petl_bench.method import Method, Recipe
from petl_bench.models.weights import ResolvedWeights, resolve_weights
from petl_bench.options import Options, field_types
from petl_bench.records import RECORD, trial_folder
from petl_bench.registry import BACKBONES, DATASETS, KINDS, METHODS, SETTINGS, describe, load_plugin_file
from petl_bench.running.spec import Spec
from petl_bench.setting import Case, Setting
from petl_bench.training_options import TrainingOptions
from petl_bench.trial import Places, Trial


@dataclass(frozen=True)
class Clips:
    """How many clips one trial reads, as far as they are on this machine, and how many its lists name."""

    train: int  #: per epoch
    test: int
    train_listed: int
    test_listed: int


@dataclass(frozen=True)
class Plan:
    """The trials of one run, in the order in which they start. `done` are the keys that have a record already."""

    spec: Spec
    jobs: tuple[Job, ...]
    clips: Mapping[str, Clips]  #: key -> what the trial reads
    done: frozenset[str]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]  #: what was found of every data set
    trainable: Mapping[str, int]  #: method -> trainable parameters on this backbone, by the method's formula

    @property
    def output(self) -> Path:
        """The folder that the records go to."""
        return Path(self.spec.output).expanduser()

    @property
    def to_do(self) -> list[Job]:
        """The jobs without a record."""
        return [job for job in self.jobs if job.trial.key not in self.done]


def plan(spec: Spec) -> Plan:
    """Settle everything that decides the numbers of a run.

    Raises UsageError for unknown names, fields and values, or what does not fit together; DataError and WeightsError
    where files are missing; PluginError for a broken plugin. Nothing is written to the output folder.
    """
    for plugin in spec.plugin:
        load_plugin_file(plugin)
    overrides = _Overrides(spec)
    setting = _setting(spec, overrides)
    methods = [_method(spec, name, setting.setting, overrides) for name in dict.fromkeys(spec.methods)]
    backbone = BACKBONES.get(spec.backbone)
    overrides.build(backbone, spec.backbone)
    for name in spec.datasets:
        DATASETS.get(name)
    trainable = {method.method.name: _trainable(method.method, backbone) for method in methods}
    warnings = overrides.unused(spec.datasets)
    weights = resolve_weights(backbone, spec.weights)
    datasets = [_dataset(spec, name, setting.setting, overrides, weights) for name in dict.fromkeys(spec.datasets)]
    jobs: dict[str, Job] = {}
    clips: dict[str, Clips] = {}
    for data in datasets:
        for case in data.cases:
            for method in methods:
                trial = _trial(spec, setting, method, data, case, weights)
                jobs.setdefault(trial.key, Job(trial=trial, places=data.places))
                clips[trial.key] = data.clips[(case.split, case.shots)]
    done = _done(Path(spec.output).expanduser(), jobs)
    notes = [note for data in datasets for note in _found(data.manifest)]
    return Plan(spec, tuple(jobs.values()), clips, done, tuple(warnings), tuple(notes), trainable)


def plugin_version(plugin: type) -> str:
    """The version that a plugin declares; for one from a plugin file also the sha256 of that file."""
    version = str(getattr(plugin, "version", 1))
    if not plugin.__module__.startswith("petl_bench_plugin_"):
        return version
    return f"{version}+{hashlib.sha256(Path(inspect.getfile(plugin)).read_bytes()).hexdigest()}"


class _Overrides:
    """The values of `--set`: who may be named, what is applied, and what has no effect."""

    def __init__(self, spec: Spec) -> None:
        self._texts = spec.overrides()
        self._used: set[str] = set()
        known = {"training", *(name for kind in _SETTABLE for name in KINDS[kind].names())}
        for name in self._texts:
            if name not in known:
                raise unknown(
                    "name in --set", name, known, "petl-bench list methods (or settings, datasets, backbones)"
                )

    def of(self, plugin: type[Options], name: str) -> dict[str, Any]:
        """The values given for one plugin, parsed as its fields' types."""
        self._used.add(name)
        return plugin.parse(self._texts.get(name, {}))

    def build(self, plugin: type[Any], name: str) -> Any:
        """The plugin with the values given for it."""
        return plugin(**self.of(plugin, name))

    def unused(self, datasets: Sequence[str]) -> list[str]:
        """One line for each value that has no effect on this run; its name is checked all the same."""
        names = [name for name in self._texts if name not in self._used and name not in datasets]
        for name in names:
            for kind in _SETTABLE:
                if name in KINDS[kind].names():
                    KINDS[kind].get(name).parse(self._texts[name])
        return [
            f"--set {name}.{field} has no effect: {name} is not part of this run"
            for name in names
            for field in self._texts[name]
        ]


_SETTABLE = ("methods", "settings", "datasets", "backbones")


@dataclass(frozen=True)
class _PlannedMethod:
    method: Method
    version: str
    hyper_parameters: Mapping[str, Any]
    training: Mapping[str, Any]


@dataclass(frozen=True)
class _PlannedDataset:
    dataset: Dataset
    version: str
    manifest: Manifest
    cases: Sequence[Case]
    clips: Mapping[tuple[str, int | None], Clips]
    options: Mapping[str, Any]
    places: Places
    _descriptions: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    def descriptions_of(self, method: Method, setting: Setting, case: Case) -> str:
        """sha256 of the sentences that the method's loss reads in this case; "" where it reads none."""
        if method.description_count == 0:
            return ""
        annotations = self.manifest.annotations
        task = setting.task(annotations, case)
        known = (method.name, task.train_classes)
        if known not in self._descriptions:
            found = described(method, self.dataset, task, annotations)
            self._descriptions[known] = "" if found is None else found.sha256
        return self._descriptions[known]


@dataclass(frozen=True)
class _PlannedSetting:
    name: str
    setting: Setting
    version: str
    options: Mapping[str, Any]


def _setting(spec: Spec, overrides: _Overrides) -> _PlannedSetting:
    setting: Setting = overrides.build(SETTINGS.get(spec.setting), spec.setting)
    return _PlannedSetting(spec.setting, setting, plugin_version(type(setting)), setting.values())


def _method(spec: Spec, name: str, setting: Setting, overrides: _Overrides) -> _PlannedMethod:
    plugin: type[Method] = METHODS.get(name)
    _refuse_unsupported(plugin, name, spec)
    hyper: dict[str, Any] = {}
    training: dict[str, Any] = dict(setting.training)
    for recipe in _recipes(plugin, spec.setting, None):
        hyper |= recipe.hyper
        training |= recipe.training
    training |= BACKBONES.get(spec.backbone).training
    for recipe in _recipes(plugin, spec.setting, spec.backbone):
        hyper |= recipe.hyper
        training |= recipe.training
    hyper |= overrides.of(plugin, name)
    training |= overrides.of(TrainingOptions, "training") | _training_flags(spec)
    _check_fields(hyper, plugin, f"recipe of {name}", f"petl-bench show {name}")
    _check_fields(training, TrainingOptions, f"recipe of {name}, training", f"petl-bench show {name}")
    method = plugin(**hyper)
    if _trainable(method, BACKBONES.get(spec.backbone)) == 0:
        training["epochs"] = 0  # nothing to train: such a trial must not depend on how others train
    return _PlannedMethod(method, plugin_version(plugin), method.values(), TrainingOptions(**training).values())


def _trainable(method: Method, backbone: type[Backbone]) -> int:
    """Trainable parameters by the method's formula, which also refuses values that do not fit the backbone."""
    try:
        return method.expected_trainable(backbone.config)
    except PetlBenchError:
        raise
    except Exception as error:
        raise PluginError(f"the parameter formula of {method.name} fails: {describe(error)}") from error


def _refuse_unsupported(plugin: type[Method], name: str, spec: Spec) -> None:
    for kind, asked, supported in (
        ("setting", spec.setting, plugin.settings),
        ("backbone", spec.backbone, plugin.backbones),
    ):
        if supported is not None and asked not in supported:
            raise UsageError(
                f"{name} does not work with the {kind} {asked!r} (it supports {', '.join(supported)}): "
                f"leave it out of --methods, or choose another {kind}. See: petl-bench show {name}"
            )


def _recipes(plugin: type[Method], setting: str, backbone: str | None) -> list[Recipe]:
    return [recipe for recipe in plugin.recipes if recipe.setting == setting and recipe.backbone == backbone]


def _training_flags(spec: Spec) -> dict[str, Any]:
    given = {name: getattr(spec, name) for name in ("epochs", "batch_size", "select", "precision")}
    return {name: value for name, value in given.items() if value is not None}


def _check_fields(values: Mapping[str, Any], options: type[Options], label: str, see: str) -> None:
    for name in values:
        if name not in field_types(options):
            raise unknown(f"field in the {label}", name, field_types(options), see)


def _dataset(
    spec: Spec, name: str, setting: Setting, overrides: _Overrides, weights: ResolvedWeights
) -> _PlannedDataset:
    plugin: type[Dataset] = DATASETS.get(name)
    dataset: Dataset = overrides.build(plugin, name)
    data_root = Path(spec.data_root).expanduser() if spec.data_root is not None else None
    if plugin.needs_root and data_root is None:
        raise UsageError(f"{name} is not part of petl-bench: say where its files are with --data-root DIR")
    if data_root is not None and not data_root.is_dir():
        raise DataError(f"--data-root {data_root}: no such folder")
    cache = cache_folder()
    manifest = build_manifest(dataset, dataset.root(data_root), cache)
    if not manifest.found:
        raise DataError(
            f"{name}: none of the {manifest.expected} clips that its lists name is under {manifest.root}. "
            f"See: petl-bench data status {name} --data-root DIR"
        )
    cases = setting.cases(manifest.annotations, spec.seeds, spec.splits, spec.shots)
    # The number of clips is that of the first seed: seeds differ in which clips, not in how many.
    first = {(case.split, case.shots): case for case in reversed(cases)}
    clips = {group: _clips(setting, manifest, case) for group, case in first.items()}
    plugins = tuple(Path(path).expanduser().resolve() for path in spec.plugin)
    # Only files that petl-bench made itself are decoded in the trial's process: any other clip may hang a decoder.
    loaders = 0 if manifest.root.is_relative_to(cache.resolve()) else 1
    places = Places(
        cache=cache,
        data_root=data_root,
        weights=weights.path,
        device=spec.device,
        loader_workers=loaders,
        plugins=plugins,
    )
    return _PlannedDataset(dataset, plugin_version(plugin), manifest, cases, clips, dataset.values(), places)


def _clips(setting: Setting, manifest: Manifest, case: Case) -> Clips:
    task = setting.task(manifest.annotations, case)
    found = manifest.found
    for evaluation in task.evaluations:
        if not any(sample.clip in found for sample in evaluation.samples):
            raise DataError(
                f"{manifest.dataset}: none of the {len(evaluation.samples)} clips of evaluation {evaluation.name!r} is "
                f"under {manifest.root}. See: petl-bench data status {manifest.dataset} --data-root DIR"
            )
    test = [sample for evaluation in task.evaluations for sample in evaluation.samples]
    return Clips(
        train=sum(sample.clip in found for sample in task.train),
        test=sum(sample.clip in found for sample in test),
        train_listed=len(task.train),
        test_listed=len(test),
    )


def _found(manifest: Manifest) -> Iterator[str]:
    """What is on this machine of a data set, in words."""
    unclear = f", {len(manifest.ambiguous)} ambiguous" if manifest.ambiguous else ""
    yield (
        f"{manifest.dataset}: {manifest.expected} clips expected, {len(manifest.found)} found, "
        f"{len(manifest.missing)} missing{unclear} under {manifest.root}"
    )
    yield from (f"{manifest.dataset}: {note}" for note in manifest.notes)


def _trial(
    spec: Spec,
    setting: _PlannedSetting,
    method: _PlannedMethod,
    data: _PlannedDataset,
    case: Case,
    weights: ResolvedWeights,
) -> Trial:
    return Trial(
        method=method.method.name,
        method_version=method.version,
        hyper_parameters=method.hyper_parameters,
        setting=setting.name,
        setting_version=setting.version,
        setting_options=setting.options,
        dataset=data.dataset.name,
        dataset_version=data.version,
        dataset_options=data.options,
        manifest_sha256=data.manifest.sha256,
        locations=_locations(data.dataset, method.method),
        descriptions_sha256=data.descriptions_of(method.method, setting.setting, case),
        split=case.split,
        shots=case.shots,
        seed=case.seed,
        backbone=spec.backbone,
        weights=weights.label,
        weights_sha256=weights.sha256,
        training=method.training,
        decoder=spec.decoder,
    )


def _locations(*plugins: Options) -> dict[str, dict[str, Any]]:
    """Where the plugins' files lie, for those that were told."""
    return {plugin.name: locations for plugin in plugins if (locations := plugin.locations())}


def _done(output: Path, keys: Mapping[str, Job]) -> frozenset[str]:
    try:
        started = {entry.name for entry in os.scandir(output / "trials")}
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    return frozenset(key for key in started & keys.keys() if (trial_folder(output, key) / RECORD).exists())
