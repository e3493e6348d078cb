"""Which training clips are held out to select the epoch."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from petl_bench.api.dataset import Sample
from petl_bench.api.training_options import TrainingOptions


def split_for_validation(
    clips: Sequence[Sample], options: TrainingOptions, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Training clips and, if `select` is val, a seeded part of every class that is held out from them: none of a class
    with a single clip."""
    if options.select != "val":
        return list(clips), []
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in clips:
        by_class[sample.label].append(sample)
    train: list[Sample] = []
    held_out: list[Sample] = []
    for label, samples in sorted(by_class.items()):
        shuffled = random.Random(f"val/{seed}/{label}").sample(samples, len(samples))
        count = min(len(samples) - 1, max(1, round(options.val_fraction * len(samples))))
        held_out += shuffled[:count]
        train += shuffled[count:]
    return train, held_out


def split_pairs_for_validation(
    pairs: Sequence[Sample], groups: Sequence[str], options: TrainingOptions, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Pairs of retrieval that train and, if `select` is val, those that are held out: of a seeded part of the groups.

    `groups`: of each pair that of its clip (`Dataset.group_of`), so that no source video is on both sides.
    """
    distinct = sorted(set(groups))
    if options.select != "val" or len(distinct) < 2:
        return list(pairs), []
    count = min(len(distinct) - 1, max(1, round(options.val_fraction * len(distinct))))
    held = set(random.Random(f"val/{seed}").sample(distinct, count))
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for pair, group in zip(pairs, groups, strict=True):
        sides[group in held].append(pair)
    return sides
