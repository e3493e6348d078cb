"""Writing files that are whole or not there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from petl_bench.errors import StoreError


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write, which becomes `path` at the end of the block: whole or not at all, even after a crash.

    Until then, and if the block raises, a file of that name is left as it was. The temporary file lies beside it and
    is called `.NAME.*`.

    Args:
        path: the file to make or to replace.
        mode: its permissions, less those that the user's umask takes away.

    Raises:
        StoreError: it cannot be written; the message names it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}. What was recorded before is untouched.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file as `replacing` does, from bytes in memory. Raises StoreError."""
    with replacing(path, mode=mode) as file:
        file.write(content)


def create(path: Path, content: bytes) -> bool:
    """Make a file that is not there yet, whole or not at all; False if there is one, which is then left as it is.

    Of several processes that make the same file exactly one succeeds. Raises StoreError, naming the file, if it cannot
    be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: nothing but a crash just here leaves half a file
            with path.open("xb") as file:
                file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can sync a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """sha256 of a file as 64 hexadecimal digits; read again only when its size or time of change differs."""
    path = Path(path).resolve()
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
