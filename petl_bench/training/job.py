"""A prepared trial: everything it works with, checked against what was planned."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from petl_bench.analysis.marks import is_demonstration, is_untuned
from petl_bench.api.backbone import Backbone
from petl_bench.api.dataset import Dataset, Sample
from petl_bench.api.method import Method
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.setting import Setting, Task
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import EvaluationResult, Notify, Places, Progress, Stop, Trial, go_on
from petl_bench.data.found.known_manifests import is_current, known_manifest, new_manifest
from petl_bench.data.found.manifest import Manifest
from petl_bench.data.found.tree import canonical
from petl_bench.data.lists.descriptions import Descriptions, described
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.data.loading.clip_preparation import ClipSpec
from petl_bench.errors import DataError, TrialError
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.sites import untouched
from petl_bench.system.environment import computing_versions, describe_machine
from petl_bench.training.checkpoint import Pace, load_adapter
from petl_bench.training.compilation import compile_video
from petl_bench.training.distributed import Seat, Team
from petl_bench.training.seeding import seed_everything
from petl_bench.training.state import load_state
from petl_bench.training.text import prompt_notes
from petl_bench.training.video import Remembered


@dataclass
class PreparedTrial:
    """Everything one trial works with."""

    trial: Trial
    folder: Path
    notify: Notify
    device: torch.device
    options: TrainingOptions
    dataset: Dataset
    setting: Setting
    method: Method
    model: DualEncoder
    backbone_params: int
    manifest: Manifest
    cache: Path  #: of the places
    task: Task
    loader: ClipLoader
    notes: list[str]
    encoded: Remembered
    descriptions: Descriptions | None  #: those that the method's loss reads
    stop: Stop = go_on
    pace: Pace = field(default_factory=lambda: Pace(30.0))  #: of everything that is kept for another attempt
    team: Team = field(default_factory=Team)  #: the processes that share the trial, once they have met

    @classmethod
    def prepare(
        cls,
        trial: Trial,
        places: Places,
        folder: Path,
        notify: Notify,
        *,
        adapter: Path | None = None,
        seat: Seat,
        stop: Stop = go_on,
    ) -> PreparedTrial:
        """Build everything, the same in every process of the trial, and check it against the plan.

        Raises DataError or TrialError where it cannot be had, or is not what was planned.
        """
        notify(Progress(stage="loading"))
        options = TrainingOptions(**trial.training)
        device = resolve_device(places.device, seat)
        seed_everything(_derived_seed(trial))
        dataset = DATASETS.get(trial.data_plugin).called(
            trial.dataset, **trial.dataset_options, **trial.locations.get(trial.dataset, {})
        )
        setting = SETTINGS.get(trial.setting)(**trial.setting_options)
        method = METHODS.get(trial.method)(**trial.hyper_parameters, **trial.locations.get(trial.method, {}))
        manifest, task = _data(trial, dataset, setting, places)
        descriptions = _checked_descriptions(trial, method, dataset, task, manifest)
        backbone: Backbone = BACKBONES.get(trial.backbone)(**trial.backbone_options)
        model = create_model(trial.backbone, weights=_weights(trial, places), **backbone.config_changes())
        backbone_params = sum(parameter.numel() for parameter in model.parameters())
        method.attach(model)
        _check_count(trial, method, model)
        assumed = backbone.assumptions(trial.weights, trial.weights_sha256)
        notes = [*model.weights_notes, *assumed, *manifest.notes, f"training clips: {task.source}"]
        if trial.start_from:
            notes.append(_start_from(trial, adapter, model, method, task))
        notes += prompt_notes(model, _classes(task), dataset.prompts)
        if seat.count > 1:
            notes.append(f"{seat.count} processes shared every batch, on {device.type}")
        if seat.rank > 0:  # the model began the same in every process; what it drops in training is drawn anew in each
            torch.manual_seed(_derived_seed(trial, seat.rank))
        model.to(device)
        if options.compile:
            compile_video(model, device, places.cache)
        return cls(
            trial=trial,
            folder=folder,
            notify=notify,
            device=device,
            options=options,
            dataset=dataset,
            setting=setting,
            method=method,
            model=model,
            backbone_params=backbone_params,
            manifest=manifest,
            cache=places.cache,
            task=task,
            loader=_loader(trial, places, options, dataset, manifest, task, seat, pin=device.type == "cuda"),
            notes=notes,
            encoded=Remembered(keep=options.select != "last" and untouched(model.video)),
            descriptions=descriptions,
            stop=stop,
        )

    def found(self, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in samples if sample.clip in self.manifest.found]

    def missing(self, samples: Sequence[Sample]) -> list[str]:
        return [sample.clip for sample in samples if sample.clip not in self.manifest.found]

    def unreadable(self, clips: Sequence[str]) -> dict[str, str]:
        return {clip: self.loader.unreadable[clip] for clip in clips if clip in self.loader.unreadable}

    def refuse_changed_clips(self) -> None:
        """Raise DataError, naming the first one, where clips hold something else now than when the trial began.

        What they hold is what the manifest knows of it. A clip that is gone is none of them: it was read, or counts as
        unreadable.
        """
        clips = _clips(self.task)
        if is_current(self.manifest, clips):
            return
        before, now = self.manifest.found, new_manifest(self.dataset, self.manifest.root, self.cache).found
        both = sorted(clips & before.keys() & now.keys())
        changed = [clip for clip in both if now[clip].fingerprint != before[clip].fingerprint]
        if changed:
            raise DataError(
                f"{len(changed)} clips of {self.trial.dataset} were changed while this trial read them; the first: "
                f"{now[changed[0]].path}. Nothing is recorded; run the command again to plan with the files as they are"
            )

    def train_coverage(self) -> dict[str, int]:
        expected = len(self.task.train)
        missing = len(self.missing(self.task.train))
        unreadable = len(self.unreadable([sample.clip for sample in self.task.train]))
        return {
            "expected": expected,
            "missing": missing,
            "unreadable": unreadable,
            "used": expected - missing - unreadable,
        }

    def groups(self, clips: Sequence[str]) -> list[str]:
        """Which clips come from one source video: the group of each, from its list, else from its name."""
        listed = self.manifest.annotations.groups
        return [listed.get(clip) or self.dataset.group_of(clip) for clip in clips]

    def marks(self, evaluations: dict[str, EvaluationResult]) -> list[str]:
        """What qualifies the trial's numbers, as words of `petl_bench.api.marks.MARKS`, sorted."""
        trial, trains = self.trial, self._trains
        unscored = any(result.missing or result.unreadable for result in evaluations.values())
        untuned = is_untuned(trial.method, trial.setting, trial.backbone, self.options.learning_rate)
        holding = {
            "random-weights": trial.weights == "random",
            "best-on-test": self.options.select == "best-on-test",
            "incomplete-coverage": unscored or bool(self.missing(self.task.train)),
            "demonstration": is_demonstration(trial.backbone, trial.weights, trial.dataset),
            "fewer-shots": trains and self._lacks_shots(),
            "shared-recordings": bool(self._shared_recordings()),
            "template-descriptions": self.descriptions is not None and self.descriptions.from_templates,
            "untuned-rate": trains and untuned,
        }
        return sorted(word for word, holds in holding.items() if holds)

    def _lacks_shots(self) -> bool:
        """Whether a class has fewer training clips than the shots that are asked for."""
        counts = Counter(sample.label for sample in self.task.train)
        return any(counts[label] < (self.trial.shots or 0) for label in range(len(self.task.train_classes)))

    def _shared_recordings(self) -> list[str]:
        """The test clips that were cut from a recording of which clips trained too."""
        if not self._trains:
            return []
        trained = set(self.groups([sample.clip for sample in self.task.train]))
        tested = list(dict.fromkeys(sample.clip for each in self.task.evaluations for sample in each.samples))
        return [clip for clip, group in zip(tested, self.groups(tested), strict=True) if group in trained]

    @property
    def _trains(self) -> bool:
        return self.options.epochs > 0 and bool(self.task.train) and trainable_parameters(self.model) > 0

    def remarks(self) -> list[str]:
        """What was odd about clips that were read, in one note; and which test clips share recordings with training."""
        shared = self._shared_recordings()
        sides = "test clips were cut from recordings of which clips trained too; the first:"
        return [*self._odd_clips(), *([f"{len(shared)} {sides} {shared[0]}"] if shared else [])]

    def _odd_clips(self) -> list[str]:
        remarks = sorted(self.loader.remarks.items())
        if not remarks:
            return []
        first = "; ".join(f"{clip}: {remark}" for clip, remark in remarks[:5])
        return [f"{len(remarks)} clips were read with a remark. {first}" + ("; ..." if len(remarks) > 5 else "")]

    def environment(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        prompt = {"prompt_template": str(self.dataset.prompts)}
        used = {**prompt, "device": name, "threads": torch.get_num_threads()}
        return {**describe_machine(), "software": computing_versions(), **used}


def resolve_device(name: str, seat: Seat) -> torch.device:
    """The device of this process. `auto` is CUDA where every process on this machine can have a GPU of its own.

    Raises TrialError for a device that is not there.
    """
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if devices >= seat.local_count else "cpu"
    if not name.startswith("cuda"):
        return torch.device(name)
    if devices == 0:
        raise TrialError("--device cuda: no CUDA device is visible here; use --device cpu, or see petl-bench doctor")
    if devices < seat.local_count:
        raise TrialError(
            f"--device cuda: {seat.local_count} processes share this trial, {devices} CUDA devices are visible here; "
            f"use --set training.processes={devices}"
        )
    return torch.device(name) if seat.count == 1 else torch.device("cuda", seat.local_rank)


def _derived_seed(trial: Trial, rank: int = 0) -> int:
    """One seed per (seed, split, shots), the same for every method, so that methods are compared on the same draws."""
    process = f"/process {rank}" if rank else ""
    return random.Random(f"{trial.seed}/{trial.split}/{trial.shots}{process}").getrandbits(31)


def _data(trial: Trial, dataset: Dataset, setting: Setting, places: Places) -> tuple[Manifest, Task]:
    """The files and the task as planned; looked up again only where this process does not know them, or they changed.

    Raises DataError where the files are others than those planned.
    """
    root = dataset.root(places.data_root)
    manifest = known_manifest(dataset, root, places.cache)
    if manifest is not None and manifest.sha256 == trial.manifest_sha256:
        task = setting.task(manifest.annotations, trial.case)
        if is_current(manifest, _clips(task)):
            return manifest, task
    manifest = new_manifest(dataset, root, places.cache)
    if manifest.sha256 != trial.manifest_sha256:
        raise _changed(f"the files of {trial.dataset}", manifest.sha256, trial.manifest_sha256)
    return manifest, setting.task(manifest.annotations, trial.case)


def _clips(task: Task) -> set[str]:
    """Every clip that the task reads."""
    samples = chain(task.train, *(evaluation.samples for evaluation in task.evaluations))
    return {sample.clip for sample in samples}


def _classes(task: Task) -> list[str]:
    """Every class that is trained or evaluated."""
    return list(dict.fromkeys([*task.train_classes, *chain(*(one.classes for one in task.evaluations))]))


def _checked_descriptions(
    trial: Trial, method: Method, dataset: Dataset, task: Task, manifest: Manifest
) -> Descriptions | None:
    """The descriptions that the method's loss reads. Raises DataError where they are others than those planned."""
    found = described(method, dataset, task, manifest.annotations)
    sha256 = "" if found is None else found.sha256
    if sha256 != trial.descriptions_sha256:
        raise _changed("the descriptions", sha256, trial.descriptions_sha256)
    return found


def _changed(what: str, now: str, planned: str) -> DataError:
    return DataError(
        f"{what} changed since this trial was planned ({now[:12] or 'none'}, planned {planned[:12] or 'none'}); "
        "run the command again to plan anew"
    )


def _weights(trial: Trial, places: Places) -> str | None:
    if trial.weights == "random":
        return None
    return str(places.weights) if places.weights is not None else "auto"


def _check_count(trial: Trial, method: Method, model: DualEncoder) -> None:
    counted, expected = trainable_parameters(model), method.expected_trainable(model.config)
    if counted != expected:
        raise TrialError(
            f"{trial.method}: the model has {counted:,} trainable parameters, the method's formula says {expected:,}. "
            f"See: petl-bench check {trial.method}"
        )


def _start_from(trial: Trial, file: Path | None, model: DualEncoder, method: Method, task: Task) -> str:
    """Load the adapter that the trial starts from; says which of the evaluated classes it was trained on."""
    if file is None:
        raise TrialError(f"{trial.title} starts from the adapter of trial {trial.start_from[:8]}, and none was given")
    metadata, tensors = load_adapter(file)
    if metadata.get("trial") != trial.start_from:
        raise TrialError(
            f"{file} belongs to trial {str(metadata.get('trial'))[:8]}, not to {trial.start_from[:8]}; move the folder "
            "aside and run the command again"
        )
    load_state(model, method, {"tensors": tensors, "extra": metadata["extra_state"]})
    trained = {canonical(name) for name in metadata["train_classes"]}
    tested = dict.fromkeys(name for evaluation in task.evaluations for name in evaluation.classes)
    seen = [name for name in tested if canonical(name) in trained]
    listed = f" ({', '.join(seen[:10])}{', ...' if len(seen) > 10 else ''})" if seen else ""
    return f"{len(seen)} of the {len(tested)} evaluated classes are among the adapter's training classes{listed}"


def _loader(
    trial: Trial,
    places: Places,
    options: TrainingOptions,
    dataset: Dataset,
    manifest: Manifest,
    task: Task,
    seat: Seat,
    *,
    pin: bool,
) -> ClipLoader:
    backbone = BACKBONES.get(trial.backbone)
    recipe = ClipSpec(
        num_frames=backbone.config.num_frames,
        size=backbone.config.image_size,
        mean=backbone.mean,
        std=backbone.std,
        augmentation=dataset.augmentation,
        seed=_derived_seed(trial),
        views=options.views,
        crops=options.crops,
        view_sampling=options.view_sampling,
        eval_resize=options.eval_resize,
        train_views=options.train_views,
        decoder=trial.decoder,
        cache=ClipCache(places.cache / "clips"),
    )
    clips = {clip for clip in _clips(task) if clip in manifest.found}
    return ClipLoader(
        {clip: manifest.found[clip].path for clip in clips},
        recipe,
        workers=min(places.loader_workers, max(1, places.loader_workers // seat.local_count)),
        bad_clips_allowed=options.bad_clips_allowed,
        total_clips=len(clips),
        unreadable={clip: reason for clip, reason in manifest.quarantined.items() if clip in clips},
        shard=(seat.rank, seat.count),
        pin=pin,
    )
