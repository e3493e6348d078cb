"""Variants timed in turn, A B C A B C ..., so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any


def measure(benchmark: Any, variants: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Seconds of every variant relative to the first one: the median over rounds of the ratio within a round.

    Seconds of this process's processor time, which other programs disturb less than the clock: for variants that
    compute in this process, on one thread. Printed, and kept in the benchmark's `extra_info`; what pytest-benchmark
    itself times is the last variant.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-1, rounds):  # the first round warms up
        order = list(variants)
        first = number % len(order)  # each is the first one in its turn: a place in the round must favour none
        for name in order[first:] + order[:first]:
            spent = _seconds(variants[name])
            if number >= 0:
                seconds[name].append(spent)
    base, *others = variants
    ratios = {
        name: [one / of_base for one, of_base in zip(seconds[name], seconds[base], strict=True)] for name in others
    }
    for name, values in ratios.items():
        told = f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        benchmark.extra_info[f"{name} / {base}"] = told
        print(f"\n{name} / {base}: {told}; {median(seconds[name]):.2f} s / {median(seconds[base]):.2f} s", end="")
    benchmark.pedantic(variants[others[-1]], rounds=1)
    return {name: median(values) for name, values in ratios.items()}


def _seconds(run: Callable[[], object]) -> float:
    gc.collect()
    started = time.process_time()
    run()
    return time.process_time() - started
