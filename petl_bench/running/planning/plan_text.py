"""A plan in words, for `--dry-run`: its trials with their keys, what each reads, and an estimate."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from petl_bench.api.launcher import Job
from petl_bench.api.trial import Trial
from petl_bench.errors import StoreError
from petl_bench.records.layout import trial_folder
from petl_bench.records.read import read_record
from petl_bench.running.planning.capacity import disk_lines
from petl_bench.running.planning.plan import Plan
from petl_bench.running.planning.plan_data import Clips
from petl_bench.system.words import columns, duration

_METHOD = 1  #: its column


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan as lines of text: one per trial, then the sums and the estimate.

    Trials on several backbones have one more column, the backbone.
    """
    rows = [_headings(plan), *(_row(plan, job) for job in plan.jobs)]
    backbones = ["backbone", *(job.trial.backbone for job in plan.jobs)]
    if len(set(backbones)) > 2:
        rows = [[*row[: _METHOD + 1], name, *row[_METHOD + 1 :]] for row, name in zip(rows, backbones, strict=True)]
    yield from columns(rows)
    yield ""
    yield f"{len(plan.jobs)} trials, {len(plan.done)} done, {len(plan.to_do)} to run into {plan.output}"
    yield estimate(plan)
    yield from disk_lines(plan)
    for reason in plan.standing.refused.values():
        yield f"not run: {reason}"


def _headings(plan: Plan) -> list[str]:
    pairs = " or pairs" if any(job.trial.captions_sha256 for job in plan.jobs) else ""
    training = f"train clips{pairs} x epochs"
    return ["key", "method", "data set", "split", "shots", "seed", "trainable", training, "test clips", "state"]


def _row(plan: Plan, job: Job) -> list[str]:
    trial, clips = job.trial, plan.clips[job.trial.key]
    known = bool(trial.manifest_sha256)
    return [
        trial.key[:12] if known and trial.weights_sha256 else "-",
        trial.method,
        f"{trial.dataset} {trial.part}".strip(),
        trial.split or "-",
        "all" if trial.shots is None else str(trial.shots),
        str(trial.seed),
        f"{plan.trainable[trial.key]:,}",
        _training(trial, clips, known),
        _of(clips.test, clips.test_listed) if known else "?",
        _state(plan, trial.key),
    ]


def _state(plan: Plan, key: str) -> str:
    if key in plan.standing.refused:
        return "damaged"
    if key in plan.standing.to_adapt:
        return "to run again, its adapter is lost"
    return "done" if key in plan.done else "to run"


def _training(trial: Trial, clips: Clips, known: bool) -> str:
    """What a trial trains on: its clips, in retrieval pairs of a clip and a caption, or nothing if it starts from the
    adapter of another one."""
    if trial.start_from:
        return f"adapter of {trial.start_from[:12]}" if known else "adapter of another"
    pairs = " pairs" if trial.captions_sha256 else ""
    return f"{_of(clips.train, clips.train_listed) if known else '?'}{pairs} x {trial.training['epochs']}"


def _of(found: int, listed: int) -> str:
    return str(found) if found == listed else f"{found} of {listed}"


def estimate(plan: Plan, times: int = 1) -> str:
    """Clips, or pairs, through the model, as far as their data is here; a time too if trials of the same method have
    been timed in this folder. `times`: as many such plans."""
    missing = ", ".join(plan.without_data)
    if missing and not any(job.trial.manifest_sha256 for job in plan.to_do):
        return f"estimate: clips and time are not known without the data of {missing}"
    trained, views, units = 0, 0, set()
    for job in plan.to_do:
        clips, training = plan.clips[job.trial.key], job.trial.training
        trained += 0 if job.trial.start_from else clips.train * training["epochs"]
        units.add("pairs" if job.trial.captions_sha256 else "clips")
        views += clips.test * training["views"] * training["crops"]
    what = " and ".join(sorted(units)) or "clips"
    text = f"estimate: at most {times * trained:,} {what} through training, {times * views:,} views through evaluation"
    text += f", without those of {missing}, whose data is not here" if missing else ""
    seconds = _seconds_by_method(plan)
    timed = [seconds[_kind(job)] for job in plan.to_do if _kind(job) in seconds]
    if not timed:
        return f"{text}; the time is known once trials have run into {plan.output}"
    took, count = duration(times * sum(timed)), times * len(timed)
    return f"{text}; {took} one after the other for the {count} trials whose like has run here"


def _seconds_by_method(plan: Plan) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for job in plan.jobs:
        if job.trial.key in plan.done:
            with contextlib.suppress(StoreError, KeyError):
                record = read_record(trial_folder(plan.output, job.trial.key))
                found[_kind(job)].append(float(record["durations_s"]["total"]))
    return {kind: median(seconds) for kind, seconds in found.items()}


def _kind(job: Job) -> tuple[str, ...]:
    return job.trial.method, job.trial.dataset, job.trial.backbone
