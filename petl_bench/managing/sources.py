"""Where finished trials and tunings are taken from: a folder of runs, or a tar that `runs export` made.

Nothing there is trusted. Only files that are asked for by trial and name are opened, and only regular ones: no links,
and nothing under another path. So what else a folder or a tar holds can neither be read nor written anywhere.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from petl_bench.errors import StoreError
from petl_bench.managing.folders import TRIALS, is_trial, runs_folder
from petl_bench.records.layout import RECORD
from petl_bench.records.tunings import TUNINGS

#: What reading a tar raises, with every kind of compression.
UNREADABLE = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError)
#: No tar of trials has more members.
_MOST = 1_000_000
#: The names of tunings.
_NAME = re.compile("[0-9a-f]{16}")


class TrialSource(Protocol):
    """Finished trials and their files."""

    path: Path

    def finished(self) -> list[str]:
        """The trials with a record, sorted."""

    def open(self, key: str, name: str) -> tuple[IO[bytes], int]:
        """A file of a trial and its size. Raises StoreError if there is none, or if it is no regular file."""

    def tunings(self) -> list[str]:
        """The names of the tunings, sorted."""

    def open_tuning(self, name: str) -> tuple[IO[bytes], int]:
        """The file of a tuning and its size. Raises as `open`."""


@contextmanager
def opened(path: Path) -> Iterator[TrialSource]:
    """The folder or tar at a path. Raises StoreError if it is neither."""
    with ExitStack() as stack:
        if path.is_dir():
            yield _Folder(path)
            return
        if not path.is_file():
            raise StoreError(f"{path}: neither a folder of runs nor a tar")
        try:
            source = _Tar(path, stack.enter_context(tarfile.open(path)))
        except UNREADABLE as error:
            found = str(error)
            reason = "" if "\n" in found else f" ({found})"  # several lines: it is of no kind of tar
            raise StoreError(f"{path}: neither a folder of runs nor a tar that can be read{reason}") from error
        if not source.finished():
            raise StoreError(f"{path}: no trials in it as `petl-bench runs export` writes them (trials/KEY/{RECORD})")
        yield source


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = runs_folder(path)

    def finished(self) -> list[str]:
        trials = self.path / TRIALS
        return sorted(folder.name for folder in trials.iterdir() if is_trial(folder) and (folder / RECORD).exists())

    def open(self, key: str, name: str) -> tuple[IO[bytes], int]:
        return _regular(self.path / TRIALS / key / name)

    def tunings(self) -> list[str]:
        return sorted(path.stem for path in (self.path / TUNINGS).glob("*.json") if _NAME.fullmatch(path.stem))

    def open_tuning(self, name: str) -> tuple[IO[bytes], int]:
        return _regular(self.path / TUNINGS / f"{name}.json")


def _regular(path: Path) -> tuple[IO[bytes], int]:
    """A regular file and its size. Raises StoreError if it is none."""
    try:
        # Not blocking, so that opening a named pipe does not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        how = "is a link, which is not followed" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise StoreError(f"{path}: {how}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise StoreError(f"{path}: no regular file")
    return os.fdopen(descriptor, "rb"), status.st_size


class _Tar:
    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self.path, self._archive = path, archive
        self._members: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
        self._tunings: dict[str, tarfile.TarInfo] = {}
        for count, member in enumerate(archive):
            if count == _MOST:
                raise ValueError(f"more than {_MOST:,} members")
            parts = member.name.split("/")
            if len(parts) == 3 and parts[0] == TRIALS:
                self._members[parts[1]][parts[2]] = member
            elif len(parts) == 2 and parts[0] == TUNINGS and _NAME.fullmatch(parts[1].removesuffix(".json")):
                self._tunings[parts[1].removesuffix(".json")] = member

    def finished(self) -> list[str]:
        return sorted(key for key, members in self._members.items() if RECORD in members)

    def open(self, key: str, name: str) -> tuple[IO[bytes], int]:
        return self._opened(f"{self.path}: {TRIALS}/{key}/{name}", self._members[key].get(name))

    def tunings(self) -> list[str]:
        return sorted(self._tunings)

    def open_tuning(self, name: str) -> tuple[IO[bytes], int]:
        return self._opened(f"{self.path}: {TUNINGS}/{name}.json", self._tunings[name])

    def _opened(self, where: str, member: tarfile.TarInfo | None) -> tuple[IO[bytes], int]:
        if member is None:
            raise StoreError(f"{where}: is not in it")
        try:
            tarfile.data_filter(member, TRIALS)
            file = self._archive.extractfile(member) if member.isreg() and not member.issparse() else None
        except UNREADABLE as error:
            raise StoreError(f"{where}: {error}") from error
        if file is None:
            raise StoreError(f"{where}: no regular file")
        return file, member.size
