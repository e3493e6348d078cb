"""Planning and submitting many trials to SLURM: seconds and memory per trial must not grow with their number.

Needs a SLURM to submit to: `slurm/local_cluster start DIR --max-array-size 1001 --max-job-count 20000`, and its
environment. The jobs are held, and taken back at the end.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FEW, MANY = 1_000, 10_000


@pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="no SLURM here: see slurm/README.md")
def test_submission(benchmark: Any, tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("time_min = 10\ncpus = 1\n[extra]\nhold = true\n")
    few = _submit(tmp_path / "few", FEW, profile)
    many = benchmark.pedantic(_submit, args=(tmp_path / "many", MANY, profile), rounds=1)
    for name, (count, seconds, mib) in {"few": (FEW, *few), "many": (MANY, *many)}.items():
        benchmark.extra_info[name] = (
            f"{count} trials: {seconds:.1f} s, {1000 * seconds / count:.2f} ms a trial, {mib:.0f} MiB"
        )
        print(benchmark.extra_info[name])
    assert many[1] - few[1] < (MANY - FEW) * 0.1, "less than 100 KiB a trial"


def _submit(output: Path, count: int, profile: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a command that submits `count` trials."""
    flags = ["--methods", "zero_shot", "--seeds", ",".join(map(str, range(count))), "--profile", str(profile)]
    command = [sys.executable, "-m", "petl_bench", "run", "--launcher", "slurm", "--detach", "--output", str(output)]
    started = time.monotonic()
    said = subprocess.run([*command, *flags], check=True, capture_output=True, text=True).stderr
    seconds = time.monotonic() - started
    assert sum(map(int, re.findall(r"submitted \d+: (\d+) tasks", said))) == count
    subprocess.run(
        [sys.executable, "-m", "petl_bench", "cancel", "--runs", str(output)], check=True, capture_output=True
    )
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
