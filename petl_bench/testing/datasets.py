"""What every data set promises. The checks read its files: the ones given with --data-root, or its own."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path, PurePosixPath

from petl_bench.api.dataset import Annotations, Dataset, Sample
from petl_bench.errors import DataError
from petl_bench.testing.checks import Failed, Skipped, Subject, documented, paper, require


class DatasetSubject(Subject):
    """A data set under check, with what its annotation files say."""

    @cached_property
    def dataset(self) -> Dataset:
        """The data set with its options at their defaults."""
        found: Dataset = self.create()
        return found

    @cached_property
    def root(self) -> Path:
        """The folder with its files. Raises Skipped if it needs one that was not given."""
        try:
            return self.dataset.root(self.given.data_root)
        except DataError as error:
            if self.given.data_root is not None:
                raise
            raise Skipped(f"without its files nothing can be read: give --data-root DIR ({error})") from error

    @cached_property
    def annotations(self) -> Annotations:
        """What its files say."""
        return self.dataset.annotations(self.root)

    def lists(self) -> Iterator[tuple[str, tuple[Sample, ...], range]]:
        """Every list: its name, its samples, and the labels that it may have: 0 alone if there are no classes."""
        from petl_bench.data.found.listed import named_lists

        labels = range(len(self.annotations.classes) or 1)
        return ((name, samples, labels) for name, samples in named_lists(self.annotations))


SUBJECT = DatasetSubject


def reads_its_annotations(subject: DatasetSubject) -> None:
    """annotations(root) gives classes or captions, and test clips of at least one split."""
    found = subject.annotations
    require(bool(found.classes or found.captions), "no classes, and no captions for retrieval")
    require(any(subject.annotations.test.values()), "no test clips: Annotations.test maps a split to its samples")


def asks_for_its_files(subject: DatasetSubject) -> None:
    """Without --data-root, one that needs it says so; one that does not has a folder."""
    if not subject.plugin.needs_root:
        require(isinstance(subject.root, Path) and subject.root.is_dir(), f"root(None) is no folder: {subject.root}")
        return
    try:
        found = subject.dataset.root(None)
    except DataError as error:
        require("--data-root" in str(error), f"root(None) says: {error}; it should name --data-root")
        return
    raise Failed(f"needs_root is True, and root(None) gives {found}: raise pb.DataError, or set needs_root = False")


def annotations_are_deterministic(subject: DatasetSubject) -> None:
    """Read twice, the annotation files say the same."""
    again = subject.create().annotations(subject.root)
    different = [
        each.name for each in fields(again) if getattr(again, each.name) != getattr(subject.annotations, each.name)
    ]
    require(not different, f"read twice, these differ: {', '.join(different)}; do not depend on the order of folders")


def classes_are_names(subject: DatasetSubject) -> None:
    """Classes are different texts that are not empty."""
    classes = subject.annotations.classes
    if not classes:
        raise Skipped("it has captions and no classes")
    wrong = [name for name in classes if not isinstance(name, str) or not name.strip()]
    require(not wrong, f"not a class name: {wrong[:3]}")
    twice = sorted({name for name in classes if classes.count(name) > 1})
    require(not twice, f"several classes have one name: {twice[:3]}")


def labels_are_in_range(subject: DatasetSubject) -> None:
    """Every label is the index of a class; 0 if there are no classes."""
    for name, samples, labels in subject.lists():
        for sample in samples:
            require(
                sample.label in labels,
                f"{name}: {sample.clip} has label {sample.label}; labels go from 0 to {labels[-1]}",
            )
    halves = subject.annotations.base_to_novel
    if halves is not None:
        require(not set(halves.base) & set(halves.novel), "base and novel halves share classes")
    for split, candidates in subject.annotations.candidates.items():
        others = {sample.label for sample in subject.annotations.test.get(split, ())} - set(candidates)
        require(not others, f"test {split} has clips of labels that are not among its candidates: {sorted(others)[:3]}")


def clips_are_unique(subject: DatasetSubject) -> None:
    """No list names a clip twice with different labels."""
    for name, samples, _ in subject.lists():
        labels: dict[str, int] = {}
        for sample in samples:
            known = labels.setdefault(sample.clip, sample.label)
            require(known == sample.label, f"{name}: {sample.clip} has the labels {known} and {sample.label}")


def training_and_test_clips_are_disjoint(subject: DatasetSubject) -> None:
    """No clip trains and is tested in one split."""
    found = subject.annotations
    pairs: list[tuple[str, tuple[Sample, ...], tuple[Sample, ...]]]
    pairs = [(f"split {split}", found.train.get(split, ()), test) for split, test in found.test.items()]
    pairs += [
        (f"{shots} shots of split {split}", train, found.test.get(split, ()))
        for (split, shots), train in found.few_shot.items()
    ]
    if (halves := found.base_to_novel) is not None:
        test = (*halves.base_test, *halves.novel_test)
        pairs += [("base to novel", train, test) for train in (halves.base_train, *halves.draws.values())]
    for name, train, test in pairs:
        both = sorted({sample.clip for sample in train} & {sample.clip for sample in test})
        require(not both, f"{name}: {len(both)} clips train and are tested, such as {both[:2]}")


def captions_are_texts_of_clips(subject: DatasetSubject) -> None:
    """`captions`, if there are some, give clips of the lists one text or more each, none of them empty."""
    captions = subject.annotations.captions
    if not captions:
        raise Skipped("it has no captions; give them for retrieval: pb.Annotations(..., captions={clip: texts})")
    listed = {sample.clip for _, samples, _ in subject.lists() for sample in samples}
    unknown = sorted(captions.keys() - listed)
    require(not unknown, f"captions of clips that no list names: {unknown[:3]}")
    for clip, texts in captions.items():
        whole = bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)
        require(whole and not isinstance(texts, str), f"captions of {clip}: {texts!r}; give a tuple of texts")


def spans_are_parts_of_clips(subject: DatasetSubject) -> None:
    """`spans`, if there are some, give clips of the lists a start and a later end, in seconds from 0."""
    spans = subject.annotations.spans
    if not spans:
        raise Skipped("every clip is a whole file")
    listed = {sample.clip for _, samples, _ in subject.lists() for sample in samples}
    unknown = sorted(spans.keys() - listed)
    require(not unknown, f"spans of clips that no list names: {unknown[:3]}")
    for clip, (start, end) in spans.items():
        require(0 <= start < end < math.inf, f"span of {clip}: {start} to {end} seconds")


def clips_stay_below_the_root(subject: DatasetSubject) -> None:
    """Clips are named by relative paths that do not leave the folder."""
    for name, samples, _ in subject.lists():
        for sample in samples:
            path = PurePosixPath(sample.clip)
            require(
                bool(path.name) and not path.is_absolute() and ".." not in path.parts,
                f"{name}: {sample.clip!r} is not a path below the root",
            )


def splits_are_declared(subject: DatasetSubject) -> None:
    """`splits` names every split that the files have."""
    declared, found = set(subject.plugin.splits), set(subject.annotations.test)
    require(found <= declared, f"splits = {tuple(subject.plugin.splits)}, and the files have {sorted(found)}")


def files_are_hashed(subject: DatasetSubject) -> None:
    """`Annotations.files` has the sha256 of the list files that were read."""
    files: Mapping[str, str] = subject.annotations.files
    if not files:
        raise Skipped("no list files")
    for name, digest in files.items():
        require(len(digest) == 64 and set(digest) <= set("0123456789abcdef"), f"{name}: no sha256: {digest!r}")


def clips_are_found(subject: DatasetSubject) -> None:
    """Of every list some clips lie below the root, and each file is the clip of one class."""
    from petl_bench.data.found.manifest import build_manifest

    with tempfile.TemporaryDirectory() as folder:
        manifest = build_manifest(subject.dataset, subject.root, Path(folder))
    for name, samples, _ in subject.lists():
        found = any(sample.clip in manifest.found for sample in samples)
        require(found or not samples, f"{name}: none of its clips is below {subject.root}, such as {samples[:1]}")


def groups_are_texts(subject: DatasetSubject) -> None:
    """group_of(clip) gives a text for every clip, the same one every time."""
    for _, samples, _ in subject.lists():
        for sample in samples:
            group = subject.dataset.group_of(sample.clip)
            require(isinstance(group, str) and bool(group), f"group_of({sample.clip!r}) gives {group!r}")
            require(group == subject.dataset.group_of(sample.clip), f"group_of({sample.clip!r}) changes")


#: In this order; if the annotations cannot be read, the others say nothing.
CHECKS = (
    reads_its_annotations,
    documented,
    paper,
    asks_for_its_files,
    annotations_are_deterministic,
    classes_are_names,
    labels_are_in_range,
    clips_are_unique,
    training_and_test_clips_are_disjoint,
    captions_are_texts_of_clips,
    spans_are_parts_of_clips,
    clips_stay_below_the_root,
    splits_are_declared,
    files_are_hashed,
    clips_are_found,
    groups_are_texts,
)
