"""kill -9 at any moment while a record is written: the next run leaves it whole, as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import time
from typing import Any

import pytest

from petl_bench.records.read import read_predictions, read_record
from tests.drills.conftest import Disturbed

pytestmark = pytest.mark.drill

#: Every file that is synced or renamed takes a while, so that a kill finds it at any stage.
SLOW_FILES = """
import os, time

def slow(real):
    def slowly(*arguments, **more):
        time.sleep(0.03)
        result = real(*arguments, **more)
        time.sleep(0.03)
        return result
    return slowly

os.fsync = slow(os.fsync)
os.replace = slow(os.replace)
os.rename = slow(os.rename)
"""

ARGUMENTS = ("--methods", "waiting", "--seeds", "0,1,2", "--workers", "1")


def test_a_record_is_whole_or_not_there(disturbed: Disturbed) -> None:
    disturbed.disturbance = SLOW_FILES
    assert disturbed.run(*ARGUMENTS).returncode == 0
    undisturbed = contents(disturbed)
    shutil.rmtree(disturbed.runs)
    draw = random.Random(0)
    kills = 0
    for _ in range(8):
        process = disturbed.start_run(*ARGUMENTS)
        ended = len(disturbed.executions())
        # A trial's files are written when it has ended, which takes about a second here.
        while process.poll() is None and len(disturbed.executions()) == ended:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 1.5))
        kills += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in disturbed.records():
            read_record(path)
        if len(disturbed.records()) == 3:
            break
    assert kills > 0
    assert disturbed.run(*ARGUMENTS).returncode == 0
    assert contents(disturbed) == undisturbed
    verified = disturbed.command("runs", "verify", "--runs", str(disturbed.runs))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def contents(world: Disturbed) -> dict[str, Any]:
    """Everything that the trials left, but for times and attempts."""
    left = {}
    for path in world.records():
        record = json.loads(path.read_text())
        plain = {name: value for name, value in record.items() if name not in ("created", "attempts", "durations_s")}
        names = {each.name for each in path.parent.iterdir()} - {"attempts"}
        scores = read_predictions(path.parent, "all")["scores"].tolist()
        left[path.parent.name] = (plain, sorted(names), scores)
    return left
