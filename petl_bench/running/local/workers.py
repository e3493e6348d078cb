"""Worker processes: each runs one trial at a time, and none of them can take the run down.

Every worker has its own pipe, so a killed worker can neither block nor garble what another one says.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import cast

from petl_bench.api.launcher import AttemptResult, Job
from petl_bench.api.trial import Progress
from petl_bench.errors import PetlBenchError, StoreError, UsageError
from petl_bench.records.layout import LOG, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.agenda import LOOK_EVERY_S, Agenda
from petl_bench.running.attempts.execute import execute
from petl_bench.running.attempts.interrupts import STOP_WITHIN_S, STOPPING, StopRequest
from petl_bench.running.attempts.output import refuse_another
from petl_bench.system.processes import interrupts_ignored, watch_parent

_PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True)
class _StoreFault:
    """A worker's last word: the store cannot be written."""

    message: str


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


def run_in_workers(agenda: Agenda, count: int, threads: int, stop: StopRequest) -> None:
    """Run the agenda in `count` processes with that many torch threads each.

    Raises StoreError, UsageError if no worker can be started, or KeyboardInterrupt if `stop` asks for it, after every
    worker has closed its trial.
    """
    workers: dict[int, _Worker] = {}  # by slot, of which there are `count`
    try:
        with stop.while_workers_run():
            while agenda.pending or agenda.waiting or _busy(workers):
                if stop():
                    raise KeyboardInterrupt
                _hand_out(agenda, workers, count, threads)
                _take_in(agenda, workers)
    except (PetlBenchError, KeyboardInterrupt) as error:
        if isinstance(error, PetlBenchError):
            agenda.watch.note(STOPPING)
        _stop(agenda, workers)
        raise
    finally:
        _dismiss(workers)


def _busy(workers: dict[int, _Worker]) -> dict[Connection, int]:
    """The slots of the workers that have a trial, by their pipes."""
    return {worker.pipe: slot for slot, worker in workers.items() if worker.job}


def _hand_out(agenda: Agenda, workers: dict[int, _Worker], count: int, threads: int) -> None:
    for slot in range(count):
        if slot in workers and workers[slot].job is not None:
            continue
        job = agenda.next()
        if job is None:
            return
        if slot not in workers:
            workers[slot] = _start(agenda.store, slot, threads)
        workers[slot].job = job
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: its pipe says so in `_take_in`
            workers[slot].pipe.send(job)
        agenda.watch.started(job)


def _take_in(agenda: Agenda, workers: dict[int, _Worker]) -> None:
    """Take in what workers say for a moment."""
    slots = _busy(workers)
    if not slots:
        time.sleep(LOOK_EVERY_S)
    for pipe in wait(list(slots), timeout=LOOK_EVERY_S) if slots else ():
        slot = slots[cast(Connection, pipe)]
        if not _listen(agenda, workers[slot]):
            del workers[slot]


def _listen(agenda: Agenda, worker: _Worker) -> bool:
    """Take in one message; False if the worker died."""
    job = worker.job
    assert job is not None
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        _bury(agenda, worker, job)
        return False
    if isinstance(message, Progress):
        agenda.watch.progress(job, message)
        return True
    worker.job = None
    if isinstance(message, _StoreFault):
        raise StoreError(message.message)
    agenda.settle(job, message)
    return True


def _bury(agenda: Agenda, worker: _Worker, job: Job) -> None:
    """Close the attempt of a worker that died, and say why it did as far as the system tells."""
    worker.process.join(5.0)
    folder = trial_folder(agenda.store, job.trial.key)
    reason = _cause_of_death(worker.process.exitcode) + _last_words(folder / LOG)
    last = claims.newest(folder)
    if last is not None and last.pid == worker.process.pid and last.ended_at is None:
        claims.finish(folder, last, "failed", reason)
    worker.job = None
    worker.pipe.close()
    agenda.worker_died(job, reason)


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"the worker process ended with status {exitcode}"
    hint = " (often the system ran out of memory: try --workers 1)" if -exitcode == signal.SIGKILL else ""
    return f"the worker process was killed by {signal.Signals(-exitcode).name}{hint}"


def _last_words(log: Path) -> str:
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
    except OSError:
        return ""
    last = next(filter(None, reversed(lines)), "")
    return f"; last line of its log: {last[:200]}" if last and not last.startswith("---") else ""


def _start(store: Path, slot: int, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    try:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, store, slot, threads), name=f"petl-bench worker {slot}")
        with interrupts_ignored():
            process.start()
    except OSError as error:
        raise UsageError(
            f"cannot start worker process {slot + 1}: {error.strerror}. Try fewer: --workers 1; or raise the limits of "
            "open files (ulimit -n) and processes (ulimit -u)"
        ) from error
    there.close()
    return _Worker(process, here)


def _stop(agenda: Agenda, workers: dict[int, _Worker]) -> None:
    """Ask every busy worker to stop its trial, and wait for it; an interrupt ends them at once."""
    busy = _busy(workers)
    try:
        for slot in busy.values():
            workers[slot].process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        while busy and (left := deadline - time.monotonic()) > 0:
            for pipe in wait(list(busy), timeout=left):
                if _has_stopped(agenda, workers[busy[cast(Connection, pipe)]]):
                    del busy[cast(Connection, pipe)]
    finally:
        for slot in busy.values():
            workers[slot].process.kill()


def _has_stopped(agenda: Agenda, worker: _Worker) -> bool:
    """Take in one message of a worker that was asked to stop; True if it was its last one."""
    job = worker.job
    assert job is not None
    try:
        message = worker.pipe.recv()
    except Exception:  # its end, if it had done nothing yet; or an interrupt had cut a message in two
        return True
    if isinstance(message, Progress):
        agenda.watch.progress(job, message)
        return False
    if isinstance(message, AttemptResult):
        agenda.settle(job, message)
    return True


def _dismiss(workers: dict[int, _Worker]) -> None:
    for worker in workers.values():
        worker.pipe.close()  # the worker reads the end of its pipe and leaves
    for worker in workers.values():
        worker.process.join(5.0)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


# In the worker process


def _work(pipe: Connection, store: Path, slot: int, threads: int) -> None:
    """The life of a worker: trials come in through the pipe, progress and outcomes go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A scheduler's warning before a time limit reaches every process of a job; the parent acts on it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    watch_parent()
    # Read by torch and its libraries when they are loaded, which is not yet.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    try:
        stop = StopRequest()
        # Until here, with no trial to close, SIGTERM simply ends the process.
        signal.signal(signal.SIGTERM, partial(_ask_to_stop, stop))
        while not stop():
            job = pipe.recv()
            _take_gpu(job.places.device, slot)
            pipe.send(_run_job(job, store, pipe, stop))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return


def _run_job(job: Job, store: Path, pipe: Connection, stop: StopRequest) -> AttemptResult | _StoreFault:
    try:
        refuse_another(store, job.output_id)  # before a log is made in it
        log = trial_folder(store, job.trial.key) / LOG
        with _native_output_to(log), stop.while_trial_tells(_telling(pipe)) as notify:
            return execute(job, store, notify, stop)
    except StoreError as error:
        return _StoreFault(str(error))


def _telling(pipe: Connection) -> Callable[[Progress], None]:
    """Send progress, but not every step of a fast trial."""
    last: tuple[float, str, int] = (0.0, "", -1)

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last[0] >= _PROGRESS_EVERY_S or (progress.stage, progress.epoch) != last[1:]:
            last = (now, progress.stage, progress.epoch)
            pipe.send(progress)

    return tell


@contextlib.contextmanager
def _native_output_to(log: Path) -> Iterator[None]:
    """Send what libraries write to file descriptors 1 and 2, and the trace of a crash, to the trial's log."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise StoreError(f"cannot write {log}: {error.strerror}") from error
    saved = os.dup(1), os.dup(2)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2)
    try:
        yield
    finally:
        faulthandler.disable()
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)


def _ask_to_stop(stop: StopRequest, number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, the parent decides whether to kill
    stop.ask()


def _take_gpu(device: str, slot: int) -> None:
    """Give this worker one of several GPUs, in turn, before torch looks at them."""
    if device == "cpu" or "torch" in sys.modules:
        return
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name] or _gpus()
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[slot % len(visible)]


def _gpus() -> list[str]:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
