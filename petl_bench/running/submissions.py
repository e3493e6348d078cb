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

from petl_bench import texts
from petl_bench.records import write_atomically
from petl_bench.stored_json import LARGE, UnusableError, fields_of, read_json, tell_unusable

FOLDER = "submissions"
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


def save_submission(
    store: Path, launcher: str, job: str, tasks: Mapping[str, Sequence[str]], folder: Path
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
    )
    (store / FOLDER).mkdir(parents=True, exist_ok=True)
    name = f"{launcher}-{job}-{uuid.uuid4().hex[:8]}.json"
    write_atomically(store / FOLDER / name, json.dumps(asdict(submission)).encode() + b"\n")
    return submission


def read_submissions(store: Path) -> list[Submission]:
    """Every submission of an output folder, the oldest first; one that cannot be used is named, and left out."""
    found = [_read(path) for path in _files(store, "*.json") if not path.name.startswith((".", _CANCELLED))]
    return sorted(filter(None, found), key=lambda submission: submission.submitted_at)


def latest_task(submissions: Sequence[Submission]) -> dict[str, tuple[Submission, str]]:
    """Where each trial was submitted last: key -> (submission, task)."""
    return {
        key: (submission, task) for submission in submissions for task, keys in submission.tasks.items() for key in keys
    }


def save_cancellation(store: Path, tasks: Sequence[str]) -> None:
    """Remember that tasks were taken back on purpose: a command that waits for them then does not submit them again."""
    name = f"{_CANCELLED}{uuid.uuid4().hex[:12]}.json"
    write_atomically(store / FOLDER / name, json.dumps(list(tasks)).encode() + b"\n")


def cancelled_tasks(store: Path) -> frozenset[str]:
    """Tasks that were taken back on purpose; a file that cannot be used is named, and left out."""
    return frozenset(task for path in _files(store, f"{_CANCELLED}*.json") for task in _read_tasks(path))


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
    return replace(submission, host=texts.name(submission.host), user=texts.name(submission.user))


def _check(submission: Submission) -> None:
    """Raise UnusableError if a name that is handed to a scheduler, or a key that leads to a folder, cannot be one."""
    for name in (submission.launcher, submission.job, *submission.tasks):
        if not _NAME.fullmatch(name):
            raise UnusableError(f"damaged: {texts.name(name)!r} is no name of a launcher, job or task")
    if not all(_KEY.fullmatch(key) for keys in submission.tasks.values() for key in keys):
        raise UnusableError("damaged: it names trials by what is no key")
    if not texts.is_shown(submission.folder):
        raise UnusableError("damaged: its folder has characters that no folder of submissions has")


def _read_tasks(path: Path) -> list[str]:
    try:
        tasks = read_json(path, LARGE)
        if not isinstance(tasks, list) or not all(isinstance(task, str) and _NAME.fullmatch(task) for task in tasks):
            raise UnusableError("damaged: a list of tasks expected")
    except (UnusableError, FileNotFoundError) as error:
        tell_unusable(path, f"{error}; whether its tasks were taken back is not known")
        return []
    return tasks
