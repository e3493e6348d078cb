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


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("values", "act"), [({}, tanh_gelu), ({"activation": "gelu"}, F.gelu)])
@torch.no_grad()
def test_houlsby_is_its_equation(small: pb.DualEncoder, values: dict[str, str], act: Any, norm: bool) -> None:
    block = adapted(small, "houlsby", bottleneck_dim=8, scale=0.5, norm=norm, **values).blocks("text")[0]
    x = torch.randn(2, 6, 48)
    output = block(x)
    for branch in (block.attention, block.feedforward):
        y = branch.compute(x, None, None)
        x = x + y + 0.5 * bottleneck(of(branch, "after"), y, act, norm)
    torch.testing.assert_close(output, x)


@pytest.mark.parametrize(("values", "std"), [({}, 1e-2), ({"start_std": 1e-3}, 1e-3), ({"norm": True}, 1e-2)])
@torch.no_grad()
def test_houlsby_starts_near_the_identity(
    small: pb.DualEncoder, frames: Tensor, values: dict[str, Any], std: float
) -> None:
    frozen = small.encode_video(frames)
    pb.create_method("houlsby", **values).attach(small)
    weights = [w for name, w in small.named_parameters() if ".module." in name and w.ndim == 2]
    assert len(weights) == 2 * 2 * 6
    drawn = torch.cat([weight.flatten() for weight in weights])
    # A normal distribution that is cut at two standard deviations keeps 0.8796 of its own.
    assert drawn.std().item() == pytest.approx(0.8796 * std, rel=0.01)
    assert 1.95 * std < drawn.abs().max().item() <= 2 * std
    assert not any(b.any() for name, b in small.named_parameters() if name.endswith(("down.bias", "up.bias")))
    started = small.encode_video(frames)
    assert not torch.equal(started, frozen)
    torch.testing.assert_close(started, frozen, atol=300 * std**2, rtol=0)


@torch.no_grad()
def test_houlsby_can_start_at_the_identity(small: pb.DualEncoder, frames: Tensor) -> None:
    frozen = small.encode_video(frames)
    pb.create_method("houlsby", start_std=0.0).attach(small)
    assert torch.equal(small.encode_video(frames), frozen)


@pytest.mark.parametrize("values", [{}, {"layer_norms": False}, {"towers": "text"}, {"biases": True}])
def test_houlsby_trains_the_layer_norms_of_its_towers(small: pb.DualEncoder, values: dict[str, Any]) -> None:
    def trained(name: str, **values: Any) -> set[str]:
        model = pb.DualEncoder(small.config)
        pb.create_method(name, **values).attach(model)
        return {key for key, p in model.named_parameters() if p.requires_grad and ".module." not in key}

    expected = set() if values == {"layer_norms": False} else trained("ln_tuning", towers=values.get("towers", "both"))
    assert trained("houlsby", **values) == expected | (trained("bitfit") if "biases" in values else set())


@torch.no_grad()
def test_feedforward_alone_is_mv_adapters_sequential_baseline(small: pb.DualEncoder) -> None:
    values = {"places": "feedforward", "activation": "relu", "scale": 0.1, "start_std": 0.0, "layer_norms": False}
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
