"""Trials that start from another trial's adapter: how they are planned, in which order they run, how they fail."""

from __future__ import annotations

from typing import Any

from petl_bench.api.launcher import Job
from petl_bench.running.planning.plan import plan
from tests.running.test_plan import spec_of


def transfer(toy: Any, **changes: Any) -> tuple[Job, ...]:
    return plan(spec_of(toy, setting="toy_transfer", **changes)).jobs


def test_one_adaptation_for_all_targets(toy_here: Any) -> None:
    jobs = transfer(toy_here, seeds=(0, 1))
    source = {job.trial.seed: job.trial for job in jobs if job.trial.part == "source"}
    targets = [job.trial for job in jobs if job.trial.part == "target"]
    assert (len(source), len(targets)) == (2, 4)
    assert all(trial.start_from == source[trial.seed].key for trial in targets)
    assert [job.trial.part for job in jobs] == ["source", "target", "source", "target", "target", "target"]


def test_whatever_changes_the_adaptation_changes_its_targets(toy_here: Any) -> None:
    keys = {job.trial.key for job in transfer(toy_here)}
    assert keys.isdisjoint(job.trial.key for job in transfer(toy_here, epochs=3))
    assert keys.isdisjoint(job.trial.key for job in transfer(toy_here, set=("toys.colour=blue",)))


def test_a_run_makes_every_record_and_runs_nothing_twice(toy: Any) -> None:
    arguments = ["--setting", "toy_transfer", "--methods", "waiting", "--seeds", "0,1", "--workers", "2"]
    for ends in (6, 6):
        result = toy.run(*arguments)
        assert result.returncode == 0, result.stderr
        assert len(toy.executions()) == ends
    assert len(toy.records()) == 6


def test_targets_of_a_failed_adaptation_fail_with_its_reason(toy: Any) -> None:
    arguments = ["--setting", "toy_transfer", "--methods", "waiting", "--seeds", "0,1", "--workers", "0"]
    result = toy.run(*arguments, "--set", "waiting.mishap=fail")
    assert result.returncode == 1
    assert result.stderr.count("the trial whose adapter it starts from failed") == 2 * 2, (
        "as it happens, and in the end"
    )
    assert "3 of 6 trials failed" in result.stderr
    assert len(toy.records()) == 3, "the other seed's"


def test_a_source_is_refused_where_the_setting_takes_none(toy: Any) -> None:
    result = toy.run("--methods", "waiting", "--source", "toys")
    assert result.returncode == 2
    assert result.stderr.strip().endswith("the setting toy_setting trains on the data set it evaluates")


def test_the_source_flag_names_the_settings_source(toy_here: Any) -> None:
    (job, *_) = transfer(toy_here, source="toys")
    assert job.trial.setting_options == {"source": "toys"}
