"""A real SLURM for the tests of this folder, by slurm/local_cluster; without its packages they are skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "local_cluster"


def local_cluster(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`slurm/local_cluster ARGUMENTS`, to its end."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env={**os.environ, **environment})


class LocalCluster:
    """A cluster that runs, and SLURM's commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "etc" / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user of this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.config)}

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of SLURM's commands, as it ends."""
        where = self.folder / "work"
        where.mkdir(exist_ok=True)
        return subprocess.run(command, env=self.environment, cwd=where, capture_output=True, text=True, timeout=60)

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands prints; it must succeed."""
        done = self.try_(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, script: str, *flags: str) -> str:
        """The number of a new batch job that runs a shell script."""
        return self.ask("sbatch", "--parsable", *flags, "--wrap", script)

    def states(self, job: str, *flags: str) -> list[str]:
        """The states of a job, or of an array's elements, by `sacct`; with -D also those of its earlier attempts."""
        return self.ask("sacct", "-X", "-n", "-P", "-o", "State", "-j", job, *flags).split("\n")

    def node_state(self, node: str) -> str:
        """SLURM's words for a node, such as IDLE or DOWN+NOT_RESPONDING; `sinfo` may hold on to old ones."""
        return re.findall(r"State=(\S+)", self.ask("scontrol", "show", "node", node))[0]

    def local(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`slurm/local_cluster COMMAND` on this cluster; it must succeed."""
        done = local_cluster(command, self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    @staticmethod
    def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something has happened; fails where it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[Callable[..., LocalCluster]]:
    """Starts clusters of this test's own in folders below tmp_path; they are stopped whatever happens."""
    folders: list[Path] = []

    def start(name: str, *flags: str) -> LocalCluster:
        folders.append(tmp_path / name)
        return _start(tmp_path / name, *flags)

    yield start
    for folder in folders:
        local_cluster("stop", folder)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set of small clips (see tests/slurm/comparison.py)."""
    from tests.slurm.comparison import write_clips

    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes of two CPUs, arrays of at most 21, at most 40 jobs of a user at once; stopped whatever happens."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        yield _start(folder, "--max-submit-jobs", "40")
    finally:
        local_cluster("stop", folder)


def _start(folder: Path, *flags: str) -> LocalCluster:
    done = local_cluster("start", folder, *flags)
    if "not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return LocalCluster(folder)
