"""Claims: which process works on a trial, agreed on through files alone, so that no trial ever runs twice at once.

Every attempt at a trial is one numbered file, `attempts/0001.json`, ... in the trial's folder. A process takes the
trial by creating the next number exclusively (a hard link, atomic on local and network file systems), and only if the
newest attempt has ended or its owner is gone. Numbers are never reused and no process removes another's file, so
exactly one process wins each number: there is no lock to break, and no moment at which two processes own a trial. The
files are the trial's history as well.

While an attempt runs its owner renews the file's modification time. An owner on this machine (same boot, same process
namespace) is judged by its process; one elsewhere seems gone once its heartbeat is older than `STALE_AFTER_S`, or as
far in the future. A clock that was set makes every owner seem so, until its next heartbeat: `take` therefore takes a
trial only after it has seen for `WATCH_S` that the heartbeat does not move, which no clock can change.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from petl_bench.errors import StoreError
from petl_bench.records.schema import fields_of
from petl_bench.system import texts
from petl_bench.system.files import create, write_atomically
from petl_bench.system.stored_json import SMALL, UnusableError, parsed, read_bytes

HEARTBEAT_EVERY_S = 10.0
STALE_AFTER_S = 60.0
#: How long a heartbeat that is old by the clock must stand still until its owner counts as gone.
WATCH_S = 2.5 * HEARTBEAT_EVERY_S
FOLDER = "attempts"
#: No machine is up for so long: a larger number of seconds counts from 1970.
_EPOCH = 1e9
_NOT_IN_TEXT = frozenset(("heartbeat", "fault"))
_LONGEST_REASON = 2_000
_LAST_NUMBER = 10**9 - 1
_LATEST = 2.5e11  #: seconds since the epoch: the year 9892, about the last that a calendar has


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a trial, as its file tells it. `ended_at` is None while it runs, or if its owner died."""

    number: int
    title: str = ""
    host: str = ""
    machine: str = ""
    pid: int = 0
    process_started: float = 0.0  #: seconds after the boot; of earlier versions, seconds since 1970
    started_at: float = 0.0
    ended_at: float | None = None
    outcome: str = ""  #: "done", "failed" or "interrupted"
    reason: str = ""
    heartbeat: float = 0.0  #: modification time of the file; not part of its text
    fault: str = ""  #: the file, and why it says nothing; not part of its text. The heartbeat alone then counts

    def alive(self, now: float | None = None) -> bool:
        """Whether its owner is alive, and so works on the trial. `now`: the file system's clock, else this machine's.

        By the clock alone if the owner is on another machine: see `may_be_alive`.
        """
        if self.ended_at is not None:
            return False
        if (known := self.process_alive()) is not None:
            return known
        return abs((time.time() if now is None else now) - self.heartbeat) < STALE_AFTER_S

    def process_alive(self) -> bool | None:
        """Whether its process is there, if that can be told from here."""
        if self.machine != this_machine():
            return None
        started = _process_start(self.pid)
        if started is None:
            return False
        if abs(started - self.process_started) < 0.5:
            return True
        # Seconds since 1970, and a process that hides its start: only the heartbeat can tell.
        return None if self.process_started > _EPOCH or started != started else False


def attempts(folder: Path) -> list[Attempt]:
    """Every attempt at the trial in `folder`, oldest first. One whose file is damaged says so (`Attempt.fault`).

    A folder of attempts that cannot be read counts as one attempt whose owner is gone.
    """
    try:
        return _listed(folder)
    except OSError as error:
        return [Attempt(number=0, fault=f"{folder / FOLDER}: cannot be read: {error.strerror}")]


def _listed(folder: Path) -> list[Attempt]:
    """As `attempts`. Raises OSError if the folder cannot be read."""
    try:
        names = [path.name for path in (folder / FOLDER).iterdir()]
    except FileNotFoundError:
        return []
    numbers = sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"[0-9]{4,9}\.json", name))
    return list(filter(None, (_read(_path(folder, number)) for number in numbers)))


def newest(folder: Path) -> Attempt | None:
    """The newest attempt at the trial in `folder`, or None."""
    return next(reversed(attempts(folder)), None)


#: The heartbeats that are old by the clock, by file: the stamp, and when this process saw it first (monotonic).
_watched: dict[Path, tuple[float, float]] = {}


def may_be_alive(folder: Path, last: Attempt, now: float | None = None) -> bool:
    """Whether the owner of this newest attempt at the trial in `folder` is alive, or may be for all that is known yet.

    As `Attempt.alive`, but an owner on another machine whose heartbeat is old by the clock is watched by this process:
    it counts as gone when it has stood still for `WATCH_S`.
    """
    if last.alive(now):
        return True
    if last.ended_at is not None or last.process_alive() is not None:
        return False
    path = _path(folder, last.number)
    stamp, since = _watched.get(path, (None, 0.0))
    if stamp != last.heartbeat:
        since = time.monotonic()
        _watched[path] = last.heartbeat, since
    return time.monotonic() - since < WATCH_S


class Claim:
    """The right to work on one trial, held by this process until `end`."""

    def __init__(self, folder: Path, attempt: Attempt) -> None:
        self.folder, self.attempt = folder, attempt
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="petl-bench heartbeat", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The file of this attempt."""
        return _path(self.folder, self.attempt.number)

    def lost(self) -> bool:
        """Whether another process has taken the trial: this one was asleep (a suspended job) until it looked dead."""
        return _path(self.folder, self.attempt.number + 1).exists()

    def end(self, outcome: str, reason: str = "") -> None:
        """Give the trial up and say how the attempt ended."""
        self._stop.set()
        self._thread.join()
        finish(self.folder, self.attempt, outcome, reason)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_EVERY_S):
            # A file system that is away for a moment must not end the trial; the next beat tries again.
            with suppress(OSError):
                os.utime(self.path)


def take(folder: Path, title: str) -> Claim | None:
    """Take the trial in `folder`; None if another process works on it, or may do so.

    An owner on another machine whose heartbeat is old is watched first: ask again later. Raises StoreError if nothing
    can be written.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        while True:
            last = next(reversed(_listed(folder)), None)
            if last is not None and may_be_alive(folder, last, _clock_of(folder, last)):
                return None
            attempt = _mine(1 if last is None else last.number + 1, title)
            if attempt.number > _LAST_NUMBER:
                raise StoreError(f"{folder / FOLDER}: damaged: its numbers are used up; move the folder aside")
            if create(_path(folder, attempt.number), _json(_text(attempt))):
                return Claim(folder, attempt)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror or error}") from error


def finish(folder: Path, attempt: Attempt, outcome: str, reason: str) -> None:
    """Write the end of an attempt: by its owner, or on behalf of an owner that is known to be dead.

    Raises StoreError if it cannot be written.
    """
    ended = {**_text(attempt), "ended_at": time.time(), "outcome": outcome, "reason": reason}
    write_atomically(_path(folder, attempt.number), json.dumps(ended, indent=1).encode() + b"\n")


@functools.cache
def this_machine() -> str:
    """A name for everything that shares process numbers with this process: host, boot and process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = boot.read_text().strip() if boot.is_file() else f"{psutil.boot_time():.0f}"
    namespace = Path("/proc/self/ns/pid")
    space = namespace.readlink() if namespace.exists() else ""
    return f"{socket.gethostname()}/{identity}/{space}"


def _mine(number: int, title: str) -> Attempt:
    return Attempt(
        number=number,
        title=title,
        host=socket.gethostname(),
        machine=this_machine(),
        pid=os.getpid(),
        process_started=_process_start(os.getpid()) or 0.0,
        started_at=time.time(),
    )


def _read(path: Path) -> Attempt | None:
    """The attempt in a file; None if there is no such file."""
    try:
        heartbeat = path.lstat().st_mtime
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    number = int(path.stem)
    try:
        return Attempt(number=number, heartbeat=heartbeat, **_known_fields(read_bytes(path, SMALL)))
    except UnusableError as error:
        return Attempt(number=number, heartbeat=heartbeat, fault=f"{path}: {error}")
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        return Attempt(number=number, heartbeat=heartbeat, fault=f"{path}: a link to nothing")


def _known_fields(content: bytes) -> dict[str, Any]:
    """The fields in an attempt's file, fit to be shown; none if its owner was killed (or is just) between creating
    and writing it. Raises UnusableError."""
    if not content:
        return {}
    values = fields_of(parsed(content), Attempt, without=_NOT_IN_TEXT | {"number"})
    if not 0 <= values.get("pid", 0) < 2**31:
        raise UnusableError(f"damaged: pid is {values['pid']}")
    for name in ("started_at", "ended_at"):
        if not 0 <= (values.get(name) or 0) < _LATEST:
            raise UnusableError(f"damaged: {name} is {values[name]}, which is no time")
    shown: dict[str, Any] = {name: texts.name(values[name]) for name in ("title", "host", "outcome") if name in values}
    return {**values, **shown, "reason": texts.shortened(texts.clean(values.get("reason", "")), _LONGEST_REASON)}


def _text(attempt: Attempt) -> dict[str, Any]:
    return {name: value for name, value in asdict(attempt).items() if name not in _NOT_IN_TEXT}


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.json"


def _process_start(pid: int) -> float | None:
    """When that process started, in seconds after the boot, also if the clock was set since; None if there is none.

    Not a number if there is one and it hides its start.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if stat.is_file():
            return int(stat.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(process.create_time() - psutil.boot_time())
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
    except (psutil.AccessDenied, PermissionError):
        return float("nan")


def _clock_of(folder: Path, last: Attempt) -> float | None:
    """The clock that stamped the heartbeat: a file server's may differ from this machine's."""
    if last.ended_at is not None or last.process_alive() is not None:
        return None
    probe = folder / FOLDER / f".clock.{os.getpid()}"
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now
