"""A test part that is drawn by a seed, for clips that no list and no folder divides. Whole groups go to one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from petl_bench.api.dataset import Sample
from petl_bench.errors import DataError

Sides = tuple[tuple[Sample, ...], tuple[Sample, ...]]


def drawn(
    samples: Iterable[Sample], classes: Sequence[str], groups: Mapping[str, str], fraction: float, seed: int, root: Path
) -> Sides:
    """Training and test clips. Groups (or clips that are groups of their own) are ordered by a seeded hash of their
    names; the first `fraction` of each class's groups is tested, one group at least and never all.

    Groups that hold clips of several classes are drawn together, from all groups. Raises DataError if a class has no
    clip on one side.
    """
    ordered = list(samples)
    labels_of: dict[str, set[int]] = {}
    for sample in ordered:
        labels_of.setdefault(groups[sample.clip], set()).add(sample.label)
    shared = any(len(labels) > 1 for labels in labels_of.values())
    tested: set[str] = set()
    for labels in [set(range(len(classes)))] if shared else [{label} for label in range(len(classes))]:
        pool = sorted((g for g, of in labels_of.items() if of <= labels), key=lambda g: rank(seed, g))
        tested.update(pool[: min(max(round(fraction * len(pool)), 1), len(pool) - 1)])
    train = tuple(sorted(s for s in ordered if groups[s.clip] not in tested))
    test = tuple(sorted(s for s in ordered if groups[s.clip] in tested))
    both = {sample.label for sample in train} & {sample.label for sample in test}
    lacking = next((label for label in range(len(classes)) if label not in both), None)
    if lacking is not None:
        units = {groups[sample.clip] for sample in ordered if sample.label == lacking}
        raise _one_sided(classes[lacking], units, groups, root)
    return train, test


def rank(seed: int, group: str) -> str:
    """What groups are ordered by: a seeded hash of the name."""
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()


def _one_sided(name: str, units: Set[str], groups: Mapping[str, str], root: Path) -> DataError:
    """Why a class has nothing to train or nothing to test; `units` are its groups, or clips of a group of their own."""
    if len(units) < 2:
        what = "clips" if all(unit in groups for unit in units) else "groups"
        return DataError(
            f"{root}: class {name!r} has {len(units)} {what}; two are needed, to train and to test. Add some, or "
            "say in train.csv and test.csv which clips train and which are tested"
        )
    return DataError(
        f"{root}: with this seed all groups of class {name!r} are on one side; try another split_seed, or list the "
        "clips in train.csv and test.csv"
    )
