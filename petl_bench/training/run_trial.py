"""Run one trial from its description to its result. Reads nothing but the trial, its places and its own folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from petl_bench.api.dataset import Sample
from petl_bench.api.method import hooks_of
from petl_bench.api.plugins.identity import refuse_changed_plugins
from petl_bench.api.registry import load_plugin_file
from petl_bench.api.retrieval import BEST_EPOCHS, RetrievalEvaluation, RetrievalTask
from petl_bench.api.setting import Evaluation, Task, summarised
from petl_bench.api.trial import Notify, Places, Stop, Trial, TrialResult, go_on, variant_evaluation
from petl_bench.api.tuning import metric_of, tuning_metrics
from petl_bench.errors import PluginError, TrialError, TrialStopped
from petl_bench.models.dual_encoder import trainable_parameters
from petl_bench.models.tokenizer import overflow_count
from petl_bench.records.layout import ADAPTER, CHECKPOINT
from petl_bench.training.checkpoint import Pace, load_adapter, save_adapter
from petl_bench.training.distributed import Seat, seat_of, team_of
from petl_bench.training.fit import ACCURACY, Fit, Select, fit
from petl_bench.training.hooks import calling, overrides
from petl_bench.training.preparation import PreparedTrial
from petl_bench.training.refusals import NOTHING_TO_HOLD_OUT, ONE_CLIP_TO_HOLD_OUT, no_training_clips
from petl_bench.training.retrieval import RECALL, Positives, validation
from petl_bench.training.scoring import Result, Scores, score_all, selection_percentages
from petl_bench.training.state import load_state, state_of
from petl_bench.training.support import SupportClips
from petl_bench.training.text import ClassTexts, class_texts, description_features, plain_texts
from petl_bench.training.training_clips import training_batches
from petl_bench.training.use import described_use


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
    """Train and evaluate one trial.

    A trial that is stopped writes what was done to its folder (see `petl_bench.records.layout`). The next call with
    the same trial and folder goes on from there, and gives bit for bit the numbers of a trial that was never stopped
    (with `training.compile`, up to rounding).

    With `training.processes` = N, N processes share the trial. This one starts the others, unless an outside launcher
    has started all N (see `join_trial`). The result is that of one process up to rounding, with three exceptions: what
    a method draws in training (dropout) is drawn in each process for its own clips; an extra loss over the classes of a
    batch (msta.consistency_classes=batch) sees one process's part of it, as it sees one micro-batch; and buffers and
    extra state (a batch norm's running statistics) are those of the first process, given to all after every step.

    Args:
        trial: What decides the numbers.
        places: Where its files lie, and the device to compute on.
        folder: Holds its checkpoint and adapter; it must exist.
        notify: Told of progress.
        adapter: The file of the trial that this one starts from (`trial.start_from`); such a trial only evaluates.
        stop: Asked after every training step, and after every batch of clips that is evaluated, or encoded before
            training; the trial is stopped if it gives a reason.
        checkpoint_seconds: Seconds between two checkpoints; more if writing one takes long.

    Returns:
        Metrics, per-clip scores, history, durations in seconds, and what else is recorded.

    Raises:
        TrialStopped: `stop` gave a reason; what was done is in the folder.
        PetlBenchError: The trial cannot go on (TrialError, DataError, ...); the message says what to do.
    """
    started = time.monotonic()
    seat = seat_of(int(trial.training["processes"]))
    if seat.rank > 0:
        raise ValueError(f"process {seat.rank + 1} of {seat.count} must call join_trial, the first one run_trial")
    member = partial(join_trial, trial, places, folder, adapter=adapter)
    with _threads(trial, seat):
        pace = Pace(checkpoint_seconds)
        prepared = PreparedTrial(trial, places, folder, notify, adapter=adapter, seat=seat, stop=stop, pace=pace)
        durations = {"prepare": time.monotonic() - started}
        with prepared.loader, _memory_told(prepared), _lone_clip_told(prepared), _team(prepared, seat, member):
            history, trained_s = _train(prepared, durations)
            scores = _evaluate(prepared, durations)
        prepared.refuse_changed_clips()
        durations["total"] = trained_s + scores.earlier_s + time.monotonic() - started
        return _result(prepared, history, scores, durations)


def join_trial(
    trial: Trial,
    places: Places,
    folder: Path,
    *,
    adapter: Path | None = None,
    seat: Seat | None = None,
) -> None:
    """Take part in a trial that another process runs by `run_trial`.

    Under torchrun, or `srun` with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set from SLURM's variables (and
    LOCAL_RANK and LOCAL_WORLD_SIZE for several GPUs), the process of rank 0 makes the attempt
    (`petl_bench.running.attempts.execute`), and every other one calls this with the same trial and places instead;
    it writes nothing, and raises what goes wrong. WORLD_SIZE must be the trial's `training.processes`. Trials may
    follow each other in the same processes. The others need not see the folder of the first one, but they need the
    data and the weights, and the adapter file if the trial starts from one.

    If the first process is asked to stop, TrialStopped is raised in all of them, after the same step or batch.
    """
    for plugin in places.plugins:
        load_plugin_file(plugin)
    refuse_changed_plugins(trial)
    seat = seat or seat_of(int(trial.training["processes"]))
    with _threads(trial, seat):
        prepared = PreparedTrial(trial, places, folder, lambda progress: None, adapter=adapter, seat=seat)
        with prepared.loader, _memory_told(prepared), _lone_clip_told(prepared), _team(prepared, seat, None):
            _train(prepared, {})
            _evaluate(prepared, {})


def _result(
    prepared: PreparedTrial,
    history: list[dict[str, float]],
    scores: Scores,
    durations: dict[str, float],
) -> TrialResult:
    best = {name: prepared.best.get(f"{direction}_{RECALL}") for name, direction in BEST_EPOCHS.items()}
    best_epochs = {name: each.epoch for name, each in best.items() if each is not None}
    in_variants = {
        variant_evaluation(evaluation, name): result
        for name, results in scores.variants.items()
        for evaluation, result in results.items()
    }
    return TrialResult(
        metrics=_metrics(prepared, scores.results, scores.absent) | _of_selection(prepared),
        evaluations={**scores.results, **in_variants},
        absent=scores.absent,
        hooks=hooks_of(type(prepared.method)),
        variants={name: _metrics(prepared, results, scores.absent) for name, results in scores.variants.items()},
        best_epochs=best_epochs,
        trainable_params=trainable_parameters(prepared.model),
        backbone_params=prepared.backbone_params,
        train_clips=prepared.train_coverage(),
        train_unreadable=prepared.unreadable([sample.clip for sample in prepared.task.train]),
        history=history,
        durations_s={name: round(seconds, 3) for name, seconds in durations.items()},
        environment=prepared.environment(),
        notes=[*prepared.notes, *_best_notes(best_epochs), *prepared.remarks()],
        marks=prepared.marks(scores.results),
        train_list=_train_list(prepared.task) if prepared.adapts else "",
    )


def _best_notes(epochs: Mapping[str, int]) -> list[str]:
    """Which epochs are best on the test clips of retrieval, in words."""
    best = " and ".join(f"epoch {epoch} by {BEST_EPOCHS[name].upper()} R@1" for name, epoch in epochs.items())
    return [f"best on the test clips: {best}; the trial's own numbers are those of the last epoch"] if best else []


def _train_list(task: Task) -> str:
    """A row for each training clip, with its label; for each pair of retrieval, clip and text with a tab between."""
    if isinstance(task, RetrievalTask):
        texts = [" ".join(text.split()) for text in task.train_texts]
        return "".join(f"{pair.clip}\t{texts[pair.label]}\n" for pair in task.train)
    return "".join(f"{sample.clip} {sample.label}\n" for sample in task.train)


def _metrics(prepared: PreparedTrial, results: Mapping[str, Result], absent: Mapping[str, str]) -> dict[str, float]:
    accuracies = {name: result.accuracies for name, result in results.items()}
    return tuning_metrics(accuracies) if prepared.trial.tuning else summarised(prepared.setting, accuracies, absent)


def _of_selection(prepared: PreparedTrial) -> dict[str, float]:
    """The accuracy of the selected epoch on the training clips that were held out to select it; nothing if none were,
    or if the trial is one of a tuning, whose metrics of such clips are of others."""
    best = prepared.best.get(ACCURACY)
    if prepared.options.select != "val" or best is None or prepared.trial.tuning:
        return {}
    return {metric_of("held-out", prepared.setting.kind_of(prepared.trial.case)): best.percent}


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
def _team(prepared: PreparedTrial, seat: Seat, member: Callable[..., None] | None) -> Iterator[None]:
    """The processes of the trial, met in `prepared.team`."""
    name, folder = prepared.trial.key, prepared.folder
    try:
        with team_of(seat, prepared.device, name=name, folder=folder, member=member) as prepared.team:
            yield
    except TrialError as error:
        # A scheduler that ends a job may end some of its processes before this one: that is no failure of the trial.
        reason = prepared.stop() if seat.count > 1 else ""
        if not reason:
            raise
        raise TrialStopped(reason) from error


@contextmanager
def _memory_told(prepared: PreparedTrial) -> Iterator[None]:
    """Turn running out of device memory into a line that says what to change; the batch of a step stays the same, if
    the method can train with it in parts."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size = max(1, (prepared.options.micro_batch_size or prepared.options.batch_size) // 2)
        option = "batch_size" if prepared.method.batch_statistics else "micro_batch_size"
        raise TrialError(
            f"out of memory on {prepared.device}: {str(error).splitlines()[0]} Try fewer clips per pass: "
            f"--set training.{option}={size} --set training.eval_batch_size={size}"
        ) from error


@contextmanager
def _lone_clip_told(prepared: PreparedTrial) -> Iterator[None]:
    """Turn torch's error about batch norm of a single value into a line that says what to change. Told when it happens:
    a batch norm over patches takes a batch of one clip."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        size, clips = prepared.options.batch_size, len(prepared.found(prepared.train))
        raise TrialError(
            f"the last batch of an epoch has one clip ({clips} training clips, training.batch_size={size}), of which "
            f"the batch norm of {prepared.trial.method} has no statistics: choose another training.batch_size"
        ) from error


def _train(prepared: PreparedTrial, durations: dict[str, float]) -> tuple[list[dict[str, float]], float]:
    """Prepare, train, and leave the adapter in the folder; does nothing if the method does none of it.

    Returns the history, and the seconds that earlier attempts spent on it.
    """
    trains = trainable_parameters(prepared.model) > 0 and prepared.options.epochs > 0
    made = overrides(prepared.method, "prepare") or overrides(prepared.method, "finish")
    if prepared.trial.start_from or not (trains or made):
        return [], 0.0
    started = time.monotonic()
    found = prepared.found(prepared.train)
    if not found:
        raise no_training_clips(prepared.dataset, len(prepared.train), prepared.manifest.root)
    texts = _training_texts(prepared)
    support = SupportClips(prepared, found, texts)
    history, earlier_s = _fit(prepared, found, texts, support) if trains else ([], 0.0)
    if trains or not _load_prepared(prepared):
        if not trains:
            _prepare(prepared, support)
        _finish(prepared, support)
    durations["train"] = earlier_s + time.monotonic() - started
    return history, earlier_s


def _prepare(prepared: PreparedTrial, support: SupportClips) -> None:
    """What the method makes of the training clips before it trains."""
    with calling(prepared.method, "prepare(support)"):
        prepared.method.prepare(support)
    _refuse_changed_weights(prepared, "prepare(support)")


def _refuse_changed_weights(prepared: PreparedTrial, hook: str) -> None:
    """Raise PluginError if a hook changed weights of the backbone that do not train: no adapter would hold them."""
    if changed := prepared.model.changed_frozen_weight():
        raise PluginError(
            f"{prepared.trial.method}.{hook} changed {changed}, which does not train and is not saved: let it train, "
            "or attach a module with a parameter or a persistent buffer instead"
        )


def _finish(prepared: PreparedTrial, support: SupportClips) -> None:
    """The method's last word on its state, and the adapter file."""
    if overrides(prepared.method, "finish"):
        with calling(prepared.method, "finish(model, support)"):
            prepared.method.finish(prepared.model, support)
        _refuse_changed_weights(prepared, "finish(model, support)")
    if prepared.team.first:
        state = state_of(prepared.model, prepared.method)
        task, whole_task = prepared.method.task, overrides(prepared.method, "prepare")
        save_adapter(
            prepared.folder / ADAPTER,
            prepared.trial,
            state,
            task,
            whole_task or task.kind == "retrieval",
            described_use(prepared.trial, prepared.dataset.prompts, prepared.task, prepared.loader.spec),
        )


def _training_texts(prepared: PreparedTrial) -> ClassTexts:
    """The prompts of the training classes, or the texts of the training pairs."""
    model, task, device = prepared.model, prepared.task, prepared.device
    if isinstance(task, RetrievalTask):
        return plain_texts(model, task.train_texts, device)
    return class_texts(model, prepared.method, task.train_classes, prepared.dataset.prompts, device)


def _load_prepared(prepared: PreparedTrial) -> bool:
    """Load what an earlier attempt left of a method that trains nothing: its adapter, which is finished. False if there
    is none."""
    adapter = prepared.folder / ADAPTER
    kept = load_adapter(adapter) if prepared.team.first and adapter.is_file() else None
    kept = prepared.team.share(kept)
    if kept is None or kept[0].get("trial") != prepared.trial.key:
        return False
    load_state(prepared.model, prepared.method, {"tensors": kept[1], "extra": kept[0]["extra_state"]})
    return True


def _fit(
    prepared: PreparedTrial, found: Sequence[Sample], texts: ClassTexts, support: SupportClips
) -> tuple[list[dict[str, float]], float]:
    if prepared.options.select == "val":
        retrieval = isinstance(prepared.task, RetrievalTask)
        if not prepared.held_out:
            raise TrialError(ONE_CLIP_TO_HOLD_OUT if retrieval else NOTHING_TO_HOLD_OUT)
        held, whole = len(prepared.held_out), len(prepared.task.train)
        what = "pairs of a training clip and a text" if retrieval else "training clips"
        prepared.notes.append(f"{held} of {whole} {what} were held out to select the epoch")
    batches, encode = training_batches(prepared, found)
    run = Fit(
        model=prepared.model,
        method=prepared.method,
        options=prepared.options,
        texts=texts,
        classes=prepared.task.train_classes,
        seed=prepared.trial.seed,
        descriptions=_descriptions(prepared),
        device=prepared.device,
        encode=encode,
        batches=batches,
        loader=prepared.loader,
        clips=len(found),
        checkpoint=prepared.folder / CHECKPOINT,
        notify=prepared.notify,
        select=_selection(prepared, prepared.held_out),
        pace=prepared.pace,
        stop=prepared.stop,
        team=prepared.team,
        positives=Positives(found) if isinstance(prepared.task, RetrievalTask) else None,
        prepare=partial(_prepare, prepared, support) if overrides(prepared.method, "prepare") else None,
    )
    fit(run)
    prepared.best = run.best
    return run.history, run.earlier_s


def _selection(prepared: PreparedTrial, held_out: Sequence[Sample]) -> Select | None:
    """The function that scores an epoch for selection, or None if the last epoch counts."""
    if prepared.options.select == "last":
        return None
    evaluation = prepared.task.evaluations[0]
    if prepared.options.select == "best-on-test" and isinstance(evaluation, RetrievalEvaluation):
        _refuse_finish(prepared)
    if prepared.options.select == "val" and isinstance(prepared.task, RetrievalTask):
        evaluation = validation(prepared.task, held_out)
    elif prepared.options.select == "val":
        evaluation = Evaluation("validation", prepared.task.train_classes, tuple(held_out))
    return partial(selection_percentages, prepared, evaluation)


def _refuse_finish(prepared: PreparedTrial) -> None:
    """Raise TrialError if the method makes something of the last epoch that the best ones would lack."""
    if overrides(prepared.method, "finish"):
        raise TrialError(
            f"{prepared.trial.method} finishes the last epoch by a step of its own, which the epochs that are best on "
            "the test clips would lack: use --select last"
        )


def _descriptions(prepared: PreparedTrial) -> dict[str, torch.Tensor]:
    """Frozen description features [C, D] by kind, if the method's loss reads any; what was cut becomes a note."""
    found = prepared.descriptions
    if found is None:
        return {}
    texts = [text for by_class in found.sentences.values() for part in by_class.values() for text in part]
    cut = overflow_count(texts, prepared.model.config.context_length)
    prepared.notes += [f"descriptions: {found.source}", *found.notes]
    if cut:
        prepared.notes.append(f"{cut} of {len(texts)} descriptions are longer than the text context and were cut")
    return description_features(prepared.model, found.sentences, prepared.task.train_classes, prepared.device)


def _evaluate(prepared: PreparedTrial, durations: dict[str, float]) -> Scores:
    """The results of all evaluations, in the first process."""
    started = time.monotonic()
    scores = score_all(prepared)
    durations["evaluate"] = scores.earlier_s + time.monotonic() - started
    return scores
