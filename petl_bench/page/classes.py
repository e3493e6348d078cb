"""Accuracy by class and confusion of every variant, as data from which the script draws what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petl_bench.page.evaluations import ClassCounts, Evaluated
from petl_bench.page.plots import short
from petl_bench.system.texts import name

#: Pairs of classes that the page keeps, over all its confusion matrices.
_CONFUSED_PAIRS = 150_000


def classes_data(found: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """One entry per evaluation; a variant has no `confusion` once there are too many of them for one page."""
    left = _CONFUSED_PAIRS
    data = []
    for each in found:
        variants = []
        for counts in each.variants:
            left -= len(counts.confusion)
            variants.append(_variant(counts, len(each.classes), with_confusion=left >= 0))
        scored = [max(numbers) for numbers in zip(*[counts.scored for counts in each.variants], strict=True)]
        data.append(
            {
                "label": name(each.label),
                "classes": list(map(name, each.classes)),
                "scored": scored,
                "variants": variants,
            }
        )
    return data


def _variant(counts: ClassCounts, classes: int, *, with_confusion: bool) -> dict[str, Any]:
    accuracy = [
        short(100 * right / scored) if scored else None
        for right, scored in zip(counts.right, counts.scored, strict=True)
    ]
    confusion = [number for true, taken, times in counts.confusion for number in (true * classes + taken, times)]
    return {
        "label": name(counts.label),
        "runs": counts.runs,
        "accuracy": accuracy,
        **({"confusion": confusion} if with_confusion else {}),
    }
