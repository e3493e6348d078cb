"""Processes that prepare clips: bounded look-ahead, a time-out per clip, and a name for whatever kills a process."""

from __future__ import annotations

import contextlib
import ctypes
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

import torch
from pebble import CONSTS, ProcessExpired, ProcessPool

from petl_bench.data.clip_preparation import ClipRequest, PreparedClip, Recipe, prepare, prepared_bytes
from petl_bench.errors import DataError
from petl_bench.processes import clean_context, warnings_held_back

#: Clips that one process prepares before it is replaced, so that what a decoder leaks does not add up.
_CLIPS_PER_PROCESS = 1000

#: Clips that are prepared ahead of the one that is asked for: some for each process, but no more than fit into so many
#: bytes (a clip of 30 views of 8 frames of 224 pixels has 36 MB).
_AHEAD_PER_PROCESS = 4
_AHEAD_BYTES = 512 * 2**20

#: Received bytes after which free memory is given back to the system.
_TRIM_AFTER_BYTES = 32 * 2**20

#: A process that is to end is killed after that time. SIGTERM does not reach it: a scheduler that ends a job may send
#: one to every process, and the clip that dies of it would count as unreadable, in the next attempt as well.
_DIES_WITHIN_S = 0.01

_recipe: Recipe | None = None  # set once in every worker process


class WorkerPool:
    """`workers` processes of one thread each, started when the first clip is asked for."""

    def __init__(self, recipe: Recipe, workers: int, timeout_s: float) -> None:
        self._recipe = recipe
        self._workers = workers
        self._timeout_s = timeout_s
        self._pool: ProcessPool | None = None

    def outcomes(
        self, requests: Iterable[ClipRequest], known_bad: Mapping[str, str]
    ) -> Iterator[tuple[ClipRequest, PreparedClip | str]]:
        """Every request with its clip, or with the reason why there is none, in the order of the requests.

        Clips in `known_bad` are not tried; it may grow while this runs.
        """
        waiting: deque[tuple[ClipRequest, Any]] = deque()
        received = 0
        try:
            for request in requests:
                received += prepared_bytes(self._recipe, request)
                if received > _TRIM_AFTER_BYTES:
                    received = 0
                    _give_memory_back()
                waiting.append((request, None if request.clip in known_bad else self._schedule(request)))
                if len(waiting) > self._ahead(request):
                    yield self._outcome(*waiting.popleft(), known_bad)
            while waiting:
                yield self._outcome(*waiting.popleft(), known_bad)
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()

    def close(self) -> None:
        """End the processes; what they are doing is given up."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _ahead(self, request: ClipRequest) -> int:
        fitting = _AHEAD_BYTES // prepared_bytes(self._recipe, request)
        return max(1, min(_AHEAD_PER_PROCESS * self._workers, fitting))

    def _schedule(self, request: ClipRequest) -> Any:
        # The first clip starts threads and processes, which inherit this; see `_DIES_WITHIN_S`.
        with contextlib.nullcontext() if self._pool is not None else warnings_held_back():
            return self._started().schedule(_work, args=(request,), timeout=self._timeout_s)

    def _started(self) -> ProcessPool:
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=self._workers,
                max_tasks=_CLIPS_PER_PROCESS,
                initializer=_start,
                initargs=(self._recipe,),
                context=clean_context(__name__),
            )
            CONSTS.term_timeout = _DIES_WITHIN_S
        return self._pool

    def _outcome(
        self, request: ClipRequest, future: Any, known_bad: Mapping[str, str]
    ) -> tuple[ClipRequest, PreparedClip | str]:
        if future is None:
            return request, known_bad[request.clip]
        try:
            return request, future.result()
        except DataError as error:
            return request, str(error)
        except TimeoutError:
            return request, f"cannot read {request.path}: gave up after {self._timeout_s:g} s"
        except ProcessExpired as death:
            return request, f"cannot read {request.path}: the worker process died (exit status {death.exitcode})"
        except CancelledError:
            raise RuntimeError("the loader was closed while its batches were being read") from None


def _give_memory_back() -> None:
    """Undo what clips do to the heap: each is received by a thread while the model's own memory comes and goes, and
    glibc keeps the gaps, gigabytes of them after some thousand clips. Takes about a millisecond. Elsewhere than with
    glibc this does nothing."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _start(recipe: Recipe) -> None:
    global _recipe
    _recipe = recipe
    torch.set_num_threads(1)


def _work(request: ClipRequest) -> PreparedClip:
    assert _recipe is not None
    return prepare(_recipe, request)
