"""Processes that prepare clips: bounded look-ahead, a time-out per clip, a reason for each clip that is given up."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pebble import CONSTS, ProcessExpired, ProcessPool

from petl_bench.data.loading.clip_preparation import ClipRequest, ClipSpec, PreparedClip, prepare, prepared_bytes
from petl_bench.data.loading.shared_frames import SharedFrames, Slot, Written, write
from petl_bench.errors import DataError, TrialError
from petl_bench.system.processes import clean_context, warnings_held_back

#: Clips that one process prepares before it is replaced, so that what a decoder leaks does not add up.
_CLIPS_PER_PROCESS = 1000

#: Clips that are prepared ahead of the one that is asked for: some for each process, but no more than fit into so many
#: bytes (a clip of 30 views of 8 frames of 224 pixels has 36 MB).
_AHEAD_PER_PROCESS = 4
_AHEAD_BYTES = 512 * 2**20

#: A process that is to end is killed after that time. SIGTERM does not reach it: a scheduler that ends a job may send
#: one to every process, and the clip that dies of it would count as unreadable, in the next attempt as well.
_DIES_WITHIN_S = 0.01

#: How often a clip is tried whose process dies: something else than the clip may have killed it, such as a system that
#: is short of memory.
_TRIES = 2
#: How often in a row all processes are started anew before a clip is prepared.
_RENEWALS = 3
#: A process that is killed while it holds the lock of the channel stops all others; they leave after this time.
_LOCKED_FOR_S = 20.0
#: A clip that is not there so long after its own time-out was lost with a process.
_LOST_AFTER_S = 300.0

_NO_PROCESSES = (
    "the processes that decode clips cannot be started. Often the limit of open files (ulimit -n), of processes "
    "(ulimit -u) or of memory is too low; run the command again with a higher one, or with --workers 1"
)

_log = logging.getLogger(__name__)

#: What was written of a clip's frames, and the clip without them.
_Elsewhere = tuple[Written, PreparedClip]
_NO_FRAMES = np.empty(0)

_spec: ClipSpec | None = None  # set once in every worker process


@dataclass
class _Waiting:
    """A clip that is being prepared; `future` is None for one that is known to be bad."""

    request: ClipRequest
    future: Any
    slot: Slot | None
    pool: ProcessPool | None  #: whose processes prepare it


class _Processes(ProcessPool):
    """A pool whose processes end before the channel does that some of them, still starting, are about to open: those
    would end with a traceback."""

    def _stop_pool(self) -> None:
        if self._pool_manager_loop is not None:
            self._pool_manager_loop.join()
        for process in self._pool_manager.worker_manager.workers.values():
            process.kill()
        for process in self._pool_manager.worker_manager.workers.values():
            process.join()
        super()._stop_pool()  # type: ignore[no-untyped-call]


class WorkerPool:
    """`workers` processes of one thread each, started when the first clip is asked for."""

    def __init__(self, spec: ClipSpec, workers: int, timeout_s: float) -> None:
        self._spec = spec
        self._workers = workers
        self._timeout_s = timeout_s
        self._pool: ProcessPool | None = None
        self._renewals = 0  #: since a clip came
        self._memories: list[SharedFrames] = []
        self._unused: list[SharedFrames] = []  #: those of them that no worker writes to

    def outcomes(
        self, requests: Iterable[ClipRequest], known_bad: Mapping[str, str]
    ) -> Iterator[tuple[ClipRequest, PreparedClip | str]]:
        """Every request with its clip, or with the reason why there is none, in the order of the requests.

        The frames of a clip are valid until the next one is asked for. Clips in `known_bad` are not tried; it may grow
        while this runs. All requests are of training, or all of evaluation.
        """
        waiting: deque[_Waiting] = deque()
        memory, free = self._memory(), None
        try:
            for request in requests:
                free = self._slots(memory, request) if free is None else free
                waiting.append(self._begin(request, known_bad, free))
                if len(waiting) > self._ahead(request):
                    yield from self._end(waiting.popleft(), known_bad, memory, free)
            while waiting:
                yield from self._end(waiting.popleft(), known_bad, memory, free or [])
        finally:
            for one in waiting:
                if one.future is not None:
                    one.future.cancel()
            # Workers may still write clips that were given up: that memory is not used again.
            if memory is not None and not waiting:
                self._unused.append(memory)

    def close(self) -> None:
        """End the processes; what they are doing is given up."""
        self._end_processes()
        for memory in self._memories:
            memory.close()
        self._memories, self._unused = [], []

    def _end_processes(self) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
            self._pool = None

    def _renew(self) -> None:
        """Have all processes started anew: the death of an idle one, among other things, breaks the pool."""
        self._renewals += 1
        if self._renewals > _RENEWALS:
            raise TrialError(_NO_PROCESSES)
        self._end_processes()

    def _memory(self) -> SharedFrames | None:
        """Memory for the frames; None if the system has none of this kind: workers then send frames through a pipe."""
        if self._unused:
            return self._unused.pop()
        try:
            memory = SharedFrames(2 * _AHEAD_BYTES)
        except OSError:
            return None
        self._memories.append(memory)
        return memory

    def _slots(self, memory: SharedFrames | None, request: ClipRequest) -> list[Slot]:
        """One slot for every clip that is being prepared, one for the clip in use, and some in reserve."""
        if memory is None:
            return []
        return memory.slots(prepared_bytes(self._spec, request), 2 * self._ahead(request) + 1)

    def _begin(self, request: ClipRequest, known_bad: Mapping[str, str], free: list[Slot]) -> _Waiting:
        if request.clip in known_bad:
            return _Waiting(request, None, None, None)
        one = _Waiting(request, None, free.pop() if free else None, None)
        self._schedule(one)
        return one

    def _end(
        self, one: _Waiting, known_bad: Mapping[str, str], memory: SharedFrames | None, free: list[Slot]
    ) -> Iterator[tuple[ClipRequest, PreparedClip | str]]:
        outcome = known_bad[one.request.clip] if one.future is None else self._outcome(one)
        if isinstance(outcome, tuple):
            assert memory is not None
            assert one.slot is not None
            outcome = replace(outcome[1], frames=memory.read(one.slot, outcome[0]))
        yield one.request, outcome
        # If a process was killed, its last writing may come late.
        if one.slot is not None and not isinstance(one.future.exception(), (TimeoutError, ProcessExpired)):
            free.append(one.slot)

    def _ahead(self, request: ClipRequest) -> int:
        fitting = _AHEAD_BYTES // prepared_bytes(self._spec, request)
        return max(1, min(_AHEAD_PER_PROCESS * self._workers, fitting))

    def _schedule(self, one: _Waiting) -> None:
        if self._pool is not None and not self._pool.active:
            self._renew()
        # The first clip starts threads and processes, which inherit this; see `_DIES_WITHIN_S`.
        try:
            with contextlib.nullcontext() if self._pool is not None else warnings_held_back():
                one.pool = self._started()
                one.future = one.pool.schedule(_work, args=(one.request, one.slot), timeout=self._timeout_s)
        except (OSError, RuntimeError) as error:
            raise TrialError(_NO_PROCESSES) from error

    def _started(self) -> ProcessPool:
        if self._pool is None:
            self._pool = _Processes(
                max_workers=self._workers,
                max_tasks=_CLIPS_PER_PROCESS,
                initializer=_start,
                initargs=(self._spec,),
                context=clean_context(__name__),
            )
            CONSTS.term_timeout = _DIES_WITHIN_S
        return self._pool

    def _outcome(self, one: _Waiting) -> PreparedClip | _Elsewhere | str:
        """The clip, or why there is none. That its process died once does not count against the clip."""
        path, deaths = one.request.path, 0
        while True:
            try:
                prepared = self._awaited(one)
            except DataError as error:
                return str(error)
            except TimeoutError:
                return f"cannot read {path}: gave up after {self._timeout_s:g} s"
            except ProcessExpired as death:
                deaths += 1
                if deaths == _TRIES:
                    return f"cannot read {path}: the worker process died (exit status {death.exitcode})"
                _log.warning("the process that read %s died (exit status %s); it is read again", path, death.exitcode)
            except BrokenProcessPool:
                if one.pool is self._pool:
                    self._renew()
            except CancelledError:
                raise RuntimeError("the loader was closed while its batches were being read") from None
            else:
                self._renewals = 0
                return prepared
            self._schedule(one)

    def _awaited(self, one: _Waiting) -> PreparedClip | _Elsewhere:
        """What a process made of the clip. Raises BrokenProcessPool if nothing will come any more."""
        given_up = time.monotonic() + self._timeout_s + _LOST_AFTER_S
        while not one.future.done():
            wait([one.future], timeout=1.0)
            if self._pool is None:
                raise CancelledError
            if not one.future.done() and (not self._usable(one.pool) or time.monotonic() > given_up):
                raise BrokenProcessPool
        result: PreparedClip | _Elsewhere = one.future.result()
        return result

    def _usable(self, pool: ProcessPool | None) -> bool:
        return pool is not None and pool is self._pool and pool.active


def _start(spec: ClipSpec) -> None:
    global _spec
    _spec = spec
    CONSTS.channel_lock_timeout = _LOCKED_FOR_S
    torch.set_num_threads(1)


def _work(request: ClipRequest, slot: Slot | None) -> PreparedClip | _Elsewhere:
    """The clip; or, if its frames could be left at the slot, what was written and the clip without them."""
    assert _spec is not None
    clip = prepare(_spec, request)
    written = None if slot is None else write(clip.frames, slot)
    return clip if written is None else (written, replace(clip, frames=_NO_FRAMES))
