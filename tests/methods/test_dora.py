"""DoRA against PEFT's module and the equation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.methods._dora import DoRALinear
from petl_bench.testing.method_subject import perturb


class One(nn.Module):
    """A model of one linear, for PEFT."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(32, 48)

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x)


@pytest.fixture
def pair() -> tuple[nn.Module, DoRALinear]:
    """PEFT's layer and ours on equal weights, away from the start."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = One()
    ours = DoRALinear(nn.Linear(32, 48), 4, 8 / 4, 0.0)
    with torch.no_grad():
        ours.weight.copy_(base.q.weight)
        ours.bias.copy_(base.q.bias)
        ours.magnitude.copy_(base.q.weight.norm(dim=1) + 0.1 * torch.randn(48))
        ours.lora_B.normal_(std=0.1)
    config = peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q"], use_dora=True)
    theirs = peft.get_peft_model(base, config)
    layer = theirs.base_model.model.q
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(ours.lora_A)
        layer.lora_B["default"].weight.copy_(ours.lora_B)
        layer.lora_magnitude_vector["default"].weight.copy_(ours.magnitude)
    return layer, ours


def test_output_and_gradients_are_those_of_peft(pair: tuple[nn.Module, DoRALinear]) -> None:
    theirs, ours = pair
    x = torch.randn(5, 7, 32)
    wanted, got = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(5, 7, 48)
    for layer, inputs in ((theirs, wanted), (ours, got)):
        (layer(inputs) * weights).sum().backward()
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    for own, other in (
        (got.grad, wanted.grad),
        (ours.lora_A.grad, theirs.lora_A["default"].weight.grad),
        (ours.lora_B.grad, theirs.lora_B["default"].weight.grad),
        (ours.magnitude.grad, theirs.lora_magnitude_vector["default"].weight.grad),
    ):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-5)


def test_output_with_dropout_is_that_of_peft(pair: tuple[nn.Module, DoRALinear]) -> None:
    theirs, ours = pair
    ours.dropout.p = 0.5
    theirs.lora_dropout["default"] = nn.Dropout(0.5)
    x = torch.randn(5, 7, 32)
    torch.manual_seed(1)
    expected = theirs.train()(x)
    torch.manual_seed(1)
    torch.testing.assert_close(ours.train()(x), expected, atol=1e-6, rtol=1e-6)


def test_the_equation() -> None:
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(6, 4), 2, 1.5, 0.0)
    with torch.no_grad():
        layer.lora_B.normal_()
        layer.magnitude.uniform_(0.5, 2.0)
    direction = layer.weight + 1.5 * layer.lora_B @ layer.lora_A
    length = torch.stack([sum(v * v for v in row) ** 0.5 for row in direction.detach()])
    x = torch.randn(3, 6)
    expected = layer.magnitude * (x @ direction.T) / length + layer.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(x @ layer.merged_weight().T + layer.bias, expected)


def test_every_linear_can_be_a_target_and_is_merged(small: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    method = pb.create_method("dora", rank=3, targets=("q", "k", "v", "out", "fc", "proj"))
    method.attach(small)
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config)
    perturb(small)
    with torch.no_grad():
        unmerged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
        method.merge(small)
        merged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-4)


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(pb.UsageError, match=r"dora\.targets=q,q: expected at least one name, each once"):
        pb.create_method("dora", targets=("q", "q"))
