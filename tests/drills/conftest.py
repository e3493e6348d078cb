"""The real command line on small worlds, in processes that are disturbed from outside or by a `sitecustomize` of their
own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running.conftest import ToyWorld
from tests.training.conftest import small_backbone, small_plugin, squares

__all__ = ["small_backbone", "small_plugin", "squares"]


class Disturbed(ToyWorld):
    """A toy world whose processes run `disturbance` before anything else."""

    disturbance = ""
    machine = "here"  #: for plugins that pretend to be elsewhere

    @property
    def environment(self) -> dict[str, str]:
        """The environment of all processes."""
        folder = self.folder / "disturbance"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(self.disturbance)
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
        return {**super().environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MACHINE": self.machine}


class Real(Disturbed):
    """The real engine on a folder of coloured squares, with a tiny random backbone."""

    def __init__(self, folder: Path, squares: Path, plugin: Callable[[str], Path]) -> None:
        super().__init__(folder)
        self.squares, self.write_plugin = squares, plugin
        self.small = plugin("")

    def disturb(self, code: str) -> None:
        """Run this where every process loads its plugins; trials stay the same ones."""
        self.small = self.write_plugin(code)

    @property
    def flags(self) -> list[str]:
        """What every run needs."""
        options = [f"folder.path={self.squares}", "folder.base_classes=red square,green square"]
        options += ["training.warmup_epochs=0", "training.threads=1"]
        names = ["--setting", "base2novel", "--datasets", "folder", "--backbone", "small", "--weights", "random"]
        places = ["--plugin", str(self.small), "--output", str(self.runs), "--device", "cpu"]
        return [*names, *places, *(each for option in options for each in ("--set", option))]

    def trials(self) -> dict[str, dict[str, Any]]:
        """What `status` says of every trial, by its title."""
        told = self.command("status", "--runs", str(self.runs), "--json")
        return {trial["title"]: trial for trial in json.loads(told.stdout)["trials"]}

    def results(self) -> dict[str, dict[str, Any]]:
        """The records, without what differs between two runs of the same trial."""
        return {path.parent.name: _without_times(json.loads(path.read_text())) for path in self.records()}


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in record.items() if name not in ("attempts", "durations_s", "created")}
    plain["files"] = {name: file for name, file in record["files"].items() if name != "details.json"}
    return plain


def _ended(world: ToyWorld) -> None:
    for process in world.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def disturbed(tmp_path: Path) -> Iterator[Disturbed]:
    """A toy world of this test's own; its processes end with it."""
    world = Disturbed(tmp_path)
    yield world
    _ended(world)


@pytest.fixture
def real(tmp_path: Path, squares: Path, small_plugin: Callable[..., Path]) -> Iterator[Real]:
    """The real engine, in processes that end with the test."""
    world = Real(tmp_path, squares, small_plugin)
    yield world
    _ended(world)
