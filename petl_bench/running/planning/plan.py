"""From what the user asked for to trials with keys: values settled (values.py), data sets found (plan_data.py).

A setting may adapt methods on a source data set: then the trial that adapts is planned before those that start from its
adapter; so is a trial before the ones that `--forgetting` (forgetting.py) starts from its adapter. A spec with variants
is planned once for each; trials that variants have in common are one trial.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from petl_bench.api.backbone import Backbone
from petl_bench.api.launcher import Job
from petl_bench.api.plugins.identity import code_version
from petl_bench.api.registry import BACKBONES, load_plugin_file
from petl_bench.api.retrieval import RetrievalTask
from petl_bench.api.setting import Case
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Places, Trial
from petl_bench.api.values.named_folders import name_of
from petl_bench.api.values.resolution import recipe_notes
from petl_bench.errors import UsageError, WeightsError
from petl_bench.models.weights import ResolvedWeights, resolve_weights
from petl_bench.running.planning.clashes import refuse_clash
from petl_bench.running.planning.forgetting import (
    FORGETTING,
    planned_elsewhere,
    reason_against,
    refuse_misuse,
    refuse_same_folder,
    spec_elsewhere,
    training_on,
)
from petl_bench.running.planning.hosting import FROZEN, by_backbone
from petl_bench.running.planning.hub_data import with_local_data
from petl_bench.running.planning.plan_data import Clips, DataOnThisMachine, PlannedDataset, places_of
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.standing import Standing, standing_of
from petl_bench.running.planning.trackers import refuse_missing_trackers
from petl_bench.running.planning.values import (
    Overrides,
    PlannedMethod,
    PlannedSetting,
    planned_method,
    planned_setting,
    refuse_kind,
    training_values,
)
from petl_bench.training.refusals import against_split_batches


@dataclass(frozen=True)
class Plan:
    """The trials of one run, in the order in which they start; `standing` says which are done already, or damaged."""

    spec: Spec
    jobs: tuple[Job, ...]
    clips: Mapping[str, Clips]  #: key -> what the trial reads
    trainable: Mapping[str, int]  #: key -> trained parameters, by the method's formula; 0 if a trial only evaluates
    standing: Standing
    warnings: tuple[str, ...]
    left_out: Mapping[str, str]  #: methods that `all` left out, each with the reason
    notes: tuple[str, ...]  #: what was found of every data set, and what is assumed of the weights

    @property
    def output(self) -> Path:
        """The folder that the records go to."""
        return Path(self.spec.output).expanduser()

    @property
    def done(self) -> frozenset[str]:
        """The keys that have a record already."""
        return self.standing.done

    @property
    def to_do(self) -> list[Job]:
        """The jobs to run: not done, and not refused."""
        return [job for job in self.jobs if job.trial.key not in self.done | self.standing.refused.keys()]

    @property
    def without_data(self) -> list[str]:
        """Of the jobs to run, the data sets that are not on this machine: how many clips these have is not known."""
        return sorted({job.trial.dataset for job in self.to_do if not job.trial.manifest_sha256})


def plan(spec: Spec, *, rehearsal: bool = False, tuning: Sequence[str] = ("",)) -> Plan:
    """Settle everything that decides the numbers of a run.

    With `tuning` the trials are not those of the run, but on these partitions of their training clips
    (`Trial.tuning`); of a setting that evaluates on others, the trials that adapt on the source.

    With `rehearsal` the trials are counted though published data sets or weights are not on this machine (a note or a
    warning says which); such a plan cannot be run. Everything else is refused as without it.

    Raises UsageError for unknown names, fields and values, or what does not fit together; DataError and WeightsError
    if files are missing; PluginError for a broken plugin. Nothing is written to the output folder.
    """
    for plugin in spec.plugin:
        load_plugin_file(plugin)
    refuse_missing_trackers(spec.track)
    draft = _Draft(rehearsal)
    for part in with_local_data(spec).parts():
        for partition in tuning:
            draft.add(part, partition)
    output = Path(spec.output).expanduser()
    return Plan(
        spec=spec,
        jobs=_keeping_what_is_needed(draft.jobs.values()),
        clips=draft.clips,
        trainable=draft.trainable,
        standing=standing_of(output, draft.jobs),
        left_out=draft.left_out,
        warnings=tuple(draft.warnings),
        notes=tuple(draft.notes),
    )


def _keeping_what_is_needed(jobs: Collection[Job]) -> tuple[Job, ...]:
    """The jobs; those that others of them start from keep their adapters, whatever `--keep-adapters` says."""
    needed = {job.trial.start_from for job in jobs}
    return tuple(
        replace(job, places=replace(job.places, keep_adapter="all")) if job.trial.key in needed else job for job in jobs
    )


class _Draft:
    """A plan that is being put together from the parts of a spec."""

    def __init__(self, rehearsal: bool) -> None:
        self.jobs: dict[str, Job] = {}
        self.clips: dict[str, Clips] = {}
        self.trainable: dict[str, int] = {}
        self.warnings: dict[str, None] = {}
        self.notes: dict[str, None] = {}
        self.left_out: dict[str, str] = {}
        self._rehearsal = rehearsal
        self._data = DataOnThisMachine(rehearsal)
        self._names: dict[Path, str] = {}  # of folders that have one

    def add(self, spec: Spec, tuning: str) -> None:
        """Plan the trials of a spec without variants; on a partition of their training clips, if it is not ""."""
        overrides = Overrides(spec)
        setting = planned_setting(spec, overrides)
        hosted = by_backbone(spec, setting.setting, overrides)
        specs = hosted.specs
        methods = [[planned_method(each, name, overrides) for name in each.methods] for each in specs]
        backbones: list[Backbone] = [
            overrides.build(BACKBONES.get(each.backbone_name), each.backbone_name) for each in specs
        ]
        source = setting.setting.source_dataset
        if spec.forgetting:
            refuse_misuse(spec, setting.setting)
        data_names = [*map(name_of, (*spec.datasets, *spec.forgetting)), *([source] if source else [])]
        for name in data_names:
            overrides.dataset(name)
        used = [name for each in specs for name in (*each.methods, each.backbone_name)]
        used += [FORGETTING, FROZEN] if spec.forgetting else []
        self.warnings |= dict.fromkeys(overrides.unused([*used, spec.setting, *data_names]))
        self.left_out |= hosted.left_out
        self.notes |= dict.fromkeys(hosted.notes)
        if spec.forgetting and not any(method.adapts for chosen in methods for method in chosen):
            self.warnings["--forgetting has no effect: none of the methods is adapted"] = None
        for each, backbone, chosen in zip(specs, backbones, methods, strict=True):
            for method in chosen:
                refuse_clash(method.method, method.config)
            self._add_part(_Part(each, setting, overrides, self._weights(each), backbone, tuning), chosen)

    def _add_part(self, part: _Part, methods: Sequence[PlannedMethod]) -> None:
        """Plan the trials on one backbone."""
        spec, setting = part.spec, part.setting.setting
        self.notes |= dict.fromkeys(part.backbone.assumptions(part.weights.label, part.weights.sha256))
        others = _elsewhere(part) if spec.forgetting and not part.tuning else None
        for name in dict.fromkeys(map(name_of, spec.datasets)):
            data = self._dataset(part, name)
            for case in setting.cases(data.manifest.annotations, spec.seeds, spec.splits, spec.shots):
                for method in methods:
                    trial = self._add_trial(part, method, data, case)
                    if others is not None and method.adapts:
                        self._add_elsewhere(others, method, data, trial)

    def _add_elsewhere(self, others: _Elsewhere, method: PlannedMethod, data: PlannedDataset, trained: Trial) -> None:
        """Plan the evaluations of a trial's adapter on other data sets, and before each the frozen backbone's."""
        part = others.part
        for name in others.names:
            other = self._dataset(part, name)
            refuse_same_folder(data, other)
            for case in part.setting.setting.cases(other.manifest.annotations, [trained.seed], None, None):
                if reason := reason_against(method.method, part.setting.setting.kind_of(case)):
                    self.notes[f"--forgetting {name}: {method.method.name} is left out: {reason}"] = None
                    continue
                frozen = self._add(part, others.frozen, other, case)
                training = training_on(trained.training, frozen.training)
                self._add(part, method, other, case, trained.key, data.sha256, training)

    def _add_trial(self, part: _Part, method: PlannedMethod, data: PlannedDataset, case: Case) -> Trial:
        """Plan a trial, and before it the one that it starts from, if there is one."""
        source = part.setting.setting.source_case(case)
        if source is None or not method.adapts:
            return self._add(part, method, data, case)
        name = part.setting.setting.source_dataset
        assert name is not None, "a setting with source cases names their data set"
        origin = self._dataset(part, name)
        start = self._add(part, method, origin, source)
        if part.tuning:
            return start
        return self._add(part, method, data, case, start_from=start.key, source_sha256=origin.sha256)

    def _add(
        self,
        part: _Part,
        method: PlannedMethod,
        data: PlannedDataset,
        case: Case,
        start_from: str = "",
        source_sha256: str = "",
        training: Mapping[str, Any] | None = None,
    ) -> Trial:
        """Plan one trial; `training`: its training options, if they are not those of its own setting and data set."""
        spec, options = part.spec, part.setting
        kind = options.setting.kind_of(case)
        refuse_kind(method.method, spec.setting, kind, trains=not start_from)
        own, locations = part.values(method, data)
        training = own if training is None else training
        group = (
            data.tuning_group(options, case, part.tuning, training["val_fraction"])
            if part.tuning
            else data.group(options, case)
        )
        self.notes |= dict.fromkeys(recipe_notes(type(method.method), spec.setting, spec.backbone_name, training))
        if not start_from:
            data.refuse_training(group, training)
            if method.adapts:
                data.refuse_without_pairs(group, case, spec.setting)
        trial = Trial(
            method=method.method.name,
            method_version=method.version,
            hyper_parameters=method.hyper_parameters,
            setting=spec.setting,
            setting_version=options.version,
            setting_options=options.options,
            dataset=data.dataset.name,
            dataset_plugin=data.plugin,
            dataset_version=data.version,
            dataset_options=data.options,
            manifest_sha256=data.manifest.sha256,
            locations=locations,
            descriptions_sha256=data.descriptions_of(method.method, group.task),
            captions_sha256=data.manifest.captions_sha256 if isinstance(group.task, RetrievalTask) else "",
            split=case.split,
            shots=case.shots,
            seed=case.seed,
            part=case.part,
            backbone=spec.backbone_name,
            backbone_version=code_version(BACKBONES.get(spec.backbone_name)),
            backbone_options=part.backbone.values(),
            weights=part.weights.label,
            weights_sha256=part.weights.sha256,
            training=training,
            decoder=spec.decoder,
            start_from=start_from,
            source_sha256=source_sha256,
            tuning=part.tuning,
        )
        if trial.key not in self.jobs:
            self.jobs[trial.key] = Job(trial=trial, places=part.places(data), trackers=spec.track)
            self.clips[trial.key] = group.clips
            task = MethodTask(kind, group.task.train_classes, group.clips.train)
            self.trainable[trial.key] = 0 if trial.start_from else method.trainable(task)
        return trial

    def _dataset(self, part: _Part, name: str) -> PlannedDataset:
        data = self._data.get(part.spec, name, part.overrides)
        if data.plugin and (other := self._names.setdefault(data.manifest.root, name)) != name:
            self.warnings[f"{other} and {name} are one folder, {data.manifest.root}"] = None
        self.notes |= dict.fromkeys(data.notes())
        return data

    def _weights(self, spec: Spec) -> ResolvedWeights:
        try:
            return resolve_weights(BACKBONES.get(spec.backbone_name), spec.weights)
        except WeightsError as error:
            if not self._rehearsal or spec.weights != "auto":
                raise
            self.warnings[str(error)] = None
            return ResolvedWeights("not on this machine", None, "")


@dataclass(frozen=True)
class _Part:
    """What all trials of one spec without variants share; what depends on method and data set is settled once."""

    spec: Spec
    setting: PlannedSetting
    overrides: Overrides
    weights: ResolvedWeights
    backbone: Backbone
    tuning: str = ""  #: partition of the training clips that all of its trials are on; "" for a run itself
    _settled: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def places(self, data: PlannedDataset) -> Places:
        """Where the files of the trials on a data set lie."""
        found: Places = self._once(lambda: places_of(self.spec, data, self.weights), data.dataset.name)
        return found

    def values(self, method: PlannedMethod, data: PlannedDataset) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The training options of a method on a data set; and where files of the method, the data set, and a source
        that is a folder with a name lie, as the user said."""
        found: tuple[dict[str, Any], dict[str, dict[str, Any]]]
        found = self._once(lambda: self._values(method, data), method.method.name, data.dataset.name)
        return found

    def _values(self, method: PlannedMethod, data: PlannedDataset) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        setting = self.setting.setting
        training = training_values(self.spec, method, setting, type(data.dataset), self.overrides)
        if reason := against_split_batches(method.method, TrainingOptions(**training)):
            raise UsageError(f"{reason}, or leave {method.method.name} out of --methods")
        source = setting.source_dataset
        named = [self.overrides.dataset(source)] if source in self.spec.folders() else []
        said = {each.name: each.locations() for each in (data.dataset, method.method, *named)}
        return training, {name: locations for name, locations in said.items() if locations}

    def _once(self, make: Callable[[], Any], *names: str) -> Any:
        if names not in self._settled:
            self._settled[names] = make()
        return self._settled[names]


@dataclass(frozen=True)
class _Elsewhere:
    """What `--forgetting` adds on one backbone: other data sets, in a part of its own, and the frozen backbone."""

    part: _Part
    frozen: PlannedMethod
    names: tuple[str, ...]


def _elsewhere(part: _Part) -> _Elsewhere:
    spec = spec_elsewhere(part.spec)
    own = _Part(spec, planned_elsewhere(part.overrides), part.overrides, part.weights, part.backbone)
    return _Elsewhere(
        own, planned_method(spec, FROZEN, part.overrides), tuple(dict.fromkeys(map(name_of, spec.datasets)))
    )
