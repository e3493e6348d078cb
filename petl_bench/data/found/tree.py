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
from petl_bench.data.decoding.shards import SHARD_SUFFIX, ShardIndex, shard_index
from petl_bench.data.found.entries import NO_FILES, Entries, Tally, compressed_words, extension, undo_compression
from petl_bench.data.found.listing import Listing, list_folder
from petl_bench.errors import DataError

#: What WebDataset calls the files beside a video with its class, and with its class or caption.
_LABEL = ".cls"
_TEXTS_BESIDE = (_LABEL, ".json", ".txt")
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

    If no clip lies there unpacked, members of tar shards count as if they had been unpacked where the shard lies:
    `shards` says of a file in which one it is. `beside` are files that may hold the label of a video, as WebDataset has
    them, each with its shard ("" for none): those called `.cls`, and members called `.json` or `.txt`.
    """

    root: Path
    files: tuple[str, ...]
    texts: tuple[str, ...]
    frame_folders: frozenset[str] = frozenset()
    linked_again: tuple[str, ...] = ()
    entries: Entries = field(default_factory=Entries)
    no_videos: Mapping[str, str] = field(default_factory=dict)
    shards: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    def path(self, file: str) -> Path:
        """Where a file is read: below the root, or in its shard."""
        return Path(place_of(str(self.root), file, self.shards))

    @cached_property
    def texts_by_name(self) -> dict[str, list[str]]:
        """Annotation files by base name."""
        groups: dict[str, list[str]] = {}
        for path in self.texts:
            groups.setdefault(path.rpartition("/")[2], []).append(path)
        return groups


def place_of(root: str, file: str, shards: Mapping[str, str]) -> str:
    """The path of a file below the root; that of a member leads through its shard (see data/decoding/shards.py)."""
    shard = shards.get(file) if shards else None
    return f"{root}/{file}" if shard is None else f"{root}/{shard}/{file[shard.rfind('/') + 1 :]}"


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
    folders listed so far. Raises DataError if `root` is not a folder, or cannot be listed, or if a video stands in two
    shards, or in one twice.
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
        if walk.has_clips:
            walk.leave_shards()
        else:
            read = pool.map(lambda path: _read_shard(f"{root}/{path}"), walk.shards)
            for shard, index in zip(walk.shards, read, strict=True):
                walk.take_shard(shard, index)
    return walk.tree(root)


def _read_shard(path: str) -> ShardIndex:
    try:
        return shard_index(path)
    except OSError as error:
        return ShardIndex(fault=error.strerror or str(error))


class _TreeWalk:
    """Adds up the listings of a tree's folders, and its shards after them."""

    def __init__(self, root: str) -> None:
        self.visited: set[tuple[int, int]] = set()
        self.shards: list[str] = []
        self._root = root
        self._files: list[str] = []
        self._texts: list[str] = []
        self._frame_folders: set[str] = set()
        self._linked_again: list[str] = []
        self._total = 0
        self._kinds, self._others, self._remarks = Tally(), Tally(), Tally()
        self._unreadable: dict[str, str] = {}
        self._no_videos: dict[str, str] = {}
        self._shard_of: dict[str, str] = {}
        self._beside: dict[str, str] = {}

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
        self.shards += listing.shards
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
            if undo_compression(path):
                self._remarks.add("compressed", path)
            if path.endswith(_LABEL):
                self._beside[path] = ""
        for kind, what in NO_FILES.items():
            named = (path for path in listing.rest.get(kind, ()) if without_video_suffix(path) != path)
            self._no_videos |= dict.fromkeys(named, what)
        for path in listing.outside:
            self._remarks.add("outside", path)
        self._unreadable |= listing.refused

    @property
    def has_clips(self) -> bool:
        """Whether a clip lies there unpacked."""
        return bool(self._files or self._frame_folders)

    def leave_shards(self) -> None:
        """Count tar archives beside unpacked clips, which may hold the same ones, or anything: they are not read."""
        for shard in self.shards:
            self._kinds.add("other_files", shard)
            self._others.add(SHARD_SUFFIX, shard)
            self._remarks.add("shards left", shard)

    def take_shard(self, shard: str, index: ShardIndex) -> None:
        """Count a shard and its members, those that are videos among the files.

        Raises DataError for a video that stands in two shards, or in this one twice.
        """
        if index.fault:
            self._unreadable[shard] = index.fault
        if index.fault and not (index.members or index.folders or index.refused):
            self._kinds.add("unreadable", shard)
            return
        self._kinds.add("shards", shard)
        self._total += len(index.members) + index.folders + len(index.refused)
        for name, reason in index.refused.items():
            self._kinds.add("unreadable", f"{shard}/{name}")
            self._unreadable[f"{shard}/{name}"] = reason
        if index.folders:
            self._kinds.add("members", shard, index.folders)
        folder = shard[: shard.rfind("/") + 1]
        for name in index.members:
            self._kinds.add(self._member_kind(shard, folder, name), f"{shard}/{name}")
        twice = next((name for name in index.doubles if _is_video(name)), None)
        if twice is not None:
            raise DataError(f"{self._root}/{shard}: {twice} is there twice; remove one, or pack the shard again")

    def _member_kind(self, shard: str, folder: str, name: str) -> str:
        """The kind of a member that is a file; a video is added to the files."""
        if name.startswith(".") or "/." in name:
            return "hidden"
        file = folder + name
        if not _is_video(name):
            if name.endswith(_TEXTS_BESIDE):
                self._beside.setdefault(file, shard)
            return "members"
        other = self._shard_of.setdefault(file, shard)
        if other != shard:
            raise DataError(
                f"{self._root}: {other} and {shard} both hold {name}; rename one of them, or put the shards into "
                "folders of their own"
            )
        return "videos"

    def tree(self, root: Path) -> Tree:
        """The result."""
        remarks = self._remarks.counted()
        entries = Entries(
            self._total,
            self._kinds.counted(),
            self._others.counted(),
            remarks.get("image folders"),
            remarks.get("outside"),
            remarks.get("compressed"),
            remarks.get("shards left"),
            dict(sorted(self._unreadable.items())),
        )
        files = tuple(sorted([*self._files, *self._shard_of, *self._frame_folders]))
        texts, frame_folders = tuple(sorted(self._texts)), frozenset(self._frame_folders)
        return Tree(
            root,
            files,
            texts,
            frame_folders,
            tuple(self._linked_again),
            entries,
            self._no_videos,
            self._shard_of,
            self._beside,
        )


def refuse_unread_archives(tree: Tree) -> None:
    """Raise DataError if a tree has no clip, and archives that may hold some: compressed ones, or damaged shards."""
    compressed, unreadable = tree.entries.compressed, tree.entries.unreadable
    damaged = next((path for path in unreadable if path.lower().endswith(SHARD_SUFFIX)), None)
    if tree.files or not (compressed or damaged):
        return
    if damaged is not None:
        raise DataError(f"{tree.root}: no videos that can be read; {damaged}: {unreadable[damaged]}")
    raise DataError(f"{tree.root}: no videos; {compressed_words(tree.entries)}")


def _is_video(name: str) -> bool:
    return without_video_suffix(name) != name


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
