"""Any folder of videos, without code: `--datasets folder --set folder.path=DIR`, or `--datasets kitchen=DIR`.

Labels come from lists if there are any, else from class folders whose layout is recognised as a whole (see
folder_layouts.py) or told with `folder.layout`; what could be read in two ways is refused. Without sides a seeded,
recorded part of each class is tested. docs/folders.md shows what is read.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal

from petl_bench.api.dataset import Annotations, Dataset, HalfSplit, Sample
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.found.tree import Tree, walk
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.class_folders import (
    both_kinds,
    folder_labels,
    refuse_doubles,
    refuse_one_sided,
    refuse_similar,
    some,
)
from petl_bench.data.lists.drawn_split import drawn
from petl_bench.data.lists.folder_layouts import (
    LayoutName,
    Placed,
    Reading,
    recognise,
    refuse_one_file_twice,
    refuse_second_paths,
)
from petl_bench.data.lists.list_files import CLASS_FILES, ListFiles, find_lists
from petl_bench.data.lists.own_classes import labelled
from petl_bench.data.lists.own_lists import FolderClips, read_own_list
from petl_bench.errors import DataError


@register_dataset("folder")
class Folder(Dataset):
    """A folder of your own videos with class names and lists, or with one sub-folder per class."""

    needs_root = False
    licence = "your own"

    path: str = hyper("", "the folder; relative to the current directory or to --data-root", location=True)
    labels: str | None = hyper(
        None, "class names: id,name csv, or one name per line; default: labels.csv in the folder", location=True
    )
    train_list: str | None = hyper(
        None,
        "training list, rows of a clip and its label; default: the one train*.txt or train*.csv in the folder",
        location=True,
    )
    test_list: str | None = hyper(
        None,
        "test list, rows of a clip and its label; default: the one test*.txt or test*.csv in the folder, else val*",
        location=True,
    )
    base_classes: str | None = hyper(None, "base classes: names with commas between, or a file with one name per line")
    label_base: Literal["auto", "0", "1"] = hyper("auto", "whether labels in the lists count from 0 or 1")
    test_fraction: float = hyper(
        0.3, "part of each class that is tested where there are no lists", minimum=0, maximum=1
    )
    groups: str | None = hyper(
        None,
        "which clips come from one recording: csv with the columns clip and group, clips as lists or folders name "
        "them; intervals and tests draw whole groups",
        location=True,
        later=True,
    )
    split_seed: int = hyper(0, "seed of the split where there are no lists", minimum=0)
    layout: Literal["auto", LayoutName] = hyper(
        "auto",
        "what the folders above a clip are, from the top: class, side (train, val, test), group (clips of one "
        "recording, kept on one side); lists are then not used. auto: lists, else the one layout that fits",
        later=True,
    )
    test_side: Literal["auto", "val", "test"] = hyper(
        "auto", "which side or list is tested; auto: test, or val if there is no test", later=True
    )

    def root(self, data_root: Path | None) -> Path:
        """`path` under the current directory or the data root; the data root itself where `path` is not given."""
        if not self.path:
            if data_root is None:
                raise DataError("folder: which folder? Say --set folder.path=DIR, or --datasets NAME=DIR")
            return data_root
        places = [Path(self.path).expanduser()]
        if data_root is not None:
            places.append(data_root / places[0])
        found = {place.resolve() for place in places if place.is_dir()}
        if len(found) > 1:
            raise DataError(
                f"{self.name}.path={self.path}: exists in the current directory and under --data-root; "
                "write the whole path"
            )
        if not found:
            raise DataError(f"{self.name}.path={self.path}: no such folder (looked at {', '.join(map(str, places))})")
        return found.pop()

    def annotations(self, root: Path) -> Annotations:
        """Lists if there are any, else class folders of a layout that is recognised as a whole, or told."""
        found = self._lists_or_folders(root)
        groups = self._file(root, "groups")
        return found if groups is None else replace(found, groups=_groups(groups, found))

    def _lists_or_folders(self, root: Path) -> Annotations:
        tree = walk(root)
        clips = FolderClips(tree.files)
        usual = root / "labels.csv"
        names = self._file(root, "labels") or (usual if usual.is_file() else None)
        told = {side: self._file(root, f"{side}_list") for side in ("train", "test")}
        known = [file for file in (names, self._file(root, "groups"), self._base_file(root)) if file]
        lists = find_lists(root, tree.texts, clips, known)
        if self.layout != "auto":  # told, and so lists are not used
            if any(told.values()):
                raise DataError(
                    f"{self.name}.layout={self.layout} takes classes and sides from folders, and "
                    f"{self.name}.train_list or test_list from a list; say one of them"
                )
            return self._from_class_folders(root, tree, names, lists)
        if any(told.values()) or lists.train or lists.val or lists.test:
            return self._from_lists(root, names, told, lists, clips)
        if lists.unlike_usual:
            raise DataError(
                f"{root}: {_names(root, lists.unlike_usual)} may list clips of this folder, and is not read by its "
                f"name. Say --set {self.name}.train_list=FILE and --set {self.name}.test_list=FILE, or "
                f"--set {self.name}.layout={self._likely_layout(root, tree)} to go by class folders alone"
            )
        return self._from_class_folders(root, tree, names, lists)

    def _likely_layout(self, root: Path, tree: Tree) -> str:
        try:
            return recognise(tree.files, "auto", root, self.name).layout
        except DataError:
            return "class"

    # ---------------------------------------------------------------- lists

    def _from_lists(
        self, root: Path, names: Path | None, told: Mapping[str, Path | None], lists: ListFiles, clips: FolderClips
    ) -> Annotations:
        train_list = told["train"] or self._only(root, "train", lists.train, clips)
        test_list = told["test"] or self._tested_list(root, lists, clips)
        names = names or self._other_names(root, lists)
        read = [read_own_list(file, clips) for file in (train_list, test_list)]
        found = labelled(read, names, self.label_base, clips, self.name)
        train, test = found.lists
        _refuse_names_of_several(train_list, train, test_list, test, clips)
        formats.refuse_overlap({train_list.name: train}, {test_list.name: test}, without_video_suffix)
        for file, samples in ((train_list, train), (test_list, test)):
            listed = dict.fromkeys(clips.file_of(sample.clip) for sample in samples)
            refuse_one_file_twice(root, listed, f"it would count twice. Remove one of them from {file.name}")
        used = [train_list, test_list, *([names] if names else [])]
        note = f"read from lists: {train_list.name} trains, {test_list.name} is tested; {found.source}"
        return Annotations(
            classes=found.classes,
            train={1: train},
            test={1: test},
            base_to_novel=self._halves(root, found.classes, train, test),
            files=formats.sha256_of(used, root),
            notes=(note, *_unused_lists(root, lists.unused(used)), *_one_sided(found.classes, train, test)),
        )

    def _tested_list(self, root: Path, lists: ListFiles, clips: FolderClips) -> Path:
        """The test list, or if there is none the validation list; `test_side` may say the other."""
        if self.test_side == "val" or (self.test_side == "auto" and lists.val and not lists.test):
            return self._only(root, "val", lists.val, clips)
        return self._only(root, "test", lists.test, clips)

    def _only(self, root: Path, side: str, files: Sequence[Path], clips: FolderClips) -> Path:
        """The one list of a side. Several are one if they say the same."""
        field = f"{self.name}.{'train' if side == 'train' else 'test'}_list"
        if not files:
            raise DataError(
                f"{root}: no {side}*.txt or {side}*.csv beside the lists; name the file with --set {field}=FILE, or "
                f"say --set {self.name}.layout=class to go by class folders alone"
            )
        if len(files) > 1 and not _say_the_same(files, clips):
            names = ", ".join(file.name for file in files)
            raise DataError(f"{root}: several {side} lists ({names}); name one with --set {field}=FILE")
        return files[0]

    def _other_names(self, root: Path, lists: ListFiles) -> Path | None:
        """The one file of class names that is not called labels.csv."""
        found = [root / name for name in CLASS_FILES if (root / name).is_file() and root / name not in lists.other]
        if len({formats.read_classes(file) for file in found}) > 1:
            raise DataError(
                f"{root}: several files with class names ({_names(root, found)}); name one with "
                f"--set {self.name}.labels=FILE"
            )
        return found[0] if found else None

    # ---------------------------------------------------------------- class folders

    def _from_class_folders(self, root: Path, tree: Tree, names: Path | None, lists: ListFiles) -> Annotations:
        refuse_second_paths(tree)
        reading = recognise(tree.files, self.layout, root, self.name)
        sides = self._sides(root, reading)
        used = [placed for placed in reading.placed if not sides or placed.side in sides]
        refuse_doubles((placed.clip for placed in used), root)
        classes = formats.read_classes(names) if names else self._class_names(root, used, sides)
        if len(classes) < 2:
            raise DataError(
                f"{root}: {len(classes)} folders with videos; one is needed for each class, and two classes at least"
            )
        folders = {placed.class_name for placed in used}
        label_of = folder_labels(folders, classes, self.label_base, names or root, self.name)
        samples = {placed: Sample(placed.clip, label_of[placed.class_name]) for placed in used}
        if sides:
            train, test = (tuple(s for p, s in samples.items() if p.side == side) for side in sides)
        else:
            units = {placed.clip: placed.group or placed.clip for placed in used}
            train, test = drawn(samples.values(), classes, units, self.test_fraction, self.split_seed, root)
        return Annotations(
            classes=classes,
            train={1: train},
            test={1: test},
            base_to_novel=self._halves(root, classes, train, test),
            groups={placed.clip: placed.group for placed in used if placed.group},
            files=formats.sha256_of([names] if names else [], root),
            notes=(
                *self._reading_notes(reading, sides, names),
                *_unused_lists(root, lists.unused()),
                *both_kinds((placed.clip for placed in used), tree.frame_folders),
                *_without_clips(root, tree, used),
                *_one_sided(classes, train, test),
                *_numbers_as_names(classes),
            ),
        )

    def _sides(self, root: Path, reading: Reading) -> tuple[str, str] | None:
        """Which side trains and which is tested; None in layouts without sides."""
        if "side" not in reading.layout:
            if self.test_side != "auto":
                raise DataError(f"{root}: there are no sides; leave --set {self.name}.test_side={self.test_side} out")
            return None
        there = {placed.side for placed in reading.placed}
        test = ("test" if "test" in there else "val") if self.test_side == "auto" else self.test_side
        absent = {"train", test} - there
        if absent:
            other = {"val", "test"} & there - {test}
            remedy = (
                f"which side is tested: --set {self.name}.test_side={min(other)}"
                if other and "train" in there
                else "call the folders train, val and test, or list the clips in train.csv and test.csv"
            )
            lacking, only = " or ".join(sorted(absent)), ", ".join(sorted(there))
            raise DataError(f"{root}: no clips of the side {lacking}, only of {only}; {remedy}")
        return "train", test

    def _class_names(self, root: Path, used: Sequence[Placed], sides: tuple[str, str] | None) -> tuple[str, ...]:
        """The names of the class folders, in alphabetical order."""
        names = tuple(sorted({placed.class_name for placed in used}))
        remedy = f"Rename the folders, or name all classes in labels.csv (id,name) or --set {self.name}.labels=FILE"
        refuse_similar(names, str(root), remedy)
        if sides:
            train, test = ({placed.class_name for placed in used if placed.side == side} for side in sides)
            novel = set() if self.base_classes is None else set(names) - self._base_names(root, names)
            refuse_one_sided(train, test - (novel - train), str(root), remedy)
        return names

    def _base_names(self, root: Path, names: Sequence[str]) -> set[str]:
        return {names[label] for label in self._base_labels(root, names)}

    def _reading_notes(self, reading: Reading, sides: tuple[str, str] | None, names: Path | None) -> Iterator[str]:
        how = "recognised" if self.layout == "auto" else "as told"
        source = names.name if names else "the folders"
        yield f"read from folders: layout {reading.layout} ({how}), class names from {source}"
        if sides:
            yield f"no lists: trains on the folder {sides[0]}, tests on the folder {sides[1]}"
            counts = Counter(placed.side for placed in reading.placed if placed.side not in sides)
            for side, count in counts.items():
                yield f"{count} clips of the side {side} are not used; --set {self.name}.test_side={side} tests them"
        else:
            apart = "group" in reading.layout
            cut = "groups stay together" if apart else "clips cut from one recording may lie on both sides"
            yield (
                f"no lists: {self.test_fraction:g} of each class is tested, drawn with seed {self.split_seed}; {cut}"
            )
        if reading.unused:
            yield f"{len(reading.unused)} clips lie outside of the sides and are not used, e.g. {reading.unused[0]}"

    # ---------------------------------------------------------------- base classes

    def _halves(
        self, root: Path, classes: Sequence[str], train: Sequence[Sample], test: Sequence[Sample]
    ) -> HalfSplit | None:
        if self.base_classes is None:
            return None
        base = self._base_labels(root, classes)
        novel = tuple(label for label in range(len(classes)) if label not in base)
        if not novel:
            raise DataError(f"{self.name}.base_classes names every class; one at least must be left as novel")
        return HalfSplit(
            base=base,
            novel=novel,
            base_train=tuple(sample for sample in train if sample.label in base),
            base_test=tuple(sample for sample in test if sample.label in base),
            novel_test=tuple(sample for sample in test if sample.label in novel),
            draws={},
            source="folder.base_classes",
        )

    def _base_labels(self, root: Path, classes: Sequence[str]) -> tuple[int, ...]:
        file, text = self._base_file(root), self.base_classes or ""
        names = formats.read_classes(file) if file else [part.strip() for part in text.split(",") if part.strip()]
        find = formats.class_finder(classes)
        labels: dict[int, None] = {}
        for name in names:
            label = find(name)
            if label is None:
                near = get_close_matches(name, classes, n=3) or list(classes)[:10]
                raise DataError(f"{self.name}.base_classes: {name!r} is none of the classes; near: {', '.join(near)}")
            labels[label] = None
        if not labels:
            raise DataError(f"{self.name}.base_classes names no class")
        return tuple(labels)

    def _base_file(self, root: Path) -> Path | None:
        text = self.base_classes or ""
        return next((place for place in (root / text, Path(text).expanduser()) if text and place.is_file()), None)

    def _file(self, root: Path, field: str) -> Path | None:
        """The file that a field names: below the folder, or from the current directory."""
        text = getattr(self, field)
        if text is None:
            return None
        places = (root / text, Path(text).expanduser())
        for place in places:
            if place.is_file():
                return place.resolve()
        raise DataError(
            f"{self.name}.{field}={text}: no such file (looked at {', '.join(str(place) for place in places)})"
        )


def _groups(file: Path, annotations: Annotations) -> dict[str, str]:
    """Clip -> group. Raises DataError for a file without these columns, an empty group, or a clip that no list has."""
    rows = list(csv.DictReader(io.StringIO(formats.read_text(file))))
    if not rows or not {"clip", "group"} <= rows[0].keys():
        raise DataError(f"{file}: expected a csv with the columns clip and group, and a row for each clip")
    clips = {sample.clip for some in (annotations.train, annotations.test) for each in some.values() for sample in each}
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        clip, group = (row["clip"] or "").strip(), (row["group"] or "").strip()
        if clip not in clips:
            raise DataError(f"{file}, line {number}: {clip!r} is none of the {len(clips)} clips of this data set")
        if not group or groups.setdefault(clip, group) != group:
            raise DataError(f"{file}, line {number}: {clip!r} needs one group, here {group!r}")
    return groups


def _say_the_same(files: Sequence[Path], clips: FolderClips) -> bool:
    try:
        read = [read_own_list(file, clips).rows for file in files]
    except DataError:
        return False
    return len({frozenset((row.clip, row.label, row.name) for row in rows) for rows in read}) == 1


def _refuse_names_of_several(
    train_list: Path, train: Sequence[Sample], test_list: Path, test: Sequence[Sample], clips: FolderClips
) -> None:
    """Raise DataError if a name stands in both lists and several clips have it: each list may mean one of them."""
    for clip in sorted({sample.clip for sample in train} & {sample.clip for sample in test} - clips.files):
        called = clips.ending_in(clip)
        if len(called) > 1:
            raise DataError(
                f"{clip!r} stands in {train_list.name} and in {test_list.name}, and several clips are called so "
                f"({some(called)}); write the paths in both lists from {train_list.parent} on"
            )


def _names(root: Path, files: Iterable[Path]) -> str:
    return ", ".join(file.relative_to(root).as_posix() for file in files)


def _unused_lists(root: Path, files: Sequence[Path]) -> Iterator[str]:
    if files:
        yield f"not used: {_names(root, files)}"


def _without_clips(root: Path, tree: Tree, used: Sequence[Placed]) -> Iterator[str]:
    """A note on folders beside the class folders in which no clip lies: a class may be missing."""
    above = {PurePosixPath(clip.rpartition("/")[0]) for clip in tree.files}
    holding = above | {parent for folder in above for parent in folder.parents}
    names = {placed.class_name for placed in used}
    beside = {folder.parent for folder in holding if folder.name in names}
    empty = [
        each.relative_to(root).as_posix()
        for parent in sorted(beside)
        for each in sorted((root / parent).iterdir())
        if each.is_dir() and each.name[0] != "." and PurePosixPath(each.relative_to(root)) not in holding
    ]
    if empty:
        yield f"{len(empty)} folders beside the class folders hold no clip, and are no classes: {some(empty)}"


def _one_sided(classes: Sequence[str], train: Sequence[Sample], test: Sequence[Sample]) -> Iterator[str]:
    for what, samples in (("training", train), ("test", test)):
        lacking = set(range(len(classes))) - {sample.label for sample in samples}
        if lacking:
            yield f"{len(lacking)} classes have no {what} clip: {some(classes[label] for label in lacking)}"


def _numbers_as_names(classes: Sequence[str]) -> Iterator[str]:
    if all(map(formats.is_integer, classes)):
        yield f"class names are numbers, and so prompts will say no more; name them in labels.csv: {some(classes)}"
