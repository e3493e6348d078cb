"""A folder of one's own as annotations: its lists if there are any, else its class folders; doubts are refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from petl_bench.api.dataset import Annotations, HalfSplit, Sample
from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.found.entries import shards_left_words
from petl_bench.data.found.tree import refuse_unread_archives, walk
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList
from petl_bench.data.lists.class_folders import (
    both_kinds,
    first_few,
    folder_labels,
    refuse_doubles,
    refuse_one_sided,
    refuse_similar,
)
from petl_bench.data.lists.drawn_split import drawn
from petl_bench.data.lists.folder_layouts import (
    Placed,
    Reading,
    recognise,
    refuse_one_file_twice,
    refuse_second_paths,
    refuse_shards_as_sides,
)
from petl_bench.data.lists.list_files import CLASS_FILES, find_lists
from petl_bench.data.lists.own_captions import (
    CAPTION_FILES,
    CaptionsBeside,
    OwnCaptions,
    captioned_folder,
    captioned_lists,
    find_captions,
    is_bare_list,
    refuse_pickle,
    without_captions,
)
from petl_bench.data.lists.own_classes import labelled
from petl_bench.data.lists.own_lists import FolderClips, read_own_list
from petl_bench.data.lists.texts_beside import captions_beside, labels_beside, sides_of_flat
from petl_bench.errors import DataError


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is read: the data set's `name`, for messages, and its fields (see benchmarks/datasets/folder.py)."""

    name: str
    labels: str | None
    train_list: str | None
    test_list: str | None
    base_classes: str | None
    label_base: str
    test_fraction: float
    groups: str | None
    split_seed: int
    layout: str
    test_side: str
    captions: str | None


class FolderReader:
    """Reads one folder. Raises DataError for a folder that is none, and for files of options that are not there."""

    def __init__(self, root: Path, options: FolderOptions) -> None:
        self._root, self._options = root, options
        self._set = f"--set {options.name}."
        self._tree = walk(root)
        refuse_unread_archives(self._tree)
        self._clips = FolderClips(self._tree.files)
        usual = root / "labels.csv"
        self._names = self._file("labels") or (usual if usual.is_file() else None)
        self._train_list, self._test_list = self._file("train_list"), self._file("test_list")
        self._named_captions = self._file("captions")
        self._groups, text = self._file("groups"), options.base_classes or ""
        places = (root / text, Path(text).expanduser())
        self._base_file = next((file for file in places if text and file.is_file()), None)
        known = [file for file in (self._names, self._groups, self._base_file, self._named_captions) if file]
        known += [root / name for name in CAPTION_FILES]
        self._lists = find_lists(root, self._tree.texts, self._clips, known)
        self._captions, self._fault = self._read_captions()

    def annotations(self) -> Annotations:
        """What the folder says.

        Raises:
            DataError: It could be read in two ways, or says too little; the message names the option that decides.
        """
        try:
            if self._captions is not None:
                found = self._captioned(self._captions)
            else:
                found = self._labelled() if self._fault is None else self._despite(self._fault)
        except DataError as error:
            words = shards_left_words(self._tree.entries)
            raise DataError(f"{error}; {words}" if words else str(error)) from None
        return found if self._groups is None else replace(found, groups=read_groups(self._groups, found))

    def _labelled(self) -> Annotations:
        """A folder with classes."""
        try:
            if self._has_lists():
                return self._from_lists()
            return self._from_labels_beside() or self._from_class_folders()
        except DataError:
            refuse_pickle(self._root)
            raise

    # ---------------------------------------------------------------- captions

    def _read_captions(self) -> tuple[OwnCaptions | None, DataError | None]:
        """The captions, if there are any; or why those that lie there cannot be used, if no option names them."""
        if self._named_captions:
            return OwnCaptions(self._named_captions, self._clips), None
        try:
            file = find_captions(self._root, f"{self._set}captions")
            return (OwnCaptions(file, self._clips) if file else self._captions_beside()), None
        except DataError as error:
            return None, error

    def _captions_beside(self) -> OwnCaptions | None:
        """Captions beside videos that lie flat, without lists; None for other folders."""
        texts = captions_beside(self._tree) if self._is_flat() and not self._says_sides() else {}
        return CaptionsBeside(texts, self._root, self._clips) if texts else None

    def _is_flat(self) -> bool:
        files = self._tree.files
        return bool(files) and self._options.layout == "auto" and sides_of_flat(files) is not None

    def _says_sides(self) -> bool:
        """Whether options or lists say which clips train."""
        lists = self._lists
        return bool(self._train_list or self._test_list or lists.train or lists.val or lists.test)

    def _despite(self, fault: DataError) -> Annotations:
        """A folder with classes, whose captions cannot be used. Raises their fault if nothing says classes."""
        told = self._says_classes() and not self._has_bare_lists()
        try:
            found = self._labelled()
        except DataError:
            if told:
                raise
            raise fault from None
        return without_captions(found, fault, self._root)

    def _says_classes(self) -> bool:
        """Whether options, names of classes or lists say that there are classes, whatever the folders are called."""
        options = self._options
        told = self._names or self._base_file or options.layout != "auto" or options.base_classes
        return bool(told) or self._has_lists()

    def _with_captions(self, found: Annotations, captions: OwnCaptions) -> Annotations:
        """A labelled folder with its captions; without them, and with a note, if they are of other clips."""
        try:
            return captions.added_to(found, self._root)
        except DataError as error:
            if self._named_captions:
                raise
            return without_captions(found, error, self._root)

    def _captioned(self, captions: OwnCaptions) -> Annotations:
        """A folder with captions: with classes if its lists or options say some, or its folders are a layout of them.

        Lists that name clips and no labels say which of them train and which are tested.
        """
        options, root = self._options, self._root
        bare = self._bare_lists(captions)
        if bare is not None:
            return captioned_lists(captions, *bare, root, self._unused_lists(bare))
        if self._says_classes():
            return self._with_captions(self._labelled(), captions)
        refuse_second_paths(self._tree)
        try:
            beside = self._from_labels_beside() if isinstance(captions, CaptionsBeside) else None
            found = beside or self._from_class_folders()
        except DataError:  # no layout of classes
            clips = sorted(self._tree.files)
            fraction, seed = options.test_fraction, options.split_seed
            return captioned_folder(captions, clips, options.test_side, fraction, seed, root)
        return self._with_captions(found, captions)

    def _bare_lists(self, captions: OwnCaptions) -> tuple[Path, Path] | None:
        """Training and test list, if they name clips without labels."""
        if not self._has_bare_lists(captions):
            return None
        return self._train_list or self._only("train", self._lists.train), self._test_list or self._tested_list()

    def _has_bare_lists(self, captions: OwnCaptions | None = None) -> bool:
        """Whether there are lists, and all of them name clips, which have files or captions, without labels."""
        lists = self._lists
        train = [self._train_list] if self._train_list else lists.train
        there = [*train, *([self._test_list] if self._test_list else (*lists.val, *lists.test))]
        return (
            self._options.layout == "auto"
            and bool(there)
            and all(is_bare_list(file, self._clips, captions) for file in there)
        )

    def _has_lists(self) -> bool:
        name, told, lists = self._options.name, bool(self._train_list or self._test_list), self._lists
        if self._options.layout != "auto":  # told, and so lists are not used
            if told:
                raise DataError(
                    f"{name}.layout={self._options.layout} takes classes and sides from folders, and "
                    f"{name}.train_list or test_list from a list; say one of them"
                )
            return False
        if not (told or lists.train or lists.val or lists.test) and lists.unlike_usual:
            raise DataError(
                f"{self._root}: {self._below(lists.unlike_usual)} may list clips of this folder, and is not read by "
                f"its name. Say {self._set}train_list=FILE and {self._set}test_list=FILE, or "
                f"{self._set}layout={self._likely_layout()} to go by class folders alone"
            )
        return bool(told or lists.train or lists.val or lists.test)

    def _likely_layout(self) -> str:
        try:
            return recognise(self._tree.files, "auto", self._root, self._options.name).layout
        except DataError:
            return "class"

    # ---------------------------------------------------------------- lists

    def _from_lists(self) -> Annotations:
        files = (self._train_list or self._only("train", self._lists.train), self._test_list or self._tested_list())
        names = self._names or self._other_names()
        read = [read_own_list(file, self._clips) for file in files]
        found = labelled(read, names, self._options.label_base, self._clips, self._options.name)
        (train_list, train), (test_list, test) = zip(files, found.lists, strict=True)
        self._refuse_names_of_several(train_list, train, test_list, test)
        formats.refuse_overlap({train_list.name: train}, {test_list.name: test}, without_video_suffix)
        for file, samples in zip(files, found.lists, strict=True):
            listed = dict.fromkeys(self._clips.file_of(sample.clip) for sample in samples)
            refuse_one_file_twice(self._root, listed, f"it would count twice. Remove one of them from {file.name}")
        used = [*files, *([names] if names else [])]
        note = f"read from lists: {train_list.name} trains, {test_list.name} is tested; {found.source}"
        notes = (note, *self._unused_lists(used))
        return self._annotations(found.classes, train, test, used, notes)

    def _tested_list(self) -> Path:
        """The test list, or if there is none the validation list; `test_side` may say the other."""
        side, lists = self._options.test_side, self._lists
        if side == "val" or (side == "auto" and lists.val and not lists.test):
            return self._only("val", lists.val)
        return self._only("test", lists.test)

    def _only(self, side: str, files: Sequence[Path]) -> Path:
        """The one list of a side. Several are one if they say the same."""
        field = f"{self._set}{'train' if side == 'train' else 'test'}_list=FILE"
        if not files:
            raise DataError(
                f"{self._root}: no {side}*.txt or {side}*.csv beside the lists; name the file with {field}, or "
                f"say {self._set}layout=class to go by class folders alone"
            )
        if len(files) > 1 and not self._say_the_same(files):
            names = ", ".join(file.name for file in files)
            raise DataError(f"{self._root}: several {side} lists ({names}); name one with {field}")
        return files[0]

    def _say_the_same(self, files: Sequence[Path]) -> bool:
        try:
            read = [read_own_list(file, self._clips).rows for file in files]
        except DataError:
            return False
        return len({frozenset((row.clip, row.label, row.name) for row in rows) for rows in read}) == 1

    def _other_names(self) -> Path | None:
        """The one file of class names that is not called labels.csv."""
        files = [self._root / name for name in CLASS_FILES]
        found = [file for file in files if file.is_file() and file not in self._lists.other]
        if len({formats.read_classes(file) for file in found}) > 1:
            raise DataError(
                f"{self._root}: several files with class names ({self._below(found)}); name one with "
                f"{self._set}labels=FILE"
            )
        return found[0] if found else None

    def _refuse_names_of_several(
        self, train_list: Path, train: Sequence[Sample], test_list: Path, test: Sequence[Sample]
    ) -> None:
        """Raise DataError if a name stands in both lists and several clips have it: each list may mean one of them."""
        for clip in sorted({sample.clip for sample in train} & {sample.clip for sample in test} - self._clips.files):
            called = self._clips.ending_in(clip)
            if len(called) > 1:
                raise DataError(
                    f"{clip!r} stands in {train_list.name} and in {test_list.name}, and several clips are called so "
                    f"({first_few(called)}); write the paths in both lists from {train_list.parent} on"
                )

    # ---------------------------------------------------------------- labels beside the videos

    def _from_labels_beside(self) -> Annotations | None:
        """Clips that lie flat, each with a file that holds its label; None for other folders."""
        options, root, clips = self._options, self._root, self._tree.files
        side_of_clip = sides_of_flat(clips) if self._is_flat() else None
        rows = labels_beside(self._tree) if side_of_clip else {}
        if not side_of_clip or not rows:
            return None
        refuse_second_paths(self._tree)
        refuse_doubles(clips, root)
        has_sides = any(side_of_clip.values())
        placed = tuple(Placed(clip, side, "", "") for clip, side in side_of_clip.items())
        sides = self._sides(Reading("side" if has_sides else "", placed)) or ("",)
        names = self._names or self._other_names()
        lists = [
            ClipList(root / "*.cls", tuple(row for clip, row in rows.items() if side_of_clip[clip] == side))
            for side in sides
        ]
        found = labelled(lists, names, options.label_base, self._clips, options.name)
        if has_sides:
            train, test = found.lists
        else:
            units, fraction = {clip: clip for clip in clips}, options.test_fraction
            train, test = drawn(found.lists[0], found.classes, units, fraction, options.split_seed, root)
        used = [names] if names else []
        note = f"read from labels beside the videos (.cls, .json); {found.source}"
        return self._annotations(found.classes, train, test, used, (note, *self._unused_lists(used)))

    # ---------------------------------------------------------------- class folders

    def _from_class_folders(self) -> Annotations:
        refuse_second_paths(self._tree)
        root, names, options = self._root, self._names, self._options
        reading = recognise(self._tree.files, options.layout, root, options.name)
        sides = self._sides(reading)
        used = [placed for placed in reading.placed if not sides or placed.side in sides]
        refuse_doubles((placed.clip for placed in used), root)
        classes = formats.read_classes(names) if names else self._class_names(used, sides)
        if len(classes) < 2:
            raise DataError(
                f"{root}: {len(classes)} folders with videos; one is needed for each class, and two classes at least"
            )
        folders = {placed.class_name for placed in used}
        label_of = folder_labels(folders, classes, options.label_base, names or root, options.name)
        samples = {placed: Sample(placed.clip, label_of[placed.class_name]) for placed in used}
        if sides:
            train, test = (tuple(s for p, s in samples.items() if p.side == side) for side in sides)
        else:
            units = {placed.clip: placed.group or placed.clip for placed in used}
            train, test = drawn(samples.values(), classes, units, options.test_fraction, options.split_seed, root)
        notes = (
            *self._reading_notes(reading, sides),
            *self._unused_lists(),
            *both_kinds((placed.clip for placed in used), self._tree.frame_folders),
            *self._without_clips(folders),
        )
        found = self._annotations(classes, train, test, [names] if names else [], notes)
        groups = {placed.clip: placed.group for placed in used if placed.group}
        return replace(found, groups=groups, notes=(*found.notes, *_numbers_as_names(classes)))

    def _sides(self, reading: Reading) -> tuple[str, str] | None:
        """Which side trains and which is tested; None in layouts without sides."""
        told = self._options.test_side
        if "side" not in reading.layout:
            if told != "auto":
                raise DataError(f"{self._root}: there are no sides; leave {self._set}test_side={told} out")
            refuse_shards_as_sides(self._tree)
            return None
        there = {placed.side for placed in reading.placed}
        test = ("test" if "test" in there else "val") if told == "auto" else told
        absent = {"train", test} - there
        if absent:
            other = {"val", "test"} & there - {test}
            remedy = (
                f"which side is tested: {self._set}test_side={min(other)}"
                if other and "train" in there
                else "call the folders train, val and test, or list the clips in train.csv and test.csv"
            )
            lacking, only = " or ".join(sorted(absent)), ", ".join(sorted(there))
            raise DataError(f"{self._root}: no clips of the side {lacking}, only of {only}; {remedy}")
        return "train", test

    def _class_names(self, used: Sequence[Placed], sides: tuple[str, str] | None) -> tuple[str, ...]:
        """The names of the class folders, in alphabetical order."""
        names = tuple(sorted({placed.class_name for placed in used}))
        remedy = f"Rename the folders, or name all classes in labels.csv (id,name) or {self._set}labels=FILE"
        refuse_similar(names, str(self._root), remedy)
        if sides:
            train, test = ({placed.class_name for placed in used if placed.side == side} for side in sides)
            base = None if self._options.base_classes is None else {names[label] for label in self._base_labels(names)}
            novel = set() if base is None else set(names) - base
            refuse_one_sided(train, test - (novel - train), str(self._root), remedy)
        return names

    # ---------------------------------------------------------------- both

    def _annotations(
        self,
        classes: tuple[str, ...],
        train: tuple[Sample, ...],
        test: tuple[Sample, ...],
        used: Sequence[Path],
        notes: Iterable[str],
    ) -> Annotations:
        return Annotations(
            classes=classes,
            train={1: train},
            test={1: test},
            base_to_novel=self._halves(classes, train, test),
            files=formats.sha256_of(used, self._root),
            notes=(*notes, *_one_sided(classes, train, test)),
        )

    def _halves(self, classes: Sequence[str], train: Sequence[Sample], test: Sequence[Sample]) -> HalfSplit | None:
        if self._options.base_classes is None:
            return None
        base = self._base_labels(classes)
        novel = tuple(label for label in range(len(classes)) if label not in base)
        if not novel:
            raise DataError(f"{self._options.name}.base_classes names every class; one at least must be left as novel")
        return HalfSplit(
            base=base,
            novel=novel,
            base_train=tuple(sample for sample in train if sample.label in base),
            base_test=tuple(sample for sample in test if sample.label in base),
            novel_test=tuple(sample for sample in test if sample.label in novel),
            draws={},
            source="folder.base_classes",
        )

    def _base_labels(self, classes: Sequence[str]) -> tuple[int, ...]:
        field, text = f"{self._options.name}.base_classes", self._options.base_classes or ""
        listed = [part.strip() for part in text.split(",") if part.strip()]
        find = formats.class_finder(classes)
        labels: dict[int, None] = {}
        for name in formats.read_classes(self._base_file) if self._base_file else listed:
            label = find(name)
            if label is None:
                near = get_close_matches(name, classes, n=3) or list(classes)[:10]
                raise DataError(f"{field}: {name!r} is none of the classes; near: {', '.join(near)}")
            labels[label] = None
        if not labels:
            raise DataError(f"{field} names no class")
        return tuple(labels)

    def _file(self, field: str) -> Path | None:
        """The file that a field names: below the folder, or from the current directory."""
        text = getattr(self._options, field)
        if text is None:
            return None
        places = (self._root / text, Path(text).expanduser())
        for place in places:
            if place.is_file():
                return place.resolve()
        raise DataError(f"{self._options.name}.{field}={text}: no such file (looked at {', '.join(map(str, places))})")

    def _below(self, files: Iterable[Path]) -> str:
        return ", ".join(file.relative_to(self._root).as_posix() for file in files)

    # ---------------------------------------------------------------- notes

    def _unused_lists(self, used: Sequence[Path] = ()) -> Iterator[str]:
        files = self._lists.unused(used)
        if files:
            yield f"not used: {self._below(files)}"

    def _reading_notes(self, reading: Reading, sides: tuple[str, str] | None) -> Iterator[str]:
        options = self._options
        how = "recognised" if options.layout == "auto" else "as told"
        source = self._names.name if self._names else "the folders"
        yield f"read from folders: layout {reading.layout} ({how}), class names from {source}"
        if sides:
            yield f"no lists: trains on the folder {sides[0]}, tests on the folder {sides[1]}"
            counts = Counter(placed.side for placed in reading.placed if placed.side not in sides)
            for side, count in counts.items():
                yield f"{count} clips of the side {side} are not used; {self._set}test_side={side} tests them"
        else:
            apart = "group" in reading.layout
            cut = "groups stay together" if apart else "clips cut from one recording may lie on both sides"
            part, seed = f"{options.test_fraction:g}", options.split_seed
            yield f"no lists: {part} of each class is tested, drawn with seed {seed}; {cut}"
        if reading.unused:
            yield f"{len(reading.unused)} clips lie outside of the sides and are not used, e.g. {reading.unused[0]}"

    def _without_clips(self, class_names: Iterable[str]) -> Iterator[str]:
        """A note on folders beside the class folders in which no clip lies: a class may be missing."""
        above = {PurePosixPath(clip.rpartition("/")[0]) for clip in self._tree.files}
        holding = above | {parent for folder in above for parent in folder.parents}
        beside = {folder.parent for folder in holding if folder.name in class_names}
        empty = [
            each.relative_to(self._root).as_posix()
            for parent in sorted(beside)
            if (self._root / parent).is_dir()  # it may be a folder in tar shards
            for each in sorted((self._root / parent).iterdir())
            if each.is_dir() and each.name[0] != "." and PurePosixPath(each.relative_to(self._root)) not in holding
        ]
        if empty:
            yield f"{len(empty)} folders beside the class folders hold no clip, and are no classes: {first_few(empty)}"


def _one_sided(classes: Sequence[str], train: Sequence[Sample], test: Sequence[Sample]) -> Iterator[str]:
    for what, samples in (("training", train), ("test", test)):
        lacking = set(range(len(classes))) - {sample.label for sample in samples}
        if lacking:
            yield f"{len(lacking)} classes have no {what} clip: {first_few(classes[label] for label in lacking)}"


def _numbers_as_names(classes: Sequence[str]) -> Iterator[str]:
    if all(map(formats.is_integer, classes)):
        yield f"class names are numbers, and so prompts will say no more; name them in labels.csv: {first_few(classes)}"


def read_groups(file: Path, annotations: Annotations) -> dict[str, str]:
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
