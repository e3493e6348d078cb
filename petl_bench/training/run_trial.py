"""Run one trial from its description to its result. Reads nothing but the trial, its places and its own folder."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from petl_bench.data.clip_cache import ClipCache
from petl_bench.data.clip_preparation import Recipe as ClipRecipe
from petl_bench.data.descriptions import described
from petl_bench.data.layout import canonical
from petl_bench.data.loading import ClipLoader
from petl_bench.data.manifest import Manifest, build_manifest
from petl_bench.dataset import Dataset, Sample
from petl_bench.environment import describe_machine
from petl_bench.errors import DataError, TrialError
from petl_bench.method import Method
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder, trainable_parameters
from petl_bench.models.tokenizer import overflow_count
from petl_bench.records import ADAPTER
from petl_bench.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.setting import Evaluation, Setting, Task
from petl_bench.training.checkpoint import load_adapter, save_adapter
from petl_bench.training.evaluate import evaluate, evaluation_result, top_k_accuracy
from petl_bench.training.fit import Fit, fit
from petl_bench.training.seeding import seed_everything
from petl_bench.training.text import class_tokens, description_features
from petl_bench.training_options import TrainingOptions
from petl_bench.trial import EvaluationResult, Notify, Places, Progress, Trial, TrialResult


def run_trial(
    trial: Trial,
    places: Places,
    folder: Path,
    notify: Notify,
    *,
    adapter: Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> TrialResult:
    """Train and evaluate one trial; `folder` holds its checkpoint and adapter.

    `adapter` is the file of the trial that this one starts from (`trial.start_from`); such a trial only evaluates.

    Raises PetlBenchError (TrialError, DataError, ...) where the trial cannot go on, with what to do about it.
    """
    started = time.monotonic()
    job = _Job.prepare(trial, places, folder, notify, adapter)
    durations = {"prepare": time.monotonic() - started}
    with job.loader, _memory_told(job):
        history = _train(job, durations, checkpoint_seconds)
        evaluations = _evaluate_all(job, durations)
    accuracies = {name: {"top1": result.top1, "top5": result.top5} for name, result in evaluations.items()}
    durations["total"] = time.monotonic() - started
    return TrialResult(
        metrics=job.setting.summarise(accuracies),
        evaluations=evaluations,
        trainable_params=trainable_parameters(job.model),
        backbone_params=job.backbone_params,
        train_clips=job.train_coverage(),
        train_unreadable=job.unreadable([sample.clip for sample in job.task.train]),
        history=history,
        durations_s={name: round(seconds, 3) for name, seconds in durations.items()},
        environment=job.environment(),
        notes=[*job.notes, *job.remarks()],
        marks=job.marks(evaluations),
        train_list="".join(f"{sample.clip} {sample.label}\n" for sample in job.task.train) if history else "",
    )


@dataclass
class _Job:
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
    task: Task
    loader: ClipLoader
    notes: list[str]

    @classmethod
    def prepare(cls, trial: Trial, places: Places, folder: Path, notify: Notify, adapter: Path | None) -> _Job:
        notify(Progress(stage="loading"))
        options = TrainingOptions(**trial.training)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        device = resolve_device(places.device)
        seed_everything(_derived_seed(trial))
        dataset = DATASETS.get(trial.dataset)(**trial.dataset_options, **trial.locations.get(trial.dataset, {}))
        setting = SETTINGS.get(trial.setting)(**trial.setting_options)
        method = METHODS.get(trial.method)(**trial.hyper_parameters, **trial.locations.get(trial.method, {}))
        manifest = _manifest(trial, dataset, places)
        task = setting.task(manifest.annotations, trial.case)
        _check_descriptions(trial, method, dataset, task, manifest)
        model = create_model(trial.backbone, weights=_weights(trial, places))
        backbone_params = sum(parameter.numel() for parameter in model.parameters())
        method.attach(model)
        _check_count(trial, method, model)
        notes = [*model.weights_notes, *manifest.notes, f"training clips: {task.source}"]
        if trial.start_from:
            notes.append(_start_from(trial, adapter, model, task))
        return cls(
            trial=trial,
            folder=folder,
            notify=notify,
            device=device,
            options=options,
            dataset=dataset,
            setting=setting,
            method=method,
            model=model.to(device),
            backbone_params=backbone_params,
            manifest=manifest,
            task=task,
            loader=_loader(trial, places, options, dataset, manifest, task),
            notes=notes,
        )

    def found(self, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in samples if sample.clip in self.manifest.found]

    def missing(self, samples: Sequence[Sample]) -> list[str]:
        return [sample.clip for sample in samples if sample.clip not in self.manifest.found]

    def unreadable(self, clips: Sequence[str]) -> dict[str, str]:
        return {clip: self.loader.unreadable[clip] for clip in clips if clip in self.loader.unreadable}

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

    def marks(self, evaluations: dict[str, EvaluationResult]) -> list[str]:
        marks = []
        if self.trial.weights == "random":
            marks.append("random-weights")
        if self.options.select == "best-on-test":
            marks.append("best-on-test")
        if any(result.missing or result.unreadable for result in evaluations.values()) or self.missing(self.task.train):
            marks.append("incomplete-coverage")
        return marks

    def remarks(self) -> list[str]:
        """What was odd about clips that were read, in one note."""
        remarks = sorted(self.loader.remarks.items())
        if not remarks:
            return []
        first = "; ".join(f"{clip}: {remark}" for clip, remark in remarks[:5])
        return [f"{len(remarks)} clips were read with a remark. {first}" + ("; ..." if len(remarks) > 5 else "")]

    def environment(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        prompt = {"prompt_template": self.dataset.template}
        return {**describe_machine(), **prompt, "device": name, "threads": torch.get_num_threads()}


@contextmanager
def _memory_told(job: _Job) -> Iterator[None]:
    """Turn running out of device memory into a line that says what to change; the batch of a step stays the same."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = max(1, (job.options.micro_batch_size or job.options.batch_size) // 2)
        raise TrialError(
            f"out of memory on {job.device}: {str(error).splitlines()[0]} Try fewer clips per pass: "
            f"--set training.micro_batch_size={size} --set training.eval_batch_size={size}"
        ) from error


def resolve_device(name: str) -> torch.device:
    """`auto` is a CUDA device where there is one. Raises TrialError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TrialError("--device cuda: no CUDA device is visible here; use --device cpu, or see petl-bench doctor")
    return torch.device(name)


def _derived_seed(trial: Trial) -> int:
    """One seed per (seed, split, shots), the same for every method, so that methods are compared on the same draws."""
    return random.Random(f"{trial.seed}/{trial.split}/{trial.shots}").getrandbits(31)


def _manifest(trial: Trial, dataset: Dataset, places: Places) -> Manifest:
    manifest = build_manifest(dataset, dataset.root(places.data_root), places.cache)
    if manifest.sha256 != trial.manifest_sha256:
        raise _changed(f"the files of {trial.dataset}", manifest.sha256, trial.manifest_sha256)
    return manifest


def _check_descriptions(trial: Trial, method: Method, dataset: Dataset, task: Task, manifest: Manifest) -> None:
    found = described(method, dataset, task, manifest.annotations)
    sha256 = "" if found is None else found.sha256
    if sha256 != trial.descriptions_sha256:
        raise _changed("the descriptions", sha256, trial.descriptions_sha256)


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


def _start_from(trial: Trial, file: Path | None, model: DualEncoder, task: Task) -> str:
    """Load the adapter that the trial starts from; says which of the evaluated classes it was trained on."""
    if file is None:
        raise TrialError(f"{trial.title} starts from the adapter of trial {trial.start_from[:8]}, and none was given")
    metadata, tensors = load_adapter(file)
    if metadata.get("trial") != trial.start_from:
        raise TrialError(
            f"{file} belongs to trial {str(metadata.get('trial'))[:8]}, not to {trial.start_from[:8]}; move the folder "
            "aside and run the command again"
        )
    model.load_adapter_state(tensors)
    trained = {canonical(name) for name in metadata["train_classes"]}
    tested = dict.fromkeys(name for evaluation in task.evaluations for name in evaluation.classes)
    seen = [name for name in tested if canonical(name) in trained]
    listed = f" ({', '.join(seen[:10])}{', ...' if len(seen) > 10 else ''})" if seen else ""
    return f"{len(seen)} of the {len(tested)} evaluated classes are among the adapter's training classes{listed}"


def _loader(
    trial: Trial, places: Places, options: TrainingOptions, dataset: Dataset, manifest: Manifest, task: Task
) -> ClipLoader:
    backbone = BACKBONES.get(trial.backbone)
    recipe = ClipRecipe(
        num_frames=backbone.config.num_frames,
        size=backbone.config.image_size,
        mean=backbone.mean,
        std=backbone.std,
        augmentation=dataset.augmentation,
        seed=_derived_seed(trial),
        views=options.views,
        crops=options.crops,
        decoder=trial.decoder,
        cache=ClipCache(places.cache / "clips"),
    )
    samples = [*task.train, *(sample for evaluation in task.evaluations for sample in evaluation.samples)]
    clips = {sample.clip for sample in samples if sample.clip in manifest.found}
    return ClipLoader(
        {clip: manifest.found[clip].path for clip in clips},
        recipe,
        workers=places.loader_workers,
        bad_clips_allowed=options.bad_clips_allowed,
        total_clips=len(clips),
    )


def _train(job: _Job, durations: dict[str, float], checkpoint_seconds: float) -> list[dict[str, float]]:
    """Train, leave the adapter in the folder, and return the history; nothing where nothing is trainable."""
    if trainable_parameters(job.model) == 0 or job.options.epochs == 0 or job.trial.start_from:
        return []
    started = time.monotonic()
    train, held_out = _split_for_validation(job)
    found = job.found(train)
    if not found:
        raise DataError(
            f"{job.trial.dataset}: none of the {len(train)} training clips is under {job.manifest.root}. "
            f"See: petl-bench data status {job.trial.dataset} --data-root DIR"
        )
    run = Fit(
        model=job.model,
        method=job.method,
        options=job.options,
        batches=lambda epoch: job.loader.train_batches(found, epoch, job.options.batch_size),
        clips=len(found),
        tokens=class_tokens(job.model, job.task.train_classes, job.dataset.template, job.device),
        descriptions=_descriptions(job),
        device=job.device,
        checkpoint=job.folder / "checkpoint.pt",
        notify=job.notify,
        select=_selection(job, held_out),
        checkpoint_seconds=checkpoint_seconds,
    )
    fit(run)
    save_adapter(job.folder / ADAPTER, job.trial, job.model.adapter_state(), job.task.train_classes)
    durations["train"] = time.monotonic() - started
    return run.history


def _split_for_validation(job: _Job) -> tuple[list[Sample], list[Sample]]:
    """Training clips and, where `select` is val, a seeded part of every class held out from them."""
    if job.options.select != "val":
        return list(job.task.train), []
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in job.task.train:
        by_class[sample.label].append(sample)
    train: list[Sample] = []
    held_out: list[Sample] = []
    for label, samples in sorted(by_class.items()):
        shuffled = random.Random(f"val/{job.trial.seed}/{label}").sample(samples, len(samples))
        count = min(len(samples) - 1, max(1, round(job.options.val_fraction * len(samples))))
        held_out += shuffled[:count]
        train += shuffled[count:]
    if not held_out:
        raise TrialError("--select val needs at least two training clips of some class; use --select last")
    job.notes.append(f"{len(held_out)} of {len(job.task.train)} training clips were held out to select the epoch")
    return train, held_out


def _selection(job: _Job, held_out: Sequence[Sample]) -> Any:
    """The function that scores an epoch for selection, or None where the last epoch counts."""
    if job.options.select == "last":
        return None
    evaluation = job.task.evaluations[0]
    if job.options.select == "val":
        evaluation = Evaluation("validation", job.task.train_classes, tuple(held_out))

    def score(epoch: int) -> float:
        _, labels, scores = _score(job, evaluation)
        job.model.train()
        return top_k_accuracy(labels, scores, 1)

    return score


def _descriptions(job: _Job) -> dict[str, torch.Tensor]:
    """Frozen description features where the method's loss reads them; what was cut or odd becomes a note."""
    found = described(job.method, job.dataset, job.task, job.manifest.annotations)
    if found is None:
        return {}
    texts = [text for by_class in found.sentences.values() for part in by_class.values() for text in part]
    cut = overflow_count(texts, job.model.config.context_length)
    job.notes += [f"descriptions: {found.source}", *found.notes]
    if cut:
        job.notes.append(f"{cut} of {len(texts)} descriptions are longer than the text context and were cut")
    return description_features(job.model, found.sentences, job.task.train_classes, job.device)


def _evaluate_all(job: _Job, durations: dict[str, float]) -> dict[str, EvaluationResult]:
    started = time.monotonic()
    results = {}
    for evaluation in job.task.evaluations:
        clips, labels, scores = _score(job, evaluation)
        missing = job.missing(evaluation.samples)
        unreadable = job.unreadable([sample.clip for sample in evaluation.samples])
        if not clips:
            raise DataError(
                f"evaluation {evaluation.name!r} of {job.trial.dataset}: none of its {len(evaluation.samples)} clips "
                f"could be scored ({len(missing)} missing, {len(unreadable)} unreadable)"
            )
        results[evaluation.name] = evaluation_result(evaluation, clips, labels, scores, missing, unreadable)
    durations["evaluate"] = time.monotonic() - started
    return results


def _score(job: _Job, evaluation: Evaluation) -> tuple[list[str], list[int], Any]:
    found = job.found(evaluation.samples)
    return evaluate(
        job.model,
        evaluation,
        job.loader.test_batches(found, job.options.eval_batch_size),
        template=job.dataset.template,
        batch_size=job.options.eval_batch_size,
        precision=job.options.precision,
        device=job.device,
        on_batch=lambda done: job.notify(Progress(stage="evaluating", step=done, steps=len(found))),
    )
