"""The output folder of a run: that it can be written, the plans run into it, and what `--force` moves aside."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from petl_bench.api.launcher import Job
from petl_bench.errors import StoreError, UsageError
from petl_bench.records.judge import REPLACED, unused
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.records.schema import fields_of
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.execute import probe_writing
from petl_bench.running.attempts.relocated import command_for
from petl_bench.running.planning.plan import Plan
from petl_bench.running.planning.plan_trials import fields_of_trials, grouped
from petl_bench.system import texts
from petl_bench.system.commands import made_anew
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, read_json, tell_unusable

PLANS = "plans"
#: Unicode categories: control characters, halves of characters, and what ends a line or a paragraph.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class SavedPlan:
    """What a `run` command set out to do: the command, for the folder where the plan lies now, when it last started,
    its trials (key -> title), and as far as the plan tells them, their fields.

    Commands and titles are fit to be shown; a command is "" if the file has one that petl-bench does not make.
    """

    command: str
    started_at: float
    trials: dict[str, str]
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
        "groups": grouped(job.trial for job in plan.jobs),
    }
    text = json.dumps(values, indent=1) + "\n"
    write_atomically(plan.output / PLANS / f"{plan.spec.identity[:16]}.json", text.encode())


def read_plans(output: Path) -> list[SavedPlan]:
    """The plans that were run into this folder, the latest last; one that cannot be used is named, and left out."""
    try:
        paths = sorted(path for path in (output / PLANS).glob("*.json") if not path.name.startswith("."))
    except OSError as error:
        tell_unusable(output / PLANS, f"cannot be read: {error.strerror}")
        return []
    return sorted(filter(None, map(_read_plan, paths)), key=lambda plan: plan.started_at)


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


def _read_plan(path: Path) -> SavedPlan | None:
    try:
        values = read_json(path, LARGE)
        plan = SavedPlan(**fields_of(values, SavedPlan, without=("fields",)))
        if not all(map(_KEY.fullmatch, plan.trials)):
            raise UnusableError("damaged: it names trials by what is no key")
    except (UnusableError, FileNotFoundError) as error:
        tell_unusable(path, f"{error}; remove it, records do not need it")
        return None
    command = made_anew(plan.command)
    if not command:
        tell_unusable(path, "its command is not one that petl-bench makes, and is not shown")
    return replace(
        plan,
        command=command and command_for(command, path.parent.parent),
        trials={key: texts.name(title) for key, title in plan.trials.items()},
        fields=fields_of_trials(values.get("groups")),
    )
