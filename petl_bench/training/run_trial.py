"""Run one trial from its description to its result. Reads nothing but the trial, its places and its own folder."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from petl_bench.api.dataset import Sample
from petl_bench.api.named_folders import status_command
from petl_bench.api.plugin_identity import refuse_changed_plugins
from petl_bench.api.registry import load_plugin_file
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import EvaluationResult, Notify, Places, Progress, Stop, Trial, TrialResult, go_on
from petl_bench.data.lists.descriptions import described
from petl_bench.data.loading.batches import ClipBatch
from petl_bench.errors import DataError, TrialError, TrialStopped
from petl_bench.models.dual_encoder import trainable_parameters
from petl_bench.models.sites import untouched
from petl_bench.models.tokenizer import overflow_count
from petl_bench.records.layout import ADAPTER, CHECKPOINT, ENCODED, EVALUATED
from petl_bench.training.checkpoint import Pace, save_adapter
from petl_bench.training.distributed import Seat, seat_of, team_of
from petl_bench.training.evaluate import Scored, evaluation_result, score, top_k_accuracy
from petl_bench.training.fit import Fit, fit
from petl_bench.training.job import PreparedTrial
from petl_bench.training.kept import Kept, Listed, Part, nothing, state_sha256
from petl_bench.training.state import state_of
from petl_bench.training.text import class_tokens, description_features
from petl_bench.training.video import encode


def run_trial(
    trial: Trial,
    places: Places,
    folder: Path,
    notify: Notify,
    *,
    adapter: Path | None = None,
    stop: Stop = go_on,
    checkpoint_seconds: float = 30.0,
) -> TrialResult:
    """Train and evaluate one trial; `folder` holds its checkpoint and adapter.

    `stop` is asked after every training step, and after every batch of clips that is evaluated, or encoded before
    training. Where it gives a reason, TrialStopped is raised with it, after what was done was written to the folder
    (see `petl_bench.records.unfinished`). The next call with the same trial and folder goes on from there, and gives
    bit for bit the numbers of a trial that was never stopped (with `training.compile`, up to rounding). The same is
    written every `checkpoint_seconds` seconds as well, later where writing takes long.

    `adapter` is the file of the trial that this one starts from (`trial.start_from`); such a trial only evaluates.

    With `training.processes` = N, N processes share the trial. This one starts the others, unless an outside launcher
    has started all N (see `join_trial`). The result is that of one process up to rounding, with three exceptions: what
    a method draws in training (dropout) is drawn in each process for its own clips; an extra loss over the classes of a
    batch (msta.consistency_classes=batch) sees one process's part of it, as it sees one micro-batch; and buffers and
    extra state (a batch norm's running statistics) are those of the first process, given to all after every step.

    Raises PetlBenchError (TrialError, DataError, ...) where the trial cannot go on, with what to do about it.
    """
    started = time.monotonic()
    seat = seat_of(int(trial.training["processes"]))
    if seat.rank > 0:
        raise ValueError(f"process {seat.rank + 1} of {seat.count} must call join_trial, the first one run_trial")
    member = partial(join_trial, trial, places, folder, adapter=adapter)
    with _threads(trial, seat):
        job = PreparedTrial.prepare(trial, places, folder, notify, adapter=adapter, seat=seat, stop=stop)
        job.pace = Pace(checkpoint_seconds)
        durations = {"prepare": time.monotonic() - started}
        with job.loader, _memory_told(job), _team(job, seat, member):
            history, trained_s = _train(job, durations)
            evaluations, evaluated_s = _evaluate_all(job, durations)
        job.refuse_changed_clips()
        durations["total"] = trained_s + evaluated_s + time.monotonic() - started
        return _result(job, history, evaluations, durations)


def join_trial(
    trial: Trial,
    places: Places,
    folder: Path,
    *,
    adapter: Path | None = None,
    seat: Seat | None = None,
) -> None:
    """What every process of a shared trial but the first one does, while that one is in `run_trial`.

    Under torchrun, or `srun` with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set from SLURM's variables (and
    LOCAL_RANK and LOCAL_WORLD_SIZE for several GPUs), the process of rank 0 makes the attempt as always
    (`petl_bench.running.attempts.execute`), and every other one calls this with the same trial and places instead;
    it writes nothing, and raises what goes wrong. WORLD_SIZE must be the trial's `training.processes`. Trials may
    follow each other in the same processes. The others need not see the folder of the first one, but they need the
    data and the weights, and the adapter file where a trial starts from one.

    Where the first process is asked to stop, TrialStopped is raised in all of them, after the same step or batch.
    """
    for plugin in places.plugins:
        load_plugin_file(plugin)
    refuse_changed_plugins(trial)
    seat = seat or seat_of(int(trial.training["processes"]))
    with _threads(trial, seat):
        job = PreparedTrial.prepare(trial, places, folder, lambda progress: None, adapter=adapter, seat=seat)
        with job.loader, _memory_told(job), _team(job, seat, None):
            _train(job, {})
            _evaluate_all(job, {})


def _result(
    job: PreparedTrial,
    history: list[dict[str, float]],
    evaluations: dict[str, EvaluationResult],
    durations: dict[str, float],
) -> TrialResult:
    accuracies = {name: result.accuracies for name, result in evaluations.items()}
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


@contextmanager
def _threads(trial: Trial, seat: Seat) -> Iterator[None]:
    """torch's threads while the trial runs: as it says, else this process's part of what there is."""
    before = torch.get_num_threads()
    wanted = trial.training["threads"] or max(1, before // seat.local_count)
    if wanted != before:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        if wanted != before:
            torch.set_num_threads(before)


@contextmanager
def _team(job: PreparedTrial, seat: Seat, member: Callable[..., None] | None) -> Iterator[None]:
    try:
        with team_of(seat, job.device, name=job.trial.key, folder=job.folder, member=member) as job.team:
            yield
    except TrialError as error:
        # Whoever ends a job may end some of its processes before this one stops: that is no failure of the trial.
        reason = job.stop() if seat.count > 1 else ""
        if not reason:
            raise
        raise TrialStopped(reason) from error


@contextmanager
def _memory_told(job: PreparedTrial) -> Iterator[None]:
    """Turn running out of device memory into a line that says what to change; the batch of a step stays the same."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = max(1, (job.options.micro_batch_size or job.options.batch_size) // 2)
        raise TrialError(
            f"out of memory on {job.device}: {str(error).splitlines()[0]} Try fewer clips per pass: "
            f"--set training.micro_batch_size={size} --set training.eval_batch_size={size}"
        ) from error


def _train(job: PreparedTrial, durations: dict[str, float]) -> tuple[list[dict[str, float]], float]:
    """Train, and leave the adapter in the folder; does nothing where nothing is trainable.

    Returns the history, and the seconds that earlier attempts spent on it.
    """
    if trainable_parameters(job.model) == 0 or job.options.epochs == 0 or job.trial.start_from:
        return [], 0.0
    started = time.monotonic()
    train, held_out = _split_for_validation(job)
    found = job.found(train)
    if not found:
        raise DataError(
            f"{job.trial.dataset}: none of the {len(train)} training clips is under {job.manifest.root}. "
            f"See: {status_command(job.dataset, job.manifest.root)}"
        )
    batches, encode_clips = _training_clips(job, found)
    run = Fit(
        model=job.model,
        method=job.method,
        options=job.options,
        batches=batches,
        encode=encode_clips,
        loader=job.loader,
        clips=len(found),
        tokens=class_tokens(job.model, job.task.train_classes, job.dataset.prompts, job.device),
        descriptions=_descriptions(job),
        device=job.device,
        checkpoint=job.folder / CHECKPOINT,
        notify=job.notify,
        select=_selection(job, held_out),
        pace=job.pace,
        stop=job.stop,
        team=job.team,
    )
    fit(run)
    if job.team.first:
        save_adapter(job.folder / ADAPTER, job.trial, state_of(job.model, job.method), job.task.train_classes)
    durations["train"] = run.earlier_s + time.monotonic() - started
    return run.history, run.earlier_s


def _training_clips(
    job: PreparedTrial, found: Sequence[Sample]
) -> tuple[Callable[[int, int], Iterator[ClipBatch]], Callable[[torch.Tensor], torch.Tensor]]:
    """The batches of an epoch from the k-th on, and what makes video features of their frames.

    Where the video tower is left alone and views are fixed, every clip is read and encoded once, before the first
    epoch, and batches hold features in the place of frames.
    """
    if job.options.train_views == "fixed" and untouched(job.model.video):
        features = cache(partial(_fixed_features, job, found))
        return partial(_feature_batches, job, found, features), lambda features: features
    return partial(_frame_batches, job, found), job.model.encode_video


def _frame_batches(job: PreparedTrial, found: Sequence[Sample], epoch: int, start: int) -> Iterator[ClipBatch]:
    yield from job.loader.train_batches(found, epoch, job.options.batch_size, start=start)
    _share_findings(job)


def _feature_batches(
    job: PreparedTrial,
    found: Sequence[Sample],
    features_once: Callable[[], dict[int, torch.Tensor]],
    epoch: int,
    start: int,
) -> Iterator[ClipBatch]:
    features = features_once()
    for planned_rows, planned in job.loader.train_cuts(len(found), epoch, job.options.batch_size)[start:]:
        rows = [row for row in planned_rows if row in features]
        yield ClipBatch(
            frames=torch.stack([features[row] for row in rows]) if rows else torch.empty(0),
            labels=torch.tensor([found[row].label for row in rows], dtype=torch.int64),
            clips=[found[row].clip for row in rows],
            rows=rows,
            planned=planned,
        )


def _fixed_features(job: PreparedTrial, found: Sequence[Sample]) -> dict[int, torch.Tensor]:
    """Features [D] of the training clips that could be read, by their rows; the same in every process."""
    size = job.options.eval_batch_size

    def batches(start: int) -> Iterator[Part]:
        read = job.loader.fixed_batches(found, size, start=start)
        for batch in encode(
            job.model,
            (replace(batch, frames=batch.frames.unsqueeze(1)) for batch in read),
            to_input=lambda frames: frames,
            batch_size=size,
            precision=job.options.precision,
            device=job.device,
        ):
            yield Part(1, batch.rows, batch.features[:, 0].cpu() if batch.rows else batch.features)

    name = "training clips"
    kept = Kept(
        path=job.folder / ENCODED,
        trial=job.trial.key,
        purpose="features",
        lists={name: Listed(found, job.model.config.embed_dim)},
        loader=job.loader,
        pace=job.pace,
        state=lambda: "",  # the video tower is left alone, whatever trains
        stop=job.stop,
        team=job.team,
        keep_whole=True,  # every attempt needs them
    )
    whole = kept.go_through(name, batches, _telling(job, "loading", found))
    _share_findings(job)
    return job.team.share(dict(zip(whole.rows, whole.values, strict=True)))


def _telling(job: PreparedTrial, stage: str, found: Sequence[Sample]) -> Callable[[int], None]:
    return lambda done: job.notify(Progress(stage=stage, step=min(done, len(found)), steps=len(found)))


def _share_findings(job: PreparedTrial) -> None:
    """Tell every process which clips could not be read, and what was odd about others, in any of them."""
    findings = job.team.gather(job.loader.findings())
    unreadable = {clip: reason for of_process, _ in findings for clip, reason in of_process.items()}
    remarks = {clip: remark for _, of_process in findings for clip, remark in of_process.items()}
    job.loader.learn(*job.team.share((unreadable, remarks)))


def _split_for_validation(job: PreparedTrial) -> tuple[list[Sample], list[Sample]]:
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


def _selection(job: PreparedTrial, held_out: Sequence[Sample]) -> Any:
    """The function that scores an epoch for selection, or None where the last epoch counts."""
    if job.options.select == "last":
        return None
    evaluation = job.task.evaluations[0]
    if job.options.select == "val":
        evaluation = Evaluation("validation", job.task.train_classes, tuple(held_out))

    def accuracy(epoch: int, keep_training: Callable[[], None]) -> float:
        kept = _kept_scores(job, f"selection of epoch {epoch}", [evaluation], keep_training)
        scored = _score(job, evaluation, kept)
        job.model.train()
        return job.team.share(top_k_accuracy(scored.labels, scored.scores, 1) if job.team.first else 0.0)

    return accuracy


def _descriptions(job: PreparedTrial) -> dict[str, torch.Tensor]:
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


def _evaluate_all(job: PreparedTrial, durations: dict[str, float]) -> tuple[dict[str, EvaluationResult], float]:
    """Score every evaluation; the results are in the first process alone.

    Returns them, and the seconds that earlier attempts spent on it.
    """
    started = time.monotonic()
    kept = _kept_scores(job, "evaluation", job.task.evaluations)
    results = {}
    for evaluation in job.task.evaluations:
        scored = _score(job, evaluation, kept)
        if not job.team.first:
            continue
        missing = job.missing(evaluation.samples)
        unreadable = _not_scored(job, evaluation, scored)
        if not scored.clips:
            raise DataError(
                f"evaluation {evaluation.name!r} of {job.trial.dataset}: none of its {len(evaluation.samples)} clips "
                f"could be scored ({len(missing)} missing, {len(unreadable)} unreadable)"
            )
        groups = job.groups(scored.clips)
        results[evaluation.name] = evaluation_result(evaluation, scored, groups, missing, unreadable)
    durations["evaluate"] = kept.earlier_s + time.monotonic() - started
    return results, kept.earlier_s


def _kept_scores(
    job: PreparedTrial, purpose: str, evaluations: Sequence[Evaluation], before: Callable[[], None] = nothing
) -> Kept:
    """Where scores of evaluations are kept, of the model as it is now."""
    return Kept(
        path=job.folder / EVALUATED,
        trial=job.trial.key,
        purpose=purpose,
        lists={each.name: Listed(job.found(each.samples), len(each.classes), each.classes) for each in evaluations},
        loader=job.loader,
        pace=job.pace,
        state=cache(lambda: state_sha256(state_of(job.model, job.method))),
        stop=job.stop,
        team=job.team,
        before=before,
    )


def _score(job: PreparedTrial, evaluation: Evaluation, kept: Kept) -> Scored:
    """The scores of one evaluation, put together from all processes; in the others than the first one, nothing."""
    found = job.found(evaluation.samples)
    size, precision = job.options.eval_batch_size, job.options.precision

    def batches(start: int) -> Iterator[Part]:
        encoded = encode(
            job.model,
            job.loader.test_batches(found, size, start=start),
            to_input=job.loader.to_input,
            batch_size=size,
            precision=precision,
            device=job.device,
        )
        for batch in score(
            job.model,
            evaluation,
            job.encoded.of(evaluation.samples, encoded, start),
            prompts=job.dataset.prompts,
            precision=precision,
            device=job.device,
        ):
            yield Part(1, batch.rows, torch.from_numpy(batch.scores))

    whole = kept.go_through(evaluation.name, batches, _telling(job, "evaluating", found))
    _share_findings(job)
    clips = [found[row] for row in whole.rows]
    scores = whole.values.reshape(len(clips), len(evaluation.classes)).numpy()
    return Scored(whole.rows, [each.clip for each in clips], [each.label for each in clips], scores)


def _not_scored(job: PreparedTrial, evaluation: Evaluation, scored: Scored) -> dict[str, str]:
    """The clips of an evaluation that could not be read in it. One that was scored is not among them, though it may
    have become unreadable since."""
    done = set(scored.rows)
    left = [sample.clip for row, sample in enumerate(job.found(evaluation.samples)) if row not in done]
    return job.unreadable(left)
