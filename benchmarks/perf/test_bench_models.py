"""Video and text forward of ViCLIP-B/16, and tokenising.

    OMP_NUM_THREADS=2 python -m pytest benchmarks/perf/test_bench_models.py --benchmark-only

To reach: the video forward is no slower than the straight implementation beside it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import petl_bench as pb
from benchmarks.perf.interleaved import measure
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import tokenize

CLASSES = 101


class StraightBlock(nn.Module):
    """A pre-norm block with packed `nn.MultiheadAttention`, as the published code has it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = self.c_fc(self.ln_2(x))
        added: Tensor = self.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        return x + added


class StraightVideoTower(nn.Module):
    """ViCLIP-B/16's video tower written straight: Conv3d patches, packed attention, nothing to attach to."""

    def __init__(self, config: pb.ViCLIPConfig) -> None:
        super().__init__()
        width, patch = config.vision_width, config.patch_size
        places = (config.image_size // patch) ** 2
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), stride=(1, patch, patch), bias=False)
        self.cls = nn.Parameter(torch.zeros(width))
        self.spatial = nn.Parameter(torch.zeros(places + 1, width))
        self.temporal = nn.Parameter(torch.zeros(1, config.num_frames, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(StraightBlock(width, config.vision_heads) for _ in range(config.vision_layers)))
        self.proj = nn.Parameter(torch.zeros(width, config.embed_dim))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv1(frames.transpose(1, 2)).flatten(3).permute(0, 3, 2, 1)  # [B, places, T, width]
        x = (x + self.spatial[1:, None] + self.temporal).flatten(1, 2)
        x = torch.cat([(self.cls + self.spatial[0]).expand(len(x), 1, -1), x], dim=1)
        features: Tensor = self.ln_post(self.blocks(self.ln_pre(x)))
        return features[:, 0] @ self.proj


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    torch.manual_seed(0)
    return pb.create_model("viclip-b16", weights=None).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def straight(model: DualEncoder) -> StraightVideoTower:
    """With the model's weights, so that both compute the same."""
    tower = StraightVideoTower(model.config).requires_grad_(False).eval()
    names = {
        "class_embedding": "cls",
        "positional_embedding": "spatial",
        "temporal_positional_embedding": "temporal",
    }
    state: dict[str, Tensor] = {}
    for key, value in model.published_state_dict().items():
        if key.startswith("vision_encoder."):
            own = key.removeprefix("vision_encoder.")
            own = own.replace("transformer.resblocks.", "blocks.").replace("mlp.", "")
            state[names.get(own, own)] = value
    tower.load_state_dict(state)
    return tower


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randn(1, 8, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.benchmark(group="video forward, ViCLIP-B/16, one clip of 8 frames")
def test_video_forward(benchmark: Any, model: DualEncoder, frames: Tensor) -> None:
    with torch.inference_mode():
        benchmark.pedantic(model.encode_video, (frames,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="video forward, ViCLIP-B/16, one clip of 8 frames")
def test_video_forward_of_a_straight_implementation(
    benchmark: Any, model: DualEncoder, straight: StraightVideoTower, frames: Tensor
) -> None:
    with torch.inference_mode():
        features = benchmark.pedantic(straight, (frames,), rounds=5, warmup_rounds=1)
        torch.testing.assert_close(features, model.encode_video(frames), atol=1e-4, rtol=1e-3)


@pytest.mark.benchmark(group=f"text forward, ViCLIP-B/16, {CLASSES} class prompts")
@pytest.mark.parametrize("length", ["longest prompt", "whole context"])
def test_text_forward(benchmark: Any, model: DualEncoder, length: str) -> None:
    prompts = [f"a video of class number {number}." for number in range(CLASSES - 1)]
    tokens = tokenize([*prompts, "a " * 30 if length == "whole context" else "a video of archery."])
    with torch.inference_mode():
        benchmark.pedantic(model.encode_text, (tokens,), rounds=5, warmup_rounds=1)


def test_a_backbone_with_weights(benchmark: Any, model: DualEncoder, tmp_path: Path) -> None:
    """From its file, and with random values drawn first, which the file then replaces."""
    file = tmp_path / "weights.safetensors"
    save_file(model.published_state_dict(), file)

    def drawn_first() -> None:
        DualEncoder(model.config).load_published_state_dict(load_file(file))

    measure(benchmark, {"from its file": partial(pb.create_model, "viclip-b16", file), "drawn first": drawn_first})


@pytest.mark.benchmark(group="tokenising 1,000 prompts")
def test_tokenise(benchmark: Any) -> None:
    texts = [f"a video of a person doing action {number}." for number in range(1000)]
    benchmark(tokenize, texts)
