"""Adapters that other trials start from: let go once nothing that is planned needs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.errors import StoreError
from petl_bench.records.layout import RECORD, trial_folder
from petl_bench.records.write import has_excess, let_go
from petl_bench.running.planning.saved_plans import read_plans

if TYPE_CHECKING:
    from petl_bench.running.planning.plan import Plan


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


def _waiting(output: Path) -> Mapping[str, set[str]]:
    """The trials without a record that start from each adapter, in any plan of the output folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for saved in read_plans(output):
        for key, fields in saved.fields.items():
            if not (trial_folder(output, key) / RECORD).exists():
                found[str(fields.get("start_from"))].add(key)
    return found
