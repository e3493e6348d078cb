"""VPT against its equations, written by hand; counts and the start of its tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.testing.method_subject import perturb

SIZES: dict[str, Any] = {
    "image_size": 32,
    "num_frames": 4,
    "embed_dim": 32,
    "vision_width": 64,
    "vision_layers": 3,
    "vision_heads": 4,
    "context_length": 16,
    "vocab_size": 64,
    "text_width": 48,
    "text_layers": 3,
    "text_heads": 4,
}
CONFIGS = {"joint": pb.ViCLIPConfig(**SIZES), "frame-wise": pb.CLIPConfig(**SIZES)}


def attached(layout: str, **values: Any) -> pb.DualEncoder:
    torch.manual_seed(0)
    model = pb.DualEncoder(CONFIGS[layout]).eval()
    pb.create_method("vpt", **values).attach(model)
    perturb(model)
    return model


def by_hand(model: pb.DualEncoder, layout: str, frames: Tensor, deep: bool) -> Tensor:
    """[B, D]: the tokens are put in and taken out by slices, and the frozen blocks know of none."""
    video = model.video
    tokens = [block.tokens[0].module.values for block in model.blocks("video")[: None if deep else 1]]
    with torch.no_grad(), model.adapters_off():
        x = video._enter(frames)[0]
        cls, patches = x[:, :1], x[:, 1:]
        prompt = tokens[0].expand(len(x), -1, -1)
        for index, block in enumerate(model.blocks("video")):
            if deep:
                prompt = tokens[index].expand(len(x), -1, -1)
            count = prompt.shape[1]
            x = torch.cat([cls, prompt, patches], 1)
            x = x + block.attention(x)
            x = x + block.feedforward(x)
            cls, prompt, patches = x[:, :1], x[:, 1 : 1 + count], x[:, 1 + count :]
        features: Tensor = video.norm_post(cls[:, 0]) @ video.projection
    return features if layout == "joint" else features.unflatten(0, (-1, 4)).mean(1)


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
@pytest.mark.parametrize("layout", CONFIGS)
def test_tokens_of_every_block(layout: str, deep: bool, frames: Tensor) -> None:
    model = attached(layout, tokens=5, deep=deep)
    with torch.no_grad():
        found = model.encode_video(frames)
        with model.adapters_off():
            frozen = model.encode_video(frames)
    assert_close(found, by_hand(model, layout, frames, deep), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, frozen, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"tokens": 50}, 460_800),
        ({"tokens": 10}, 92_160),
        ({"tokens": 50, "deep": False}, 38_400),
    ],
)
def test_counts(values: dict[str, Any], count: int) -> None:
    method, config = pb.create_method("vpt", **values), pb.ViCLIPConfig()
    with torch.device("meta"):
        model = pb.DualEncoder(config)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(config) == count


def test_tokens_start_within_the_published_limits(small: pb.DualEncoder) -> None:
    pb.create_method("vpt", tokens=50).attach(small)
    limit = (6 / (3 * 16 * 16 + 64)) ** 0.5
    drawn = torch.cat([block.tokens[0].module.values for block in small.blocks("video")])
    assert 0.98 * limit < drawn.abs().max().item() <= limit
    assert abs(drawn.mean().item()) < 0.1 * limit


def test_text_is_left_alone(small: pb.DualEncoder) -> None:
    pb.create_method("vpt").attach(small)
    assert small.untouched(small.text)
    assert not small.untouched(small.video)
