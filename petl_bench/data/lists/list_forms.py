"""The published forms of action-recognition lists (ViFi-CLIP, official, Text4Vis, ...): how each is found and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from petl_bench.data.found.tree import Tree, find_annotation
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList
from petl_bench.errors import DataError

Key = TypeVar("Key")

#: Reads one list file.
ListReader = Callable[[Path], ClipList]
#: Finds and reads one form of a data set's lists.
FormReader = Callable[[Tree], "ListForm"]
_SHOTS = (2, 4, 8, 16)


@dataclass
class HalfLists:
    """Base-to-novel lists; their labels count within the base or the novel names."""

    base_names: tuple[str, ...]
    novel_names: tuple[str, ...]
    base_train: ClipList | None
    base_test: ClipList
    novel_test: ClipList
    draws: dict[int, ClipList]


@dataclass
class ListForm:
    """One published form of a data set's lists, as far as its files were found.

    `train` and `test` map a split to its lists, `few_shot` maps (split, shots) to them. `files` are those that were
    read, but for `class_file`.
    """

    name: str
    classes: tuple[str, ...] = ()
    class_file: Path | None = None
    train: dict[int, list[ClipList]] = field(default_factory=dict)
    test: dict[int, list[ClipList]] = field(default_factory=dict)
    few_shot: dict[tuple[int, int], list[ClipList]] = field(default_factory=dict)
    halves: HalfLists | None = None
    files: list[Path] = field(default_factory=list)

    def add(
        self, lists: dict[Key, list[ClipList]], key: Key, file: Path | None, read: ListReader = formats.read_list
    ) -> None:
        """Read `file`, if there is one, into `lists` (one of this form's parts)."""
        if file is not None:
            lists[key] = [read(file)]
            self.files.append(file)

    def add_classes(self, file: Path | None, read: Callable[[Path], tuple[str, ...]]) -> None:
        """Take the class names from `file`, if there is one."""
        if file is not None:
            self.class_file, self.classes = file, read(file)

    @property
    def splits(self) -> list[ClipList]:
        """All its lists over the full classes."""
        parts = (*self.train.values(), *self.test.values(), *self.few_shot.values())
        return [clip_list for lists in parts for clip_list in lists]


# ---------------------------------------------------------------- finding forms


def read_spaced_classes(path: Path) -> tuple[str, ...]:
    """Class names as `formats.read_classes` reads them, with blanks for underscores."""
    return tuple(name.replace("_", " ") for name in formats.read_classes(path))


def find_form(
    tree: Tree,
    name: str,
    class_files: Sequence[str],
    train: Mapping[str, ListReader] = MappingProxyType({}),
    test: Mapping[str, ListReader] | None = None,
    *,
    splits: Sequence[int] = (1, 2, 3),
    read_classes: Callable[[Path], tuple[str, ...]] = read_spaced_classes,
) -> ListForm:
    """Find a form with one list for each part and split; what is not there is left out.

    Args:
        tree: The files under the data root.
        name: The form's name.
        class_files: Patterns of the file of class names (see `find_annotation`).
        train: Reader of each pattern of the training lists, with `{split}`, and `{part}` for "train"; a list is read
            from the first pattern that fits a file.
        test: The same for the test lists; default: `train`, with "val" for `{part}`.
        splits: Numbers of the splits.
        read_classes: Reader of the file of class names.
    """
    form = ListForm(name)
    form.add_classes(find_annotation(tree, *class_files), read_classes)
    for split in splits:
        for lists, part, patterns in (
            (form.train, "train", train),
            (form.test, "val", train if test is None else test),
        ):
            for pattern, read in patterns.items():
                if split not in lists:
                    form.add(lists, split, find_annotation(tree, pattern.format(part=part, split=split)), read)
    return form


def vificlip(
    tree: Tree,
    folder: str,
    labels: str,
    *,
    halves: str = "",
    test: str = "val{split}.txt",
    splits: Sequence[int] = (1, 2, 3),
) -> ListForm:
    """ViFi-CLIP's lists: `<folder>/val1.txt`, `<folder>/train1_few_shot_2.txt`, `base2novel_splits/<folder>/...`.

    Args:
        tree: The files under the data root.
        folder: E.g. `ucf_splits`.
        labels: The start of the label file, e.g. `ucf_101` for `ucf_101_labels.csv`.
        halves: The start of the label files of the halves, if it is another one.
        test: Pattern of the test lists.
        splits: Numbers of the splits.
    """
    tests = {f"{folder}/{test}": formats.read_list, f"./{test}": formats.read_list}
    classes = [f"{labels}_labels.csv"]
    form = find_form(tree, "vificlip", classes, {}, tests, splits=splits, read_classes=formats.read_class_csv)
    for split, shots in product(splits, _SHOTS):
        name = f"train{split}_few_shot_{shots}.txt"
        form.add(form.few_shot, (split, shots), find_annotation(tree, f"{folder}/{name}", f"./{name}"))
    add_vificlip_halves(form, tree, folder, halves or labels)
    return form


def form_reader(name: str, class_files: Sequence[str], **lists: Any) -> FormReader:
    """A function that finds a form in a tree: `find_form` with all else given."""
    return partial(find_form, name=name, class_files=class_files, **lists)


def forms_of_three_splits(name: str, short: str, labels: str, text4vis_labels: str) -> dict[str, FormReader]:
    """Readers of the forms that UCF-101 and HMDB-51 have alike: Text4Vis, ActionCLIP, mmaction2.

    Args:
        name: The data set in file names: `ucf101`.
        short: The data set in the name of Text4Vis' zero-shot list: `ucf`. That list holds all clips, and so the form
            `text4vis_full` is one test split without training clips.
        labels: The start of ActionCLIP's label file: `ucf_101`. Its lists have the names that its configurations give
            them, and paths that are absolute on its authors' disk.
        text4vis_labels: Text4Vis' label file.
    """
    counted = formats.read_counted_list
    text4vis = {f"{name}/{{part}}_rgb_split_{{split}}.txt": counted}
    actionclip = {f"{name}/{{part}}_rgb_split{{split}}.txt": partial(counted, foreign=True)}
    start = f"{name}_{{part}}_split_{{split}}_"
    mmaction2 = {f"{start}videos.txt": formats.read_list, f"{start}rawframes.txt": counted}
    full = {f"{short}_full_for_zeroshot.txt": counted}
    return {
        "text4vis": form_reader("text4vis", [text4vis_labels], train=text4vis),
        "actionclip": form_reader("actionclip", [f"{labels}_labels.csv", text4vis_labels], train=actionclip),
        "mmaction2": form_reader("mmaction2", [f"{name}/label_map.txt"], train=mmaction2),
        "text4vis_full": form_reader("text4vis_full", [text4vis_labels], test=full, splits=(1,)),
    }


def add_vificlip_halves(form: ListForm, tree: Tree, folder: str, labels: str) -> None:
    """Add ViFi-CLIP's base-to-novel lists, `base2novel_splits/<folder>/...`, if they are there.

    The list of all training clips of the base classes may be absent if there are published draws: Kinetics-400's is
    left out of many copies for its size. Raises DataError if others are absent.
    """

    def find(name: str) -> Path | None:
        return find_annotation(tree, f"base2novel_splits/{folder}/{name}", f"{folder}/{name}", f"./{name}")

    base_train = find("base_train.txt")
    lists = {name: find(name) for name in ("base_val.txt", "novel_val.txt")}
    draws = {draw: file for draw in (0, 1, 2) if (file := find(f"fs_base_s{draw + 1}_train.txt")) is not None}
    if not any((base_train, *lists.values(), *draws.values())):
        return
    names = {name: find_annotation(tree, name) for name in (f"{labels}_base_labels.csv", f"{labels}_novel_labels.csv")}
    needed = {**lists, **names}
    absent = [name for name, file in needed.items() if file is None]
    if base_train is None and not draws:
        absent.append("base_train.txt")
    if absent:
        raise DataError(
            f"{tree.root}: the base-to-novel lists of {folder} are incomplete: {', '.join(absent)} not found. They "
            "stand in ViFi-CLIP's repository; or leave these lists out with lists=official"
        )
    base_test, novel_test, base_names, novel_names = (file for file in needed.values() if file is not None)
    form.files += [
        base_test,
        novel_test,
        base_names,
        novel_names,
        *draws.values(),
        *([base_train] if base_train else []),
    ]
    form.halves = HalfLists(
        base_names=formats.read_class_csv(base_names),
        novel_names=formats.read_class_csv(novel_names),
        base_train=formats.read_list(base_train) if base_train else None,
        base_test=formats.read_list(base_test),
        novel_test=formats.read_list(novel_test),
        draws={draw: formats.read_list(file) for draw, file in draws.items()},
    )
