"""The learning rate by iteration: linear warm-up from 0, then a cosine over all iterations."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, warmup_steps: int, total_steps: int, final_ratio: float) -> float:
    """Learning rate of iteration `step` (from 0).

        lr(t) = peak * t / w                                                   t < w
        lr(t) = end + (peak - end) * (1 + cos(pi * t / T)) / 2                 t >= w,   end = final_ratio * peak

    T counts the warm-up too, and the cosine does not start anew after it: the schedule of the MSTA authors' logs
    (timm's `CosineLRScheduler` without a warm-up prefix), which it reproduces to the printed digit. timm's own is not
    used, because it computes the warm-up as t * (peak / w), which differs in the last bit.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    end = final_ratio * peak
    return end + 0.5 * (peak - end) * (1 + math.cos(math.pi * step / total_steps))
