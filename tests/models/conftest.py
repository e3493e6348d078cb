"""Small models with the goldens' weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder

GOLDENS = Path(__file__).parents[1] / "goldens"

SMALL_VICLIP = pb.ViCLIPConfig(
    image_size=32,
    num_frames=4,
    embed_dim=32,
    vision_width=64,
    vision_layers=3,
    vision_heads=4,
    vocab_size=512,
    text_width=48,
    text_layers=3,
    text_heads=4,
)
SMALL_CLIP = pb.CLIPConfig(
    image_size=32,
    num_frames=4,
    embed_dim=32,
    vision_width=64,
    vision_layers=3,
    vision_heads=1,
    context_length=16,
    vocab_size=512,
    text_width=64,
    text_layers=3,
    text_heads=1,
)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


@pytest.fixture(scope="session")
def viclip_video() -> dict[str, Tensor]:
    return load_file(GOLDENS / "viclip_vision_small_r32_t4.safetensors")


@pytest.fixture(scope="session")
def viclip_text() -> dict[str, Tensor]:
    return load_file(GOLDENS / "viclip_text_small_ctx32.safetensors")


@pytest.fixture(scope="session")
def clip_golden() -> dict[str, Tensor]:
    return load_file(GOLDENS / "clip_small.safetensors")


@pytest.fixture(scope="session")
def viclip_state(viclip_video: dict[str, Tensor], viclip_text: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole published state dict of the small ViCLIP."""
    video = {f"vision_encoder.{key}": value for key, value in part(viclip_video, "sd.").items()}
    text = {f"text_encoder.{key}": value for key, value in part(viclip_text, "sd.").items()}
    return {"temp": torch.tensor(0.01), **video, **text}


@pytest.fixture
def viclip(viclip_state: dict[str, Tensor]) -> DualEncoder:
    model = DualEncoder(SMALL_VICLIP)
    model.load_published_state_dict(viclip_state)
    return model


@pytest.fixture
def clip(clip_golden: dict[str, Tensor]) -> DualEncoder:
    model = DualEncoder(SMALL_CLIP)
    model.load_published_state_dict(part(clip_golden, "sd."))
    return model


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tokens() -> Tensor:
    """Three texts of the small vocabulary, whose end-of-text id is 511, of lengths 4, 9 and 6."""
    ids = torch.zeros(3, 16, dtype=torch.int64)
    for row, length in enumerate((4, 9, 6)):
        ids[row, : length - 1] = torch.arange(1, length) * (row + 3)
        ids[row, length - 1] = 511
    return ids


def golden_json(name: str) -> Any:
    return json.loads((GOLDENS / name).read_text(encoding="utf-8"))
