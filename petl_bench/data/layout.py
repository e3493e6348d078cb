"""Finding annotation files and clips under a data root, in the layouts that users have.

The tree is walked once. A clip is a video file, or a folder of numbered images (see frames_reader.py). Clips are found
by exact path, then by the end of the path, then by name, then by name without extension and letter case: flat folders,
class folders, `train/`-like prefixes and re-encoded files all work. Where several files fit equally well the answer is
"ambiguous", never a guess.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from petl_bench.data.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, hold_a_series, without_video_suffix
from petl_bench.errors import DataError

_TEXT_SUFFIXES = frozenset({".csv", ".json", ".txt"})
#: Folders that are listed at the same time: on a network file system the answers take their time.
_LISTING_THREADS = 16
#: Folders handed to the threads together, so that Ctrl-C does not have to wait for many.
_LISTED_AT_ONCE = 2048


@lru_cache(maxsize=16384)
def canonical(name: str) -> str:
    """A class name for comparison: its letters and digits, in lower case ("brush_hair", "BrushHair": "brushhair")."""
    return "".join(character for character in name.casefold() if character.isalnum())


@dataclass(frozen=True)
class Tree:
    """The files under a root, as sorted paths relative to it with `/` between folders; hidden ones are left out.

    `videos` are all clips: video files, and the folders of numbered images that `frame_folders` names again.
    """

    root: Path
    videos: tuple[str, ...]
    texts: tuple[str, ...]
    unreadable: tuple[str, ...]  #: folders that the system refused to list
    frame_folders: frozenset[str] = frozenset()

    @cached_property
    def texts_by_name(self) -> dict[str, list[str]]:
        """Annotation files by base name."""
        return _grouped(self.texts, _base_name)


#: The tree that `scan` answers with while one is shared (see `sharing`).
_shared: ContextVar[Tree | None] = ContextVar("shared tree", default=None)


@contextmanager
def sharing(tree: Tree) -> Iterator[None]:
    """Within this block, `scan` of the tree's root answers with the tree and does not walk again."""
    token = _shared.set(tree)
    try:
        yield
    finally:
        _shared.reset(token)


def scan(root: Path, progress: Callable[[int], None] | None = None) -> Tree:
    """Walk `root` once. Symbolic links that the user made are followed; each folder is visited once, so loops end.

    A folder that holds numbered images, and neither videos nor other folders, is a clip; the root itself is none.
    `progress` is called now and then with the number of folders listed so far. Raises DataError where `root` is not a
    folder, or cannot be listed.
    """
    shared = _shared.get()
    if shared is not None and shared.root == root:
        return shared
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name the folder that holds the data with --data-root")
    videos: list[str] = []
    texts: list[str] = []
    unreadable: list[str] = []
    frame_folders: set[str] = set()
    visited: set[tuple[int, int]] = set()
    waiting, linked = [""], deque[str]()
    with ThreadPoolExecutor(max_workers=_LISTING_THREADS) as pool:
        while waiting or linked:
            waiting = waiting or [linked.popleft()]
            wave, waiting = waiting[:_LISTED_AT_ONCE], waiting[_LISTED_AT_ONCE:]
            for folder, listing in zip(wave, pool.map(lambda path: _list(str(root), path), wave), strict=True):
                if listing is None and not folder:
                    raise DataError(f"{root}: the folder cannot be listed; are you allowed to read it?")
                if listing is None:
                    unreadable.append(folder)
                elif listing.identity not in visited:
                    visited.add(listing.identity)
                    videos += listing.videos
                    texts += listing.texts
                    waiting += listing.folders
                    linked += listing.linked
                    if listing.has_frames and folder and not (listing.videos or listing.folders or listing.linked):
                        frame_folders.add(folder)
                if progress is not None:
                    progress(len(visited))
    return Tree(
        root,
        tuple(sorted([*videos, *frame_folders])),
        tuple(sorted(texts)),
        tuple(unreadable),
        frozenset(frame_folders),
    )


@dataclass
class _Listing:
    """What one folder holds; `identity` is the same by whatever path it was reached."""

    identity: tuple[int, int]
    videos: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    has_frames: bool = False


def _list(root: str, folder: str) -> _Listing | None:
    """The entries of a folder below the root; None where the system refuses to list it."""
    place = f"{root}/{folder}" if folder else root
    prefix = f"{folder}/" if folder else ""
    try:
        status = os.stat(place)  # noqa: PTH116 - here and below: hundreds of thousands of paths, and Path is slow
        with os.scandir(place) as entries:
            listing = _Listing((status.st_dev, status.st_ino))
            for entry in sorted(entries, key=_name):
                _sort_in(entry, prefix + entry.name, listing)
        listing.has_frames = hold_a_series(listing.images)
        if listing.has_frames and len(listing.videos) == 1 and listing.videos[0].lower().endswith(".gif"):
            listing.videos.clear()  # a preview of the frames
    except OSError:
        return None
    return listing


def _sort_in(entry: os.DirEntry[str], path: str, listing: _Listing) -> None:
    name = entry.name
    if name.startswith("."):
        return
    _, dot, suffix = name.rpartition(".")
    suffix = f"{dot}{suffix.lower()}"
    if suffix in IMAGE_SUFFIXES and not entry.is_dir(follow_symlinks=False):
        listing.images.append(name)
    elif suffix in VIDEO_SUFFIXES and entry.is_file():
        listing.videos.append(path)
    elif suffix in _TEXT_SUFFIXES and entry.is_file():
        listing.texts.append(path)
    elif entry.is_dir():
        (listing.linked if entry.is_symlink() else listing.folders).append(path)


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

    `by_path` says that the file was found by its path, and not by its base name alone. `frames_beside` are frame
    folders of the same clip, left aside because there is a video file.
    """

    files: tuple[str, ...]
    by_path: bool
    frames_beside: tuple[str, ...] = ()


class ClipIndex:
    """Finds clips in a tree. A file in a folder named after another class than the clip's folder never fits.

    `identity` is the data set's (see `Dataset.identity`): files are candidates where theirs equals the clip's.
    A video file goes before a frame folder, but for a folder that fits by its path where the video fits by name alone.
    """

    def __init__(self, tree: Tree, classes: Sequence[str], identity: Callable[[str], str] = str.casefold) -> None:
        self._identity = identity
        self._by_stem = _grouped(tree.videos, self._identified)
        self._frame_folders = tree.frame_folders
        self._classes = {canonical(name) for name in classes}

    def find(self, clip: str) -> Match:
        """The files that fit `clip` best (a relative path, with or without extension)."""
        same_stem = self._by_stem.get(self._identified(clip), [])
        if self._frame_folders.isdisjoint(same_stem):
            return self._best(clip, same_stem)
        videos = self._best(clip, [path for path in same_stem if path not in self._frame_folders])
        frames = self._best(clip, [path for path in same_stem if path in self._frame_folders])
        if not videos.files or (frames.by_path and not videos.by_path):
            return frames
        return Match(videos.files, videos.by_path, frames.files)

    def _best(self, clip: str, same_stem: Sequence[str]) -> Match:
        if len(same_stem) == 1 and f"/{same_stem[0]}".endswith(f"/{clip}"):
            return Match((same_stem[0],), by_path=True)  # nearly every clip, and quickly
        folded = _folded(clip)
        by_path = (
            lambda path: path == clip,
            lambda path: path.endswith(f"/{clip}"),
            lambda path: f"/{_folded(path)}".endswith(f"/{folded}"),
        )
        for fits in by_path:
            files = tuple(path for path in same_stem if fits(path))
            if files:
                return Match(files, by_path=True)
        fitting = [path for path in same_stem if not self._of_another_class(clip, path)]
        same_name = [path for path in fitting if _base_name(path) == _base_name(clip)]
        return Match(tuple(same_name or fitting), by_path=False)

    def _identified(self, path: str) -> str:
        return self._identity(_composed(_base_name(path)))

    def _of_another_class(self, clip: str, path: str) -> bool:
        wanted, there = canonical(_folder_name(clip)), canonical(_folder_name(path))
        return wanted != there and wanted in self._classes and there in self._classes


def _composed(path: str) -> str:
    """A path without video extension and with composed letters (macOS writes decomposed names)."""
    stem = without_video_suffix(path)
    return stem if stem.isascii() else unicodedata.normalize("NFC", stem)


def _folded(path: str) -> str:
    """A path without video extension and letter case."""
    return _composed(path).casefold()


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]


def _folder_name(path: str) -> str:
    """The name of the folder that holds `path`; empty at the root."""
    return path.rpartition("/")[0].rpartition("/")[2]


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _grouped(paths: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(key(path), []).append(path)
    return groups


def given_root(name: str, data_root: Path | None, holds: str) -> Path:
    """The folder given with `--data-root`, or the one below it that is named after the data set.

    Raises DataError where none was given, or where there is no such folder.
    """
    if data_root is None:
        raise DataError(f"{name} needs --data-root DIR: the folder that holds {holds}")
    if not data_root.is_dir():
        raise DataError(f"--data-root {data_root}: no such folder; it should hold {holds}")
    return data_root / name if (data_root / name).is_dir() else data_root
