"""SLURM's own commands: what they say about tasks, and how they are asked to stop or repeat them.

Every command has a time limit: a controller that is away must not hang a run. What SLURM says explains, it decides
nothing: a trial is done if it has a record.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from petl_bench.errors import UsageError

#: Longest wait for one of SLURM's commands.
PATIENCE_S = 30.0
#: The same for the accounting, which only explains.
ACCOUNTING_WITHIN_S = 10.0
#: What every job is called: only jobs of this name are looked at, and ended.
JOB_NAME = "petl-bench"
#: Names in one command line.
_AT_ONCE = 500


class NoAnswer(Exception):  # noqa: N818 - it is a fact about the cluster
    """A command of SLURM is not there, failed, or did not answer in time; the text is its own."""


@dataclass(frozen=True)
class QueueState:
    """A task that SLURM still knows as waiting or running, e.g. PENDING (Priority), RUNNING on n2."""

    state: str
    reason: str
    nodes: str

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        why = f" ({self.reason})" if self.reason not in ("", "None") else ""
        return f"{self.state.lower()}{where}{why}"


def queued(patience_s: float = PATIENCE_S) -> dict[str, QueueState]:
    """Every task of this user and of our name in the queue, by its number ("1234" or "1234_5"). Raises NoAnswer."""
    who = ("-u", getpass.getuser(), "-n", JOB_NAME)
    lines = ask("squeue", "-r", "-h", *who, "-o", "%i|%T|%r|%N", patience_s=patience_s).splitlines()
    cells = [line.split("|", 3) for line in lines]
    return {task: QueueState(state, reason, nodes) for task, state, reason, nodes in (c for c in cells if len(c) == 4)}


def last_words(tasks: Sequence[str]) -> dict[str, str]:
    """What the accounting says about tasks that left the queue, e.g. "FAILED 9:0"; nothing if it does not answer."""
    said: dict[str, str] = {}
    for part in _parts(tasks):
        command = ("sacct", "-X", "-n", "-P", "-j", ",".join(part), "-o", "JobID,State,ExitCode")
        try:
            lines = ask(*command, patience_s=ACCOUNTING_WITHIN_S).splitlines()
        except NoAnswer:
            return said
        said |= {task: f"{state} {code}" for task, state, code in (line.split("|") for line in lines)}
    return said


def limits() -> Mapping[str, int]:
    """The site's limits that matter here, e.g. MaxArraySize. Raises NoAnswer."""
    return {
        name: int(value) for name, value in re.findall(r"^(\w+)\s*= (\d+)\s*$", ask("scontrol", "show", "config"), re.M)
    }


def cancel(tasks: Sequence[str]) -> None:
    """End tasks, waiting or running. Raises UsageError with SLURM's words."""
    for part in _parts(tasks):
        try:
            ask("scancel", *part)
        except NoAnswer as error:
            raise UsageError(f"scancel: {error}") from error


def requeue(task: str) -> None:
    """Ask SLURM to run a task again from its beginning, which ends it now. Raises NoAnswer."""
    ask("scontrol", "requeue", task)


def ask(*command: str, patience_s: float = PATIENCE_S) -> str:
    """What one of SLURM's commands prints. Raises NoAnswer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience_s, env={**os.environ, "LC_ALL": "C"}, check=False
        )
    except FileNotFoundError:
        raise NoAnswer(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} did not answer within {patience_s:g} s") from None
    if done.returncode:
        raise NoAnswer(" ".join(done.stderr.split()) or f"{command[0]} failed with status {done.returncode}")
    return done.stdout.strip()


def _parts(tasks: Iterable[str]) -> Iterator[list[str]]:
    listed = list(tasks)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]
