"""A trial ready to run: everything it works with, checked against the plan."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from petl_bench.analysis.marks import is_demonstration, is_untuned
from petl_bench.api.backbone import Backbone
from petl_bench.api.dataset import Dataset, Sample
from petl_bench.api.marks import method_marks
from petl_bench.api.method import Method
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.retrieval import RetrievalTask
from petl_bench.api.setting import Setting, Task
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import EvaluationResult, Notify, Places, Progress, RetrievalResult, Stop, Trial, go_on
from petl_bench.api.values.resolution import recipe_notes
from petl_bench.data.found.known_manifests import is_current, known_manifest, new_manifest
from petl_bench.data.found.manifest import Manifest
from petl_bench.data.found.tree import canonical
from petl_bench.data.lists.descriptions import Descriptions, described
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.errors import DataError, PluginError, TrialError, UsageError
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.system.environment import computing_versions, describe_machine
from petl_bench.training.checkpoint import Pace, load_adapter, task_of
from petl_bench.training.clip_spec import evaluated_clips
from petl_bench.training.compilation import compile_video
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import Seat, Team
from petl_bench.training.fit import Best
from petl_bench.training.held_out import split_for_validation, split_pairs_for_validation
from petl_bench.training.hooks import calling, overrides
from petl_bench.training.kept import merged
from petl_bench.training.refusals import against_split_batches
from petl_bench.training.seeding import derived_seed, seed_everything
from petl_bench.training.state import load_state
from petl_bench.training.text import class_prompts, prompt_notes, text_notes
from petl_bench.training.tuning_task import tuning_task
from petl_bench.training.video import Remembered

log = logging.getLogger("petl_bench")


class PreparedTrial:
    """Everything one trial works with: built by the constructor, and checked against the plan."""

    def __init__(
        self,
        trial: Trial,
        places: Places,
        folder: Path,
        notify: Notify,
        *,
        adapter: Path | None = None,
        seat: Seat,
        stop: Stop = go_on,
        pace: Pace | None = None,
    ) -> None:
        """Build everything, the same in every process of the trial.

        Args:
            trial: What decides the numbers.
            places: Where its files lie, and the device to compute on.
            folder: For its checkpoint, adapter and whatever else it keeps.
            notify: Told of progress.
            adapter: The file of the trial that this one starts from.
            seat: This process among those that share the trial.
            stop: Asked, again and again, whether to stop.
            pace: When something is kept for another attempt; by default every 30 s.

        Raises:
            DataError: The files, or the descriptions, are not those planned.
            UsageError: The method cannot train with these options.
            TrialError: The device, the adapter to start from or the number of trained parameters is not as planned.
        """
        notify(Progress(stage="loading"))
        self.trial, self.folder, self.notify, self.stop = trial, folder, notify, stop
        self.pace = pace or Pace(30.0)
        self.team = Team()  #: the processes that share the trial, once they have met
        self.options = TrainingOptions(**trial.training)
        self.device = resolve_device(places.device, seat)
        seed_everything(derived_seed(trial))
        self.dataset: Dataset = DATASETS.get(trial.data_plugin).called(
            trial.dataset, **trial.dataset_options, **trial.locations.get(trial.dataset, {})
        )
        self.setting: Setting = SETTINGS.get(trial.setting)(**trial.setting_options)
        self.method: Method = METHODS.get(trial.method)(
            **trial.hyper_parameters, **trial.locations.get(trial.method, {})
        )
        if reason := against_split_batches(self.method, self.options):
            raise UsageError(reason)
        self.manifest, self.task = _data(trial, self.dataset, self.setting, places)
        if trial.tuning:
            groups = self.groups([sample.clip for sample in self.task.train])
            self.task = tuning_task(self.task, trial.tuning, trial.seed, groups, self.options.val_fraction)
        self._cache = places.cache
        #: training clips, and those of them that are held out to select the epoch
        self.train, self.held_out = self._split()
        self.descriptions = self._described()  #: those that the method's loss reads
        self.backbone: Backbone = BACKBONES.get(trial.backbone)(**trial.backbone_options)
        self.notes = [*recipe_notes(type(self.method), trial.setting, trial.backbone, trial.training)]
        self.model = self._attached(places, adapter)
        if adaptation := self.method.adapted_for(self.model.config):
            self.notes.append(f"{trial.method} is adapted to {trial.backbone}: {adaptation}")
        self.notes += [*self.manifest.notes, f"training clips: {self.task.source}"]
        if trial.start_from:
            self.notes.append(self._start_from(adapter))
        self.notes += [*self._text_notes(), *self._texts_per_clip(), *self._batch_notes(), *self._frame_notes()]
        if seat.count > 1:
            self.notes.append(f"{seat.count} processes shared every batch, on {self.device.type}")
        if seat.rank > 0:  # the model began the same in every process; what it drops in training is drawn anew in each
            torch.manual_seed(derived_seed(trial, seat.rank))
        self.model.to(self.device)
        if self.options.compile:
            compile_video(self.model, self.device, places.cache)
        self.loader = self._loader(places, seat)
        self.best: dict[str, Best] = {}  #: the best epochs, once training has ended; see `petl_bench.training.fit`
        #: video features of lists that are scored again after other epochs
        self.encoded = Remembered(keep=self.options.select != "last" and self.keeps_video)

    def _split(self) -> tuple[list[Sample], list[Sample]]:
        train, seed = self.task.train, self.trial.seed
        if isinstance(self.task, RetrievalTask):
            groups = self.groups([pair.clip for pair in train])
            return split_pairs_for_validation(train, groups, self.options, seed)
        return split_for_validation(train, self.options, seed)

    @property
    def keeps_video(self) -> bool:
        """Whether the video tower's output for a clip can be computed once: the method leaves the tower alone, and
        reads nothing that would be too large to keep."""
        return self.model.untouched(self.model.video) and not {"tokens", "pixels"} & set(self.method.reads)

    def found(self, samples: Sequence[Sample]) -> list[Sample]:
        """Those of the samples whose files are on this machine."""
        return [sample for sample in samples if sample.clip in self.manifest.found]

    def missing(self, samples: Sequence[Sample]) -> list[str]:
        """The clips of those whose files are not."""
        return [sample.clip for sample in samples if sample.clip not in self.manifest.found]

    def unreadable(self, clips: Sequence[str]) -> dict[str, str]:
        """Those of the clips that could not be read so far, each with the reason."""
        return {clip: self.loader.unreadable[clip] for clip in clips if clip in self.loader.unreadable}

    def progress(self, stage: str, samples: Sequence[Sample]) -> Callable[[int], None]:
        """A function that tells how many of the samples are done."""
        return lambda done: self.notify(Progress(stage=stage, step=min(done, len(samples)), steps=len(samples)))

    def share_findings(self) -> None:
        """Tell every process of the trial which clips could not be read, or were read with a remark, in any of them."""
        self.loader.learn(*self.team.share(merged(self.team.gather(self.loader.findings()))))

    def refuse_changed_clips(self) -> None:
        """Raise DataError, naming the first one, if files of clips were changed since the trial began.

        They are compared by their fingerprints in the manifest. A clip that is gone does not count: it was read before,
        or is among the unreadable ones.
        """
        clips = _clips(self.task)
        if is_current(self.manifest, clips):
            return
        before, now = self.manifest.found, new_manifest(self.dataset, self.manifest.root, self._cache).found
        both = sorted(clips & before.keys() & now.keys())
        changed = [clip for clip in both if now[clip].fingerprint != before[clip].fingerprint]
        if changed:
            raise DataError(
                f"{len(changed)} clips of {self.trial.dataset} were changed while this trial read them; the first: "
                f"{now[changed[0]].path}. Nothing is recorded; run the command again to plan with the files as they are"
            )

    def train_coverage(self) -> dict[str, int]:
        """How many training clips there should be, how many are missing or unreadable, and how many were used."""
        train = self.task.train
        if isinstance(self.task, RetrievalTask):  # a clip may be in several pairs
            train = tuple({sample.clip: sample for sample in train}.values())
        expected = len(train)
        missing = len(self.missing(train))
        unreadable = len(self.unreadable([sample.clip for sample in train]))
        return {
            "expected": expected,
            "missing": missing,
            "unreadable": unreadable,
            "used": expected - missing - unreadable,
        }

    def groups(self, clips: Sequence[str]) -> list[str]:
        """The source video of each clip, from its list, else from its name."""
        listed = self.manifest.annotations.groups
        return [listed.get(clip) or self.dataset.group_of(clip) for clip in clips]

    def marks(self, evaluations: Mapping[str, EvaluationResult | RetrievalResult]) -> list[str]:
        """The marks of the trial's numbers, sorted: keys of `petl_bench.api.marks.MARKS`."""
        trial = self.trial
        unscored = any(result.missing or result.unreadable for result in evaluations.values())
        rate, values = self.options.learning_rate, trial.hyper_parameters
        untuned = is_untuned(trial.method, trial.setting, trial.backbone, rate, values)
        holding = {
            "random-weights": trial.weights == "random",
            # Of retrieval the best epochs are further evaluations; the trial's own numbers are of the last one.
            "best-on-test": self.options.select == "best-on-test" and not isinstance(self.task, RetrievalTask),
            "incomplete-coverage": unscored or bool(self.missing(self.task.train)),
            "demonstration": is_demonstration(trial.backbone, trial.weights, trial.dataset),
            "fewer-shots": self.adapts and not trial.tuning and self._lacks_shots(),
            "shared-recordings": bool(self._shared_recordings()),
            "template-descriptions": self.descriptions is not None and self.descriptions.from_templates,
            "untuned-rate": self._trains and untuned,
        }
        declared = method_marks(self.method, self.model.config)
        return sorted([*declared, *(word for word, holds in holding.items() if holds)])

    def _lacks_shots(self) -> bool:
        """Whether a class has fewer training clips than the shots that are asked for."""
        counts = Counter(sample.label for sample in self.task.train)
        return any(counts[label] < (self.trial.shots or 0) for label in range(len(self.task.train_classes)))

    def _shared_recordings(self) -> list[str]:
        """The test clips whose source video has training clips too."""
        if not self.adapts:
            return []
        trained = set(self.groups([sample.clip for sample in self.task.train]))
        tested = list(dict.fromkeys(sample.clip for each in self.task.evaluations for sample in each.samples))
        return [clip for clip, group in zip(tested, self.groups(tested), strict=True) if group in trained]

    @property
    def adapts(self) -> bool:
        """Whether training clips change the model: something trains, or is made of them before training."""
        prepares = overrides(self.method, "prepare") and bool(self.task.train)
        return self._trains or prepares

    @property
    def _trains(self) -> bool:
        return self.options.epochs > 0 and bool(self.task.train) and trainable_parameters(self.model) > 0

    def remarks(self) -> list[str]:
        """Notes: clips that were read with a remark, and test clips that share recordings with training clips."""
        shared = self._shared_recordings()
        sides = "test clips were cut from recordings of which clips trained too; the first:"
        return [*self._clips_with_remarks(), *([f"{len(shared)} {sides} {shared[0]}"] if shared else [])]

    def _clips_with_remarks(self) -> list[str]:
        remarks = sorted(self.loader.remarks.items())
        if not remarks:
            return []
        first = "; ".join(f"{clip}: {remark}" for clip, remark in remarks[:5])
        return [f"{len(remarks)} clips were read with a remark. {first}" + ("; ..." if len(remarks) > 5 else "")]

    def environment(self) -> dict[str, Any]:
        """What the trial ran on and with: machine, versions, device, threads, prompt template."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        used = {**self._prompt(), "device": name, "threads": torch.get_num_threads()}
        return {**describe_machine(), "software": computing_versions(), **used}

    def _prompt(self) -> dict[str, str]:
        """The template of the class prompts, in words; nothing in retrieval."""
        if isinstance(self.task, RetrievalTask):
            return {}
        own = overrides(self.method, "prompts")
        return {"prompt_template": f"{self.trial.method}: its own" if own else str(self.dataset.prompts)}

    def _described(self) -> Descriptions | None:
        """The descriptions that the method's loss reads. Raises DataError if they are others than those planned."""
        found = described(self.method, self.dataset, self.task, self.manifest.annotations)
        sha256, planned = "" if found is None else found.sha256, self.trial.descriptions_sha256
        if sha256 != planned:
            raise _changed("the descriptions", sha256, planned)
        return found

    def _task_of_method(self, adapter: Path | None) -> MethodTask:
        """What the method is adapted to: training classes and clips, or those of the adapter that it starts from."""
        if self.trial.start_from and adapter is not None:
            return task_of(load_adapter(adapter)[0])
        return MethodTask(self.setting.kind_of(self.trial.case), self.task.train_classes, len(self.found(self.train)))

    def _attached(self, places: Places, adapter: Path | None) -> DualEncoder:
        """The backbone with the method attached; what its weights are, and what is assumed of them, becomes notes.

        Raises TrialError if the method trains another number of parameters than its formula says.
        """
        trial, backbone = self.trial, self.backbone
        weights = None if trial.weights == "random" else places.weights or "auto"
        model = create_model(trial.backbone, weights=weights, **backbone.config_changes())
        self.notes += [*model.weights_notes, *backbone.assumptions(trial.weights, trial.weights_sha256)]
        self.backbone_params = sum(parameter.numel() for parameter in model.parameters())
        self.method.bind(self._task_of_method(adapter))
        with calling(self.method, "attach(model)"):
            self.method.attach(model)
        model.checkpoint_blocks = self.options.checkpoint_blocks
        counted, expected = trainable_parameters(model), self.method.expected_trainable(model.config)
        if counted != expected:
            raise TrialError(
                f"{trial.method}: the model has {counted:,} trainable parameters, the method's formula says "
                f"{expected:,}. See: petl-bench check {trial.method}"
            )
        if counted and self.method.training_free:
            raise PluginError(f"{trial.method} declares training_free = True, and trains {counted:,} parameters")
        return model

    def _start_from(self, file: Path | None) -> str:
        """Load the adapter that the trial starts from; returns a note on the evaluated classes it was trained on."""
        first = self.trial.start_from
        if file is None:
            raise TrialError(f"{self.trial.title} starts from the adapter of trial {first[:8]}, and none was given")
        metadata, tensors = load_adapter(file)
        if metadata.get("trial") != first:
            raise TrialError(
                f"{file} belongs to trial {str(metadata.get('trial'))[:8]}, not to {first[:8]}; move the folder "
                "aside and run the command again"
            )
        load_state(self.model, self.method, {"tensors": tensors, "extra": metadata["extra_state"]})
        trained = {canonical(name) for name in metadata["train_classes"]}
        tested = dict.fromkeys(name for evaluation in self.task.evaluations for name in evaluation.classes)
        if isinstance(self.task, RetrievalTask):
            return f"starts from the adapter of trial {first[:8]}"
        seen = [name for name in tested if canonical(name) in trained]
        listed = f" ({', '.join(seen[:10])}{', ...' if len(seen) > 10 else ''})" if seen else ""
        return f"{len(seen)} of the {len(tested)} evaluated classes are among the adapter's training classes{listed}"

    def _text_notes(self) -> list[str]:
        """What is lost of texts, or of the prompts of classes."""
        if isinstance(self.task, RetrievalTask):
            evaluated = chain(*(evaluation.candidates for evaluation in self.task.evaluations))
            return text_notes(self.model, list(dict.fromkeys([*self.task.train_texts, *evaluated])))
        return prompt_notes(self.model, class_prompts(self.method, self._classes(), self.dataset.prompts))

    def _frame_notes(self) -> list[str]:
        """How frames are chosen, if not among all frames of a file."""
        rate, config = self.options.frames_per_second, self.model.config
        if rate is None:
            return []
        short = (
            f"{self.trial.backbone} encodes all frames together and reads no mask: shorter clips repeat frames"
            if config.joint_space_time
            else "shorter clips are padded with masked frames"
        )
        return [
            f"frames: {rate:g} per second of the file's time, and {config.num_frames} of them evenly; {short}. A "
            f"folder of frames counts as taken at {rate:g} per second"
        ]

    def _texts_per_clip(self) -> list[str]:
        """What a method costs whose text features depend on the clip, in texts through the text tower."""
        if self.method.text_varies != "video":
            return []
        per_epoch = len(self.found(self.train)) * self._count(self.task.train_classes, self.options.batch_size)
        views = self.options.views * self.options.crops
        evaluated = sum(
            len(self.found(each.samples)) * views * self._count(each.classes, len(each.candidates))
            for each in self.task.evaluations
        )
        note = (
            f"text features depend on the clip: {per_epoch:,} texts go through the text tower in each epoch, "
            f"{evaluated:,} in the evaluations"
        )
        log.info(note)
        return [note]

    def _batch_notes(self) -> list[str]:
        """In retrieval, whose negatives are the other pairs of a batch: the batch that has fewer than planned."""
        if not (isinstance(self.task, RetrievalTask) and self._trains):
            return []
        pairs, size = len(self.found(self.train)), self.options.batch_size
        if pairs < size:
            return [f"all {pairs} training pairs are one batch, smaller than batch_size={size}: fewer negatives"]
        return (
            [f"the last batch of an epoch has {pairs % size} of {size} pairs: fewer negatives"] if pairs % size else []
        )

    def _count(self, classes: Sequence[str], of_retrieval: int) -> int:
        """How many texts a clip is compared with: the prompts of these classes, or those of retrieval."""
        if isinstance(self.task, RetrievalTask):
            return of_retrieval
        return sum(map(len, class_prompts(self.method, classes, self.dataset.prompts)))

    def _classes(self) -> list[str]:
        """Every class that is trained or evaluated."""
        evaluated = chain(*(evaluation.classes for evaluation in self.task.evaluations))
        return list(dict.fromkeys([*self.task.train_classes, *evaluated]))

    def _loader(self, places: Places, seat: Seat) -> ClipLoader:
        options, manifest = self.options, self.manifest
        evaluated = evaluated_clips(
            self.model, self.backbone, options, seed=derived_seed(self.trial), decoder=self.trial.decoder
        )
        spec = replace(
            evaluated,
            augmentation=self.dataset.augmentation,
            train_views=options.train_views,
            cache=ClipCache(places.cache / "clips"),
        )
        clips = {clip for clip in _clips(self.task) if clip in manifest.found}
        return ClipLoader(
            {clip: manifest.found[clip].path for clip in clips},
            spec,
            workers=min(places.loader_workers, max(1, places.loader_workers // seat.local_count)),
            bad_clips_allowed=options.bad_clips_allowed,
            total_clips=len(clips),
            unreadable={clip: reason for clip, reason in manifest.quarantined.items() if clip in clips},
            spans=manifest.annotations.spans,
            shard=(seat.rank, seat.count),
            pin=self.device.type == "cuda",
        )


def _data(trial: Trial, dataset: Dataset, setting: Setting, places: Places) -> tuple[Manifest, Task]:
    """The files and the task as planned; looked up again only if this process does not know them, or they changed.

    Raises DataError if the files are others than those planned.
    """
    root = dataset.root(places.data_root)
    manifest = known_manifest(dataset, root, places.cache)
    if manifest is not None and manifest.sha256 == trial.manifest_sha256 and not _captions_changed(manifest, trial):
        task = setting.task(manifest.annotations, trial.case)
        if is_current(manifest, _clips(task)):
            return manifest, task
    manifest = new_manifest(dataset, root, places.cache)
    if manifest.sha256 != trial.manifest_sha256:
        raise _changed(f"the files of {trial.dataset}", manifest.sha256, trial.manifest_sha256)
    if _captions_changed(manifest, trial):
        raise _changed(f"the captions of {trial.dataset}", manifest.captions_sha256, trial.captions_sha256)
    return manifest, setting.task(manifest.annotations, trial.case)


def _captions_changed(manifest: Manifest, trial: Trial) -> bool:
    """Whether the captions are others than those planned, in a trial that reads them."""
    return trial.captions_sha256 not in ("", manifest.captions_sha256)


def _clips(task: Task) -> set[str]:
    """Every clip that the task reads."""
    samples = chain(task.train, *(evaluation.samples for evaluation in task.evaluations))
    return {sample.clip for sample in samples}


def _changed(what: str, now: str, planned: str) -> DataError:
    return DataError(
        f"{what} changed since this trial was planned ({now[:12] or 'none'}, planned {planned[:12] or 'none'}); "
        "run the command again to plan anew"
    )
