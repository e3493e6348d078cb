"""The lists of a data set by name, and which of them train and which are tested together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from petl_bench.api.dataset import Annotations, Sample

#: Lists of clips by name.
Lists = Mapping[str, Sequence[Sample]]


def named_lists(annotations: Annotations) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """Every list of a data set with its name, e.g. ("test 1", ...), ("base_test", ...)."""
    for split, samples in sorted(annotations.train.items()):
        yield f"train {split}", samples
    for split, samples in sorted(annotations.test.items()):
        yield f"test {split}", samples
    for (split, shots), samples in sorted(annotations.few_shot.items()):
        yield f"few_shot {split} {shots}-shot", samples
    half = annotations.base_to_novel
    if half is not None:
        yield "base_train", half.base_train
        for draw, samples in sorted(half.draws.items()):
            yield f"base_train draw {draw}", samples
        yield "base_test", half.base_test
        yield "novel_test", half.novel_test


def trained_and_tested(annotations: Annotations) -> Iterator[tuple[str, Lists, Lists]]:
    """For each test split, and for the base-to-novel lists: its name, the lists that train, and those that are tested.

    No clip may stand on both sides of one.
    """
    lists = dict(named_lists(annotations))
    for split in sorted(annotations.test):
        train = {
            name: lists[name] for name in lists if f"{name} ".startswith((f"train {split} ", f"few_shot {split} "))
        }
        yield f"split {split}", train, {f"test {split}": lists[f"test {split}"]}
    if annotations.base_to_novel is not None:
        train = {name: lists[name] for name in lists if name.startswith("base_train")}
        yield "base-to-novel", train, {name: lists[name] for name in ("base_test", "novel_test")}
