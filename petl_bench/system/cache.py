"""The folder of rendered data, fingerprints and decoded clips; losing it only costs time.

What lies there decides numbers, so it is made for the user alone, and nothing is taken from it that others can write:
every folder and file must belong to the user, to root, or to someone whom the user names, and be writable by its owner
only.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import IO

import platformdirs

from petl_bench.errors import StoreError

CACHE_VARIABLE = "PETL_BENCH_CACHE"
#: Users, with commas between, from whose caches the user wants to read.
OWNERS_VARIABLE = "PETL_BENCH_CACHE_OWNERS"
_WRITABLE_BY_OTHERS = 0o022
_ROOT = 0


def cache_folder() -> Path:
    """$PETL_BENCH_CACHE, or the user's cache folder. Raises StoreError if others can write to it."""
    named = os.environ.get(CACHE_VARIABLE)
    folder = Path(named).expanduser() if named else platformdirs.user_cache_path("petl-bench")
    reason = distrust(folder)
    if reason:
        raise StoreError(f"{folder}: {reason}")
    return folder


def make_private(folder: Path) -> None:
    """Make a folder of the cache, and those above it that are absent, for the user alone. Raises OSError."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def open_private(file: Path, mode: str) -> IO[str]:
    """Open a text file, which is made for the user alone if it is not there. Raises OSError."""
    return open(file, mode, encoding="utf-8", buffering=1, opener=lambda path, flags: os.open(path, flags, 0o600))


def read_trusted(file: Path) -> bytes:
    """What a file of the cache holds. Raises OSError, also if others can write to the file or its folder."""
    with file.open("rb") as stream:
        reason = distrust(file.parent) or distrust_status(os.fstat(stream.fileno()), file)
        if reason:
            raise PermissionError(None, reason)
        return stream.read()


def distrust(place: Path) -> str:
    """Why a folder or file of the cache is not trusted, and what to do about it; "" if it is, or is not there."""
    try:
        return distrust_status(place.stat(), place)
    except (OSError, ValueError):
        return ""


def distrust_status(status: os.stat_result, place: Path) -> str:
    """As `distrust`, for what the system says of the place."""
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return (
            f"others can write to it (mode {status.st_mode & 0o777:o}), and what a cache holds decides numbers. Remove "
            f"it, which costs time alone; or name another one with {CACHE_VARIABLE}; or, if you trust what it holds: "
            f"chmod -R go-w {place}"
        )
    owner = _user(status.st_uid)
    if status.st_uid not in (_ROOT, os.geteuid()) and not {owner, str(status.st_uid)} & _trusted_owners():
        return (
            f"it belongs to {owner}, and what a cache holds decides numbers. Name a folder of your own with "
            f"{CACHE_VARIABLE}; or, if you trust what {owner} puts there: export {OWNERS_VARIABLE}={owner}"
        )
    return ""


def _trusted_owners() -> set[str]:
    return {name.strip() for name in os.environ.get(OWNERS_VARIABLE, "").split(",")} - {""}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
