"""Numbers over seeds: harmonic mean, mean, sample standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload


@overload
def harmonic_mean(base: float, novel: float) -> float: ...
@overload
def harmonic_mean(base: Any, novel: Any) -> Any: ...
def harmonic_mean(base: Any, novel: Any) -> Any:
    """2 * base * novel / (base + novel), in the unit of its arguments (percent); 0 if both are 0.

    Numbers give a float; arrays (or one array and a number) give a float64 array of their broadcast shape.
    Raises ValueError for a negative or non-finite accuracy.
    """
    if isinstance(base, (int, float)) and isinstance(novel, (int, float)):
        return _harmonic_mean(float(base), float(novel))
    import numpy as np

    values = np.vectorize(_harmonic_mean, otypes=[float])(np.asarray(base, dtype=float), np.asarray(novel, dtype=float))
    return float(values) if values.ndim == 0 else values


def _harmonic_mean(base: float, novel: float) -> float:
    for name, value in (("base", base), ("novel", novel)):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"harmonic mean: the {name} accuracy is {value}; expected a finite number of at least 0")
    if base == 0 or novel == 0:
        return 0.0
    low, high = sorted((base, novel))
    # This order of operations neither overflows nor underflows, and gives exactly x for (x, x).
    return low * (2 / (1 + low / high))


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of `n` values; one value has no standard deviation."""

    mean: float
    std: float | None
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation (n - 1 in the denominator). Raises ValueError if there is no value."""
    n, mean = len(values), _mean(values)
    if n == 1:
        return Summary(mean, None, 1)
    return Summary(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)), n)


def harmonic_mean_over_seeds(base: Sequence[float], novel: Sequence[float]) -> Summary:
    """The harmonic mean of the mean base and the mean novel accuracy; `base[i]` and `novel[i]` belong to one seed.

    The standard deviation is that of the seeds' own harmonic means. Raises ValueError if there is no value, or if
    the numbers of seeds differ.
    """
    own = summarise([harmonic_mean(one, other) for one, other in zip(base, novel, strict=True)])
    return Summary(harmonic_mean(_mean(base), _mean(novel)), own.std, own.n)


def prediction_interval(own: Sequence[float], runs: int = 1, level: float = 0.95) -> tuple[float, float] | None:
    """Where the mean of `runs` further runs lies with probability `level`, by the values of S seeds; None for S = 1.

    m -+ t * s * sqrt(1 / runs + 1 / S): m and s are mean and sample standard deviation of `own`, t is Student's
    quantile with S - 1 degrees of freedom. Runs are taken to spread as the seeds do, normally. Raises ValueError
    without values.
    """
    summary = summarise(own)
    if summary.std is None:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, summary.n - 1)) * summary.std * math.sqrt(1 / runs + 1 / summary.n)
    return summary.mean - half, summary.mean + half


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("there is nothing to summarise")
    return math.fsum(values) / len(values)
