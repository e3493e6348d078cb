"""Processes that decode clips are killed one by one, at work and idle: the trial's numbers stay, and it never hangs."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.drills.conftest import Real

pytestmark = pytest.mark.drill

ARGUMENTS = ("--methods", "adaptformer", "--seeds", "0", "--shots", "6", "--epochs", "40", "--batch-size", "4")
KILLS = 12
#: Three processes decode, though there is no GPU to feed, and a step takes long enough for all of them to be idle.
SEVERAL_LOADERS = """
import time
from dataclasses import replace
from petl_bench.running.local import launcher as local
from petl_bench.training import run_trial as engine

run_trial = engine.run_trial

def several(job, cores):
    return replace(job, places=replace(job.places, loader_workers=3))

def slowly(trial, places, folder, notify, **more):
    def told(progress):
        time.sleep(0.05)
        notify(progress)
    return run_trial(trial, places, folder, told, **more)

local._with_loaders, engine.run_trial = several, slowly
"""


@pytest.mark.parametrize("draw", range(3))
def test_decoders_that_are_killed_change_no_number(real: Real, draw: int) -> None:
    runs = real.runs
    real.runs = runs.with_name("undisturbed")
    whole = real.run(*ARGUMENTS)
    assert whole.returncode == 0, whole.stderr
    undisturbed = real.results()

    real.runs = runs
    real.disturb(SEVERAL_LOADERS)
    process = real.start_run(*ARGUMENTS)
    killed = kill_one_by_one(process, random.Random(draw))
    ended = real.finish(process)
    assert killed == KILLS, ended.stderr
    if ended.returncode == 0:
        assert real.results() == undisturbed
    else:
        # Whatever killed the process that decoded one clip twice is taken for the clip's fault.
        assert "the worker process died" in ended.stderr and ".mp4" in ended.stderr, ended.stderr


def kill_one_by_one(command: subprocess.Popen[str], draws: random.Random) -> int:
    """Kill decoders of the command until it ends or there were enough of them."""
    killed = 0
    while killed < KILLS and command.poll() is None:
        time.sleep(draws.uniform(0.05, 0.4))
        decoders = list(decoders_of(command.pid))
        if decoders:
            with contextlib.suppress(psutil.NoSuchProcess):
                draws.choice(decoders).kill()
                killed += 1
    return killed


def decoders_of(command: int) -> Iterator[psutil.Process]:
    """The processes that come from the servers below a command."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(command).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = child.parent()
                if parent is not None and "forkserver" in " ".join(parent.cmdline()):
                    yield child
