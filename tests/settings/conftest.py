"""Annotations made on the spot, for the tests of protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from petl_bench.api.dataset import Annotations, Sample

MakeAnnotations = Callable[..., Annotations]


def _made(counts: Sequence[int], splits: Sequence[int] = (1,), **changes: Any) -> Annotations:
    """Annotations with `counts[label]` training clips and two test clips for every class and split."""
    labels = range(len(counts))
    train = {
        split: tuple(
            Sample(f"train{split}/{label}_{i:02}.mp4", label) for label in labels for i in range(counts[label])
        )
        for split in splits
    }
    test = {
        split: tuple(Sample(f"test{split}/{label}_{i}.mp4", label) for label in labels for i in range(2))
        for split in splits
    }
    classes = tuple(f"class {label}" for label in labels)
    return replace(Annotations(classes=classes, train=train, test=test, dataset="made"), **changes)


@pytest.fixture(scope="session")
def make() -> MakeAnnotations:
    """`make([5, 30], splits=(1, 2), few_shot=...)`."""
    return _made


@pytest.fixture
def skeleton() -> Annotations:
    """What is known of a data set that is not on this machine: its splits."""
    return Annotations(classes=(), train={1: ()}, test={1: (), 2: (), 3: ()}, dataset="absent")
