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
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.api.launcher import Job
from petl_bench.errors import StoreError
from petl_bench.records.judge import adapter_fault, how_to_repeat
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.records.scan import Problem, read_all
from petl_bench.records.write import has_excess, let_go
from petl_bench.running.planning.saved_plans import read_plans

if TYPE_CHECKING:
    from petl_bench.running.planning.plan import Plan


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


def let_go_after(plan: Plan) -> Iterator[str]:
    """Let go the adapters that trials of this plan start from, if its `--keep-adapters` does not keep them and nothing
    that is planned needs them any more.

    A trial from which no other one of its plan starts lets its adapter go as soon as it is done
    (`petl_bench.running.attempts.execute`). Yields a line for each that stays because others need it.
    """
    started = {job.trial.start_from for job in plan.jobs} - {""}
    if plan.spec.keep_adapters == "all" or not started:
        return
    titles = {job.trial.key: job.trial.title for job in plan.jobs}
    waiting = _waiting(plan.output)
    for key in sorted(started):
        folder = trial_folder(plan.output, key)
        if not has_excess(folder, plan.spec.keep_adapters) or not (folder / RECORD).exists():
            continue
        if waiting[key]:
            count = len(waiting[key])
            yield f"{titles[key]} keeps its adapter, for {count} planned trials that are not done start from it"
            continue
        try:
            let_go(folder)
        except StoreError as error:
            yield f"{titles[key]} keeps its adapter: {error}"


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


def _waiting(output: Path) -> Mapping[str, set[str]]:
    """The trials without a record that start from each adapter, in any plan of the output folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for saved in read_plans(output):
        for key, fields in saved.fields.items():
            if not (trial_folder(output, key) / RECORD).exists():
                found[str(fields.get("start_from"))].add(key)
    return found
