"""Timing in rounds: every round goes over all subjects, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

#: Resamplings of an interval, and its two ends in percent.
RESAMPLINGS, ENDS = 2000, (2.5, 97.5)
#: Rounds that an interval needs.
FEWEST_ROUNDS = 3

Key = TypeVar("Key", bound=Hashable)
Samples = dict[str, list[float]]


def time_calls(device: torch.device, call: Callable[[], Any], count: int) -> list[float]:
    """Milliseconds of each of `count` calls: CUDA events on a GPU, the monotonic clock elsewhere."""
    if device.type == "cuda":
        return _cuda_times(device, call, count)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return times


def _cuda_times(device: torch.device, call: Callable[[], Any], count: int) -> list[float]:
    with torch.cuda.device(device):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        events[0].record()
        for event in events[1:]:
            call()
            event.record()
        torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in itertools.pairwise(events)]


def interleave(
    turns: Mapping[Key, Callable[[], Samples]],
    *,
    rounds: int | None,
    most: int,
    seconds: float,
    dropped: Callable[[Key, Exception], None],
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[Key, list[Samples]]:
    """What every turn gave in every round: A B C, then B C A, then C A B, ...

    `rounds` fixes their number; None means at least one, at most `most`, and no further one that would not end within
    `seconds`. A turn that raises is told to `dropped`, and left out from then on, with all that it gave.
    """
    given: dict[Key, list[Samples]] = {key: [] for key in turns}
    started, done = time.monotonic(), 0
    while done < (most if rounds is None else rounds):
        elapsed = time.monotonic() - started
        if rounds is None and done and elapsed * (done + 1) / done > seconds:
            break
        order = list(given)
        shift = done % len(order) if order else 0
        for key in (*order[shift:], *order[:shift]):
            try:
                given[key].append(turns[key]())
            except Exception as error:
                dropped(key, error)
                del given[key]
        done += 1
        on_round(done)
    return given


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    median, low, high = np.percentile(values, (50, 10, 90))
    return float(median), float(low), float(high)


def paired_ratio(own: Sequence[float], other: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """The median over rounds of own / other, and its 95 % bootstrap interval over rounds.

    `own[i]` and `other[i]` were measured in the same round. No interval below FEWEST_ROUNDS rounds.
    """
    ratios = np.asarray(own, dtype=float) / np.asarray(other, dtype=float)
    median = float(np.median(ratios))
    if len(ratios) < FEWEST_ROUNDS:
        return median, None
    draws = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLINGS, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), ENDS)
    return median, (float(low), float(high))
