"""Writing files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from petl_bench.errors import StoreError


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that it is there whole or not at all, even after a crash or with the disk full.

    `mode` are its permissions, less those that the user's umask takes away.

    Raises StoreError, naming the file, where it cannot be written; a file of that name is then left as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}. What was recorded before is untouched.") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can sync a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
