"""LN-Tune: which parameters train, and that nothing else is saved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.testing.method_subject import perturb


def test_every_layer_norm_of_the_backbone_trains_and_nothing_else(small: pb.DualEncoder) -> None:
    names = [name for name, _ in small.named_parameters()]
    pb.create_method("ln_tuning").attach(small)
    assert [name for name, _ in small.named_parameters()] == names
    expected = {
        f"{path}.{part}"
        for path, module in small.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert len(expected) == 2 * (2 * 3 + 2 + 2 * 3 + 1)
    assert {name for name, parameter in small.named_parameters() if parameter.requires_grad} == expected


@pytest.mark.parametrize(("tower", "other"), [("video", "text"), ("text", "video")])
def test_one_tower_alone(small: pb.DualEncoder, tower: pb.Towers, other: str) -> None:
    pb.create_method("ln_tuning", towers=tower).attach(small)
    trained = {name for name, parameter in small.named_parameters() if parameter.requires_grad}
    assert trained and not any(name.startswith(f"{other}.") for name in trained)


@torch.no_grad()
def test_a_branch_is_its_equation(small: pb.DualEncoder) -> None:
    pb.create_method("ln_tuning").attach(small)
    perturb(small)
    feedforward, x = small.blocks("text")[1].feedforward, torch.randn(2, 6, 48)
    w, b = feedforward.norm.weight, feedforward.norm.bias
    normed = w * (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() + b
    hidden = F.linear(normed, feedforward.fc.base.weight, feedforward.fc.base.bias)
    hidden = hidden * torch.sigmoid(1.702 * hidden)
    expected = F.linear(hidden, feedforward.proj.base.weight, feedforward.proj.base.bias)
    torch.testing.assert_close(feedforward(x), expected, atol=1e-5, rtol=1e-4)


def test_the_adapter_holds_the_norms_alone_and_can_be_loaded(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor
) -> None:
    other = pb.DualEncoder(small.config).eval()
    other.load_state_dict(small.state_dict())
    for model in (small, other):
        pb.create_method("ln_tuning").attach(model)
    perturb(small)
    state = small.adapter_state()
    assert all(tensor.ndim == 1 for tensor in state.values())
    assert sum(map(Tensor.numel, state.values())) == pb.trainable_parameters(small)
    other.load_adapter_state(state)
    with torch.no_grad():
        assert torch.equal(other.encode_video(frames), small.encode_video(frames))
        assert torch.equal(other.encode_text(tokens), small.encode_text(tokens))


def test_bitfit_beside_it_trains_the_same_biases_and_is_refused(small: pb.DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match=r"both train .*norm.*bias: leave one of them out"):
        pb.create_method("ln_tuning+bitfit").attach(small)


@pytest.mark.parametrize("other", ["ln_tuning", "houlsby"])
def test_what_another_method_puts_behind_a_norm_is_its_own(small: pb.DualEncoder, other: str) -> None:
    counts = []
    for name in (f"ssf+{other}", f"{other}+ssf"):
        model = pb.DualEncoder(small.config)
        method = pb.create_method(name)
        method.attach(model)
        counts += [pb.trainable_parameters(model), method.expected_trainable(model.config)]
    assert len(set(counts)) == 1


def test_an_unknown_tower_is_refused() -> None:
    with pytest.raises(pb.UsageError, match=r"ln_tuning\.towers"):
        pb.create_method("ln_tuning", towers="audio")
