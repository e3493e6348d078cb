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
    """A product that one counter sees alone."""

    def attach(self, model):
        import torch

        class Product(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(width, width))

            def forward(self, x):
                return torch.linalg.multi_dot([x.flatten(0, -2), self.weight]).view_as(x)

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

GUESTS = '''
"""A prompt made of the clip's feature (after CoCoOp, Zhou et al., CVPR 2022), and a cache of training clips."""

import petl_bench as pb


@pb.register_method("prompt_per_video")
class PromptPerVideo(pb.Method):
    """Context c [4, W] + net(v) before the words of every class: [B, M, 4 + L, W]."""

    text_varies = "video"
    identity_at_start = False

    def attach(self, model):
        import torch
        from torch import nn

        class Prompt(nn.Module):
            def __init__(self, width, dim):
                super().__init__()
                self.context = nn.Parameter(0.02 * torch.randn(4, width))
                self.net = nn.Sequential(nn.Linear(dim, dim // 16), nn.ReLU(), nn.Linear(dim // 16, width))

            def forward(self, embeddings, ends, video):
                context = self.context + self.net(video).unsqueeze(1)  # [B, 4, W]
                texts, clips = len(embeddings), len(video)
                context = context.unsqueeze(1).expand(-1, texts, -1, -1)
                words = embeddings.expand(clips, -1, -1, -1)
                return torch.cat([words[:, :, :1], context, words[:, :, 1:]], dim=2), ends + 4

        model.text.set_prompt(Prompt(model.config.text_width, model.config.embed_dim))

    def expected_trainable(self, config):
        width, dim = config.text_width, config.embed_dim
        return 4 * width + dim * (dim // 16) + dim // 16 + (dim // 16) * width + width


@pb.register_method("cache")
class Cache(pb.Method):
    """step.cosine_logits() + (v keys^T) values: keys [clips, D], values [clips, C]."""

    training_free = True

    def attach(self, model):
        import torch

        shape = (self.task.support_clips, model.config.embed_dim)
        model.heads["cache"] = head = torch.nn.Module()
        head.register_buffer("keys", torch.zeros(shape))
        head.register_buffer("values", torch.zeros(len(self.task.classes), shape[0]))
        self._head = head

    def expected_trainable(self, config):
        return 0

    def prepare(self, support):
        for step in support.encode():
            self._head.keys[step.rows] = step.video_features
            self._head.values[step.labels, step.rows] = 1.0

    def scores(self, step):
        head = step.model.heads["cache"]
        return step.cosine_logits() + (step.video_features.float() @ head.keys.T) @ head.values.T
'''


class CostCommand:
    """`petl-bench cost` in this process, which has loaded torch already, into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.plugin = folder / "odd_methods.py"
        self.plugin.write_text(PLUGIN)
        self.guests = folder / "guests.py"
        self.guests.write_text(GUESTS)

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
