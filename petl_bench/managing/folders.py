"""Which folders are folders of runs, what lies in the folder of a trial, and how big that is. No link is followed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from petl_bench.errors import StoreError, UsageError
from petl_bench.records.layout import ADAPTER, LOG, UNFINISHED, is_key
from petl_bench.running.attempts import claims
from petl_bench.system.texts import has_controls

TRIALS = "trials"
#: What another machine did not touch for so long belongs to a process that is gone.
_ABANDONED_S = 86_400.0


@dataclass(frozen=True)
class TrialSizes:
    """Bytes in the folder of a trial, by what they are for."""

    adapter: int = 0
    predictions: int = 0
    checkpoint: int = 0
    log: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))

    def __add__(self, more: TrialSizes) -> TrialSizes:
        return TrialSizes(*map(sum, zip(astuple(self), astuple(more), strict=True)))


def refuse_controls(flag: str, path: Path) -> None:
    """Raise UsageError for a name of a folder that no line can show, and no command that is printed can name."""
    if has_controls(str(path)):
        raise UsageError(f"{flag} {str(path)!r}: a line end or another control character cannot be in it")


def refuse_absent(runs: Path) -> None:
    """Raise StoreError if there is no such folder of runs."""
    if not runs.is_dir():
        raise StoreError(f"{runs}: no such folder of runs. Say which one with --runs DIR")


def runs_folder(path: Path) -> Path:
    """The path, if it is a folder of runs. Raises StoreError if it is none, or if its trials are somewhere else."""
    refuse_absent(path)
    if (path / TRIALS).is_symlink():
        raise StoreError(f"{path / TRIALS}: a link, which is not followed; name the folder that it leads to")
    if not (path / TRIALS).is_dir():
        where = f"; its parent is one: {path.parent}" if path.name == TRIALS else ""
        raise StoreError(f"{path}: not a folder of runs, for there is no {TRIALS}/ in it{where}")
    return path


def is_trial(folder: Path) -> bool:
    """Whether this is the folder of a trial, and no link to one."""
    return is_key(folder.name) and not folder.is_symlink() and folder.is_dir()


def sizes_of(folder: Path) -> TrialSizes:
    """What lies in the folder of a trial; nothing if there is no such folder."""
    found: Counter[str] = Counter()
    for name, size in _files(str(folder)):
        found[_kind(name)] += size
    return TrialSizes(**found)


def size_below(folder: Path) -> int:
    """Bytes of all files under a folder; nothing if there is no such folder, or a link in its place."""
    return 0 if folder.is_symlink() else sum(size for _, size in _files(str(folder)))


def beside(folder: Path, what: str) -> Path:
    """A new name for something hidden in `folder`, which no reader looks at; it belongs to this process."""
    return folder / f".{what}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def remove_leftovers(folder: Path, what: str) -> None:
    """Remove what processes that are gone left under such names. Raises StoreError."""
    for path in folder.glob(f".{what}-*-*-*"):
        machine, process = path.name.split("-")[1:3]
        if machine == _machine() and process.isdecimal():
            abandoned = not psutil.pid_exists(int(process))
        else:
            abandoned = time.time() - path.lstat().st_mtime > _ABANDONED_S
        if abandoned and path.is_dir() and not path.is_symlink():
            remove(path)


def remove(folder: Path) -> None:
    """Remove a folder with everything in it; links are removed, not followed. Raises StoreError."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # another process removes it as well
        return
    except OSError as error:
        raise StoreError(f"cannot remove {error.filename or folder}: {error.strerror}") from error


def _machine() -> str:
    return hashlib.sha256(claims.this_machine().encode()).hexdigest()[:8]


def _files(folder: str) -> Iterator[tuple[str, int]]:
    """Name and bytes of every file in a folder and those below it; of what is no regular file, 0 bytes."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    status = entry.stat(follow_symlinks=False)
                    yield entry.name, status.st_size if stat.S_ISREG(status.st_mode) else 0
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from error


def _kind(name: str) -> str:
    if name == ADAPTER:
        return "adapter"
    if name == LOG:
        return "log"
    if any(each in name for each in UNFINISHED):  # also one that was being written: .checkpoint.pt.<id>
        return "checkpoint"
    return "predictions" if name.startswith("predictions-") else "other"
