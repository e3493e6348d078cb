"""What was handed to a scheduler: one file per job or array, written once, so that any later command can look for it.

A submission explains where a trial may be waiting or running. It proves nothing: a trial is done where its record
stands, and it is worked on where its newest attempt is alive. A scheduler that forgets, loses or repeats a job does no
harm.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from petl_bench.errors import StoreError
from petl_bench.records.schema import fields_of
from petl_bench.system import texts
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, read_json, tell_unusable

FOLDER = "submissions"
#: Files beside submissions in which earlier versions remembered what was cancelled.
_CANCELLED = "cancelled-"
#: Names that are handed to a scheduler's commands, and keys that lead to folders.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\[\]%+-]{0,199}")
_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One job or array. `tasks` maps the scheduler's name of each task ("1234_0") to the keys of its trials."""

    launcher: str
    job: str  #: the scheduler's number of the job or array
    tasks: Mapping[str, Sequence[str]]
    folder: str  #: where the scheduler writes the tasks' own output
    submitted_at: float
    host: str
    user: str
    asked: int = 0  #: `Job.asked` of its trials: later cancellations are meant for them


def save_submission(
    store: Path, launcher: str, job: str, tasks: Mapping[str, Sequence[str]], folder: Path, asked: int = 0
) -> Submission:
    """Remember a submission in the output folder. Raises StoreError where it cannot be written."""
    submission = Submission(
        launcher=launcher,
        job=job,
        tasks={task: list(keys) for task, keys in tasks.items()},
        folder=str(folder),
        submitted_at=time.time(),
        host=socket.gethostname(),
        user=getpass.getuser(),
        asked=asked,
    )
    try:
        (store / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {store / FOLDER}: {error.strerror}") from error
    name = f"{launcher}-{job}-{uuid.uuid4().hex[:8]}.json"
    write_atomically(store / FOLDER / name, json.dumps(asdict(submission)).encode() + b"\n")
    return submission


def read_submissions(store: Path) -> list[Submission]:
    """Every submission of an output folder, the oldest first; one that cannot be used is named, and left out."""
    found = [_read(path) for path in _files(store, "*.json") if not path.name.startswith((".", _CANCELLED))]
    return sorted(filter(None, found), key=lambda submission: submission.submitted_at)


def _files(store: Path, pattern: str) -> list[Path]:
    """The files of submissions with such names; a folder that cannot be read has none, and is named."""
    try:
        return sorted((store / FOLDER).glob(pattern))
    except OSError as error:
        tell_unusable(store / FOLDER, f"cannot be read: {error.strerror}")
        return []


def _read(path: Path) -> Submission | None:
    try:
        submission = Submission(**fields_of(read_json(path, LARGE), Submission))
        _check(submission)
    except (UnusableError, FileNotFoundError) as error:
        tell_unusable(path, f"{error}; remove it, records do not need it")
        return None
    return replace(
        submission,
        host=texts.name(submission.host),
        user=texts.name(submission.user),
        folder=str(_where_it_is(path.parent, Path(submission.folder))),
    )


def _check(submission: Submission) -> None:
    """Raise UnusableError if a name that is handed to a scheduler, or a key that leads to a folder, cannot be one."""
    for name in (submission.launcher, submission.job, *submission.tasks):
        if not _NAME.fullmatch(name):
            raise UnusableError(f"damaged: {texts.name(name)!r} is no name of a launcher, job or task")
    if not all(_KEY.fullmatch(key) for keys in submission.tasks.values() for key in keys):
        raise UnusableError("damaged: it names trials by what is no key")
    if not texts.is_shown(submission.folder):
        raise UnusableError("damaged: its folder has characters that no folder of submissions has")


def _where_it_is(submissions: Path, folder: Path) -> Path:
    """The folder of a submission, which lies beside its file, also if the output folder was moved since."""
    here = submissions / folder.name
    return here if here.is_dir() else folder
