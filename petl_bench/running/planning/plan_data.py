"""The data sets of a plan: found once, however many trials read them. Without torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from petl_bench.api.dataset import Annotations, Dataset
from petl_bench.api.method import Method
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.retrieval import RetrievalTask, refuse_other_data, refuse_other_kind
from petl_bench.api.setting import Case, Setting, Task
from petl_bench.api.splits import training_list
from petl_bench.api.trial import Places, canonical_json
from petl_bench.api.values.named_folders import status_command
from petl_bench.data.found.known_manifests import new_manifest
from petl_bench.data.found.manifest import Manifest
from petl_bench.data.lists.descriptions import described
from petl_bench.errors import DataError, UsageError
from petl_bench.models.weights import ResolvedWeights
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.values import Overrides, PlannedSetting
from petl_bench.system.cache import cache_folder
from petl_bench.training.refusals import NOTHING_TO_HOLD_OUT, ONE_CLIP_TO_HOLD_OUT, no_training_clips
from petl_bench.training.tuning_task import tuning_task


@dataclass(frozen=True)
class Clips:
    """How many clips one trial reads, as far as they are on this machine, and how many its lists name."""

    train: int  #: per epoch
    test: int
    train_listed: int
    test_listed: int
    scores: int = 0  #: of all evaluations: one for each clip and class


@dataclass(frozen=True)
class PlannedTask:
    """What cases that differ only in their seed have in common: what the first trains and evaluates, and its clips."""

    task: Task
    clips: Clips

    @cached_property
    def can_hold_out(self) -> bool:
        """Whether some training clips can be held out: one of a class, or of a retrieval task, that has several."""
        if isinstance(self.task, RetrievalTask):
            return len({sample.clip for sample in self.task.train}) > 1
        return max(Counter(sample.label for sample in self.task.train).values(), default=0) > 1


@dataclass(frozen=True)
class PlannedDataset:
    """A data set with its values, and what of it lies on this machine.

    `here` is False if a plan that is only rehearsed goes without its files: then nothing is known but its splits.
    """

    dataset: Dataset
    version: str
    options: Mapping[str, Any]
    manifest: Manifest
    here: bool
    _groups: dict[tuple[str | float | None, ...], PlannedTask] = field(default_factory=dict)
    _descriptions: dict[tuple[str, str, tuple[str, ...]], str] = field(default_factory=dict)

    @property
    def plugin(self) -> str:
        """The plugin that reads it, if it is a folder with a name; else ""."""
        plugin = type(self.dataset).name
        return "" if plugin == self.dataset.name else plugin

    @property
    def sha256(self) -> str:
        """Of everything about it that decides what is trained."""
        identity = [self.dataset.name, self.version, dict(self.options), self.manifest.sha256]
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()

    def group(self, planned: PlannedSetting, case: Case) -> PlannedTask:
        """What cases that differ in nothing but the seed have in common, looked up at the first of them.

        Seeds differ in which clips train, not in how many; the evaluations are the same. A published draw belongs to a
        single seed, and may have another number of clips; there, every seed is looked up. Raises DataError if no clip
        of an evaluation is on this machine, and what the setting raises if it has no task for the case.
        """
        known = (planned.identity, case.split, case.shots, case.part, case.seed if self._has_published_draws else None)
        if known not in self._groups:
            self._groups[known] = self._look(planned.setting, case)
        return self._groups[known]

    def tuning_group(self, planned: PlannedSetting, case: Case, tuning: str, fraction: float) -> PlannedTask:
        """The same for a trial on a partition of the training clips of a case; every seed has its own. Raises
        UsageError too if the case has nothing to train, or too few clips or classes for the partition."""
        if not self.here:
            return self.group(planned, case)
        known = (planned.identity, case.split, case.shots, case.part, case.seed, tuning, fraction)
        if known not in self._groups:
            annotations = self.manifest.annotations
            refuse_other_data(planned.setting, case, annotations)
            task = planned.setting.task(annotations, case)
            if not task.train:
                training_list(annotations, case.split, planned.setting.name)
            listed = annotations.groups
            groups = [listed.get(sample.clip) or self.dataset.group_of(sample.clip) for sample in task.train]
            self._groups[known] = self._counted(tuning_task(task, tuning, case.seed, groups, fraction))
        return self._groups[known]

    @property
    def _has_published_draws(self) -> bool:
        annotations = self.manifest.annotations
        halves = annotations.base_to_novel
        return bool(annotations.few_shot or (halves is not None and halves.draws))

    def refuse_training(self, group: PlannedTask, training: Mapping[str, Any]) -> None:
        """Raise the error that training on these clips would end with, as far as it is known beforehand."""
        listed = group.clips.train_listed
        if not self.here or not training["epochs"] or not listed:
            return
        if not group.clips.train:
            raise no_training_clips(self.dataset, listed, self.manifest.root)
        if training["select"] == "val" and not group.can_hold_out:
            retrieval = isinstance(group.task, RetrievalTask)
            raise UsageError(ONE_CLIP_TO_HOLD_OUT if retrieval else NOTHING_TO_HOLD_OUT)

    def refuse_without_pairs(self, group: PlannedTask, case: Case, setting: str) -> None:
        """Raise UsageError if a task of retrieval has no pairs to train on, as the data set has no training list."""
        if isinstance(group.task, RetrievalTask) and not group.task.train:
            training_list(self.manifest.annotations, case.split, setting)

    def _look(self, setting: Setting, case: Case) -> PlannedTask:
        if not self.here:
            return PlannedTask(Task((), (), (), "not on this machine"), Clips(0, 0, 0, 0))
        refuse_other_data(setting, case, self.manifest.annotations)
        task = setting.task(self.manifest.annotations, case)
        refuse_other_kind(setting, case, task)
        return self._counted(task)

    def _counted(self, task: Task) -> PlannedTask:
        """A task with what it reads. Raises DataError if no clip of an evaluation is on this machine."""
        found = self.manifest.found
        for evaluation in task.evaluations:
            if found and not any(sample.clip in found for sample in evaluation.samples):
                which = f"{len(evaluation.samples)} clips of evaluation {evaluation.name!r} is"
                raise _absent(self.dataset, self.manifest, which)
        test = [sample for evaluation in task.evaluations for sample in evaluation.samples]
        readable = found.keys() - self.manifest.quarantined.keys()
        clips = Clips(
            train=sum(sample.clip in readable for sample in task.train),
            test=sum(sample.clip in readable for sample in test),
            train_listed=len(task.train),
            test_listed=len(test),
            scores=sum(len(evaluation.samples) * len(evaluation.candidates) for evaluation in task.evaluations),
        )
        return PlannedTask(task, clips)

    def descriptions_of(self, method: Method, task: Task) -> str:
        """sha256 of the sentences that the method's loss reads in this task; "" if it reads none."""
        if method.description_count == 0:
            return ""
        known = (method.name, canonical_json([method.values(), method.locations()]), task.train_classes)
        if known not in self._descriptions:
            found = described(method, self.dataset, task, self.manifest.annotations)
            self._descriptions[known] = "" if found is None else found.sha256
        return self._descriptions[known]

    def notes(self) -> Iterator[str]:
        """What is on this machine of the data set, in words."""
        name, manifest = self.dataset.name, self.manifest
        if not self.here:
            yield f"{name}: not on this machine; its trials are counted by the splits that are published"
            return
        unclear = f", {len(manifest.ambiguous)} ambiguous" if manifest.ambiguous else ""
        yield (
            f"{name}: {manifest.expected} clips expected, {len(manifest.found)} found, "
            f"{len(manifest.missing)} missing{unclear} under {manifest.root}"
        )
        yield from (f"{name}: {note}" for note in manifest.notes)


class DataOnThisMachine:
    """Finds each data set once for all parts of a plan.

    `rehearsal`: a published data set that is not on this machine is no error. Whatever is wrong with files that are
    here, or with a place that the user named, is.
    """

    def __init__(self, rehearsal: bool) -> None:
        self._rehearsal = rehearsal
        self._found: dict[tuple[str, str], PlannedDataset] = {}

    def get(self, spec: Spec, name: str, overrides: Overrides) -> PlannedDataset:
        """The data set with the values given for it. Raises UsageError or DataError if it cannot be used."""
        dataset = overrides.dataset(name)
        known = (name, canonical_json([spec.data_root, dataset.values(), dataset.locations()]))
        if known not in self._found:
            root = self._root(spec, dataset)
            manifest = _unknown(dataset) if root is None else _manifest(dataset, root)
            version = plugin_version(type(dataset))
            self._found[known] = PlannedDataset(dataset, version, dataset.values(), manifest, here=root is not None)
        return self._found[known]

    def _root(self, spec: Spec, dataset: Dataset) -> Path | None:
        """The folder of a data set; None in a rehearsal, if it is one with a place of its own and that is not here."""
        data_root = Path(spec.data_root).expanduser() if spec.data_root is not None else None
        if data_root is not None and not data_root.is_dir():
            raise DataError(f"--data-root {data_root}: no such folder")
        try:
            if dataset.needs_root and data_root is None:
                name = dataset.name
                raise UsageError(f"{name} is not part of petl-bench: say where its files are with --data-root DIR")
            return dataset.root(data_root)
        except (DataError, UsageError):
            if self._rehearsal and dataset.needs_root:
                return None
            raise


def _manifest(dataset: Dataset, root: Path) -> Manifest:
    manifest = new_manifest(dataset, root, cache_folder())
    if not manifest.found:
        raise _absent(dataset, manifest, f"{manifest.expected} clips that its lists name is")
    return manifest


def _absent(dataset: Dataset, manifest: Manifest, which: str, more: str = "") -> DataError:
    see = status_command(dataset, manifest.root)
    return DataError(f"{manifest.dataset}: none of the {which} under {manifest.root}{more}. See: {see}")


def places_of(spec: Spec, data: PlannedDataset, weights: ResolvedWeights) -> Places:
    """Where the files of a trial on this data set lie."""
    cache = cache_folder()
    # Only files that petl-bench made itself are decoded in the trial's process: any other clip may hang a decoder.
    loaders = 0 if data.manifest.root.is_relative_to(cache.resolve()) else 1
    return Places(
        cache=cache,
        data_root=Path(spec.data_root).expanduser() if spec.data_root is not None else None,
        weights=weights.path,
        device=spec.device,
        loader_workers=loaders,
        plugins=tuple(Path(path).expanduser().resolve() for path in spec.plugin),
        keep_adapter=spec.keep_adapters,
    )


def _unknown(dataset: Dataset) -> Manifest:
    """A manifest that knows only which splits are published."""
    splits = dict.fromkeys(dataset.splits, ())
    annotations = Annotations(classes=(), train=splits, test=splits, dataset=dataset.name)
    return Manifest(dataset.name, Path(), annotations, {}, (), {}, (), sha256="")
