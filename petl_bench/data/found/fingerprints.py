"""Fingerprints of clips: what a file or a folder of frames holds, told by its size and the ends of its content."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from petl_bench.data.decoding.frames_reader import content_ends, folder_fingerprint, folder_stamp
from petl_bench.data.found.changed_reading import reading_of_video
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


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A clip's file or folder of frames: its absolute path as text, its size in bytes, and its fingerprint.

    That is a hash of a file's size and its first and last 64 KiB, and of how it is read if that changed (see
    changed_reading.py); or of a folder's frames (see `folder_fingerprint`).
    `stamp` changes with what is on disk.
    """

    place: str
    bytes: int
    fingerprint: str
    stamp: tuple[int, ...]

    @property
    def path(self) -> Path:
        """Where it lies. Made when asked for: a quarter of a million of them take seconds."""
        return Path(self.place)


class Fingerprints:
    """Fingerprints of clips under one root, remembered in one JSON file for as long as the clips stay as they are."""

    def __init__(self, root: Path, cache_dir: Path) -> None:
        self._root = str(root)
        self._file = cache_dir / "manifests" / f"fingerprints-{root_name(root)}.json"

    def of(
        self, paths: Iterable[str], progress: Callable[[int, int], None] | None = None
    ) -> tuple[dict[str, FoundFile], dict[str, str]]:
        """The clips below the root with their fingerprints, and those that cannot be read with the system's reason.

        `progress` is called now and then with the number of clips done and the number of all.
        """
        known = self._load()
        refused: dict[str, str] = {}

        def read(path: str) -> _Entry | None:
            try:
                return _entry(f"{self._root}/{path}", known.get(path))
            except OSError as error:
                refused[path] = error.strerror or str(error)
                return None

        wanted = sorted(set(paths))
        entries = dict(zip(wanted, self._read_all(read, wanted, progress), strict=True))
        readable = {path: entry for path, entry in entries.items() if entry is not None}
        if any(known.get(path) is not entry for path, entry in readable.items()):
            self._store(known | readable)
        found = {
            path: FoundFile(f"{self._root}/{path}", entry[1], entry[2], tuple(entry[0]))
            for path, entry in readable.items()
        }
        return found, refused

    def _read_all(
        self,
        read: Callable[[str], _Entry | None],
        wanted: Sequence[str],
        progress: Callable[[int, int], None] | None,
    ) -> Iterable[_Entry | None]:
        blocks = [wanted[start : start + _BLOCK] for start in range(0, len(wanted), _BLOCK)]
        done: list[list[_Entry | None]] = []
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for block in pool.map(lambda block: [read(path) for path in block], blocks):
                done.append(block)
                if progress is not None:
                    progress(min(len(done) * _BLOCK, len(wanted)), len(wanted))
        return chain.from_iterable(done)

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
    blocks = [files[start : start + _BLOCK] for start in range(0, len(files), _BLOCK)]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return all(pool.map(lambda block: all(map(_is_unchanged, block)), blocks))


def _is_unchanged(file: FoundFile) -> bool:
    try:
        return _stamp(file.place, os.stat(file.place)) == list(file.stamp)  # noqa: PTH116 - see `_entry`
    except OSError:
        return False


def root_name(root: Path) -> str:
    """A short name of a data root, for files in the cache that belong to it."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def _entry(place: str, known: _Entry | None) -> _Entry:
    """The entry of a file or folder; the known one where its stamp is still right. Raises OSError."""
    status = os.stat(place)  # noqa: PTH116 - hundreds of thousands of files, and Path is slow
    stamp = _stamp(place, status)
    if known is not None and known[0] == stamp:
        return known
    if stat.S_ISDIR(status.st_mode):
        return [stamp, *folder_fingerprint(Path(place), END_BYTES)]
    return [stamp, status.st_size, _fingerprint(place, status.st_size)]


def _stamp(place: str, status: os.stat_result) -> list[int]:
    return folder_stamp(Path(place)) if stat.S_ISDIR(status.st_mode) else [status.st_size, status.st_mtime_ns]


def _fingerprint(place: str, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    ends = content_ends(place, size, END_BYTES)
    digest.update(ends)
    digest.update(reading_of_video(place, ends[:END_BYTES]).encode())
    return digest.hexdigest()
