"""BitFit: which parameters train, and that nothing else is saved."""

from __future__ import annotations

import pytest
import torch

import petl_bench as pb
from petl_bench.testing.method_subject import perturb

B16 = pb.ViCLIPConfig()


@pytest.mark.parametrize(("towers", "count"), [("both", 171_008), ("video", 102_912), ("text", 68_096)])
def test_count_on_b16(towers: pb.Towers, count: int) -> None:
    method = pb.create_method("bitfit", towers=towers)
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(B16) == count


def test_every_bias_of_the_backbone_trains_and_nothing_else(small: pb.DualEncoder) -> None:
    names = [name for name, _ in small.named_parameters()]
    pb.create_method("bitfit").attach(small)
    assert [name for name, _ in small.named_parameters()] == names
    assert {name for name, p in small.named_parameters() if p.requires_grad} == {
        name for name in names if name.endswith(".bias")
    }


def test_the_adapter_holds_the_biases_alone_and_can_be_loaded(
    small: pb.DualEncoder, frames: torch.Tensor, tokens: torch.Tensor
) -> None:
    other = pb.DualEncoder(small.config).eval()
    other.load_state_dict(small.state_dict())
    for model in (small, other):
        pb.create_method("bitfit").attach(model)
    perturb(small)
    state = small.adapter_state()
    assert all(name.endswith(".bias") and tensor.ndim == 1 for name, tensor in state.items())
    other.load_adapter_state(state)
    with torch.no_grad():
        assert torch.equal(other.encode_video(frames), small.encode_video(frames))
        assert torch.equal(other.encode_text(tokens), small.encode_text(tokens))


def test_the_bias_of_k_has_no_effect(small: pb.DualEncoder, frames: torch.Tensor) -> None:
    pb.create_method("bitfit").attach(small)
    with torch.no_grad():
        before = small.encode_video(frames)
        for block in small.blocks("video"):
            block.attention.k.base.bias.normal_()
        torch.testing.assert_close(small.encode_video(frames), before)


@pytest.mark.parametrize("name", ["lora+bitfit", "adaptformer+bitfit"])
def test_in_a_composition_the_biases_of_adapters_are_the_other_part_s(small: pb.DualEncoder, name: str) -> None:
    method = pb.create_method(name)
    method.attach(small)
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config)
