"""The largest batch that fits, by doubling and bisection."""

from __future__ import annotations

from collections.abc import Callable


def largest_batch(fits: Callable[[int], bool], bound: int) -> int:
    """The largest number from 1 to `bound` that fits; 0 if none. What is smaller than one that fits must fit too.

    Doubles until something does not fit, or the bound is reached, then halves the gap until nothing is left in it.
    """
    low, high = 0, 1
    while high < bound and fits(high):
        low, high = high, min(2 * high, bound)
    if high == bound and fits(high):
        return bound
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
