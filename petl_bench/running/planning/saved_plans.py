"""The plans that were run into an output folder: one file for each request, so that `status` knows what is missing.

A plan also tells the fields of its trials, so that they can be chosen and told apart before they have a record. Trials
that differ only in case and seed share one entry of `groups`: `{"common": fields, "trials": {key: fields}}`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petl_bench.api.trial import Trial, canonical_json
from petl_bench.errors import StoreError
from petl_bench.records.layout import is_key
from petl_bench.records.schema import fields_of
from petl_bench.running.attempts.output import PLANS
from petl_bench.system import texts
from petl_bench.system.commands import made_anew
from petl_bench.system.files import write_atomically
from petl_bench.system.stored_json import LARGE, UnusableError, read_json, tell_unusable

if TYPE_CHECKING:
    from petl_bench.running.planning.plan import Plan

_COMMON = (
    *("method", "hyper_parameters", "setting", "setting_options", "dataset", "dataset_options"),
    *("backbone", "training"),
)
_OWN = ("split", "shots", "seed", "part", "start_from")
#: The names of `run`'s option for the folder, and the folder that it has without one.
_FLAGS, _DEFAULT = ("--output", "--runs"), Path("runs")


@dataclass(frozen=True)
class SavedPlan:
    """What a `run` or `tune` command set out to do: the command, for the folder where the plan lies now, when it last
    started, its trials (key -> title), and as far as the plan tells them, their fields.

    Commands and titles are fit to be shown; a command is "" if the file has one that petl-bench does not make.
    """

    command: str
    started_at: float
    trials: dict[str, str]
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_plan(plan: Plan, command: str = "") -> None:
    """Remember the plan, and the command that asks for it if it is not that of its spec.

    The same request replaces its own earlier plan. Raises StoreError if it cannot be written.
    """
    values = {
        "command": command or plan.spec.command(),
        "started_at": time.time(),
        "trials": {job.trial.key: job.trial.title for job in plan.jobs},
        "groups": _grouped(job.trial for job in plan.jobs),
        "left_out": {plan.spec.setting: dict(plan.left_out)} if plan.left_out else {},
    }
    identity = (
        plan.spec.identity if not command else hashlib.sha256((plan.spec.identity + command).encode()).hexdigest()
    )
    _write(plan.output / PLANS / f"{identity[:16]}.json", values)


def read_plans(output: Path) -> list[SavedPlan]:
    """The plans that were run into this folder, the latest last; one that cannot be used is named, and left out."""
    try:
        plans = [_read(path) for path in _files(output)]
    except OSError as error:
        tell_unusable(output / PLANS, f"cannot be read: {error.strerror}")
        return []
    return sorted(filter(None, plans), key=lambda plan: plan.started_at)


def left_out(output: Path) -> dict[str, dict[str, str]]:
    """Setting -> the methods that `all` left out of the plans in a folder, each with the reason.

    What cannot be read tells nothing, and older plans have none.
    """
    found: dict[str, dict[str, str]] = {}
    for path in _files(output):
        with contextlib.suppress(UnusableError, OSError):
            values = read_json(path, LARGE)
            of_plan = values.get("left_out") if isinstance(values, dict) else None
            for setting, methods in of_plan.items() if isinstance(of_plan, dict) else ():
                if isinstance(methods, dict):
                    found.setdefault(setting, {}).update({str(name): str(why) for name, why in methods.items()})
    return found


def forget(output: Path, keys: Set[str]) -> None:
    """Take these trials out of every plan; a plan that has no other goes. No link is followed. Raises StoreError."""
    for path in [] if (output / PLANS).is_symlink() else _files(output):
        try:
            values = None if path.is_symlink() else json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):  # `read_plans` tells it
            continue
        if not isinstance(values, dict) or not _drop(values, keys):
            continue
        if values.get("trials"):
            _write(path, values)
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}") from error


def command_for(command: str, folder: Path) -> str:
    """A stored `run` command for the folder of runs that holds it now, which may have had another name then.

    One that cannot be split as a shell splits it is left as it is.
    """
    try:
        words = iter(shlex.split(command))
    except ValueError:
        return command
    kept: list[str] = []
    place: int | None = None
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag not in _FLAGS:
            kept.append(word)
            continue
        place = len(kept) if place is None else place
        if not equals:
            next(words, None)
    if place is None and folder == _DEFAULT:
        return command
    place = len(kept) if place is None else place
    return shlex.join([*kept[:place], _FLAGS[0], str(folder), *kept[place:]])


def _files(output: Path) -> list[Path]:
    return sorted(path for path in (output / PLANS).glob("*.json") if not path.name.startswith("."))


def _write(path: Path, values: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())


def _grouped(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """The entries of `groups` for these trials."""
    groups: dict[str, dict[str, Any]] = {}
    for trial in trials:
        common = {name: getattr(trial, name) for name in _COMMON}
        group = groups.setdefault(canonical_json(common), {"common": common, "trials": {}})
        group["trials"][trial.key] = {name: getattr(trial, name) for name in _OWN}
    return list(groups.values())


def _fields_of_trials(groups: Any) -> dict[str, Mapping[str, Any]]:
    """Key -> fields of the trial. What does not have the form of `groups`, as in older plans, tells nothing."""
    found: dict[str, Mapping[str, Any]] = {}
    for group in groups if isinstance(groups, list) else []:
        common, trials = (group.get("common"), group.get("trials")) if isinstance(group, dict) else (None, None)
        if isinstance(common, dict) and isinstance(trials, dict):
            found |= {str(key): {**common, **own} for key, own in trials.items() if isinstance(own, dict)}
    return found


def _read(path: Path) -> SavedPlan | None:
    try:
        values = read_json(path, LARGE)
        plan = SavedPlan(**fields_of(values, SavedPlan, without=("fields",)))
        if not all(map(is_key, plan.trials)):
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
        fields=_fields_of_trials(values.get("groups")),
    )


def _drop(values: dict[str, Any], keys: Set[str]) -> bool:
    """Take the trials out of a plan's values; whether it had any of them."""
    groups = values.get("groups")
    parts = [each for each in (groups if isinstance(groups, list) else []) if isinstance(each, dict)]
    dropped = False
    for part in (values, *parts):
        trials = part.get("trials")
        if isinstance(trials, dict) and keys & trials.keys():
            part["trials"] = {key: told for key, told in trials.items() if key not in keys}
            dropped = True
    if parts:
        values["groups"] = [part for part in parts if part.get("trials")]
    return dropped
