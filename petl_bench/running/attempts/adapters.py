"""Adapters that others start from, when a run is over that was not to keep them all (`run --keep-adapters`).

A trial from which no other one of its plan starts lets its adapter go as soon as it is done
(`petl_bench.running.attempts.execute`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from petl_bench.errors import StoreError
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.records.write import has_excess, let_go
from petl_bench.running.attempts.output import read_plans
from petl_bench.running.planning.plan import Plan


def let_go_after(plan: Plan) -> Iterator[str]:
    """Let go the adapters that trials of this plan start from, if nothing that is planned needs them any more.

    Yields a line for each that stays because others need it.
    """
    choice = plan.spec.keep_adapters
    started = {job.trial.start_from for job in plan.jobs} - {""}
    if choice == "all" or not started:
        return
    titles = {job.trial.key: job.trial.title for job in plan.jobs}
    waiting = _waiting(plan)
    for key in sorted(started):
        folder = trial_folder(plan.output, key)
        if not has_excess(folder, choice) or not (folder / RECORD).exists():
            continue
        if waiting[key]:
            yield f"{titles[key]} keeps its adapter, for {waiting[key]} planned trials that are not done start from it"
            continue
        try:
            let_go(folder)
        except StoreError as error:
            yield f"{titles[key]} keeps its adapter: {error}"


def _waiting(plan: Plan) -> dict[str, int]:
    """How many trials without a record start from each adapter, in any plan of the output folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for saved in read_plans(plan.output):
        for key, fields in saved.fields.items():
            if not (trial_folder(plan.output, key) / RECORD).exists():
                found[str(fields.get("start_from"))].add(key)
    return defaultdict(int, {start: len(keys) for start, keys in found.items()})
