"""Which class each row of one's own lists means: by a file of class names, by names in the lists, or by class folders.

Prompts need names, so numbers alone are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from petl_bench.api.dataset import Sample
from petl_bench.data.lists import annotation_formats as formats
from petl_bench.data.lists.annotation_formats import ClipList, ListRow
from petl_bench.data.lists.class_folders import first_few, refuse_similar
from petl_bench.data.lists.folder_layouts import side_of
from petl_bench.data.lists.own_lists import FolderClips
from petl_bench.errors import DataError


@dataclass(frozen=True)
class Labelled:
    """The classes, the samples of each list in order, and in words where the class names are from."""

    classes: tuple[str, ...]
    lists: tuple[tuple[Sample, ...], ...]
    source: str


def labelled(lists: Sequence[ClipList], names: Path | None, base: str, clips: FolderClips, owner: str) -> Labelled:
    """Labels of all lists. `names`: the file of class names; `base`: whether numbers count from "0", "1", or "auto".

    Raises DataError if a row's class is not known, or if most clips lie in folders of other classes than listed.
    """
    if names is not None:
        return _by_file(lists, names, base, clips, owner)
    rows = [row for clip_list in lists for row in clip_list.rows]
    if all(row.label is None for row in rows):
        return _by_names(lists, clips, owner)
    if all(row.label is not None for row in rows):
        return _by_folders(lists, clips, owner)
    raise DataError(
        f"{_files(lists)}: one has numbers as labels and the other names. Write id,name rows into labels.csv, or name "
        f"a file of class names with --set {owner}.labels=FILE"
    )


def _by_file(lists: Sequence[ClipList], file: Path, base: str, clips: FolderClips, owner: str) -> Labelled:
    classes = formats.read_classes(file)
    numbered = [clip_list for clip_list in lists if clip_list.rows[0].label is not None]
    first = 0
    if numbered:
        first = formats.label_base(numbered, classes) if base == "auto" else int(base)
        if base == "auto":
            _refuse_names_that_are_numbers(numbered, classes, first, owner)
    samples = tuple(formats.labelled(clip_list, classes, first) for clip_list in lists)
    agreeing, against, example = _folders_against(samples, classes, clips)
    if numbered and against > agreeing:
        raise DataError(
            f"{file}: by these class names {against} of {against + agreeing} clips lie in the folder of another class "
            f"than the lists say: {example}. Put the names into the order of the labels, or correct the lists"
        )
    if numbered:
        _refuse_a_list_of_its_own_numbers(lists, samples, classes, clips)
    return Labelled(classes, samples, f"class names from {file.name}{_remark(against, example)}")


def _refuse_a_list_of_its_own_numbers(
    lists: Sequence[ClipList], samples: Sequence[Sequence[Sample]], classes: Sequence[str], clips: FolderClips
) -> None:
    """Raise DataError if one list has most clips in folders of other classes: it may count from another number."""
    for clip_list, each in zip(lists, samples, strict=True):
        agreeing, against, example = _folders_against([each], classes, clips)
        if against > agreeing:
            raise DataError(
                f"{clip_list.file}: {against} of its {against + agreeing} clips lie in the folder of another class "
                f"than this list says, and those of the other list do not: {example}. Do its labels count from another "
                "number? Write them as in the other list"
            )


def _refuse_names_that_are_numbers(lists: Sequence[ClipList], classes: Sequence[str], base: int, owner: str) -> None:
    """Raise DataError if a label is the name of one class and the number of another."""
    labels = {name: label for label, name in enumerate(classes)}
    for clip_list in lists:
        for row in clip_list.rows:
            number = (row.label or 0) - base
            named = labels.get(str(row.label), number)
            if named != number and 0 <= number < len(classes):
                raise DataError(
                    f"{clip_list.file}, line {row.line}: the label {row.label} of {row.clip!r} is the name of class "
                    f"{classes[named]!r} and the number of class {classes[number]!r}; say that labels are numbers with "
                    f"--set {owner}.label_base={base}, or rename the classes"
                )


def _folders_against(
    lists: Sequence[Sequence[Sample]], classes: Sequence[str], clips: FolderClips
) -> tuple[int, int, str]:
    """How many clips lie in a folder named after their class, how many in that of another, and the first of those."""
    find = formats.class_finder(classes)
    agreeing, against, example = 0, 0, ""
    for sample in [sample for each in lists for sample in each]:
        named = {label for part in clips.file_of(sample.clip).split("/")[:-1] if (label := find(part)) is not None}
        if named == {sample.label}:
            agreeing += 1
        elif len(named) == 1:
            against += 1
            there = classes[named.pop()]
            example = example or f"{sample.clip} is listed as {classes[sample.label]!r} and lies in one of {there!r}"
    return agreeing, against, example


def _remark(against: int, example: str) -> str:
    return f"; {against} clips lie in the folder of another class, and the list counts: {example}" if against else ""


def _by_names(lists: Sequence[ClipList], clips: FolderClips, owner: str) -> Labelled:
    names = sorted({row.name for clip_list in lists for row in clip_list.rows})
    remedy = f"Write it in one way, or name all classes in a file: --set {owner}.labels=FILE"
    numbers = [name for name in names if formats.is_integer(name)]
    if numbers:
        raise DataError(
            f"{_files(lists)}: some labels are numbers ({first_few(numbers)}) and others names "
            f"({first_few(set(names) - set(numbers))}). {remedy}"
        )
    refuse_similar(names, _files(lists), remedy)
    samples = tuple(formats.labelled(clip_list, names, 0) for clip_list in lists)
    _, against, example = _folders_against(samples, names, clips)
    return Labelled(tuple(names), samples, f"class names as in the lists{_remark(against, example)}")


def _by_folders(lists: Sequence[ClipList], clips: FolderClips, owner: str) -> Labelled:
    rows = [row for clip_list in lists for row in clip_list.rows]
    fitting = list(_one_to_one(rows, clips))
    if len(fitting) != 1 or len(fitting[0]) < 2:
        highest = max(row.label or 0 for row in rows)
        raise DataError(
            f"{_files(lists)}: no labels.csv beside the lists, whose labels are numbers, and no folders above the "
            f"clips that name each number once. Write labels.csv with the first row id,name and ids up to "
            f"{highest}, or name a file with --set {owner}.labels=FILE: prompts need class names"
        )
    names = fitting[0]
    refuse_similar(names.values(), _files(lists), f"Name the classes in a file: --set {owner}.labels=FILE")
    index = {label: at for at, label in enumerate(sorted(names))}
    samples = tuple(tuple(Sample(row.clip, index[row.label or 0]) for row in clip_list.rows) for clip_list in lists)
    return Labelled(tuple(names[label] for label in index), samples, "class names from the folders of the listed clips")


def _one_to_one(rows: Sequence[ListRow], clips: FolderClips) -> Iterator[dict[int, str]]:
    """Label -> folder name, for each level of folders that has one name for each label and one label for each name."""
    above = [clips.file_of(row.clip).split("/")[:-1] for row in rows]
    depths = {len(folders) for folders in above}
    for level in range(max(depths)) if len(depths) == 1 else [-1]:
        pairs = {(row.label or 0, folders[level]) for row, folders in zip(rows, above, strict=True) if folders}
        names = dict(pairs)
        once = len(pairs) == len(names) == len(set(names.values())) and len(names) == len({row.label for row in rows})
        if once and not any(map(side_of, names.values())):
            yield names


def _files(lists: Sequence[ClipList]) -> str:
    return ", ".join(str(clip_list.file) for clip_list in lists)
