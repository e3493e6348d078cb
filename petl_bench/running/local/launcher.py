"""The local launcher: trials in this process, or in several worker processes on this machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.launcher import AttemptResult, Job, Launcher, Watcher
from petl_bench.api.options import hyper
from petl_bench.api.registry import BACKBONES, register_launcher
from petl_bench.api.trial import Progress
from petl_bench.errors import UsageError
from petl_bench.running.attempts.agenda import LOOK_EVERY_S, Agenda
from petl_bench.running.attempts.execute import execute
from petl_bench.running.attempts.interrupts import Interrupts, StopRequest
from petl_bench.running.local.workers import run_in_workers

#: A backbone below this many parameters leaves the cores of one process idle: several trials at once are faster.
_SMALL_BACKBONE = 20_000_000
_MOST_LOADERS = 8
#: Memory that a worker with a small backbone takes, torch included.
_WORKER_GIB = 1.5


@register_launcher("local")
class LocalLauncher(Launcher):
    """Trials on this machine: in this process, or in several worker processes.

    With 0 or 1 workers the trials run one after the other in this process, on all its cores. With more, each worker
    runs one trial at a time on its share of the cores; a worker that dies (killed, out of memory) costs its trial
    one attempt and is replaced. Workers on a machine with several GPUs get one GPU each, in turn.

    Without `--workers`: one worker per core for small backbones on a CPU (as far as memory reaches), since a tiny model
    cannot keep several cores busy; one trial at a time for large backbones and on a GPU.
    """

    attempts: int = hyper(2, "how often a trial is started whose worker process dies", minimum=1)

    def run(self, jobs: Sequence[Job], store: Path, watch: Watcher) -> list[AttemptResult]:
        """Run every job; see `Launcher.run`."""
        _refuse_absent_gpu(jobs)
        workers = choose_workers(jobs) if self.workers is None else min(self.workers, len(jobs))
        cores = max(1, usable_cores() // max(1, workers))
        agenda = Agenda([_with_loaders(job, cores) for job in jobs], store, watch, self.attempts)
        with Interrupts(watch.note).taken_over() as stop:
            if workers > 1:
                run_in_workers(agenda, workers, cores, stop)
            else:
                _run_here(agenda, stop)
        return agenda.results()


def choose_workers(jobs: Sequence[Job]) -> int:
    """How many trials to run at once where the user did not say."""
    return 1 if any(_on_gpu(job.places.device) for job in jobs) else workers_on_cpu(jobs)


def workers_on_cpu(jobs: Sequence[Job]) -> int:
    """As `choose_workers`, where there is no GPU; found out without torch."""
    configs = [BACKBONES.get(name).config for name in {job.trial.backbone for job in jobs}]
    if any(_parameters(config) > _SMALL_BACKBONE for config in configs):
        return 1
    memory = psutil.virtual_memory().available / 2**30
    processes = max(int(job.trial.training["processes"]) for job in jobs)
    return max(1, min(usable_cores(), len(jobs) * processes, int(memory / _WORKER_GIB)) // processes)


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        allowed, _, period = quota.read_text().strip().partition(" ")
        if allowed != "max":
            cores = min(cores, max(1, round(int(allowed) / int(period))))
    return cores


def _run_here(agenda: Agenda, stop: StopRequest) -> None:
    while agenda.pending or agenda.waiting:
        job = agenda.next()
        if job is None:
            time.sleep(LOOK_EVERY_S)
            continue
        agenda.watch.started(job)
        with stop.while_trial_tells(_telling(agenda.watch, job)) as notify:
            outcome = execute(job, agenda.store, notify, stop)
        agenda.settle(job, outcome)
        if stop() and (outcome.state == "interrupted" or agenda.pending or agenda.waiting):
            raise KeyboardInterrupt


def _telling(watch: Watcher, job: Job) -> Callable[[Progress], None]:
    return lambda progress: watch.progress(job, progress)


def _on_gpu(device: str) -> bool:
    """Whether trials will run on a GPU, found out without torch where there is plainly none."""
    if device != "auto":
        return device.startswith("cuda")
    if sys.platform == "linux" and not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _with_loaders(job: Job, cores: int) -> Job:
    """Decode in as many processes as a GPU is fed from; a CPU that trains needs its cores for that."""
    if job.places.loader_workers == 0 or not _on_gpu(job.places.device):
        return job
    return replace(job, places=replace(job.places, loader_workers=max(1, min(_MOST_LOADERS, cores - 1))))


def _refuse_absent_gpu(jobs: Sequence[Job]) -> None:
    if any(job.places.device == "cuda" for job in jobs):
        import torch

        if not torch.cuda.is_available():
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu. See: petl-bench doctor")


def _parameters(config: ViCLIPConfig) -> int:
    """About how many parameters: the transformers' matrices and the token table."""
    return sum(12 * width**2 for width in config.block_widths()) + config.vocab_size * config.text_width
