"""Ctrl-C while the real engine trains in workers or in the command's own process: nothing but a step is lost."""

from __future__ import annotations

import os
import signal
import time

import pytest

from petl_bench.training.checkpoint import load_checkpoint
from tests.drills.conftest import Real

pytestmark = pytest.mark.drill

ARGUMENTS = ("--methods", "adaptformer", "--seeds", "0,1", "--shots", "6", "--epochs", "120", "--batch-size", "4")
#: Without a signal there would be no checkpoint for an hour.
SELDOM = """
import sys

class Seldom:
    def find_spec(self, name, path=None, target=None):
        if name == "petl_bench.training.run_trial":
            sys.meta_path.remove(self)
            import petl_bench.training.run_trial as engine
            from functools import partial
            engine.run_trial = partial(engine.run_trial, checkpoint_seconds=3600.0)
        return None

sys.meta_path.insert(0, Seldom())
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("whom", ["group", "parent"])
def test_a_fresh_checkpoint_is_left_and_the_numbers_stay(real: Real, workers: str, whom: str) -> None:
    arguments = (*ARGUMENTS, "--set", "adaptformer.dropout=0.5", "--workers", workers)
    undisturbed = real.runs.with_name("undisturbed")
    whole = real.run(*arguments, "--output", str(undisturbed))
    assert whole.returncode == 0, whole.stderr

    real.disturbance = SELDOM
    stops = 0
    for after_s in (1.0, 2.0):
        process = real.start_run(*arguments)
        real.wait_until(lambda: sum("attempt" in log.read_text() for log in real.runs.glob("trials/*/log.txt")) > 0)
        time.sleep(after_s)
        sent = time.time()
        (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGINT)
        stopped = real.finish(process)
        if stopped.returncode == 0:
            break
        stops += 1
        assert stopped.returncode == 130 and "Traceback" not in stopped.stderr, stopped.stderr
        assert "Go on with: petl-bench run" in stopped.stderr
        for trial in real.trials().values():
            assert trial["state"] in ("interrupted", "done", "missing")
        for path in real.runs.glob("trials/*/checkpoint.pt"):
            if not (path.parent / "record.json").exists() and path.stat().st_mtime > sent:
                assert load_checkpoint(path) is not None
                break
        else:
            continue
    assert stops > 0
    again = real.run(*arguments)
    assert again.returncode == 0, again.stderr
    now = real.results()
    real.runs = undisturbed
    assert now == real.results()
