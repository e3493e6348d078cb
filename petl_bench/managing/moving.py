"""Moving a folder of runs: a rename, or to another file system a copy that is verified before the original goes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from petl_bench.errors import StoreError, UsageError
from petl_bench.managing.folders import beside, refuse_controls, remove, runs_folder
from petl_bench.managing.status import survey
from petl_bench.records.files import described_file


def move(source: Path, target: Path) -> int:
    """Move the folder of runs `source` so that it is called `target`; returns how many trials it holds.

    Raises UsageError if `target` is there or is no place for it, or while a trial runs or waits in a queue; StoreError
    if it cannot be written: then everything is where it was.
    """
    runs_folder(source)
    refuse_controls("TO", target)
    if source.is_symlink():
        raise UsageError(f"{source} is a link, which is not followed; name the folder that it leads to")
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already; give a name that is not, or merge into it: petl-bench runs merge")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder; make it first")
    if target.parent.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{target} lies within {source}")
    trials = survey(source).trials
    busy = [trial for trial in trials if trial.state in ("running", "queued")]
    if busy:
        more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        raise UsageError(
            f"{source}: {busy[0].title}{more}: {busy[0].state}; stop what runs (Ctrl-C, petl-bench cancel), "
            "and move then"
        )
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise StoreError(f"cannot move {source} to {target}: {error.strerror}") from error
        _copy_and_remove(source, target)
    return len(trials)


def _copy_and_remove(source: Path, target: Path) -> None:
    staged = beside(target.parent, "moving")
    try:
        shutil.copytree(source, staged, symlinks=True)
        differing = next(_differing(source, staged), None)
        if differing is not None:
            raise StoreError(f"cannot move {source} to {target}: the copy of {differing} is not what the original is")
        staged.rename(target)
    except (OSError, shutil.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot move {source} to {target}: {words}. Nothing was moved") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    going = beside(source.parent, "moved")
    try:
        source.rename(going)
    except OSError as error:
        raise StoreError(f"copied to {target}, but {source} cannot be removed: {error.strerror}") from error
    remove(going)


def _differing(source: Path, copy: Path) -> Iterator[Path]:
    """Files of the original that are not the same in the copy."""
    for folder, _, names in os.walk(source):
        for name in names:
            original = Path(folder) / name
            other = copy / original.relative_to(source)
            if original.is_symlink():
                same = other.is_symlink() and original.readlink() == other.readlink()
            else:
                same = described_file(original) == described_file(other)
            if not same:
                yield original
