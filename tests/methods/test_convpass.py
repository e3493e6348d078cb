"""Convpass against its equation, computed on each frame as an image."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.methods._convolutions import ConvBypass
from petl_bench.models.grid import Grid, from_volume, to_volume
from petl_bench.testing.method_subject import perturb

FRAME_WISE, JOINT = Grid(3, 2, 4, joint=False), Grid(3, 2, 4, joint=True)


def act(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def bypass_of_frames(bypass: ConvBypass, x: Tensor, height: int, width: int) -> Tensor:
    """Up(act(Conv(act(Down(x))))) of frames [S, 1 + height * width, channels], as the authors' code computes it."""
    z = act(bypass.down(x))
    image = z[:, 1:].reshape(len(x), height, width, -1).permute(0, 3, 1, 2)
    pixel = z[:, :1].reshape(len(x), 1, 1, -1).permute(0, 3, 1, 2)
    weight, bias, groups = bypass.conv.weight, bypass.conv.bias, bypass.conv.groups
    over = [
        F.conv2d(part, weight, bias, padding=1, groups=groups).flatten(2).transpose(1, 2) for part in (pixel, image)
    ]
    output: Tensor = bypass.up(act(torch.cat(over, dim=1)))
    return output


def moved(depthwise: bool) -> ConvBypass:
    torch.manual_seed(0)
    bypass = ConvBypass(16, 4, dropout=0.1, depthwise=depthwise, norm=False).eval()
    with torch.no_grad():
        for parameter in bypass.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return bypass


@pytest.mark.parametrize("depthwise", [False, True])
def test_bypass_of_frames(depthwise: bool) -> None:
    bypass, x = moved(depthwise), torch.randn(2 * 3, 1 + 8, 16)
    torch.testing.assert_close(bypass(x, FRAME_WISE), bypass_of_frames(bypass, x, 2, 4))


def test_a_joint_sequence_has_the_patches_of_its_frames_and_one_class_token() -> None:
    bypass, x = moved(False), torch.randn(2 * 3, 1 + 8, 16)
    joint = from_volume(to_volume(x, FRAME_WISE), JOINT, x[::3, :1])
    output, expected = bypass(joint, JOINT), bypass_of_frames(bypass, x, 2, 4)
    torch.testing.assert_close(to_volume(output, JOINT), to_volume(expected, FRAME_WISE))
    torch.testing.assert_close(output[:, :1], expected[::3, :1])


def test_start() -> None:
    bypass = ConvBypass(16, 4, dropout=0.0, depthwise=False, norm=True)
    z = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(bypass.conv(z), z)
    assert not bypass.up.weight.any() and not bypass.down.bias.any()


def test_attention_alone_and_a_drawn_start(small: pb.DualEncoder) -> None:
    pb.create_method("convpass", places="attention", start="xavier").attach(small)
    for block in small.blocks("video"):
        (bypass,) = (addition.module for addition in block.attention.parallel)
        assert block.feedforward.parallel is None
        assert bypass.conv.weight.std().item() == pytest.approx((2 / (2 * 8 * 9)) ** 0.5, rel=0.15)
        assert not bypass.up.weight.any()


def test_fields_that_came_later_enter_a_trial_only_if_they_are_set() -> None:
    assert not {"places", "start"} & set(pb.create_method("convpass").values())
    assert pb.create_method("convpass", places="attention").values()["places"] == "attention"


@pytest.mark.parametrize("norm", [False, True])
def test_block_is_that_of_the_equation(small: pb.DualEncoder, norm: bool) -> None:
    """x' = x + Attention(LN x) + s B(LN x), x'' = x' + FFN(LN x') + s B'(LN x'), the norms those of the bypass if it
    has some."""
    small = pb.DualEncoder(pb.CLIPConfig(**asdict(small.config))).eval()
    pb.create_method("convpass", bottleneck_dim=4, scale=0.5, norm=norm).attach(small)
    perturb(small)
    block, x, grid = small.blocks("video")[1], torch.randn(4, 1 + 4, 64), Grid(4, 2, 2, joint=False)
    beside, below = (branch.parallel[0].module for branch in (block.attention, block.feedforward))
    with torch.no_grad():
        output = block(x, grid)
        h = beside.norm(x) if norm else block.attention.norm(x)
        x = x + block.attention.compute(x, grid, None) + 0.5 * bypass_of_frames(beside, h, 2, 2)
        h = below.norm(x) if norm else block.feedforward.norm(x)
        x = x + block.feedforward.compute(x, grid, None) + 0.5 * bypass_of_frames(below, h, 2, 2)
    torch.testing.assert_close(output, x)
