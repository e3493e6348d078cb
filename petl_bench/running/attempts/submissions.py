"""What was handed to schedulers: one file per job or array, written once, so that any later command can look for it.

A submission explains where a trial may be waiting or running. It proves nothing: a trial is done if its record is
there, and a process works on it if its newest attempt is alive. A scheduler that forgets, loses or repeats a job does
no harm, and neither does one that does not answer.
"""

from __future__ import annotations

import getpass
import json
import logging
import re
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from petl_bench.api.registry import LAUNCHERS
from petl_bench.errors import PetlBenchError, StoreError
from petl_bench.records.layout import is_key
from petl_bench.records.schema import fields_of
from petl_bench.system import texts
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, read_json, tell_unusable

FOLDER = "submissions"
#: Files beside submissions in which earlier versions remembered what was cancelled.
_CANCELLED = "cancelled-"
#: Names that are handed to a scheduler's commands.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\[\]%+-]{0,199}")

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class SubmittedTask:
    """One task of a submission: the unit that a scheduler queues, runs and cancels."""

    submission: Submission
    name: str

    @property
    def identity(self) -> tuple[str, str]:
        """Its launcher and its name there."""
        return self.submission.launcher, self.name

    @property
    def keys(self) -> Sequence[str]:
        """The trials that it holds."""
        return self.submission.tasks[self.name]


def save_submission(
    store: Path, launcher: str, job: str, tasks: Mapping[str, Sequence[str]], folder: Path, asked: int = 0
) -> Submission:
    """Remember a submission in the output folder. Raises StoreError if it cannot be written."""
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
    try:
        paths = sorted((store / FOLDER).glob("*.json"))
    except OSError as error:
        tell_unusable(store / FOLDER, f"cannot be read: {error.strerror}")
        return []
    found = [_read(path) for path in paths if not path.name.startswith((".", _CANCELLED))]
    return sorted(filter(None, found), key=lambda submission: submission.submitted_at)


def submitted_tasks(store: Path) -> list[SubmittedTask]:
    """Every task ever submitted for the trials of an output folder, the oldest first."""
    return [SubmittedTask(submission, name) for submission in read_submissions(store) for name in submission.tasks]


def still_known(tasks: Iterable[SubmittedTask]) -> dict[tuple[str, str], str]:
    """What the schedulers say about those of the tasks that wait or run: (launcher, task) -> words.

    Each launcher is asked once for all of them. One that is not there or does not answer says nothing.
    """
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for task in tasks:
        names[task.submission.launcher][task.name] = None
    said: dict[tuple[str, str], str] = {}
    for launcher, listed in names.items():
        try:
            explained = LAUNCHERS.get(launcher)().explain(list(listed))
            said |= {(launcher, name): words for name, words in explained.items()}
        except (PetlBenchError, OSError) as error:
            _log.warning("the %s launcher cannot be asked about submitted trials: %s", launcher, error)
    return said


def _read(path: Path) -> Submission | None:
    try:
        submission = Submission(**fields_of(read_json(path, LARGE), Submission))
        _check(submission)
    except (UnusableError, FileNotFoundError) as error:
        tell_unusable(path, f"{error}; remove it, records do not need it")
        return None
    beside = path.parent / Path(submission.folder).name  # where it is if the output folder was moved since
    return replace(
        submission,
        host=texts.name(submission.host),
        user=texts.name(submission.user),
        folder=str(beside) if beside.is_dir() else submission.folder,
    )


def _check(submission: Submission) -> None:
    """Raise UnusableError for a name that no scheduler has, a key that is none, or a folder that cannot be shown."""
    for name in (submission.launcher, submission.job, *submission.tasks):
        if not _NAME.fullmatch(name):
            raise UnusableError(f"damaged: {texts.name(name)!r} is no name of a launcher, job or task")
    if not all(is_key(key) for keys in submission.tasks.values() for key in keys):
        raise UnusableError("damaged: it names trials by what is no key")
    if not texts.is_shown(submission.folder):
        raise UnusableError("damaged: its folder has characters that no folder of submissions has")
