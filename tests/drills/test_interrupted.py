"""Ctrl-C while the real engine trains, in workers or in the command's own process: nothing but a step is lost."""

from __future__ import annotations

import os
import signal

import pytest

from petl_bench.training.checkpoint import load_checkpoint
from tests.drills.conftest import Real

pytestmark = pytest.mark.drill

ARGUMENTS = ("--methods", "adaptformer", "--seeds", "0,1", "--shots", "6", "--epochs", "30", "--batch-size", "4")
STEPS_PER_EPOCH = 3
#: Without a signal there is no checkpoint. Steps take a while, and are told in a file.
SELDOM = """
import time
from petl_bench.training import run_trial as engine

run_trial = engine.run_trial

def seldom(trial, places, folder, notify, **more):
    def told(progress):
        if progress.stage == "training":
            (folder / "step").write_text(str(progress.step))
            time.sleep(0.05)
        notify(progress)
    return run_trial(trial, places, folder, told, checkpoint_seconds=3600.0, **more)

engine.run_trial = seldom
"""


@pytest.mark.parametrize(("workers", "whom"), [(1, "group"), (2, "group"), (2, "parent")])
def test_a_fresh_checkpoint_is_left_and_the_numbers_stay(real: Real, workers: int, whom: str) -> None:
    arguments = (*ARGUMENTS, "--set", "adaptformer.dropout=0.5", "--workers", str(workers))
    runs = real.runs
    real.runs = runs.with_name("undisturbed")
    whole = real.run(*arguments)
    assert whole.returncode == 0, whole.stderr
    undisturbed = real.results()

    real.runs = runs
    real.disturb(SELDOM)
    process = real.start_run(*arguments)
    real.wait_until(lambda: sum(step > 4 for step in steps(real).values()) == workers, seconds=240)
    done = steps(real)
    (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGINT)
    stopped = real.finish(process)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr, stopped.stderr
    assert "Go on with: petl-bench run" in stopped.stderr
    told = {trial["key"]: trial for trial in real.trials().values()}
    for key, step in done.items():
        state = load_checkpoint(runs / "trials" / key / "checkpoint.pt")
        assert state is not None
        assert STEPS_PER_EPOCH * state["epoch"]["number"] + state["epoch"]["steps"] >= step
        assert told[key]["state"] == "interrupted"
        assert told[key]["detail"] == "stopped on request; the next run goes on from its checkpoint"

    again = real.run(*arguments)
    assert again.returncode == 0, again.stderr
    assert real.results() == undisturbed


def steps(world: Real) -> dict[str, int]:
    """The last step that each running trial has done."""
    return {path.parent.name: int(path.read_text() or 0) for path in world.runs.glob("trials/*/step")}
