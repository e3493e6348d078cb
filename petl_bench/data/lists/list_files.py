"""Which files of a folder are lists of its clips, and of which side: by their names, and by what stands in them.

A list is never overlooked: a text file whose rows name clips of the folder is one, whatever it is called. Which of
them are used is up to the caller; the others are noted or refused there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from petl_bench.data.decoding.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, without_video_suffix
from petl_bench.data.decoding.shards import SHARD_SUFFIX
from petl_bench.data.lists.folder_layouts import SIDES
from petl_bench.data.lists.own_lists import FolderClips

#: Tables as text.
_TEXTS = frozenset({"", ".txt", ".csv", ".tsv", ".lst", ".list"})
#: Files that hold lists elsewhere and are not read here.
_NOT_READ = frozenset({".json", ".jsonl", ".npy", ".parquet", ".pickle", ".pkl", ".xls", ".xlsx"})
#: Names of files with class names, beside `labels.csv`.
CLASS_FILES = ("labels.txt", "label_map.txt", "classes.txt", "class_names.txt", "categories.txt", "classInd.txt")
#: How much of a file is looked at, and how many lines of that.
_LOOKED_AT = 65_536
_LINES = 200
#: Files in folders below that are looked at: lists lie there, and so may a text beside every clip.
_FILES_BELOW = 200
_SIDE_AT_START = re.compile(r"(train|test|valid|val|dev)", re.IGNORECASE)
_SIDE_ALONE = re.compile(r"(?:val|valid|validation|dev)(?![a-z])|(?:val|valid|dev)_?(?:list|set|split)", re.IGNORECASE)
_GROUPS = re.compile(r"clip,group\r?\n")
_LETTERS = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class ListFiles:
    """The lists in a folder (`train`, `val`, `test`), others that name clips there (`other`), and such `below` it.

    `not_read` are those whose format is none of a list (json, pickle, ...); `groups` have the columns clip and group.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]
    other: tuple[Path, ...]
    not_read: tuple[Path, ...]
    below: tuple[Path, ...]
    groups: tuple[Path, ...]

    @property
    def unlike_usual(self) -> tuple[Path, ...]:
        """Those that hold labels or sides perhaps, and whose names do not say which."""
        return (*self.other, *self.not_read, *self.below)

    def unused(self, used: Collection[Path] = ()) -> list[Path]:
        """All of them that are not among these."""
        every = (*self.train, *self.val, *self.test, *self.unlike_usual, *self.groups)
        return [file for file in every if file not in used]


def find_lists(root: Path, texts_below: Collection[str], clips: FolderClips, known: Collection[Path]) -> ListFiles:
    """The list files of a folder. `known` are files that are something else: class names, groups.

    `texts_below` are the text files in folders below, by their paths from the root.
    """
    kinds: dict[str, list[Path]] = {"train": [], "val": [], "test": [], "other": [], "not_read": [], "groups": []}
    no_lists = VIDEO_SUFFIXES | IMAGE_SUFFIXES | {SHARD_SUFFIX}
    for file in sorted(path for path in root.iterdir() if path.suffix.lower() not in no_lists):
        kind = _kind(file, clips) if file.is_file() and file.name[0] != "." and file not in known else None
        if kind:
            kinds[kind].append(file)
    by_side = {side: _best(kinds[side]) for side in ("train", "val", "test")}
    weaker = [file for side in by_side for file in kinds[side] if file not in by_side[side]]
    below = [root / path for path in texts_below if "/" in path and _side(Path(path).stem)][:_FILES_BELOW]
    return ListFiles(
        **by_side,
        other=(*kinds["other"], *weaker),
        not_read=tuple(kinds["not_read"]),
        groups=tuple(kinds["groups"]),
        below=tuple(file for file in below if file not in known and _names_clips(file, clips)),
    )


def _kind(file: Path, clips: FolderClips) -> str | None:
    """The side of a list, "other" if it is of none or of several, "not_read", "groups", or None if it is no list."""
    suffix, side = file.suffix.lower(), _side(file.stem)
    if suffix not in _TEXTS:
        by_name = suffix in _NOT_READ and _starts_with_side(file.stem)
        return "not_read" if by_name or _names_clips(file, clips) else None
    if file.name in CLASS_FILES:
        return "other" if _names_clips(file, clips, bare=False) else None
    if suffix and _starts_with_side(file.stem):
        return side
    if not _names_clips(file, clips):
        return None
    return "groups" if _GROUPS.match(_beginning(file)) else side or "other"


def _best(files: list[Path]) -> tuple[Path, ...]:
    """Those whose names start with their side, if there are any."""
    return tuple([file for file in files if _starts_with_side(file.stem)] or files)


def _starts_with_side(stem: str) -> bool:
    return re.match(r"train|test", stem, re.IGNORECASE) is not None or _SIDE_ALONE.match(stem) is not None


def _side(stem: str) -> str | None:
    """The side that a file's name states: how it starts, or the one side among its words."""
    start = _SIDE_AT_START.match(stem)
    if start and _starts_with_side(stem):
        return SIDES[start[1].casefold()]
    sides = {SIDES[word] for word in map(str.casefold, _LETTERS.findall(stem)) if word in SIDES}
    return sides.pop() if len(sides) == 1 else None


def _names_clips(file: Path, clips: FolderClips, bare: bool = True) -> bool:
    """Whether half of the first lines of a file name clips of the folder; `bare`: without their extensions too."""
    text = _beginning(file)
    if file.suffix.lower() == ".json":
        return any(_names_clip(string, clips, bare) for string in re.findall(r'"([^"]*)"', text))
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    naming = sum(any(_names_clip(cell, clips, bare) for cell in _cells(line)) for line in lines)
    return naming > 0 and 2 * naming >= len(lines)


def _beginning(file: Path) -> str:
    """The first characters of a file; "" if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(_LOOKED_AT).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def _cells(line: str) -> Iterator[str]:
    """What could be the name of a clip in a line."""
    yield from (cell.strip(" \t\"'") for cell in re.split(r"[,;\t]", line))
    yield line.strip().rpartition(" ")[0].strip(" \t\"'")
    yield line.strip()


def _names_clip(text: str, clips: FolderClips, bare: bool) -> bool:
    """A bare number is an id or a label before it is the name of a clip, and so is no proof."""
    return clips.named_by(text) and (without_video_suffix(text) != text or (bare and not text.isdigit()))
