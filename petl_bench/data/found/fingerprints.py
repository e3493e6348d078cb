"""Fingerprints of clips: what a file or a folder of frames holds, by its size and the ends of its content."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from petl_bench.data.decoding.changed_reading import reading_of_video
from petl_bench.data.decoding.frames_reader import content_ends, folder_fingerprint, folder_stamp
from petl_bench.data.decoding.shards import member_at
from petl_bench.data.found.tree import place_of
from petl_bench.errors import StoreError
from petl_bench.system.cache import make_private, read_trusted
from petl_bench.system.files import write_atomically

_log = logging.getLogger(__name__)

#: Bytes read at each end of a file.
END_BYTES = 64 * 1024
_CACHE_VERSION = 3
#: Reading is most of the work on network file systems, and leaves the interpreter's lock.
_THREADS = 8
_BLOCK = 256

#: What the memory holds of a clip: a stamp that changes with the file, its bytes, its fingerprint.
_Entry = list[Any]
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """The file or folder of frames that holds a clip: `file` below `root`, its size in bytes, and its fingerprint.

    The fingerprint is a hash of a file's size, of its first and last 64 KiB, and of how it is read if that changed (see
    changed_reading.py); or of a folder's frames (see `folder_fingerprint`). `stamp` changes with what is on disk.
    `shard` is the tar shard that the file is a member of, "" for none (see `Tree`); the fingerprint is the same.
    """

    root: str
    file: str
    bytes: int
    fingerprint: str
    stamp: tuple[int, ...]
    shard: str = ""

    @property
    def path(self) -> Path:
        """The absolute path. Made when asked for: a quarter of a million of them take seconds."""
        return Path(self.place)

    @property
    def place(self) -> str:
        """The path as text."""
        return place_of(self.root, self.file, {self.file: self.shard} if self.shard else {})

    @property
    def below_root(self) -> str:
        """The path from the root on; that of a member leads through its shard."""
        return self.place[len(self.root) + 1 :]


class Fingerprints:
    """Fingerprints of clips under one root, remembered in one JSON file for as long as the clips stay as they are.

    `shards` are those of the root's `Tree`.
    """

    def __init__(self, root: Path, cache_dir: Path, shards: Mapping[str, str] = MappingProxyType({})) -> None:
        self._root = str(root)
        self._shards = shards
        self._file = cache_dir / "manifests" / f"fingerprints-{root_name(root)}.json"

    def of(
        self, files: Iterable[str], progress: Callable[[int, int], None] | None = None
    ) -> tuple[dict[str, FoundFile], dict[str, str]]:
        """Fingerprint files, given as paths below the root.

        Args:
            files: Video files and folders of frames.
            progress: Called now and then with the number of files done and the number of all.

        Returns:
            The readable ones with their fingerprints, and the others with the system's reason.
        """
        known = self._load()
        refused: dict[str, str] = {}

        def read(file: str) -> _Entry | None:
            try:
                return _entry(place_of(self._root, file, self._shards), known.get(file))
            except OSError as error:
                refused[file] = error.strerror or str(error)
                return None

        wanted = sorted(set(files))
        if self._shards:  # one shard after the other
            wanted.sort(key=lambda file: self._shards.get(file, ""))
        entries: dict[str, _Entry | None] = {}
        files = iter(wanted)
        for block in _in_blocks(read, wanted):
            entries.update((next(files), entry) for entry in block)
            if progress is not None:
                progress(len(entries), len(wanted))
        readable = {file: entry for file, entry in entries.items() if entry is not None}
        if any(known.get(file) is not entry for file, entry in readable.items()):
            self._store(known | readable)
        found = {
            file: FoundFile(self._root, file, size, fingerprint, tuple(stamp), self._shards.get(file, ""))
            for file, (stamp, size, fingerprint) in readable.items()
        }
        return found, refused

    def _load(self) -> dict[str, _Entry]:
        try:
            stored = json.loads(read_trusted(self._file))
            if stored["version"] == _CACHE_VERSION:
                files: dict[str, _Entry] = stored["files"]
                return {path: entry for path, entry in files.items() if _is_entry(entry)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            _log.warning("%s: not usable (%s); clips are fingerprinted again", self._file, reason)
        return {}

    def _store(self, entries: Mapping[str, _Entry]) -> None:
        text = json.dumps({"version": _CACHE_VERSION, "files": entries})
        try:
            make_private(self._file.parent)
            write_atomically(self._file, text.encode(), mode=0o600)
        except (OSError, StoreError) as error:
            _log.warning("%s; fingerprints are not remembered", error)


def _is_entry(entry: Any) -> bool:
    stamp, size, fingerprint = entry if isinstance(entry, list) and len(entry) == 3 else (None, None, None)
    return isinstance(stamp, list) and isinstance(size, int) and isinstance(fingerprint, str)


def are_unchanged(files: Sequence[FoundFile]) -> bool:
    """Whether all files have their stamps still."""
    return all(map(all, _in_blocks(_is_unchanged, files)))


def stamp_text(stamp: Sequence[int]) -> str:
    """A stamp as one text."""
    return " ".join(map(str, stamp))


def stamps_of(root: Path, files: Sequence[str], shards: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """`stamp_text` of files below the root as they are now; without those that cannot be looked at.

    `shards` are those of the root's `Tree`.
    """

    def stamp(file: str) -> str:
        try:
            return stamp_text(stamp_of(place_of(str(root), file, shards)))
        except OSError:
            return ""

    stamps = chain.from_iterable(_in_blocks(stamp, files))
    return {file: found for file, found in zip(files, stamps, strict=True) if found}


def stamp_of(path: Path | str) -> list[int]:
    """What changes with a file, a member of a shard, or a folder of frames. Raises OSError."""
    return _look_at(os.fspath(path))[0]


def _in_blocks(ask: Callable[[_Asked], _Answer], items: Sequence[_Asked]) -> Iterator[list[_Answer]]:
    """Ask about all items, in order, on several threads: a list of answers for each block of items."""
    blocks = [items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK)]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        yield from pool.map(lambda block: list(map(ask, block)), blocks)


def _is_unchanged(file: FoundFile) -> bool:
    try:
        return stamp_of(file.place) == list(file.stamp)
    except OSError:
        return False


def root_name(root: Path) -> str:
    """A short name of a data root, for files in the cache that belong to it."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _entry(path: str, known: _Entry | None) -> _Entry:
    """The entry of a file or folder; the known one if its stamp is still right. Raises OSError."""
    stamp, size, is_folder = _look_at(path)
    if known is not None and known[0] == stamp:
        return known
    if is_folder:
        return [stamp, *folder_fingerprint(Path(path), END_BYTES)]
    return [stamp, size, _fingerprint(path, size)]


def _look_at(path: str) -> tuple[list[int], int, bool]:
    """The stamp of a file, member or folder, its bytes (0 for a folder), and whether it is a folder. Raises OSError."""
    member = member_at(path)
    if member is not None:
        return list(member.stamp), member.size, False
    status = os.stat(path)  # noqa: PTH116 - hundreds of thousands of files, and Path is slow
    if stat.S_ISDIR(status.st_mode):
        return folder_stamp(Path(path)), 0, True
    return [status.st_size, status.st_mtime_ns], status.st_size, False


def _fingerprint(path: str, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    ends = content_ends(path, size, END_BYTES)
    digest.update(ends)
    digest.update(reading_of_video(path, ends[:END_BYTES]).encode())
    return digest.hexdigest()
