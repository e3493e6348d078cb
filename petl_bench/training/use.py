"""What an adapter file says to be used without its trial's folder: the trial, prompts, classes, how clips are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from petl_bench.api.prompts import Prompts
from petl_bench.api.retrieval import RetrievalTask
from petl_bench.api.setting import Task
from petl_bench.api.trial import Trial
from petl_bench.data.loading.clip_preparation import ClipSpec

#: Fields of a `ClipSpec` that decide nothing in evaluation.
NOT_IN_EVALUATION = ("augmentation", "train_views", "cache", "read")


def read_as(spec: ClipSpec) -> dict[str, Any]:
    """How clips are read in evaluation, as plain values: frames, size in pixels, normalisation, views and so on."""
    return {name: value for name, value in vars(spec).items() if name not in NOT_IN_EVALUATION}


def described_use(trial: Trial, prompts: Prompts, task: Task, spec: ClipSpec) -> dict[str, Any]:
    """What a reader of the adapter file alone must know to use it as its trial's evaluation does. No paths are in it.

    Returns:
        `trial`: its stored fields without `locations`; `prompts`: the templates of class prompts; `evaluations`: the
        classes of each, none in retrieval; `clips`: how they are read (`read_as`).
    """
    evaluated = () if isinstance(task, RetrievalTask) else task.evaluations
    return {
        "trial": {name: value for name, value in trial.stored().items() if name != "locations"},
        "prompts": {"templates": list(prompts.templates), "cleaned": prompts.cleaned},
        "evaluations": {each.name: list(each.classes) for each in evaluated},
        "clips": read_as(spec),
    }


def prompts_of(use: Mapping[str, Any]) -> Prompts:
    """The prompts that `described_use` gave."""
    return Prompts(tuple(use["prompts"]["templates"]), bool(use["prompts"]["cleaned"]))
