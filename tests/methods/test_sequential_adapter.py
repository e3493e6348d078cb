"""Sequential and parallel adapters against their equations; the biases and the text adapter of MV-Adapter's tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.api.training_options import TrainingOptions
from petl_bench.models.transformer import Block
from petl_bench.testing.method_subject import perturb
from petl_bench.training.step import make_optimizer


def adapted(model: pb.DualEncoder, name: str, **values: Any) -> pb.DualEncoder:
    pb.create_method(name, **values).attach(model)
    perturb(model)
    return model


def bottleneck(tensors: dict[str, Tensor], x: Tensor, activation: Any = F.relu, norm: bool = False) -> Tensor:
    """Up(act(Down(x))) with the tensors of an adapter; with `norm` its layer norm first."""
    prefix = "1." if norm else ""
    if norm:
        x = F.layer_norm(x, x.shape[-1:], tensors["0.weight"], tensors["0.bias"])
    down, up = ((tensors[f"{prefix}{part}.weight"], tensors[f"{prefix}{part}.bias"]) for part in ("down", "up"))
    return F.linear(activation(F.linear(x, *down)), *up)


def of(branch: Any, where: str) -> dict[str, Tensor]:
    (addition,) = getattr(branch, where)
    tensors: dict[str, Tensor] = addition.module.state_dict()
    return tensors


@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_houlsby_is_its_equation(small: pb.DualEncoder, norm: bool) -> None:
    block = adapted(small, "houlsby", bottleneck_dim=8, scale=0.5, norm=norm).blocks("text")[0]
    x = torch.randn(2, 6, 48)
    output = block(x)
    for branch in (block.attention, block.feedforward):
        y = branch.compute(x, None, None)
        x = x + y + 0.5 * bottleneck(of(branch, "after"), y, F.gelu, norm)
    torch.testing.assert_close(output, x)


@torch.no_grad()
def test_feedforward_alone_is_mv_adapters_sequential_baseline(small: pb.DualEncoder) -> None:
    values = {"places": "feedforward", "activation": "relu", "scale": 0.1}
    block = adapted(small, "houlsby", bottleneck_dim=8, **values).blocks("text")[0]
    assert block.attention.after is None
    x = torch.randn(2, 6, 48)
    output = block(x)
    x = x + block.attention(x)
    y = block.feedforward.compute(x, None, None)
    torch.testing.assert_close(output, x + y + 0.1 * bottleneck(of(block.feedforward, "after"), y))


@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_parallel_adapter_is_its_equation(small: pb.DualEncoder, norm: bool) -> None:
    block = adapted(small, "parallel_adapter", bottleneck_dim=8, scale=2.0, norm=norm).blocks("text")[0]
    x = torch.randn(2, 6, 48)
    output = block(x)
    x = x + block.attention(x)
    read = x if norm else block.feedforward.norm(x)
    beside = bottleneck(of(block.feedforward, "parallel"), read, norm=norm)
    torch.testing.assert_close(output, x + block.feedforward.compute(x, None, None) + 2.0 * beside)


@pytest.mark.parametrize("name", ["houlsby", "parallel_adapter", "convpass", "st_adapter"])
def test_the_backbone_s_biases_train_at_their_own_rate(small: pb.DualEncoder, name: str) -> None:
    method = pb.create_method(name, bottleneck_dim=8, biases=True, bias_rate=0.02)
    method.attach(small)
    slow = {
        id(parameter)
        for group in make_optimizer(small, TrainingOptions(), method).param_groups
        if group.get("rate_factor") == 0.02
        for parameter in group["params"]
    }
    biases = pb.DualEncoder(small.config)
    pb.create_method("bitfit").attach(biases)
    expected = {key for key, parameter in biases.named_parameters() if parameter.requires_grad}
    assert {key for key, parameter in small.named_parameters() if id(parameter) in slow} == expected


@pytest.mark.parametrize("name", ["convpass", "st_adapter"])
def test_text_adapter_of_methods_for_the_video_tower(small: pb.DualEncoder, name: str) -> None:
    adapted(small, name, bottleneck_dim=8, text="sequential", text_dim=4, text_scale=0.3)
    block: Block = small.blocks("text")[0]
    with torch.no_grad():
        x = torch.randn(2, 6, 48)
        y = block.feedforward.compute(x, None, None)
        expected = y + 0.3 * bottleneck(of(block.feedforward, "after"), y, norm=True)
        torch.testing.assert_close(block.feedforward(x), expected)
