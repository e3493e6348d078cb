"""Finding annotation files and clips under a data root.

The tree is walked once, and every entry in it is accounted for (see entries.py). A clip is a video file, or a folder of
numbered images (see frames_reader.py). Which clips are those of a list: see clip_matching.py.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from petl_bench.data.decoding.file_types import without_video_suffix
from petl_bench.data.found.entries import NO_FILES, Entries, Tally, extension
from petl_bench.data.found.listing import Listing, list_folder
from petl_bench.errors import DataError

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

    `files` are those that hold a clip: video files, and the folders of numbered images that `frame_folders` names
    again. `linked_again` are links to folders that were reached by another path, and stand under that one. `entries`
    accounts for everything, these included. `no_videos` says of what has the name of a video, and is no file, what it
    is.
    """

    root: Path
    files: tuple[str, ...]
    texts: tuple[str, ...]
    frame_folders: frozenset[str] = frozenset()
    linked_again: tuple[str, ...] = ()
    entries: Entries = field(default_factory=Entries)
    no_videos: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def texts_by_name(self) -> dict[str, list[str]]:
        """Annotation files by base name."""
        groups: dict[str, list[str]] = {}
        for path in self.texts:
            groups.setdefault(path.rpartition("/")[2], []).append(path)
        return groups


#: The tree that `walk` returns while one is shared (see `sharing`).
_shared: ContextVar[Tree | None] = ContextVar("shared tree", default=None)


@contextmanager
def sharing(tree: Tree) -> Iterator[None]:
    """Within this block, `walk` of the tree's root returns the tree and does not walk again."""
    token = _shared.set(tree)
    try:
        yield
    finally:
        _shared.reset(token)


def walk(root: Path, progress: Callable[[int], None] | None = None) -> Tree:
    """Walk `root` once. Symbolic links that the user made are followed; each folder is visited once, so loops end.

    A folder that holds numbered images, and neither videos nor other folders, is a clip; the root itself is none. What
    cannot be read counts as itself, and its neighbours are found. `progress` is called now and then with the number of
    folders listed so far. Raises DataError if `root` is not a folder, or cannot be listed.
    """
    shared = _shared.get()
    if shared is not None and shared.root == root:
        return shared
    if not is_folder(root):
        raise DataError(f"{root}: no such folder; name the folder that holds the data with --data-root")
    walk = _TreeWalk(str(root))
    waiting, linked = [""], deque[str]()
    with ThreadPoolExecutor(max_workers=_LISTING_THREADS) as pool:
        while waiting or linked:
            waiting = waiting or [linked.popleft()]
            wave, waiting = waiting[:_LISTED_AT_ONCE], waiting[_LISTED_AT_ONCE:]
            for folder, listing in zip(wave, pool.map(lambda path: list_folder(str(root), path), wave), strict=True):
                if walk.take(folder, listing):
                    waiting += listing.folders
                    linked += listing.linked
                if progress is not None:
                    progress(len(walk.visited))
    return walk.tree(root)


class _TreeWalk:
    """Adds up the listings of a tree's folders."""

    def __init__(self, root: str) -> None:
        self.visited: set[tuple[int, int]] = set()
        self._root = root
        self._files: list[str] = []
        self._texts: list[str] = []
        self._frame_folders: set[str] = set()
        self._linked_again: list[str] = []
        self._total = 0
        self._kinds, self._others, self._remarks = Tally(), Tally(), Tally()
        self._unreadable: dict[str, str] = {}
        self._no_videos: dict[str, str] = {}

    def take(self, folder: str, listing: Listing) -> bool:
        """Count a folder and what it holds; whether it was there to be read, and not read by another path before."""
        if listing.reason and not listing.total:
            if not folder:
                raise DataError(f"{self._root}: the folder cannot be listed ({listing.reason}); are you allowed to?")
            self._kinds.add("unreadable", folder)
            self._unreadable[folder] = f"the folder cannot be listed: {listing.reason}"
            return False
        if listing.identity in self.visited:
            self._kinds.add("seen_already", folder)
            self._linked_again.append(folder)
            return False
        self.visited.add(listing.identity)
        if listing.reason:
            self._unreadable[folder] = f"the folder cannot be listed whole: {listing.reason}"
        self._total += listing.total
        self._files += listing.videos
        self._texts += listing.texts
        self._count(folder, listing)
        return True

    def _count(self, folder: str, listing: Listing) -> None:
        alone = bool(folder) and not (listing.videos or listing.folders or listing.linked)
        is_clip = alone and listing.has_frames
        if is_clip:
            self._frame_folders.add(folder)
        elif alone and len(listing.images) > 1:
            self._remarks.add("image folders", folder)
        if folder:
            self._kinds.add("frame_folders" if is_clip else "folders", folder)
        found = {"videos": listing.videos, "lists": listing.texts, "frames" if is_clip else "images": listing.images}
        for kind, paths in (found | listing.rest).items():
            if paths:
                self._kinds.add(kind, paths[0], len(paths))
        for path in listing.rest.get("other_files", ()):
            self._others.add(extension(path.rpartition("/")[2]), path)
        for kind, what in NO_FILES.items():
            named = (path for path in listing.rest.get(kind, ()) if without_video_suffix(path) != path)
            self._no_videos |= dict.fromkeys(named, what)
        for path in listing.outside:
            self._remarks.add("outside", path)
        self._unreadable |= listing.refused

    def tree(self, root: Path) -> Tree:
        """The result."""
        remarks = self._remarks.counted()
        entries = Entries(
            self._total,
            self._kinds.counted(),
            self._others.counted(),
            remarks.get("image folders"),
            remarks.get("outside"),
            dict(sorted(self._unreadable.items())),
        )
        files = tuple(sorted([*self._files, *self._frame_folders]))
        texts, frame_folders = tuple(sorted(self._texts)), frozenset(self._frame_folders)
        return Tree(root, files, texts, frame_folders, tuple(self._linked_again), entries, self._no_videos)


def is_folder(place: Path) -> bool:
    """Whether there is a folder at that path; a path that cannot be one (too long, with a NUL) is none."""
    try:
        return place.is_dir()
    except (OSError, ValueError):
        return False


def find_annotation(tree: Tree, *patterns: str) -> Path | None:
    """The annotation file that the first fitting pattern names; None if none fits.

    A pattern is the end of a path (`ucf_splits/val1.txt`), or with a leading `./` a path from the root. Copies with
    equal content count as one file. Raises DataError if files of different content fit.
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


def given_root(name: str, data_root: Path | None, holds: str) -> Path:
    """The folder given with `--data-root`, or the one below it that is named after the data set.

    Raises DataError if none was given or if there is no such folder.
    """
    if data_root is None:
        raise DataError(f"{name} needs --data-root DIR: the folder that holds {holds}")
    if not is_folder(data_root):
        raise DataError(f"--data-root {data_root}: no such folder; it should hold {holds}")
    return data_root / name if (data_root / name).is_dir() else data_root
