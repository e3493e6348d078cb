"""What `status` says about a folder of runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from petl_bench.managing.status import Survey, survey
from petl_bench.running.attempts import claims
from petl_bench.running.attempts.output import prepare_output
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.saved_plans import save_plan
from petl_bench.running.planning.spec import Spec
from petl_bench.system.words import duration


@pytest.fixture
def planned(toy_here: Any) -> Plan:
    """A saved plan of four trials, none of them started."""
    made = plan(
        Spec(
            methods=("waiting", "other"),
            setting="toy_setting",
            datasets=("toys",),
            backbone="toy_net",
            weights="random",
            data_root=str(toy_here.data),
            plugin=(str(toy_here.plugin),),
            output=str(toy_here.runs),
            seeds=(0, 1),
        )
    )
    prepare_output(made.output)
    save_plan(made)
    return made


def states(found: Survey) -> list[str]:
    return [trial.state for trial in found.trials]


def test_planned_trials_are_missing_until_they_start(planned: Plan) -> None:
    found = survey(planned.output)
    assert states(found) == ["missing"] * 4
    assert found.commands == [planned.spec.command()]


def test_every_state_is_told_with_its_reason(planned: Plan) -> None:
    folders = [planned.output / "trials" / job.trial.key for job in planned.jobs]
    running = claims.take(folders[0], planned.jobs[0].trial.title)
    failed = claims.take(folders[1], planned.jobs[1].trial.title)
    stopped = claims.take(folders[2], planned.jobs[2].trial.title)
    assert running is not None
    assert failed is not None
    assert stopped is not None
    failed.end("failed", "too many unreadable clips")
    (folders[1] / "log.txt").write_text("what happened\n")
    stopped.end("interrupted", "stopped on request")
    (folders[2] / "checkpoint.pt").touch()
    found = survey(planned.output)
    assert states(found) == ["running", "failed", "interrupted", "missing"]
    assert f"process {os.getpid()}" in found.trials[0].detail
    assert (found.trials[1].detail, found.trials[1].log) == ("too many unreadable clips", folders[1] / "log.txt")
    assert found.trials[2].detail == "stopped on request; the next run goes on from its checkpoint"
    running.end("done")


def test_a_claim_whose_owner_is_silent_is_not_called_running(planned: Plan) -> None:
    folder = planned.output / "trials" / planned.jobs[0].trial.key
    claim = claims.take(folder, "a trial")
    assert claim is not None
    path = folder / "attempts" / "0001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", "host": "another"}))
    assert survey(planned.output).trials[0].state == "running"
    os.utime(path, (time.time() - 120, time.time() - 120))
    first = survey(planned.output).trials[0]
    assert (first.state, first.detail) == ("interrupted", "its process is gone; the next run starts anew")
    claim.end("done")


def test_the_same_request_replaces_its_earlier_plan_and_others_stay(planned: Plan, toy_here: Any) -> None:
    (toy_here.data / "clip_0.mp4").write_bytes(b"changed: every key is a new one")
    again = plan(planned.spec)
    assert {job.trial.key for job in again.jobs}.isdisjoint(job.trial.key for job in planned.jobs)
    save_plan(again)
    assert len(survey(planned.output).trials) == 4
    save_plan(plan(Spec(**{**vars(planned.spec), "seeds": (7,)})))
    found = survey(planned.output)
    assert len(found.trials) == 6
    assert len(found.commands) == 2


def test_trials_outside_every_plan_are_told_apart(planned: Plan) -> None:
    claim = claims.take(planned.output / "trials" / ("a" * 64), "an old trial")
    assert claim is not None
    claim.end("failed", "an accident")
    last = survey(planned.output).trials[-1]
    assert (last.title, last.state, last.planned) == ("an old trial", "failed", False)
    assert last.detail == "an accident; in no present plan"


def test_nothing_is_written(planned: Plan) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(planned.output).rglob("*")}
    survey(planned.output)
    assert {path: path.stat().st_mtime_ns for path in Path(planned.output).rglob("*")} == before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (180, "3 min"), (5940, "99 min"), (7500, "2 h 05 min"), (-3, "0 s")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text
