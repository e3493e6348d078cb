"""What settings share: which splits they run on, seeded draws, base and novel halves, labels among some classes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from petl_bench.api.dataset import Annotations, HalfSplit, Sample
from petl_bench.errors import DataError, UsageError

#: The halves found by frequency last: (annotations, split, halves). A run asks again for each of its cases.
_found: deque[tuple[Annotations, int, HalfSplit]] = deque(maxlen=4)


def chosen_splits(annotations: Annotations, splits: Sequence[str] | None, default: Sequence[str] | None) -> list[str]:
    """The test splits asked for, else `default`, else all. Raises UsageError for one that the data set lacks."""
    known = [str(split) for split in sorted(annotations.test)]
    chosen = list(splits or default or known)
    for split in chosen:
        if split not in known:
            raise UsageError(f"--splits {split}: this data set has test splits {', '.join(known) or 'none'}")
    return chosen


def chosen_shots(shots: Sequence[int] | None, default: Sequence[int]) -> list[int]:
    """The numbers of shots asked for, else `default`. Raises UsageError for less than one."""
    for count in shots or ():
        if count < 1:
            raise UsageError(f"--shots {count}: must be at least 1")
    return list(shots or default)


def refuse_shots(setting: str, shots: Sequence[int] | None) -> None:
    """Raise UsageError if shots are asked of a setting that trains on every clip."""
    if shots:
        given = ",".join(map(str, shots))
        raise UsageError(f"--shots {given}: {setting} trains on every training clip; for shots use --setting few_shot")


def training_list(annotations: Annotations, split: str, setting: str) -> tuple[Sample, ...]:
    """All training clips of a split. Raises UsageError if the data set has no list of them."""
    train = annotations.train.get(int(split), ())
    if not train:
        of = f" of {annotations.dataset}" if annotations.dataset else ""
        raise UsageError(
            f"{setting} needs a list of all training clips{of}, split {split}, and none lies under the data root"
        )
    return tuple(train)


def seeded_draw(pool: Sequence[Sample], shots: int, key: str) -> tuple[tuple[Sample, ...], str]:
    """`shots` clips of every class of `pool`, all of a class that has fewer, and a note that counts such classes.

    The draw of a class depends on its own clips and on `key` alone (setting, split, shots, seed), not on the order of
    the list.
    """
    by_class: dict[int, set[str]] = defaultdict(set)
    for sample in pool:
        by_class[sample.label].add(sample.clip)
    chosen: list[Sample] = []
    for label, clips in sorted(by_class.items()):
        drawn = random.Random(f"{key}/{label}").sample(sorted(clips), min(shots, len(clips)))
        chosen += (Sample(clip, label) for clip in sorted(drawn))
    short = sum(len(clips) < shots for clips in by_class.values())
    return tuple(chosen), f" ({short} classes have fewer clips)" if short else ""


def halves_of(annotations: Annotations, split: str, setting: str) -> HalfSplit:
    """Base and novel classes: the published ones (split 1), else by frequency of the training clips of that split.

    By frequency (ViFi-CLIP's rule): classes ranked by their number of training clips, ties by label; the more frequent
    half is base, the larger half of an odd number. Raises UsageError if there is neither, or fewer than two classes.
    """
    halves = annotations.base_to_novel if split == "1" else None
    halves = halves or _remembered(annotations, int(split)) or _by_frequency(annotations, int(split), setting)
    if not halves.base or not halves.novel:
        count = len(annotations.classes)
        raise UsageError(f"{setting} needs at least one base and one novel class; there are {count} classes in all")
    return halves


def relabel(samples: Sequence[Sample], classes: Sequence[int]) -> tuple[Sample, ...]:
    """Samples whose labels index into `classes` (labels of the data set).

    Raises DataError for a sample of another class, which would else drop out of an evaluation unseen.
    """
    position = {label: index for index, label in enumerate(classes)}
    for sample in samples:
        if sample.label not in position:
            raise DataError(f"{sample.clip}: its class (label {sample.label}) is not among the classes of its list")
    return tuple(Sample(sample.clip, position[sample.label]) for sample in samples)


def names_of(annotations: Annotations, classes: Sequence[int]) -> tuple[str, ...]:
    """The names of some labels."""
    return tuple(annotations.classes[label] for label in classes)


def _remembered(annotations: Annotations, split: int) -> HalfSplit | None:
    return next((halves for known, of, halves in _found if known is annotations and of == split), None)


def _by_frequency(annotations: Annotations, split: int, setting: str) -> HalfSplit:
    train, test = training_list(annotations, str(split), setting), annotations.test[split]
    counts = Counter(sample.label for sample in train)
    ranked = sorted(range(len(annotations.classes)), key=lambda label: (counts[label], label))
    novel, base = tuple(ranked[: len(ranked) // 2]), tuple(ranked[len(ranked) // 2 :])
    base_set = set(base)
    halves = HalfSplit(
        base=base,
        novel=novel,
        base_train=tuple(sample for sample in train if sample.label in base_set),
        base_test=tuple(sample for sample in test if sample.label in base_set),
        novel_test=tuple(sample for sample in test if sample.label not in base_set),
        draws={},
        source=f"by frequency in the training list of split {split}",
    )
    _found.append((annotations, split, halves))
    return halves
