"""What a trial's folder says beyond its row of the records: history, durations, environment, and the command it ran in.

Nothing is taken on trust: a file that cannot be read, or holds something else, says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petl_bench.errors import StoreError
from petl_bench.records.layout import RECORD
from petl_bench.records.read import read_details
from petl_bench.system.commands import made_anew
from petl_bench.system.stored_json import LARGE, UnusableError, read_json

#: What a number of a history is never above.
_LARGEST = 1e300


@dataclass(frozen=True)
class TrialDetails:
    """`history` has one row per epoch; `environment` is nested as it was recorded."""

    folder: Path
    history: tuple[Mapping[str, float], ...]
    durations_s: Mapping[str, float]
    environment: Mapping[str, Any]
    notes: tuple[str, ...]
    files: tuple[str, ...]


class StoredDetails:
    """The details of the trials under some output folders; the folder named first wins, as for records."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._known: dict[str, TrialDetails | None] = {}
        self._commands: dict[str, str] | None = None

    def of(self, trial: str) -> TrialDetails | None:
        """The details of one trial; None if it has no folder."""
        if trial not in self._known:
            self._known[trial] = self._read(trial)
        return self._known[trial]

    def command(self, trial: str) -> str:
        """The last command whose plan names the trial; "" if no plan does."""
        if self._commands is None:
            self._commands = _commands(self._folders)
        return self._commands.get(trial, "")

    def _read(self, trial: str) -> TrialDetails | None:
        folder = next((each / "trials" / trial for each in self._folders if (each / "trials" / trial).is_dir()), None)
        if folder is None:
            return None
        record = _object(folder / RECORD)
        details, notes = _details(folder, record)
        history = details.get("history")
        environment = details.get("environment") or record.get("environment")
        return TrialDetails(
            folder=folder,
            history=tuple(map(_numbers, history)) if isinstance(history, list) else (),
            durations_s=_numbers(record.get("durations_s")),
            environment=environment if isinstance(environment, dict) else {},
            notes=notes,
            files=_file_names(folder),
        )


def _file_names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(each.name for each in folder.iterdir() if each.is_file() and each.name[0] != "."))
    except OSError:
        return ()


def _details(folder: Path, record: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The details, and the record's notes; details that are not what was recorded are left out, with a note."""
    stored = record.get("notes")
    notes = tuple(map(str, stored)) if isinstance(stored, list) else ()
    try:
        return read_details(folder, record), notes
    except StoreError as error:
        return {}, (*notes, f"no history: {str(error).removeprefix(f'{folder}/')}")


def _commands(folders: Sequence[Path]) -> dict[str, str]:
    plans = [_object(path) for folder in reversed(folders) for path in _files_of_plans(folder)]
    found: dict[str, str] = {}
    for plan in sorted(plans, key=_started_at):
        trials, command = plan.get("trials"), plan.get("command")
        if isinstance(trials, dict) and isinstance(command, str):
            found.update(dict.fromkeys(trials, made_anew(command)))
    return found


def _files_of_plans(folder: Path) -> list[Path]:
    try:
        return sorted((folder / "plans").glob("[!.]*.json"))
    except OSError:
        return []


def _started_at(plan: Mapping[str, Any]) -> float:
    started = plan.get("started_at")
    return 0.0 if isinstance(started, bool) or not isinstance(started, (int, float)) else started


def _object(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, LARGE)
    except (UnusableError, FileNotFoundError):
        return {}
    return values if isinstance(values, dict) else {}


def _numbers(values: Any) -> dict[str, float]:
    """The numbers of an object, by their names."""
    if not isinstance(values, dict):
        return {}
    return {
        str(name): value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
    }
