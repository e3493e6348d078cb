"""The output folder of a run: that it can be written, the plans run into it, and what `--force` moves aside."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from petl_bench.errors import StoreError
from petl_bench.launcher import Job
from petl_bench.record_judge import REPLACED, unused
from petl_bench.records import RECORD, trial_folder, write_atomically
from petl_bench.running import claims
from petl_bench.running.execute import probe_writing
from petl_bench.running.plan import Plan

PLANS = "plans"


@dataclass(frozen=True)
class SavedPlan:
    """What a `run` command set out to do: the command itself, when it last started, and its trials (key -> title)."""

    command: str
    started_at: float
    trials: dict[str, str]


def prepare_output(output: Path) -> None:
    """Make the folder and see that it can be written. Raises StoreError with what to do where it cannot."""
    try:
        (output / "trials").mkdir(parents=True, exist_ok=True)
        (output / PLANS).mkdir(exist_ok=True)
        probe_writing(output)
    except OSError as error:
        raise _unwritable(output, error) from error


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


def save_plan(plan: Plan) -> None:
    """Remember the plan, so that `status` knows what is missing. The same request replaces its own earlier plan."""
    values = {
        "command": plan.spec.command(),
        "started_at": time.time(),
        "trials": {job.trial.key: job.trial.title for job in plan.jobs},
    }
    text = json.dumps(values, indent=1) + "\n"
    write_atomically(plan.output / PLANS / f"{plan.spec.identity[:16]}.json", text.encode())


def read_plans(output: Path) -> list[SavedPlan]:
    """The plans that were run into this folder, the latest last. Raises StoreError for one that cannot be read."""
    plans = [_read_plan(path) for path in sorted((output / PLANS).glob("*.json")) if not path.name.startswith(".")]
    return sorted(plans, key=lambda plan: plan.started_at)


def move_aside(output: Path, jobs: list[Job]) -> int:
    """Move the folders of recorded trials to `replaced/`, where no report reads them; returns how many there were.

    Raises StoreError where a trial runs at this moment.
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
        _move(folder, output / REPLACED)
        moved += 1
    return moved


def _move(folder: Path, replaced: Path) -> None:
    target = unused(replaced, folder.name)
    try:
        replaced.mkdir(exist_ok=True)
        folder.rename(target)
    except OSError as error:
        raise StoreError(f"cannot move {folder} to {target}: {error.strerror}") from error


def _read_plan(path: Path) -> SavedPlan:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        trials = {str(key): str(title) for key, title in values["trials"].items()}
        return SavedPlan(str(values["command"]), float(values["started_at"]), trials)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); remove it, records do not need it") from error
