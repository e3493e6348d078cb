"""The command line of `petl-bench cost`, and a plugin with methods that misbehave."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.commands import petl_bench

PLUGIN = '''
"""A method that computes where no counter sees it, and one whose training fails."""

import petl_bench as pb


@pb.register_method("unseen")
class Unseen(pb.Method):
    """A product that is no module: the formula over modules does not see it."""

    def attach(self, model):
        import torch

        class Product(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(width, width))

            def forward(self, x):
                return x @ self.weight

        for block in model.blocks("both"):
            block.add_parallel(Product(block.width))

    def expected_trainable(self, config):
        return sum(width * width for width in config.block_widths())


@pb.register_method("failing")
class Failing(pb.Method):
    """Its loss cannot be computed."""

    def attach(self, model):
        model.temperature.requires_grad_(True)

    def expected_trainable(self, config):
        return 1

    def loss(self, step):
        raise ValueError("no loss today")
'''


class CostCommand:
    """`petl-bench cost` in this process, which has loaded torch already, into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.plugin = folder / "odd_methods.py"
        self.plugin.write_text(PLUGIN)

    def __call__(self, *arguments: str, command: str = "cost") -> CompletedProcess[str]:
        return petl_bench(command, *arguments, cwd=self.folder)

    def measure(self, methods: str, *arguments: str, rounds: int = 3) -> CompletedProcess[str]:
        """Measure on the CPU with few rounds."""
        return self("--methods", methods, "--device", "cpu", "--rounds", str(rounds), "--classes", "3", *arguments)

    def records(self) -> dict[str, dict[str, Any]]:
        """The records by method, merged ones as `method merged`, with the batch size where it is not 1."""
        found = {}
        for path in (self.runs / "trials").glob("*/record.json"):
            record = json.loads(path.read_text())
            options = record["trial"]["setting_options"]
            batch = "" if options["batch_size"] == 1 else f" {options['batch_size']}"
            found[record["trial"]["method"] + (" merged" if options["merged"] else "") + batch] = record
        return found


@pytest.fixture
def cost(tmp_path: Path) -> CostCommand:
    return CostCommand(tmp_path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[CostCommand, CompletedProcess[str]]:
    """One run that several tests look at: two methods, of which one can be merged, with one and two videos."""
    command = CostCommand(tmp_path_factory.mktemp("cost"))
    return command, command.measure("lora,msta", "--batch-sizes", "1,2")
