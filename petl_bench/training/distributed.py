"""Several processes that share one trial: how they start, what they exchange, and how they end together.

Every process has its own copy of the model and takes the rows r, r + N, ... of every batch. Nothing is averaged that a
single process would not average: each weights its losses by its part of the batch, and the gradients are added up, once
per step, in one all-reduce of a flat vector. torch's DistributedDataParallel is not used: it hangs its exchange on one
forward call of one module, and a step here calls two towers, several times if it accumulates micro-batches; and what
is trained is small.

Small things (counts, losses, clips that cannot be read, scores) travel over gloo, gradients over NCCL if every
process has its own GPU, otherwise over gloo. Gradients are sent only after the counts of the step have come through, so
a process that failed is noticed over gloo, which says so at once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from petl_bench.api.registry import describe
from petl_bench.errors import PetlBenchError, TrialError, TrialStopped
from petl_bench.records.layout import LOG
from petl_bench.system.processes import interrupts_ignored, kill_below, warnings_held_back, watch_parent

T = TypeVar("T")

#: Longest wait for the other processes: to prepare the trial, and then for any one exchange.
START_WITHIN_S = 1800.0
ANSWER_WITHIN_S = 600.0
#: How long the cause is awaited once it is clear that something went wrong elsewhere.
_CAUSE_WITHIN_S = 5.0

_INTERFACE = "GLOO_SOCKET_IFNAME"


@dataclass(frozen=True)
class Seat:
    """The place of this process among the `count` that share a trial, and among those of them on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    launched: bool = False  #: by torchrun, SLURM or the like, not by the trial's first process
    meeting: Path | None = None  #: where the processes that the first one started find each other


def seat_of(processes: int, environment: Mapping[str, str] = os.environ) -> Seat:
    """The seat that an outside launcher gave (RANK, WORLD_SIZE and, for several GPUs, LOCAL_RANK, LOCAL_WORLD_SIZE).

    Without one, the first seat of `processes`. Raises TrialError if the launcher started another number of them.
    """
    if processes == 1 or not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        return Seat(count=processes, local_count=processes)
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    if count != processes:
        raise TrialError(
            f"the launcher started {count} processes (WORLD_SIZE), the trial is for {processes}; "
            f"use --set training.processes={count}"
        )
    local = int(environment.get("LOCAL_RANK", rank)), int(environment.get("LOCAL_WORLD_SIZE", count))
    return Seat(rank, count, *local, launched=True)


class Then(IntEnum):
    """What all processes do after a step."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


@dataclass(frozen=True)
class StepTotals:
    """Sums over the processes: the loss's parts, right answers, clips. `then` is decided by the first process."""

    loss: float
    correct: int
    clips: int
    then: Then = Then.GO_ON


@dataclass
class Team:
    """The processes of a trial, as one of them sees it. The default is a process that is alone."""

    seat: Seat = field(default_factory=Seat)
    members: Sequence[_Member] = ()  #: the processes that this one started
    fast: dist.ProcessGroup | None = None  #: the NCCL group, if every process has a GPU of its own

    @property
    def first(self) -> bool:
        """Whether this process writes files and tells progress."""
        return self.seat.rank == 0

    def sum_step(self, own: StepTotals, parameters: Sequence[Tensor]) -> StepTotals:
        """The step's sums over all processes; every gradient becomes its sum too, the same bits in all of them.

        Only the first process may want anything else than to go on.

        A parameter without a gradient in any process keeps none, as in a single process, so that the optimiser leaves
        it alone. Gradients are left as they are if the loss is not finite or no clip was read.
        """
        if self.seat.count == 1:
            return own
        used = [float(parameter.grad is not None) for parameter in parameters]
        sums = torch.tensor([own.loss, own.correct, own.clips, own.then, *used], dtype=torch.float64)
        self._finish(dist.all_reduce(sums, async_op=True))
        totals = StepTotals(sums[0].item(), int(sums[1]), int(sums[2]), Then(int(sums[3])))
        if math.isfinite(totals.loss) and totals.clips:
            self._sum_gradients([p for p, count in zip(parameters, sums[4:].tolist(), strict=True) if count])
        return totals

    @torch.no_grad()
    def _sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        if not parameters:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        self._finish(dist.all_reduce(flat, group=self.fast, async_op=True))
        parts = flat.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def gather(self, value: T) -> list[T]:
        """Every process's value by rank, in the first process; nothing in the others. All must call it."""
        if self.seat.count == 1:
            return [value]
        values = [self._from(rank, value) for rank in range(self.seat.count)]
        return values if self.first else []

    def exchange(self, value: T) -> list[T]:
        """Every process's value by rank, in all of them. All must call it."""
        return [value] if self.seat.count == 1 else [self._from(rank, value) for rank in range(self.seat.count)]

    def share(self, value: T) -> T:
        """The first process's value, in all of them. All must call it."""
        return value if self.seat.count == 1 else self._from(0, value)

    def _from(self, rank: int, value: T) -> T:
        mine = rank == self.seat.rank
        packed = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8) if mine else torch.empty(0)
        size = torch.tensor([packed.numel()])
        self._finish(dist.broadcast(size, src=rank, async_op=True))
        buffer = packed if mine else torch.empty(int(size), dtype=torch.uint8)
        self._finish(dist.broadcast(buffer, src=rank, async_op=True))
        result: T = value if mine else pickle.loads(buffer.numpy().tobytes())
        return result

    def _finish(self, work: Any) -> None:
        """Wait for an exchange, awake to interrupts, to processes that fail, and to the time."""
        deadline = time.monotonic() + ANSWER_WITHIN_S
        look_at = time.monotonic() + 0.1
        while not work.is_completed():
            now = time.monotonic()
            if now > deadline:
                raise TrialError(
                    f"process {self.seat.rank + 1} of {self.seat.count} of this trial waited {ANSWER_WITHIN_S:g} s for "
                    "the others; run the command again to go on from the checkpoint"
                )
            if now > look_at:
                _refuse_failed(self.members, within_s=0.0)
                look_at = now + 0.1
            time.sleep(0.0001)
        try:
            work.wait()
        except RuntimeError as error:
            _refuse_failed(self.members, within_s=_CAUSE_WITHIN_S)
            raise LostTouchError(
                f"process {self.seat.rank + 1} of {self.seat.count} of this trial lost touch with the others "
                f"({str(error).splitlines()[0]}); run the command again to go on from the checkpoint"
            ) from error


class LostTouchError(TrialError):
    """Another process of the trial is gone; its own words say why."""


@contextlib.contextmanager
def team_of(
    seat: Seat, device: torch.device, *, name: str, folder: Path, member: Callable[..., None] | None
) -> Iterator[Team]:
    """The processes of a trial, together for as long as the context lasts.

    The first process starts the others here, unless an outside launcher started all of them. Each then calls
    `member(seat=seat)`, which must be picklable and enter this context itself; what they print, and their tracebacks,
    go to the log in `folder`. `name` tells this trial from others that the same launcher runs.

    Raises TrialError, with the cause, if one of them fails, dies or does not answer. On leaving, for whatever
    reason, every process that was started here is ended.
    """
    if seat.count == 1:
        yield Team()
    elif seat.launched:
        store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=START_WITHIN_S)))
        with _joined(seat, device, dist.PrefixStore(name, store), ()) as team:
            yield team
    elif seat.meeting is not None:
        store = dist.FileStore(os.fspath(seat.meeting), seat.count)
        with _over_loopback(), _joined(seat, device, store, ()) as team:
            yield team
    else:
        assert member is not None
        with tempfile.TemporaryDirectory(prefix="petl-bench-") as private:
            meeting = Path(private) / "meeting"
            store = dist.FileStore(os.fspath(meeting), seat.count)
            with (
                _started(replace(seat, meeting=meeting), folder, member) as members,
                _over_loopback(),
                _joined(seat, device, store, members) as team,
            ):
                yield team


@contextlib.contextmanager
def _joined(seat: Seat, device: torch.device, store: dist.Store, members: Sequence[_Member]) -> Iterator[Team]:
    """Meet the others, and part from them."""
    _await_all(seat, store, members)
    # Longer than this module waits, which has clearer words, and ends no process but those of the trial.
    patience = timedelta(seconds=4 * ANSWER_WITHIN_S)
    dist.init_process_group("gloo", store=store, rank=seat.rank, world_size=seat.count, timeout=patience)
    try:
        fast: Any = None
        if device.type == "cuda":
            torch.cuda.set_device(device)
            fast = dist.new_group(backend="nccl", timeout=patience)
        yield Team(seat, members, fast)
        _await_end(members)
    except BaseException:
        # First of all: what is under way then fails instead of waiting, here and in the others.
        _end(members)
        if fast is not None:
            fast._get_backend(device).abort()
        raise
    finally:
        dist.destroy_process_group()


def _await_all(seat: Seat, store: dist.Store, members: Sequence[_Member]) -> None:
    """Say that this process is ready, and wait until all are: preparing a trial takes as long as its data set is
    large."""
    store.set(f"ready/{seat.rank}", "")
    deadline = time.monotonic() + START_WITHIN_S
    while not store.check([f"ready/{rank}" for rank in range(seat.count)]):
        _refuse_failed(members, within_s=0.0)
        if time.monotonic() > deadline:
            raise TrialError(f"the {seat.count} processes of this trial did not meet within {START_WITHIN_S:g} s")
        time.sleep(0.02)


@contextlib.contextmanager
def _over_loopback() -> Iterator[None]:
    """Let gloo listen on this machine's loopback interface alone."""
    names = [name for name, known in psutil.net_if_addrs().items() if any(a.address == "127.0.0.1" for a in known)]
    before = os.environ.get(_INTERFACE)
    if names and before is None:
        os.environ[_INTERFACE] = names[0]
    try:
        yield
    finally:
        if names and before is None:
            os.environ.pop(_INTERFACE, None)


# ---------------------------------------------------------------- the processes that the first one starts


@dataclass(frozen=True)
class _Member:
    process: SpawnProcess
    pipe: Connection
    seat: Seat
    log: Path


@dataclass(frozen=True)
class _Failure:
    """A member's last word. A failure that only follows from another one is not a cause."""

    reason: str
    cause: bool


@contextlib.contextmanager
def _started(seat: Seat, folder: Path, member: Callable[..., None]) -> Iterator[list[_Member]]:
    context = multiprocessing.get_context("spawn")
    members: list[_Member] = []
    try:
        for rank in range(1, seat.count):
            here, there = context.Pipe(duplex=False)
            its_seat = replace(seat, rank=rank, local_rank=rank)
            arguments = (there, its_seat, folder / LOG, member)
            process = context.Process(target=_run_member, args=arguments, name=f"petl-bench trial process {rank + 1}")
            with interrupts_ignored(), warnings_held_back():
                process.start()
            there.close()
            members.append(_Member(process, here, its_seat, folder / LOG))
        yield members
    finally:
        _end(members)


def _run_member(pipe: Connection, seat: Seat, log: Path, member: Callable[..., None]) -> None:
    """What a process does that the first one started."""
    watch_parent()
    _write_to(log)
    try:
        member(seat=seat)
    except TrialStopped:
        return
    except PetlBenchError as error:
        traceback.print_exc()
        pipe.send(_Failure(" ".join(str(error).split()), cause=not isinstance(error, LostTouchError)))
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        what = f"process {seat.rank + 1} of {seat.count} of this trial failed: {describe(error)}"
        pipe.send(_Failure(f"{what}; its traceback is in {log}", cause=True))
        sys.exit(1)


def _write_to(log: Path) -> None:
    """Send all output of this process, native code's too, to the end of the log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2)


def _refuse_failed(members: Sequence[_Member], within_s: float) -> None:
    """Raise TrialError if a member failed or died, waiting up to `within_s` seconds for the first such news."""
    pipes = [member.pipe for member in members]
    if not pipes or not wait(pipes, timeout=within_s):
        return
    ended = {member.seat.rank: failure for member in members if (failure := _failure_of(member)) is not None}
    if ended:
        causes = [failure for failure in ended.values() if failure.cause]
        raise TrialError((causes or list(ended.values()))[0].reason)


def _failure_of(member: _Member) -> _Failure | None:
    if not member.pipe.poll():
        return None
    try:
        failure: _Failure = member.pipe.recv()
    except (EOFError, OSError):
        member.process.join(_CAUSE_WITHIN_S)
        code = member.process.exitcode
        if code == 0:
            return None
        ended = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        reason = f"process {member.seat.rank + 1} of {member.seat.count} of this trial {ended}; see {member.log}"
        return _Failure(reason, cause=True)
    return failure


def _await_end(members: Sequence[_Member]) -> None:
    """Let the others leave by themselves; they have done all that they were started for."""
    deadline = time.monotonic() + _CAUSE_WITHIN_S
    for member in members:
        member.process.join(max(0.0, deadline - time.monotonic()))


def _end(members: Sequence[_Member]) -> None:
    """End what still runs, with everything below it (the processes that decode)."""
    for member in members:
        if member.process.is_alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(member.process.pid)
                kill_below(process)
                process.kill()
    for member in members:
        member.process.join()
        member.pipe.close()
