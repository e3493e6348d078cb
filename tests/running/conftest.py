"""Runs of real processes on a toy world; see toy_plugin.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import petl_bench

ENGINE = "petl_bench.training.run_trial"


class ToyWorld:
    """A folder with the toy data set and plugin, and the command line on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.log = folder / "executions.txt"
        self.plugin = folder / "toy_plugin.py"
        self.data = folder / "data"
        self.processes: list[subprocess.Popen[str]] = []
        self.data.mkdir()
        self.log.touch()
        shutil.copy(Path(__file__).parent / "toy_plugin.py", self.plugin)
        for number in range(8):
            (self.data / f"clip_{number}.mp4").write_bytes(b"clip %d" % number)

    @property
    def flags(self) -> list[str]:
        """What every run needs."""
        names = ["--setting", "toy_setting", "--datasets", "toys", "--backbone", "toy_net", "--weights", "random"]
        places = ["--data-root", str(self.data), "--plugin", str(self.plugin), "--output", str(self.runs)]
        return [*names, "--device", "cpu", *places]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the toy's processes."""
        return {**os.environ, "TOY_LOG": str(self.log), "PETL_BENCH_CACHE": str(self.folder / "cache"), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`petl-bench ARGUMENTS` in a session of its own, so that signals to it reach nobody else."""
        process = subprocess.Popen(
            [sys.executable, "-m", "petl_bench", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def start_run(self, *arguments: str) -> subprocess.Popen[str]:
        """`petl-bench run` on the toy world."""
        return self.start("run", *self.flags, *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`petl-bench run` on the toy world, to its end."""
        return self.finish(self.start_run(*arguments))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any other command, to its end."""
        return self.finish(self.start(*arguments))

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in this process, which takes the fixture `toy_here`: one that starts no trial."""
        return petl_bench(*arguments, cwd=self.folder)

    def executions(self, kind: str = "end") -> list[str]:
        """The lines that trials wrote when they started or ended."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(kind)]

    def records(self) -> list[Path]:
        """The records of finished trials."""
        return sorted(self.runs.glob("trials/*/record.json"))

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """Wait for a process that was started."""
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @staticmethod
    def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something has happened; fails where it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[ToyWorld]:
    """A toy world of this test's own; its processes end with it."""
    world = ToyWorld(tmp_path)
    yield world
    for process in world.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def toy_here(toy: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> ToyWorld:
    """A toy world for tests that plan and run in this process."""
    monkeypatch.setitem(
        sys.modules, ENGINE, sys.modules.get(ENGINE, sys)
    )  # put back at the end, whatever the plugin does
    monkeypatch.setenv("TOY_LOG", str(toy.log))
    monkeypatch.setenv("PETL_BENCH_CACHE", str(toy.folder / "cache"))
    return toy
