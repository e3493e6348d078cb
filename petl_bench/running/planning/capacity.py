"""How many trials this machine runs at the same time, and what a plan takes on disk (for `--dry-run`).

Estimated from formulas, without torch and without reading data. Sizes are of what is large: tensors of 4 bytes for
every trained parameter, and for every clip a score of 4 bytes for each class. Files of a few kB, such as records and
logs, are not counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.launcher import Job
from petl_bench.api.registry import BACKBONES
from petl_bench.api.trial import Trial
from petl_bench.records.write import stays
from petl_bench.system.environment import usable_cores
from petl_bench.system.words import human

if TYPE_CHECKING:
    from petl_bench.running.planning.plan import Plan

#: A backbone below this many parameters leaves the cores of one process idle: several trials at once are faster.
_SMALL_BACKBONE = 20_000_000
#: Memory that a worker with a small backbone takes, torch included.
_WORKER_GIB = 1.5

_FLOAT = 4
#: A checkpoint holds the parameters and AdamW's two moments of each, and with a selected epoch its parameters too.
_COPIES, _COPIES_SELECTED = 3, 4
#: Names and labels of a clip beside its scores.
_OF_CLIP = 64
#: `petl_bench.data.loading.clip_cache.ClipCache` holds at most so much, and clips of at most so many frames as a whole.
_CACHE_BYTES, _CACHED_FRAMES = 20 * 2**30, 64
#: Frames are cached by their short side; the other one is seldom longer than this many times that.
_LONG_SIDE = 16 / 9


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a plan is going to take. The first three lie in its output folder."""

    adapters: int
    predictions: int
    checkpoints: int  #: at the same time
    cache: int  #: at most, in the user's cache, which other runs share

    @property
    def output(self) -> int:
        """Bytes in the output folder at the worst moment."""
        return self.adapters + self.predictions + self.checkpoints


def workers_on_cpu(jobs: Sequence[Job]) -> int:
    """How many trials to run at once on a machine without a GPU, if the user did not say."""
    if any(_parameters(config) > _SMALL_BACKBONE for config in _configs(jobs).values()):
        return 1
    memory = psutil.virtual_memory().available / 2**30
    processes = max(int(job.trial.training["processes"]) for job in jobs)
    return max(1, min(usable_cores(), len(jobs) * processes, int(memory / _WORKER_GIB)) // processes)


def _configs(jobs: Sequence[Job]) -> dict[str, ViCLIPConfig]:
    """The configuration of each backbone of the jobs, with its options."""
    found: dict[str, ViCLIPConfig] = {}
    for trial in (job.trial for job in jobs):
        if (backbone := _backbone_of(trial)) not in found:
            found[backbone] = BACKBONES.get(trial.backbone)(**trial.backbone_options).model_config
    return found


def _backbone_of(trial: Trial) -> str:
    """The backbone's name and options as one text."""
    return f"{trial.backbone} {sorted(trial.backbone_options.items())}"


def needed(plan: Plan) -> DiskNeed:
    """What the trials of the plan that are still to run take."""
    jobs = plan.to_do
    sizes = {job.trial.key: plan.trainable[job.trial.key] * _FLOAT for job in jobs}
    clips = [plan.clips[job.trial.key] for job in jobs]
    copies = [_COPIES if job.trial.training["select"] == "last" else _COPIES_SELECTED for job in jobs]
    checkpoints = sorted((count * size for count, size in zip(copies, sizes.values(), strict=True)), reverse=True)
    return DiskNeed(
        adapters=sum(sizes[job.trial.key] for job in jobs if stays(job.places.keep_adapter, sizes[job.trial.key])),
        predictions=sum(each.scores * _FLOAT + each.test_listed * _OF_CLIP for each in clips),
        checkpoints=sum(checkpoints[: _at_once(plan)]),
        cache=_cache(plan),
    )


def disk_lines(plan: Plan) -> Iterator[str]:
    """The estimate in words, and a warning if the output's disk has less space than that."""
    if not plan.to_do:
        return
    found, place = needed(plan), _existing(plan.output)
    free = shutil.disk_usage(place).free
    yield f"disk: {_sizes(found, ', '.join(plan.without_data))}; {human(free)} are free for {plan.output}"
    if found.output > free:
        yield (
            f"warning: that does not fit into {plan.output}: choose another --output, fewer trials, or "
            "--keep-adapters small"
        )


def _sizes(found: DiskNeed, missing: str) -> str:
    """The estimate in words. `missing`: data sets that are not here, whose predictions and cache are not known."""
    adapters, checkpoints = human(found.adapters), f"checkpoints at the same time {human(found.checkpoints)}"
    unknown = f"predictions and cache are not known without the data of {missing}"
    if missing and not found.predictions:
        return f"at least {human(found.output)} (adapters {adapters}, {checkpoints}); {unknown}"
    sizes = f"(adapters {adapters}, predictions {human(found.predictions)}, {checkpoints})"
    text = f"{human(found.output)} {sizes}, and at most {human(found.cache)} in the cache"
    return f"at least {text}; {unknown}" if missing else text


def _at_once(plan: Plan) -> int:
    """How many trials run at the same time, at most; with a scheduler, all of them."""
    if plan.spec.launcher != "local":
        return len(plan.to_do)
    if plan.spec.workers is None:
        return workers_on_cpu(plan.to_do)
    return max(1, plan.spec.workers)


def _cache(plan: Plan) -> int:
    """Frames of the clips of each data set, by the largest size that some backbone wants."""
    found: dict[str, int] = {}
    configs = _configs(plan.to_do)
    for job in plan.to_do:
        clips, side = plan.clips[job.trial.key], configs[_backbone_of(job.trial)].image_size
        frame = round(3 * side**2 * _LONG_SIDE)
        size = (clips.train + clips.test) * _CACHED_FRAMES * frame
        found[job.trial.dataset] = max(size, found.get(job.trial.dataset, 0))
    return min(sum(found.values()), _CACHE_BYTES)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.is_dir())


def _parameters(config: ViCLIPConfig) -> int:
    """About how many parameters: the transformers' matrices and the token table."""
    return sum(12 * width**2 for width in config.block_widths()) + config.vocab_size * config.text_width
