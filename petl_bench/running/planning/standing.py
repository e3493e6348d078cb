"""How the trials of a plan stand in the output folder, before anything is run, and which adapters go afterwards.

- Done: its record is whole, and the files beside it are those that were recorded.
- Refused: its record or a file under its numbers is damaged. It is not done, and it is not run either, for that would
  replace what is left of it: its owner is told which file it is, and how to move the folder aside. A trial that would
  start from its adapter is refused with it. The other trials go on.
- To adapt again: a trial is done, but its adapter is gone or changed, and a trial that is still to run starts from it.
  `run` moves its folder aside (`replaced/`), says so, and trains it again. If nothing starts from it any more, its
  numbers stand, and only `status` and `runs verify` tell that the adapter is missing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.api.launcher import Job
from petl_bench.records.judge import adapter_fault, how_to_repeat
from petl_bench.records.layout import trial_folder
from petl_bench.records.scan import Problem, read_all

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Standing:
    """Keys of trials; `refused` and `to_adapt` with the reason."""

    done: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    to_adapt: Mapping[str, str] = field(default_factory=dict)


def standing_of(output: Path, jobs: Mapping[str, Job]) -> Standing:
    """How these trials (key -> job) stand."""
    done, problems = _finished(output, jobs)
    refused = {key: f"{problem}. {how_to_repeat(problem.path.parent)}" for key, problem in problems.items()}
    starts = {key: job.trial.start_from for key, job in jobs.items() if key not in done and key not in refused}
    refused |= {
        key: f"the trial whose adapter it starts from is damaged: {problems[start]}"
        for key, start in starts.items()
        if start in problems
    }
    needed = {start for start in starts.values() if start in done}
    to_adapt = {key: fault for key in sorted(needed) if (fault := adapter_fault(trial_folder(output, key)))}
    return Standing(done - to_adapt.keys(), refused, to_adapt)


def _finished(output: Path, keys: Mapping[str, object]) -> tuple[frozenset[str], dict[str, Problem]]:
    """Which of these trials have a whole record, and which a damaged one, with what is wrong; the rest has none."""
    folder = output / "trials"
    try:
        started = sorted(keys.keys() & {entry.name for entry in os.scandir(folder)})
    except (FileNotFoundError, NotADirectoryError):
        return frozenset(), {}
    problems: list[Problem] = []
    done = frozenset(name for name, _ in read_all(folder, started, problems))
    return done, {problem.trial: problem for problem in problems}
