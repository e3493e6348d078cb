"""The same tuning whatever happens to the command: killed twice at random points and typed again; on a real SLURM."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.drills.conftest import Real, real
from tests.slurm.comparison import Comparison
from tests.slurm.conftest import LocalCluster, clips, cluster
from tests.training.conftest import small_backbone, small_plugin, squares

__all__ = ["clips", "cluster", "real", "small_backbone", "small_plugin", "squares"]

pytestmark = [pytest.mark.drill, pytest.mark.slow]

TUNING = ("--methods", "lora", "--trials", "4", "--round-size", "2", "--seeds", "0", "--epochs", "1")


def _files(runs: Path) -> dict[str, bytes]:
    """What the tunings left."""
    return {path.name: path.read_bytes() for path in sorted((runs / "tunings").glob("*.json"))}


def _table(real: Real, flags: tuple[str, ...]) -> str:
    process = real.start("tune", *flags)
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    return out


@pytest.mark.timeout(600)
def test_killed_twice_it_comes_to_the_same(real: Real) -> None:
    """kill -9 of the command and its workers, in the middle of trials, records and files."""
    flags = (*real.flags, *TUNING, "--batch-size", "4", "--workers", "1")
    began = time.monotonic()
    table = _table(real, flags)
    took = time.monotonic() - began
    expected = _files(real.runs)
    real.runs.rename(real.runs.with_name("undisturbed"))
    draw = random.Random(time.time_ns())
    for _ in range(2):
        process = real.start("tune", *flags)
        time.sleep(draw.uniform(0.3, 0.7) * took)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert _table(real, flags) == table
    assert _files(real.runs) == expected


@pytest.mark.timeout(600)
def test_on_slurm_it_comes_to_the_same(cluster: LocalCluster, clips: Path, tmp_path: Path) -> None:
    comparison = Comparison(tmp_path / "c", cluster, clips, seeds="0")
    profile = comparison.profile(trials_per_job=2)

    def tune(output: Path, *flags: str) -> str:
        run = comparison.command(output, *flags)
        done = subprocess.run(
            [*run[:3], "tune", "--trials", "3", "--round-size", "2", *run[4:]],
            env=comparison.environment, cwd=comparison.folder, capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    on_slurm = tune(tmp_path / "slurm", "--launcher", "slurm", "--profile", str(profile))
    assert on_slurm == tune(tmp_path / "local", "--workers", "2")
    assert _files(tmp_path / "slurm") == _files(tmp_path / "local")
