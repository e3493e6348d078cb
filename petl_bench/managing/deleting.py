"""Deleting trials, their checkpoints or their adapters: first what would go, then the deed.

A trial that runs or waits in a queue stays, and so does one whose adapter others start from, unless these go with it. A
folder is first renamed, in one step, to a name that nothing reads, and removed there: a crash leaves no trial half.
Plans forget a trial that is deleted, so that it is not called missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petl_bench.errors import StoreError
from petl_bench.managing.folders import TRIALS, beside, remove, remove_leftovers, runs_folder
from petl_bench.managing.trials import KnownTrial, starters
from petl_bench.records.layout import UNFINISHED
from petl_bench.records.write import let_go
from petl_bench.running.attempts import claims
from petl_bench.running.planning.saved_plans import forget

What = Literal["trials", "checkpoints", "adapters"]
_LEFTOVER = "deleting"


@dataclass(frozen=True)
class Deletion:
    """What goes, and what stays with the reason."""

    runs: Path
    what: What
    goes: list[KnownTrial]
    stays: list[tuple[KnownTrial, str]]

    @property
    def bytes(self) -> int:
        """What it frees."""
        return sum(map(self.size, self.goes))

    def size(self, trial: KnownTrial) -> int:
        """What one trial's part of it frees."""
        sizes = trial.sizes
        return {"trials": sizes.total, "checkpoints": sizes.checkpoint, "adapters": sizes.adapter}[self.what]


def deletion(runs: Path, known: Sequence[KnownTrial], chosen: Sequence[KnownTrial], what: What) -> Deletion:
    """What deleting the chosen ones of all known trials of a folder would mean; nothing is deleted.

    Those of the chosen that have nothing to delete are in neither list.
    """
    holds = {"trials": _holds_trial, "checkpoints": _holds_files, "adapters": _holds_adapter}[what]
    starting = starters(known)
    found = Deletion(runs_folder(runs), what, [], [])
    candidates = [trial for trial in chosen if what == "trials" or found.size(trial)]
    held: dict[str, str] = {}
    while True:  # again, for a trial that stays may hold the one that it starts from
        going = {trial.key for trial in candidates} - held.keys()
        reasons = {t.key: holds(t, starting.get(t.key, []), going) for t in candidates if t.key in going}
        if not any(reasons.values()):
            break
        held |= {key: reason for key, reason in reasons.items() if reason}
    found.goes.extend(trial for trial in candidates if trial.key not in held)
    found.stays.extend((trial, held[trial.key]) for trial in candidates if trial.key in held)
    return found


def delete(deletion: Deletion, tell: Callable[[KnownTrial, str], None]) -> int:
    """Do it; the bytes that were freed. `tell` is told of each trial that could not be deleted after all, and why.

    What an earlier deletion left half removed is removed first.
    """
    remove_leftovers(deletion.runs, _LEFTOVER)
    acts: dict[What, Callable[[Path], object]]
    acts = {"trials": _delete_trial, "checkpoints": _delete_checkpoint, "adapters": let_go}
    gone: list[KnownTrial] = []
    for trial in deletion.goes:
        try:
            if trial.folder is not None:
                _refuse_taken_up(trial.folder)
                acts[deletion.what](trial.folder)
            gone.append(trial)
        except StoreError as error:
            tell(trial, str(error))
    if deletion.what == "trials":
        forget(deletion.runs, {trial.key for trial in gone})
    return sum(map(deletion.size, gone))


# What holds a trial back


def _holds_files(trial: KnownTrial, starting: Sequence[KnownTrial], going: set[str]) -> str:
    if trial.state == "running":
        return f"it runs: {trial.detail}"
    if trial.state == "queued":
        return f"it waits in a queue ({trial.detail}); take it back first: petl-bench cancel"
    if trial.folder is None and trial.state != "missing":
        return "its folder is a link to another place, which is not followed"
    return ""


def _holds_trial(trial: KnownTrial, starting: Sequence[KnownTrial], going: set[str]) -> str:
    others = [other for other in starting if other.key not in going]
    return _holds_files(trial, starting, going) or _needed_by(others, "delete them with it")


def _holds_adapter(trial: KnownTrial, starting: Sequence[KnownTrial], going: set[str]) -> str:
    """Trials that are done need the adapter that they started from no more."""
    needed = _needed_by([other for other in starting if other.state != "done"], "they are not done")
    if held := _holds_files(trial, starting, going) or needed:
        return held
    if trial.state == "done":
        return ""
    return f"it is {trial.state}, and only a sound record can say that its adapter went"


def _needed_by(others: Sequence[KnownTrial], so: str) -> str:
    if not others:
        return ""
    count, more = ("1 trial starts", "") if len(others) == 1 else (f"{len(others)} trials start", ", ...")
    return f"{count} from its adapter ({others[0].name}{more}); {so}"


# The deed


def _delete_trial(folder: Path) -> None:
    target = beside(folder.parent.parent, _LEFTOVER)
    try:
        folder.rename(target)
    except OSError as error:
        raise StoreError(f"cannot move {folder} out of {TRIALS}/: {error.strerror}") from error
    remove(target)


def _delete_checkpoint(folder: Path) -> None:
    for name in UNFINISHED:
        try:
            for path in [*folder.glob(f".{name}.*"), folder / name]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {folder / name}: {error.strerror}") from error


def _refuse_taken_up(folder: Path) -> None:
    """Raise StoreError if a process works on the trial by now."""
    last = claims.newest(folder)
    if last is not None and last.alive():
        raise StoreError(f"it runs by now on {last.host}, process {last.pid}")
