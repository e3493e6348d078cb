"""Videos in tar shards, read in place: `folder/train-000.tar/archery/v1.mp4` names a member, as a path names a file.

Such a path is an ordinary `Path`; whatever opens a video asks here first. Which members a shard has, and where they
begin, is read from its headers once, and remembered in the user's cache for as long as the shard stays as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from petl_bench.data.decoding.tar_headers import TarFault, read_headers
from petl_bench.errors import StoreError
from petl_bench.system.cache import cache_folder, make_private, read_trusted
from petl_bench.system.files import write_atomically

SHARD_SUFFIX = ".tar"
_INSIDE = re.compile(r"\.tar(?=/)", re.ASCII | re.IGNORECASE)
_FORMAT = 1
#: Shards whose members a process keeps in mind; of a thousand members each, all of them take a hundred megabytes.
_KEPT = 512
#: Names of members that stand in a shard twice: so many are remembered.
_NAMED = 100


@dataclass(frozen=True)
class ShardIndex:
    """The members of a shard that are files: name -> where its bytes begin, and how many there are.

    `folders` counts the others that hold nothing; `refused` are members that are not read, with the reason; `doubles`
    are some of the names that stand there more than once. `fault` says why members may be missing ("" for none).
    """

    members: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    folders: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    doubles: tuple[str, ...] = ()
    fault: str = ""


class Member(NamedTuple):
    """Where a member of a shard lies. `stamp` changes with the shard."""

    shard: str
    offset: int
    size: int
    stamp: tuple[int, ...]


def member_at(path: Path | str) -> Member | None:
    """The member that a path names; None for the path of a file or folder.

    Raises OSError if the shard cannot be read, or has no such member.
    """
    text = os.fspath(path)
    found = _shard_of(text)
    if found is None:
        return None
    shard, status = found
    place = _index_of(shard, status).members.get(text[len(shard) + 1 :])
    if place is None:
        raise FileNotFoundError(None, "the shard has no such member")
    return Member(shard, *place, (status.st_size, status.st_mtime_ns, *place))


def _shard_of(text: str) -> tuple[str, os.stat_result] | None:
    """The part of a path that is a shard, and what the system says of it; folders may be called so too."""
    for inside in _INSIDE.finditer(text):
        shard = text[: inside.end()]
        try:
            status = os.stat(shard)  # noqa: PTH116 - asked for every clip, and Path is slow
        except (OSError, ValueError):
            return None
        if stat.S_ISREG(status.st_mode):
            return shard, status
    return None


def opened(path: Path | str) -> BinaryIO:
    """A file opened for reading bytes, or a member of a shard, of which no other bytes are read. Raises OSError."""
    member = member_at(path)
    if member is None:
        return open(path, "rb")  # noqa: PTH123 - called for hundreds of thousands of files
    return io.BufferedReader(_MemberFile(member))


def ffmpeg_name(path: Path, member: Member | None) -> str:
    """What FFmpeg opens: the path, or the bytes of the member through its own protocol for parts of files."""
    if member is None:
        return str(path)
    shard = os.path.abspath(member.shard)  # noqa: PTH100
    return f"subfile,,start,{member.offset},end,{member.offset + member.size},,:{shard}"


def shard_index(shard: str) -> ShardIndex:
    """The members of a shard, from the cache if it has not changed. Raises OSError."""
    return _index_of(shard, os.stat(shard))  # noqa: PTH116


class _MemberFile(io.RawIOBase):
    """The bytes of a member, and no others."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._offset, self._size, self._at = member.offset, member.size, 0
        self._archive = os.open(member.shard, os.O_RDONLY | os.O_CLOEXEC)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        content = os.pread(self._archive, count, self._offset + self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(None, "a place before the start")
        self._at = start + offset
        return self._at

    def close(self) -> None:
        if not self.closed:
            os.close(self._archive)
        super().close()


# ---------------------------------------------------------------- the index of a shard


def _index_of(shard: str, status: os.stat_result) -> ShardIndex:
    absolute = shard if shard.startswith("/") else os.path.abspath(shard)  # noqa: PTH100 - which takes its time
    return _index(absolute, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_KEPT)
def _index(shard: str, size: int, changed_ns: int) -> ShardIndex:
    """The index of a shard of this size and time of change."""
    head = {"version": _FORMAT, "shard": shard, "stamp": [size, changed_ns]}
    place = _place(shard)
    index = None if place is None else _remembered(place, head, size)
    if index is None:
        index = _scanned(shard, size)
        if place is not None:
            _remember(place, head, index)
    return index


def _scanned(shard: str, size: int) -> ShardIndex:
    members: dict[str, tuple[int, int]] = {}
    refused: dict[str, str] = {}
    doubles: dict[str, None] = {}
    folders, fault = 0, ""
    archive = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for member in read_headers(archive, size):
            if member.refused:
                refused[member.name] = member.refused
            elif member.is_folder:
                folders += 1
            elif member.name in members:
                doubles[member.name] = None
            else:
                members[member.name] = (member.offset, member.size)
    except TarFault as error:
        fault = str(error)
    finally:
        os.close(archive)
    return ShardIndex(members, folders, refused, tuple(doubles)[:_NAMED], fault)


def _place(shard: str) -> Path | None:
    """Where the index of a shard is kept; None if there is no cache to be trusted."""
    try:
        return cache_folder() / "shards" / f"{hashlib.sha256(os.fsencode(shard)).hexdigest()[:32]}.json"
    except StoreError:
        return None


def _remembered(place: Path, head: Mapping[str, Any], size: int) -> ShardIndex | None:
    """The index that is kept of a shard as it is now; None without one that is whole."""
    try:
        stored = json.loads(read_trusted(place))
        if any(stored[name] != value for name, value in head.items()):
            return None
        members = {name: (offset, length) for name, offset, length in stored["members"]}
        if not all(0 <= offset <= offset + length <= size for offset, length in members.values()):
            return None
        refused = {str(name): str(reason) for name, reason in stored["refused"].items()}
        return ShardIndex(members, int(stored["folders"]), refused, tuple(stored["doubles"]), str(stored["fault"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _remember(place: Path, head: Mapping[str, Any], index: ShardIndex) -> None:
    rows = [(name, *where) for name, where in index.members.items()]
    try:
        make_private(place.parent)
        write_atomically(place, json.dumps({**head, **vars(index), "members": rows}).encode(), mode=0o600)
    except (OSError, StoreError):
        return  # it is read again; fingerprints, which are kept in the same place, say what is wrong with it
