"""Small models and inputs for the tests of methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import petl_bench as pb

sys.path.insert(0, str(Path(__file__).parent))

SMALL = pb.ViCLIPConfig(
    image_size=32,
    num_frames=4,
    embed_dim=32,
    vision_width=64,
    vision_layers=3,
    vision_heads=4,
    context_length=16,
    vocab_size=64,
    text_width=48,
    text_layers=3,
    text_heads=4,
)


@pytest.fixture
def golden() -> Callable[[str], dict[str, Tensor]]:
    folder = Path(__file__).parents[1] / "goldens"
    return lambda name: load_file(folder / f"{name}.safetensors")


@pytest.fixture
def small() -> pb.DualEncoder:
    """A random ViCLIP of width 64 and 48, three blocks each, four frames, in evaluation mode."""
    torch.manual_seed(0)
    return pb.DualEncoder(SMALL).eval()


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tokens() -> Tensor:
    """Three texts of six tokens; the end-of-text id is 63."""
    ids = torch.randint(1, 62, (3, 6), generator=torch.Generator().manual_seed(2))
    ids[:, -1] = 63
    return ids
