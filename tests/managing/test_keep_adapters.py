"""`run --keep-adapters`: which adapters stay, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from petl_bench.managing.status import survey
from petl_bench.records import write
from petl_bench.records.verify import verify_trial
from petl_bench.records.write import SMALL_BYTES, stays
from petl_bench.running.planning.adapters import let_go_after
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from tests.managing.conftest import Folder
from tests.running.test_damaged_records import planned
from tests.running.test_plan import spec_of


@pytest.mark.parametrize(
    ("choice", "size", "kept"),
    [
        ("all", 10 * SMALL_BYTES, True),
        ("small", SMALL_BYTES, True),
        ("small", SMALL_BYTES + 1, False),
        ("none", 1, False),
    ],
)
def test_which_stay(choice: Any, size: int, kept: bool) -> None:
    assert stays(choice, size) is kept


def test_keys_do_not_know_of_it(toy_here: Any) -> None:
    plans = [plan(spec_of(toy_here, keep_adapters=choice)) for choice in ("all", "none")]
    assert plans[0].jobs[0].trial == plans[1].jobs[0].trial
    assert plans[0].spec.identity == plans[1].spec.identity
    assert "--keep-adapters none" in plans[1].spec.command()


def adapters(runs: Path) -> set[str]:
    return {path.parent.name for path in runs.glob("trials/*/adapter.safetensors")}


FLAGS = ["--setting", "toy_transfer", "--methods", "waiting", "--seeds", "0", "--workers", "0"]


def test_an_adapter_is_kept_as_long_as_others_start_from_it(toy: Any) -> None:
    done = toy.run(*FLAGS, "--keep-adapters", "none")
    assert done.returncode == 0, done.stderr
    assert len(toy.records()) == 3
    assert adapters(toy.runs) == set()
    (source,) = [path for path in toy.records() if json.loads(path.read_text())["trial"]["part"] == "source"]
    recorded = json.loads(source.read_text())["files"]["adapter.safetensors"]
    assert recorded["kept"] is False and recorded["bytes"] == 64
    assert verify_trial(source.parent).problems == ()
    assert survey(toy.runs).counts["done"] == 3
    again = toy.run(*FLAGS, "--keep-adapters", "none")
    assert again.returncode == 0 and len(toy.executions()) == 3, "nothing runs twice"


def test_one_that_unfinished_trials_start_from_stays_and_that_is_said(toy: Any) -> None:
    fails = ["--set", "waiting.mishap=fail on target"]
    plugin = toy.plugin.read_text()
    toy.plugin.write_text(
        plugin.replace('    if mishap == "fail":', '    if mishap == "fail on target" and trial.split == "2":', 1)
    )
    done = toy.run(*FLAGS, *fails, "--keep-adapters", "none")
    assert done.returncode == 1
    assert "keeps its adapter, for 1 planned trials that are not done start from it" in done.stderr
    assert len(adapters(toy.runs)) == 1


def test_small_ones_stay_and_large_ones_go_at_once(toy_here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from petl_bench.running.attempts.execute import execute

    for limit, kept in ((64, 1), (63, 0)):
        monkeypatch.setattr(write, "SMALL_BYTES", limit)
        made = planned(toy_here, setting="toy_transfer", seeds=(limit,), keep_adapters="small")
        (job,) = [job for job in made.jobs if job.trial.part == "source"]
        assert job.places.keep_adapter == "all", "others of the plan start from it"
        alone = plan(Spec(**{**vars(made.spec), "keep_adapters": "small"}))
        assert alone.jobs[1].places.keep_adapter == "small"
        free = type(job)(trial=job.trial, places=alone.jobs[1].places)
        outcome = execute(free, made.output, lambda progress: None)
        assert outcome.state == "done", outcome.reason
        assert len(adapters(made.output) & {job.trial.key}) == kept


def test_a_repeated_command_lets_go_what_nobody_needs_any_more(transfer: Folder) -> None:
    spec = Spec(**{**vars(transfer.plan.spec), "keep_adapters": "none"})
    source, _ = transfer.finish("waiting source 0", "waiting target 1 0")
    (line,) = let_go_after(plan(spec))
    assert "keeps its adapter, for 1 planned trials" in line and adapters(transfer.runs) == {source.name}
    transfer.finish("waiting target 2 0")
    assert list(let_go_after(plan(transfer.plan.spec))) == [] and adapters(transfer.runs) == {source.name}
    assert list(let_go_after(plan(spec))) == [] and adapters(transfer.runs) == set()
