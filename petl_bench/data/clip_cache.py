"""Decoded, resized frames on disk and in memory, for data sets that are read many times."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import save_file

from petl_bench.data.frames_reader import folder_stamp

_FORMAT = 3
_FRAMES = "frames"
_LONGEST_HEADER = 2**20


@dataclass(frozen=True)
class CachedClip:
    """Frames uint8 `[n, h, w, 3]` and what is odd about the file that they come from ("" for nothing)."""

    frames: np.ndarray
    remark: str


class ClipCache:
    """A bounded cache that several processes may use at once; losing it, or any part of it, costs time alone.

    On disk, one file per entry: written beside and moved into place, checked when read (a damaged entry counts as
    absent), least recently used removed first once the folder holds more than `max_bytes`. In memory, the entries
    used last, up to `memory_bytes` in each process. A full or read-only disk turns writing off, it does not fail the
    run.
    """

    def __init__(self, folder: Path, max_bytes: int = 20 * 2**30, memory_bytes: int = 256 * 2**20) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.memory_bytes = memory_bytes
        self._start()

    def _start(self) -> None:
        self._memory: OrderedDict[str, CachedClip] = OrderedDict()
        self._memory_used = 0
        self._unswept: int | None = None  # bytes written since the folder was last measured; None: never measured
        self._writable = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("folder", "max_bytes", "memory_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def key(self, path: Path, decoder: str, size: int | str, selection: str) -> str:
        """The name of an entry: changes with the file (path, size, time of change), how it is decoded and resized.

        A folder of frames changes as `folder_stamp` says.
        """
        try:
            status = path.stat()
            is_folder = stat.S_ISDIR(status.st_mode)
            fingerprint = folder_stamp(path) if is_folder else [status.st_size, status.st_mtime_ns]
        except OSError:
            fingerprint = []  # what cannot be read: reading it says so
        parts = [_FORMAT, os.fspath(path.absolute()), fingerprint, decoder, size, selection]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def get(self, key: str, *, remember: bool = True) -> CachedClip | None:
        """The entry, or None where there is none that is whole. Its frames must not be written to.

        `remember` keeps it in memory too; a pass that reads every clip once has no use for that.
        """
        clip = self._memory.get(key)
        if clip is not None:
            self._memory.move_to_end(key)
            return clip
        file = self._file(key)
        clip = _read(file)
        if clip is not None:
            with contextlib.suppress(OSError):  # a read-only cache serves as well
                os.utime(file)
            if remember:
                self._remember(key, clip)
        return clip

    def put(self, key: str, clip: CachedClip, *, remember: bool = True) -> None:
        """Store an entry, in memory too where `remember` says so; what does not fit on the disk is not stored."""
        if remember:
            self._remember(key, clip)
        if not self._writable or clip.frames.nbytes > self.max_bytes:
            return
        try:
            _write(self._file(key), clip)
            self._bound(clip.frames.nbytes)
        except OSError:
            self._writable = False

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _remember(self, key: str, clip: CachedClip) -> None:
        if clip.frames.nbytes > self.memory_bytes:
            return
        if key not in self._memory:
            self._memory_used += clip.frames.nbytes
        self._memory[key] = clip
        while self._memory_used > self.memory_bytes:
            _, oldest = self._memory.popitem(last=False)
            self._memory_used -= oldest.frames.nbytes

    def _bound(self, written: int) -> None:
        """Measure the folder now and then, and remove the entries that were not used for longest."""
        if self._unswept is not None and self._unswept + written < self.max_bytes // 20:
            self._unswept += written
            return
        self._unswept = 0
        entries = sorted(_entries(self.folder))
        total = sum(size for _, size, _ in entries)
        for _, size, file in entries:
            if total <= self.max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
    """Every file of the cache (left-over temporary ones too): time of last use in ns, bytes, path."""
    found = []
    for file in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size, file))
    return found


def _read(file: Path) -> CachedClip | None:
    """An entry, or None for anything that is not a whole one.

    The layout of safetensors (eight bytes of header length, a JSON header, the values) is read here by hand: the
    library maps the file and copies it, and touching each page for the first time takes six times as long as reading
    into memory that was used before, which numpy hands out.
    """
    try:
        with file.open("rb", buffering=0) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, _LONGEST_HEADER)))
            frames = np.empty(header[_FRAMES]["shape"], np.uint8)
            read = stream.readinto(frames.data.cast("B"))  # at once: such a clip is far below 2 GiB
        metadata = header["__metadata__"]
        if read != frames.nbytes or metadata["xxh3"] != _checksum(frames):
            return None
        return CachedClip(frames, metadata["remark"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, RecursionError):
        return None


def _write(file: Path, clip: CachedClip) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    frames = np.ascontiguousarray(clip.frames)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".writing-")
    os.close(handle)
    try:
        save_file({_FRAMES: frames}, name, metadata={"xxh3": _checksum(frames), "remark": clip.remark})
        os.replace(name, file)  # noqa: PTH105 - one system call, and atomic
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _checksum(frames: np.ndarray) -> str:
    return xxhash.xxh3_64_hexdigest(frames.data)
