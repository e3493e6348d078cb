"""Finding annotation files and clips under a data root, in the layouts that users have.

The tree is walked once. Clips are found by exact path, then by the end of the path, then by name, then by name without
extension and letter case: flat folders, class folders, `train/`-like prefixes and re-encoded files all work. Where
several files fit equally well the answer is "ambiguous", never a guess.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from petl_bench.errors import DataError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
_TEXT_SUFFIXES = frozenset({".csv", ".json", ".txt"})


@lru_cache(maxsize=16384)
def canonical(name: str) -> str:
    """A class name for comparison: its letters and digits, in lower case ("brush_hair", "BrushHair": "brushhair")."""
    return "".join(character for character in name.casefold() if character.isalnum())


@dataclass(frozen=True)
class Tree:
    """The files under a root, as sorted paths relative to it with `/` between folders; hidden ones are left out."""

    root: Path
    videos: tuple[str, ...]
    texts: tuple[str, ...]
    unreadable: tuple[str, ...]  #: folders that the system refused to list

    @cached_property
    def texts_by_name(self) -> dict[str, list[str]]:
        """Annotation files by base name."""
        return _grouped(self.texts, lambda path: path.rpartition("/")[2])


def scan(root: Path) -> Tree:
    """Walk `root` once. Symbolic links that the user made are followed; each folder is visited once, so loops end.

    Raises DataError where `root` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name the folder that holds the data with --data-root")
    videos: list[str] = []
    texts: list[str] = []
    unreadable: list[str] = []
    visited: set[tuple[int, int]] = set()
    waiting, linked = deque([""]), deque[str]()
    while waiting or linked:
        folder = waiting.popleft() if waiting else linked.popleft()
        try:
            status = (root / folder).stat()
            entries = [] if (status.st_dev, status.st_ino) in visited else sorted(os.scandir(root / folder), key=_name)
        except OSError:
            unreadable.append(folder or ".")
            continue
        visited.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            suffix = PurePosixPath(entry.name).suffix.lower()
            if suffix in VIDEO_SUFFIXES and entry.is_file():
                videos.append(path)
            elif suffix in _TEXT_SUFFIXES and entry.is_file():
                texts.append(path)
            elif entry.is_dir():
                (linked if entry.is_symlink() else waiting).append(path)
    return Tree(root, tuple(sorted(videos)), tuple(sorted(texts)), tuple(unreadable))


def find_annotation(tree: Tree, *patterns: str) -> Path | None:
    """The annotation file that the first fitting pattern names; None where none fits.

    A pattern is the end of a path (`ucf_splits/val1.txt`), or with a leading `./` a path from the root. Copies with
    equal content count as one file. Raises DataError where files of different content fit.
    """
    for pattern in patterns:
        hits = _text_hits(tree, pattern)
        if len({hashlib.sha256((tree.root / hit).read_bytes()).digest() for hit in hits}) > 1:
            raise DataError(
                f"{tree.root}: several different files are called {pattern}: {', '.join(hits)}. Keep one of them, or "
                "name a narrower --data-root"
            )
        if hits:
            return tree.root / hits[0]
    return None


def _text_hits(tree: Tree, pattern: str) -> list[str]:
    named = tree.texts_by_name.get(PurePosixPath(pattern).name, [])
    if pattern.startswith("./"):
        return [path for path in named if path == pattern[2:]]
    return [path for path in named if f"/{path}".endswith(f"/{pattern}")]


@dataclass(frozen=True)
class Match:
    """Files that fit a clip: none (missing), one (found), or several (ambiguous).

    `by_path` says that the file was found by its path, and not by its base name alone.
    """

    files: tuple[str, ...]
    by_path: bool


class ClipIndex:
    """Finds clips in a tree. A file in a folder named after another class than the clip's folder never fits.

    `identity` is the data set's (see `Dataset.identity`): files are candidates where theirs equals the clip's.
    """

    def __init__(self, tree: Tree, classes: Sequence[str], identity: Callable[[str], str] = str.casefold) -> None:
        self._identity = identity
        self._by_stem = _grouped(tree.videos, self._identified)
        self._classes = {canonical(name) for name in classes}

    def find(self, clip: str) -> Match:
        """The files that fit `clip` best (a relative path, with or without extension)."""
        same_stem = self._by_stem.get(self._identified(clip), [])
        by_path = (
            [path for path in same_stem if path == clip],
            [path for path in same_stem if path.endswith(f"/{clip}")],
            [path for path in same_stem if f"/{_folded(path)}".endswith(f"/{_folded(clip)}")],
        )
        for files in by_path:
            if files:
                return Match(tuple(files), by_path=True)
        fitting = [path for path in same_stem if not self._of_another_class(clip, path)]
        same_name = [path for path in fitting if path.rpartition("/")[2] == clip.rpartition("/")[2]]
        return Match(tuple(same_name or fitting), by_path=False)

    def _identified(self, path: str) -> str:
        return self._identity(_composed(path.rpartition("/")[2]))

    def _of_another_class(self, clip: str, path: str) -> bool:
        wanted, there = (canonical(PurePosixPath(p).parent.name) for p in (clip, path))
        return wanted != there and wanted in self._classes and there in self._classes


def without_video_suffix(path: str) -> str:
    """The path without its extension where that is a video's; other dots in a name stay."""
    stem, dot, suffix = path.rpartition(".")
    return stem if f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES else path


def _composed(path: str) -> str:
    """A path without video extension and with composed letters (macOS writes decomposed names)."""
    return unicodedata.normalize("NFC", without_video_suffix(path))


def _folded(path: str) -> str:
    """A path without video extension and letter case."""
    return _composed(path).casefold()


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _grouped(paths: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups


def given_root(name: str, data_root: Path | None, holds: str) -> Path:
    """The folder given with `--data-root`. Raises DataError where none was given, or where there is no such folder."""
    if data_root is None:
        raise DataError(f"{name} needs --data-root DIR: the folder that holds {holds}")
    if not data_root.is_dir():
        raise DataError(f"--data-root {data_root}: no such folder; it should hold {holds}")
    return data_root
