"""The one training loop. B clips, T frames, C classes, D embedding channels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from petl_bench.api.trial import Notify, Progress, Stop, go_on
from petl_bench.data.loading.batches import ClipBatch, ClipLoader
from petl_bench.errors import TrialError, TrialStopped
from petl_bench.models.finite import not_finite, tensors_in
from petl_bench.training.checkpoint import Pace, decide, load_checkpoint, save_checkpoint
from petl_bench.training.distributed import Then
from petl_bench.training.hooks import overrides
from petl_bench.training.schedule import learning_rate
from petl_bench.training.seeding import random_state, restore_random_state
from petl_bench.training.state import State, extra_state_of, has_extra_state, load_state, state_of
from petl_bench.training.step import Learner, LossNotFiniteError

#: epoch (from 1) -> percentages by which epochs are chosen, one best epoch for each: the model is left at that of
#: `ACCURACY`; the states of others are kept in `Fit.best`. The second argument keeps the training, and is to be called,
#: in every process, before anything of that evaluation is kept for another attempt.
Select = Callable[[int, Callable[[], None]], Mapping[str, float]]
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Best:
    """The best epoch (from 1) by one percentage, and what training had left then."""

    percent: float
    epoch: int
    state: State


@dataclass(kw_only=True)
class Fit(Learner):
    """One training: a learner, what it is trained on, and how far it is."""

    batches: Callable[[int, int], Iterable[ClipBatch]]  #: epoch, k (both from 0) -> its batches from the k-th on
    loader: ClipLoader  #: behind `batches`; what it found out about clips goes into the checkpoint
    clips: int  #: clips per epoch, for the schedule
    checkpoint: Path
    notify: Notify
    select: Select | None = None  #: None: the last epoch counts
    pace: Pace = field(default_factory=lambda: Pace(30.0))
    stop: Stop = go_on
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)  #: by the name of what they were chosen by
    started: float = field(default_factory=time.monotonic)
    stop_reason: str = ""
    earlier_s: float = 0.0  #: seconds that earlier attempts spent, up to the checkpoint
    prepare: Callable[[], None] | None = None  #: called before the first epoch of the first attempt

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may have fewer clips."""
        return math.ceil(self.clips / self.options.batch_size)


@dataclass
class Epoch:
    """The epoch under way, over all processes: how far it is, and what its row of the history will be made from."""

    number: int = 0  #: from 0
    steps: int = 0  #: that are done
    clips: int = 0
    correct: int = 0
    loss: float = 0.0  #: sum over clips
    learning_rate: float = 0.0  #: of the last step
    seconds: float = 0.0  #: in all attempts

    def row(self) -> dict[str, float]:
        """The row of the history. Raises TrialError if no clip could be read."""
        if self.clips == 0:
            raise TrialError(f"epoch {self.number + 1}: no readable training clip is left")
        return {
            "epoch": self.number + 1,
            "loss": self.loss / self.clips,
            "train_accuracy": 100.0 * self.correct / self.clips,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }


def fit(run: Fit) -> None:
    """Train for `options.epochs` epochs, or go on from the checkpoint if there is one.

    Leaves the model at the chosen epoch: the last, or the best by `ACCURACY` if `run.select` tells it. Every process of
    `run.team` calls this, and all end with the same model; the first one decides when to write a checkpoint or to stop.

    Raises:
        TrialError: At the first loss that is not finite, after an epoch that leaves anything not finite, and if fp16
            skipped every step; the last good checkpoint stays.
        TrialStopped: If `run.stop` gives a reason, after a checkpoint was written.
    """
    epoch = _resume(run) or _begin(run)
    to_train = epoch.number < run.options.epochs
    while epoch.number < run.options.epochs:
        _train_epoch(run, epoch)
        _end_epoch(run, epoch)
        epoch = Epoch(epoch.number + 1)
    if to_train:
        _refuse_skipped(run)
        _save(run, epoch, run.team.gather(_of_process(run)))
    run.averages.finish()
    if ACCURACY in run.best:
        load_state(run.model, run.method, run.best[ACCURACY].state)


def _begin(run: Fit) -> Epoch:
    """What the method prepares is kept at once, in a checkpoint before the first step."""
    if run.prepare is not None:
        run.prepare()
        _save(run, Epoch(), run.team.gather(_of_process(run)))
    return Epoch()


def _train_epoch(run: Fit, epoch: Epoch) -> None:
    """What is left of one pass over the training clips.

    Batch k of an epoch has its place in the schedule whatever can be read of it; one that holds no readable clip
    changes nothing.
    """
    run.model.train()
    began = time.monotonic() - epoch.seconds
    for batch in run.batches(epoch.number, epoch.steps):
        step = epoch.number * run.steps_per_epoch + epoch.steps
        epoch.learning_rate = _set_learning_rate(run, step)
        run.epoch, run.number = epoch.number, step
        try:
            totals = run.step(batch, partial(_wish, run))
        except LossNotFiniteError as error:
            at = f"step {step + 1} (epoch {epoch.number + 1})"
            own = [f"{run.method.name}.{hook}(step)" for hook in ("scores", "objective") if overrides(run.method, hook)]
            by = f" (it is made by {' and '.join(own)})" if own else ""
            raise TrialError(f"the loss is not finite at {at}, clips {error.named}{by}; {_what_to_try(run)}") from error
        epoch.steps += 1
        epoch.clips += totals.clips
        epoch.correct += totals.correct
        epoch.loss += totals.loss * batch.planned
        epoch.seconds = time.monotonic() - began
        _tell(run, epoch)
        if totals.then != Then.GO_ON:
            _save(run, epoch, run.team.gather(_of_process(run)))
        if totals.then == Then.STOP:
            raise TrialStopped(run.team.share(run.stop_reason))


def _tell(run: Fit, epoch: Epoch) -> None:
    if epoch.clips == 0:
        return
    step, steps = epoch.number * run.steps_per_epoch + epoch.steps, run.options.epochs * run.steps_per_epoch
    run.notify(
        Progress(
            stage="training",
            epoch=epoch.number + 1,
            epochs=run.options.epochs,
            step=step,
            steps=steps,
            loss=epoch.loss / epoch.clips,
            accuracy=100.0 * epoch.correct / epoch.clips,
            accuracy_of="accuracy" if run.positives is None else "V2T R@1 in the batch",
            seconds_left=epoch.seconds / epoch.steps * (steps - step),
        )
    )


def _end_epoch(run: Fit, epoch: Epoch) -> None:
    """Write the epoch's row, and keep its model if it is the best so far."""
    row = epoch.row()
    _refuse_not_finite(run, epoch)
    run.averages.after_epoch(epoch.number, run.options.epochs)
    if run.select is not None and _is_evaluated(run, epoch.number + 1):
        before = run.team.gather(_of_process(run))
        # The next attempt goes on with this evaluation, for which the training must be kept once.
        keep_training = cache(lambda: _save(run, epoch, before))
        with run.averages.applied():
            percentages = run.select(epoch.number + 1, keep_training)
            row |= {f"selection_{name}": percent for name, percent in percentages.items()}
            better = {name: percent for name, percent in percentages.items() if _is_better(run, name, percent)}
            if better:
                state = state_of(run.model, run.method)
                run.best |= {name: Best(percent, epoch.number + 1, state) for name, percent in better.items()}
    run.history.append(row)


def _is_better(run: Fit, name: str, percent: float) -> bool:
    """Whether a percentage is the best so far; the first of equal ones stays."""
    return name not in run.best or percent > run.best[name].percent


def _is_evaluated(run: Fit, epoch: int) -> bool:
    """Whether an epoch (from 1) may be selected: the first, every `eval_every`-th and the last."""
    return epoch in (1, run.options.epochs) or epoch % run.options.eval_every == 0


def _set_learning_rate(run: Fit, step: int) -> float:
    rate = learning_rate(
        step,
        peak=run.options.learning_rate,
        warmup_steps=round(run.options.warmup_epochs * run.steps_per_epoch),
        total_steps=run.options.epochs * run.steps_per_epoch,
        final_ratio=run.options.final_lr_ratio,
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    return rate


def _wish(run: Fit) -> Then:
    then, run.stop_reason = decide(run.team, run.stop, run.pace)
    return then


def _of_process(run: Fit) -> dict[str, Any]:
    """The part of the state that is each process's own."""
    unreadable, remarks = run.loader.findings()
    return {"random": random_state(run.device), "unreadable": unreadable, "remarks": remarks}


def _save(run: Fit, epoch: Epoch, processes: list[dict[str, Any]]) -> None:
    """Write the checkpoint, in the first process; `processes` are the parts of all, by rank. Raises TrialError, in all
    of them, if anything is not finite."""
    _refuse_not_finite(run, epoch)
    if not run.team.first:
        return
    with run.averages.set_aside():
        state = state_of(run.model, run.method)
    with run.pace.writing():
        save_checkpoint(
            run.checkpoint,
            {
                "epoch": asdict(epoch),
                "state": state,
                "averages": run.averages.state(),
                "optimizer": run.optimizer.state_dict(),
                "scaler": run.scaler.state_dict(),
                "processes": processes,
                "history": run.history,
                **_best_stored(run.best),
                "seconds": run.earlier_s + time.monotonic() - run.started,
            },
        )


def _resume(run: Fit) -> Epoch | None:
    """Restore the checkpoint, if any, which the first process reads for all; returns the epoch to go on with."""
    state = run.team.share(load_checkpoint(run.checkpoint) if run.team.first else None)
    if state is None:
        return None
    load_state(run.model, run.method, state["state"])
    run.averages.load(state.get("averages", {}))
    run.optimizer.load_state_dict(state["optimizer"])
    run.scaler.load_state_dict(state["scaler"])
    own = state["processes"][run.team.seat.rank]
    restore_random_state(own["random"], run.device)
    run.loader.learn(own["unreadable"], own["remarks"])
    run.history[:] = state["history"]
    run.best = _best_restored(state)
    run.earlier_s = state["seconds"]
    return Epoch(**state["epoch"])


def _best_stored(best: Mapping[str, Best]) -> dict[str, Any]:
    """The best epochs in a checkpoint; that of `ACCURACY` as in checkpoints that hold no other one."""
    own = best.get(ACCURACY)
    others = {name: vars(each) for name, each in best.items() if name != ACCURACY}
    stored = {"best_accuracy": own.percent if own else -1.0, "best_state": own.state if own else None}
    return {**stored, "best_epoch": own.epoch if own else 0, "best_by": others}


def _best_restored(checkpoint: Mapping[str, Any]) -> dict[str, Best]:
    best = {name: Best(**values) for name, values in checkpoint.get("best_by", {}).items()}
    if checkpoint["best_state"] is not None:
        epoch = checkpoint.get("best_epoch", 0)
        best[ACCURACY] = Best(checkpoint["best_accuracy"], epoch, checkpoint["best_state"])
    return best


def _refuse_not_finite(run: Fit, epoch: Epoch) -> None:
    """Raise TrialError if a parameter, buffer, moment of the optimiser or extra state is not finite.

    Every process has the same ones, and so the same answer.
    """
    tensors = dict(run.model.adapter_tensors())
    for name, parameter in run.model.named_parameters():
        for kind, value in run.optimizer.state.get(parameter, {}).items():
            tensors[f"{name} ({kind} of the optimiser)"] = value
    if has_extra_state(run.method):
        tensors |= dict(tensors_in(extra_state_of(run.method), "extra_state"))
    if fault := not_finite(tensors):
        raise TrialError(f"after step {epoch.steps} of epoch {epoch.number + 1}, {fault}; {_what_to_try(run)}")


def _refuse_skipped(run: Fit) -> None:
    """Raise TrialError if the loss scaling of fp16 skipped every step, or so many that gradients of the loss itself
    overflow: what is left is not what was to be trained. Some skipped steps at the start are usual."""
    if not run.scaler.is_enabled():
        return
    taken = max((int(state.get("step", 1)) for state in run.optimizer.state.values()), default=0)
    if taken and run.scaler.get_scale() >= 1:
        return
    steps = run.options.epochs * run.steps_per_epoch
    raise TrialError(
        f"{steps - taken} of {steps} steps were skipped, because their gradients were not finite in fp16, and the loss "
        f"scale fell to {run.scaler.get_scale():g}. Try --set training.precision=bf16 or fp32, or more steps"
    )


def _what_to_try(run: Fit) -> str:
    kept = (
        f"the last good checkpoint is {run.checkpoint}" if run.checkpoint.is_file() else "no checkpoint was written yet"
    )
    if run.number == 0 and not run.history:
        return f"{kept}. Nothing was trained yet: look at what the method computes, and at its weights at the start"
    precision = "" if run.options.precision == "fp32" else ", or --set training.precision=fp32"
    return f"{kept}. Try a lower rate: --set training.learning_rate={run.options.learning_rate / 3:.2g}{precision}"
