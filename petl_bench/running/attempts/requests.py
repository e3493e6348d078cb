"""Cancellations of an output folder's trials, and requests to run them again: numbered files that every command reads.

`requests/0001.json`, `requests/0002.json`, ... are made exclusively, whole or not at all, and never changed. Each says
who cancelled which trials, or asked for cancelled ones again. Their numbers are their order; clocks do not matter. A
`run` command keeps the newest number of its start in its jobs (`Job.asked`), also in those that it hands to a
scheduler: a cancellation with a larger number is meant for them, however they wait, run or are started again. So a
cancelled trial runs again only for a command that started after the cancellation.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from petl_bench.api.launcher import Job
from petl_bench.errors import StoreError
from petl_bench.records.schema import fields_of
from petl_bench.system import texts
from petl_bench.system.files import create
from petl_bench.system.stored_json import UnusableError, read_json, tell_unusable

FOLDER = "requests"


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """One request: `what` was asked for the trials with these keys, by whom and when."""

    number: int
    what: str  #: "cancel" or "run"
    trials: Sequence[str]
    user: str
    host: str
    at: float

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at))
        return f"cancelled with petl-bench cancel by {self.user} on {self.host}, {when}"


def cancel(store: Path, trials: Collection[str]) -> None:
    """Cancel these trials for every command that has asked for them. Raises StoreError if it cannot be written."""
    try:
        (store / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {store / FOLDER}: {error.strerror}") from error
    while not _append(store, _newest(store) + 1, "cancel", trials):
        pass


def ask_for(store: Path, trials: Collection[str]) -> tuple[int, dict[str, ControlRequest]]:
    """Ask for trials, and lift their cancellations: the number for `Job.asked`, and what was lifted by key.

    A cancellation at this very moment comes either before, and is lifted, or after, and holds. Raises StoreError if
    the request cannot be written.
    """
    while True:
        newest = _newest(store)
        lifted = {key: request for key, request in standing(store).items() if key in trials}
        if not lifted:
            return newest, {}
        if _append(store, newest + 1, "run", lifted):
            return newest + 1, lifted


def cancelled_since(store: Path, number: int) -> dict[str, ControlRequest]:
    """The trials that were cancelled after the request `number`: key -> the newest cancellation."""
    cancelling = (request for request in _read_after(store, number) if request.what == "cancel")
    return {key: request for request in cancelling for key in request.trials}


def cancellation_of(store: Path, job: Job) -> ControlRequest | None:
    """The cancellation that is meant for this job, or None."""
    return cancelled_since(store, job.asked).get(job.trial.key)


def standing(store: Path) -> dict[str, ControlRequest]:
    """The trials that are cancelled and were not asked for again: key -> the cancellation."""
    newest = {key: request for request in _read_after(store, 0) for key in request.trials}
    return {key: request for key, request in newest.items() if request.what == "cancel"}


def _append(store: Path, number: int, what: str, trials: Iterable[str]) -> bool:
    values = {
        "what": what,
        "trials": sorted(trials),
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "at": time.time(),
    }
    return create(_path(store, number), json.dumps(values).encode() + b"\n")


def _newest(store: Path) -> int:
    return max(_numbers(store), default=0)


def _numbers(store: Path) -> list[int]:
    try:
        names = [path.name for path in (store / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name.removesuffix(".json")) for name in names if re.fullmatch(r"\d{4,9}\.json", name))


def _read_after(store: Path, number: int) -> Iterator[ControlRequest]:
    """The requests with a larger number, the oldest first; a file that is no request asks for nothing."""
    for each in _numbers(store):
        if each > number and (request := _read(_path(store, each), each)):
            yield request


def _read(path: Path, number: int) -> ControlRequest | None:
    try:
        values = fields_of(read_json(path), ControlRequest, without=("number",))
        if values["what"] not in ("cancel", "run"):
            raise UnusableError(f"damaged: it asks for {texts.name(values['what'])!r}")
    except FileNotFoundError:
        return None
    except UnusableError as error:
        tell_unusable(path, str(error))
        return None
    values |= {name: texts.name(values[name]) for name in ("user", "host")}
    return ControlRequest(number=number, **{**values, "at": min(max(values["at"], 0.0), 2.0**33)})


def _path(store: Path, number: int) -> Path:
    return store / FOLDER / f"{number:04d}.json"
