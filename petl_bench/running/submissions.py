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
    """Every submission of an output folder, the oldest first. Raises StoreError for one that cannot be read."""
    found = [
        _read(path) for path in sorted((store / FOLDER).glob("*.json")) if not path.name.startswith((".", _CANCELLED))
    ]
    return sorted(found, key=lambda submission: submission.submitted_at)


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
    """Tasks that were taken back on purpose."""
    found = (store / FOLDER).glob(f"{_CANCELLED}*.json")
    return frozenset(task for path in found for task in json.loads(path.read_text(encoding="utf-8")))


def _read(path: Path) -> Submission:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Submission(**{**values, "folder": str(_where_it_is(path.parent, Path(values["folder"])))})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); remove it, records do not need it") from error


def _where_it_is(submissions: Path, folder: Path) -> Path:
    """The folder of a submission, which lies beside its file, also if the output folder was moved since."""
    here = submissions / folder.name
    return here if here.is_dir() else folder
