"""What was handed to a scheduler: one file per job or array, written once, so that any later command can look for it.

A submission explains where a trial may be waiting or running. It proves nothing: a trial is done where its record
stands, and it is worked on where its newest attempt is alive. A scheduler that forgets, loses or repeats a job does no
harm.
"""

from __future__ import annotations

import getpass
import json
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from petl_bench.errors import StoreError
from petl_bench.records import write_atomically

FOLDER = "submissions"
#: Files beside submissions in which earlier versions remembered what was cancelled.
_CANCELLED = "cancelled-"


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
    """Every submission of an output folder, the oldest first. Raises StoreError for one that cannot be read."""
    found = [
        _read(path) for path in sorted((store / FOLDER).glob("*.json")) if not path.name.startswith((".", _CANCELLED))
    ]
    return sorted(found, key=lambda submission: submission.submitted_at)


def _read(path: Path) -> Submission:
    try:
        return Submission(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); remove it, records do not need it") from error
