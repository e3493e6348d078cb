"""The output folder of a run: that it can be written, which folder it is beyond its path, and moving trials aside.

A folder that was moved away, or removed and made anew, must not be taken for the one that a command started with: what
waits, runs or is queued for it would go on in another one, half of its trials here and half of them there. So the first
run that starts in a folder gives it an identity, in a file that moves with it to every path and machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable
from pathlib import Path

from petl_bench.api.launcher import Job
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.judge import REPLACED, unused
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.running.attempts import claims
from petl_bench.system.files import create

#: The folder of the plans that were run, and the file with the identity.
PLANS, IDENTITY = "plans", "folder.json"
#: Unicode categories: control characters, halves of characters, and what ends a line or a paragraph.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_PROBE_BYTES = 1 << 16


def refuse_unprintable_output(output: Path) -> None:
    """Raise UsageError for a path with line breaks, other control characters or bytes that are no text.

    Commands that are printed name the folder, scheduler scripts and saved plans hold it: each within one line of text.
    """
    unfit = next((letter for letter in str(output) if unicodedata.category(letter) in _UNPRINTABLE), None)
    if unfit is not None:
        raise UsageError(f"--output {str(output)!a}: no folder of runs can have {unfit!a} in its path")


def prepare_output(output: Path) -> None:
    """Make the folder and see that it can be written. Raises StoreError or UsageError with what to do if it cannot."""
    refuse_unprintable_output(output)
    try:
        (output / "trials").mkdir(parents=True, exist_ok=True)
        (output / PLANS).mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from error
    probe_writing(output)


def check_output(output: Path) -> None:
    """Raise the StoreError of `prepare_output`, as far as it can be told without writing anything."""
    try:
        for folder in (output / "trials", output / PLANS):
            there = next(place for place in (folder, *folder.parents) if _exists(place))
            if not there.is_dir():
                raise _os_error(errno.EEXIST)
            if there != folder:
                _refuse_read_only(there)
    except OSError as error:
        raise _unwritable(output, error) from error
    if output.is_dir():
        try:
            _refuse_read_only(output)
        except OSError as error:
            raise StoreError(f"cannot write to {output}: {error.strerror}") from error


def probe_writing(folder: Path) -> None:
    """Raise StoreError if no file of 64 KiB can be written; libraries do not always say why they failed."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        probe.write_bytes(b"\0" * _PROBE_BYTES)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def identify(output: Path) -> str:
    """The identity of an output folder, which gets one if it has none. Raises StoreError if it cannot be written."""
    if identity := _identity(output):
        return identity
    create(output / IDENTITY, json.dumps({"id": uuid.uuid4().hex}).encode() + b"\n")
    if identity := _identity(output):  # another command's, if that was first
        return identity
    raise StoreError(f"{output / IDENTITY}: cannot be read; remove it, records do not need it")


def refuse_another(output: Path, identity: str) -> None:
    """Raise StoreError, with what to do, if the folder at this path is not the one with this identity ("": any)."""
    if not identity or _identity(output) == identity:
        return
    if not output.is_dir():
        raise StoreError(
            f"{output}: the output folder is gone; it was moved or removed since it was asked for. Nothing was made "
            "anew. Put it back, or name its new place with --output, and type the command again"
        )
    raise StoreError(
        f"{output}: this is another folder than the one that was asked for, which was moved or removed (or its "
        f"{IDENTITY} was). Nothing was written to it. Put the folder back, or name its new place with --output, and "
        "type the command again"
    )


def move_aside(output: Path, jobs: Iterable[Job]) -> int:
    """Move the folders of recorded trials to `replaced/`, where no report reads them; returns how many there were.

    Raises StoreError if a trial runs at this moment.
    """
    moved = 0
    for job in jobs:
        folder = trial_folder(output, job.trial.key)
        if not (folder / RECORD).exists():
            continue
        last = claims.newest(folder)
        if last is not None and last.alive():
            raise StoreError(
                f"{folder}: {job.trial.title} runs at this moment on {last.host}, process {last.pid}; stop it first"
            )
        target = unused(output / REPLACED, folder.name)
        try:
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
        except OSError as error:
            raise StoreError(f"cannot move {folder} to {target}: {error.strerror}") from error
        moved += 1
    return moved


def _refuse_read_only(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _os_error(errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _exists(place: Path) -> bool:
    """Whether something has this name; OSError if it cannot, since it stands below a file, or is too long."""
    try:
        place.lstat()
    except FileNotFoundError:
        return False
    return True


def _unwritable(output: Path, error: OSError) -> StoreError:
    return StoreError(f"--output {output}: cannot be written ({error.strerror}). Give another one with --output DIR")


def _identity(output: Path) -> str:
    """The identity in the folder; "" if there is none that can be read."""
    try:
        identity = json.loads((output / IDENTITY).read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return identity if isinstance(identity, str) and re.fullmatch("[0-9a-f]{32}", identity) else ""
