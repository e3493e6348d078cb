"""Folders as classes: their labels, and names that cannot stand for a class each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.lists.annotation_formats import class_finder, is_integer
from petl_bench.errors import DataError

#: Names in a message.
_SHOWN = 8


def folder_labels(names: Iterable[str], classes: Sequence[str], base: str, where: Path, owner: str) -> dict[str, int]:
    """The label of each class folder, by its name; by its number if all folders are numbers and no class is.

    `base` says whether numbers count from "0", "1", or "auto". Raises DataError for a folder of no class.
    """
    folders = sorted(set(names))
    find = class_finder(classes)
    found = {name: find(name) for name in folders}
    numbers = [int(name) for name in folders if is_integer(name) and found[name] is None]
    if len(set(numbers)) == len(folders):
        first = _first_number(numbers, len(classes), where, owner) if base == "auto" else int(base)
        found = {name: int(name) - first for name in folders if 0 <= int(name) - first < len(classes)}
    labels = {name: label for name, label in found.items() if label is not None}
    strange = next((name for name in folders if name not in labels), None)
    if strange is not None:
        raise DataError(f"{where}: the folder {strange!r} is none of the classes there")
    return labels


def _first_number(numbers: Sequence[int], count: int, where: Path, owner: str) -> int:
    if min(numbers) <= 0 or max(numbers) >= count:
        return 0 if min(numbers) <= 0 else 1
    raise DataError(
        f"{where}: the class folders are numbers from {min(numbers)} to {max(numbers)} for {count} names, which fits "
        f"counting from 0 and from 1; say --set {owner}.label_base=0 or =1"
    )


def refuse_similar(names: Iterable[str], where: str, remedy: str) -> None:
    """Raise DataError if two class names are equal but for letter case, blanks, hyphens and underscores."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        plain = re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name).casefold())
        if plain in seen:
            raise DataError(
                f"{where}: the classes {seen[plain]!r} and {name!r} differ in letter case, blanks or underscores "
                f"alone. Is it one class or are they two? {remedy}"
            )
        seen[plain] = name


def refuse_doubles(clips: Iterable[str], where: Path) -> None:
    """Raise DataError if two clips of one folder differ in their extension alone, or are a video and its frames."""
    seen: dict[str, str] = {}
    for clip in clips:
        other = seen.setdefault(without_video_suffix(clip), clip)
        if other != clip:
            raise DataError(
                f"{where}: {other} and {clip} look like one recording twice, which would count twice and could both "
                "train and be tested. Remove one of them (or rename it, if it is another recording), or list the clips "
                "in train.csv and test.csv"
            )


def both_kinds(clips: Iterable[str], frame_folders: Collection[str]) -> Iterator[str]:
    """A note on folders that hold video files and folders of frames: one recording may lie there in both forms."""
    kinds: dict[str, dict[bool, str]] = {}
    for clip in clips:
        kinds.setdefault(clip.rpartition("/")[0], {}).setdefault(clip in frame_folders, clip)
    both = [found for found in kinds.values() if len(found) > 1]
    if both:
        yield (
            f"{len(both)} folders hold both video files and folders of numbered images, and each is a clip: "
            f"{both[0][False]} and {both[0][True]}. If they are one recording, it counts twice: move one kind elsewhere"
        )


def refuse_one_sided(train: Collection[str], test: Collection[str], where: str, remedy: str) -> None:
    """Raise DataError if a class has clips on one side only."""
    for names, has, lacks in (
        (set(train) - set(test), "trains", "is never tested"),
        (set(test) - set(train), "is tested", "never trains"),
    ):
        if names:
            raise DataError(
                f"{where}: some classes lie on one side only: {first_few(names)} {has} and {lacks}. {remedy}"
            )


def first_few(names: Iterable[str]) -> str:
    """The first few names, in order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(map(repr, ordered[:_SHOWN])) + more
