"""A cache of decoded, resized frames on disk and in memory, for data sets that are read many times."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import save_file

from petl_bench.data.found.fingerprints import stamp_of
from petl_bench.system.cache import distrust, distrust_status, make_private

_log = logging.getLogger(__name__)

_FORMAT = 3
_FRAMES = "frames"
_LONGEST_HEADER = 2**20
#: Larger clips are not kept: they are read in one go.
_LARGEST_ENTRY = 2**30
#: With less room than that on its disk, a cache counts as full.
_LEAST_ROOM = 2**24


@dataclass(frozen=True)
class CachedClip:
    """Frames uint8 `[n, h, w, 3]` and any anomaly of the file that they come from ("" for none)."""

    frames: np.ndarray
    remark: str


class ClipCache:
    """A bounded cache that several processes may use at once; losing any part of it only costs time.

    On disk, one file per entry: written beside and moved into place, checked when read (a damaged entry counts as
    absent), least recently used removed first once the folder holds more than `max_bytes`. In memory, the entries
    used last, up to `memory_bytes` in each process. A full or read-only disk turns writing off, it does not fail the
    run; nothing is read from, or written to, folders and files that others can write to (see cache.py). What is wrong
    is logged once, by the process that made the cache, not by those that it was sent to.
    """

    def __init__(self, folder: Path, max_bytes: int = 20 * 2**30, memory_bytes: int = 256 * 2**20) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.memory_bytes = memory_bytes
        self._quiet = False
        self._start()

    def _start(self) -> None:
        self._trusted: set[Path] = set()
        self._memory: OrderedDict[str, CachedClip] = OrderedDict()
        self._memory_used = 0
        self._unswept: int | None = None  # bytes written since the folder was last measured; None: never measured
        self._writable = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("folder", "max_bytes", "memory_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._quiet = True
        self._start()

    def look(self) -> None:
        """Say what is wrong with the folder, if anything is: workers that read and write there say nothing."""
        if self._trusts(self.folder):
            try:
                make_private(self.folder)
                with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".probe-") as probe:
                    probe.write(bytes(2**16))
                    probe.flush()
                    room = os.statvfs(probe.name)
                if room.f_bavail * room.f_frsize < _LEAST_ROOM:
                    self._turn_off("no space left on its disk")
            except OSError as error:
                self._turn_off(error.strerror or str(error))

    def key(self, path: Path, decoder: str, size: int | str, selection: str) -> str:
        """The name of an entry: changes with the file (path, size, time of change), how it is decoded and resized.

        A folder of frames changes as `folder_stamp` says.
        """
        try:
            fingerprint = stamp_of(path)
        except OSError:
            fingerprint = []  # what cannot be read: reading it says so
        parts = [_FORMAT, os.fspath(path.absolute()), fingerprint, decoder, size, selection]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def get(self, key: str, *, remember: bool = True) -> CachedClip | None:
        """The entry, or None if there is none that is whole. Its frames must not be written to.

        `remember` keeps it in memory too; a pass that reads every clip once has no use for that.
        """
        clip = self._memory.get(key)
        if clip is not None:
            self._memory.move_to_end(key)
            return clip
        file = self._file(key)
        clip = _read(file) if self._trusts(self.folder) and self._trusts(file.parent) else None
        if clip is not None:
            with contextlib.suppress(OSError):  # a read-only cache serves as well
                os.utime(file)
            if remember:
                self._remember(key, clip)
        return clip

    def put(self, key: str, clip: CachedClip, *, remember: bool = True) -> None:
        """Store an entry, in memory too if `remember` says so; what does not fit on the disk is not stored."""
        if remember:
            self._remember(key, clip)
        if not self._writable or clip.frames.nbytes > min(self.max_bytes, _LARGEST_ENTRY):
            return
        file = self._file(key)
        try:
            if self._trusts(self.folder) and self._trusts(file.parent):
                _write(file, clip)
                self._bound(clip.frames.nbytes)
        except OSError as error:
            self._turn_off(error.strerror or str(error))

    def _trusts(self, folder: Path) -> bool:
        """Whether nobody else can put entries into a folder; one that is not there yet will be made so."""
        if folder in self._trusted:
            return True
        reason = distrust(folder)
        if reason:
            self._turn_off(reason)
        elif folder.is_dir():
            self._trusted.add(folder)
        return not reason

    def _turn_off(self, reason: str) -> None:
        if self._writable and not self._quiet:
            _log.warning("%s: decoded clips are not kept there (%s); everything else goes on", self.folder, reason)
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
    """An entry, or None for anything that is not a whole one, or that others can write to.

    What an entry says of its size is believed if the file has just that size.

    The layout of safetensors (eight bytes of header length, a JSON header, the values) is read here by hand: the
    library maps the file and copies it, and touching each page for the first time takes six times as long as reading
    into memory that was used before, which numpy hands out.
    """
    try:
        with file.open("rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            if distrust_status(status, file):
                return None
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, _LONGEST_HEADER)))
            shape, metadata = header[_FRAMES]["shape"], header["__metadata__"]
            if not _is_shape(shape, status.st_size - 8 - length):
                return None
            frames = np.empty(shape, np.uint8)
            read = stream.readinto(frames.data.cast("B"))
        if read != frames.nbytes or metadata["xxh3"] != _checksum(frames):
            return None
        return CachedClip(frames, str(metadata["remark"]))
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, RecursionError):
        return None


def _is_shape(shape: Any, size: int) -> bool:
    """Whether that is the shape `[n, h, w, 3]` of `size` bytes of frames."""
    whole = isinstance(shape, list) and len(shape) == 4 and all(type(length) is int and length > 0 for length in shape)
    return whole and shape[3] == 3 and math.prod(shape) == size <= _LARGEST_ENTRY


def _write(file: Path, clip: CachedClip) -> None:
    make_private(file.parent)
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
