"""LST: the ladder against its equations, the backbone without a graph, and the memory that this saves."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.costs.memory import peak_bytes
from petl_bench.testing.method_subject import perturb

B16 = pb.ViCLIPConfig()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 2_376_492),
        ({"towers": "text"}, 12 * (12 * 64**2 + 13 * 64 + 1) + 13 * (512 * 64 + 64) + 2 * 64 + 64 * 512 + 512),
        ({"reduction": 4}, 12 * (12 * 192**2 + 13 * 192 + 1) + 13 * (768 * 192 + 192) + 2 * 192 + 192 * 768 + 768),
    ],
)
def test_count_on_b16(values: dict[str, object], count: int) -> None:
    method = pb.create_method("lst", **values)
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(B16) == count


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("kind", [pb.ViCLIPConfig, pb.CLIPConfig])
def test_features_are_those_of_the_equations(
    small: pb.DualEncoder, frames: Tensor, residual: bool, kind: type[pb.ViCLIPConfig]
) -> None:
    torch.manual_seed(0)
    model = pb.DualEncoder(kind(**vars(small.config))).eval()
    outputs: list[Tensor] = []
    with torch.no_grad():
        hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in model.blocks("video")]
        hooks.append(model.video.norm_pre.register_forward_hook(lambda *args: outputs.append(args[2])))
        model.encode_video(frames)
    for hook in hooks:
        hook.remove()
    pb.create_method("lst", residual=residual).attach(model)
    perturb(model)
    side, tower = model.video.side.module, model.video
    with torch.no_grad():
        h = side.first(outputs[0])
        for i, block in enumerate(side.blocks):
            gate = 1 / (1 + torch.exp(-side.gate[i] / 0.1))
            h = block(gate * h + (1 - gate) * side.down[i](outputs[i + 1]))
        x = side.up(F.layer_norm(h, h.shape[-1:], side.norm.weight, side.norm.bias))
        x = x + outputs[-1] if residual else x
        features = tower.norm_post(x[:, 0]) @ tower.projection
        if kind is pb.CLIPConfig:
            features = features.reshape(2, 4, -1).mean(1)
        torch.testing.assert_close(model.encode_video(frames), features, atol=1e-5, rtol=1e-5)


def test_a_text_s_features_are_read_at_its_end_and_do_not_see_what_follows(
    small: pb.DualEncoder, tokens: Tensor
) -> None:
    pb.create_method("lst", towers="text").attach(small)
    perturb(small)
    padded = F.pad(tokens, (0, 4))
    padded[0, 3:] = 0
    padded[0, 2] = 63
    with torch.no_grad():
        together = small.encode_text(padded)
        torch.testing.assert_close(together[0], small.encode_text(padded[:1, :3])[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[1:], small.encode_text(tokens[1:]), atol=1e-5, rtol=1e-5)


def test_no_gradient_reaches_the_tower(small: pb.DualEncoder, frames: Tensor) -> None:
    pb.create_method("lst").attach(small)
    kept: list[bool] = []
    small.blocks("video")[0].register_forward_hook(lambda module, inputs, output: kept.append(output.requires_grad))
    small.train()
    torch.autograd.backward(small.encode_video(frames).square().sum())
    assert kept == [False]
    trained = {name for name, parameter in small.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in small.named_parameters() if name.startswith("video.side.")}


def test_a_training_step_takes_a_fraction_of_the_memory() -> None:
    config = pb.ViCLIPConfig(image_size=64, patch_size=8, num_frames=4, vision_width=192, vision_layers=6)
    config = config.with_(vision_heads=3, text_layers=1, vocab_size=64, text_width=64, text_heads=2, embed_dim=64)
    frames = torch.randn(2, 4, 3, 64, 64)

    def peak(name: str) -> int:
        torch.manual_seed(0)
        model = pb.DualEncoder(config)
        pb.create_method(name, towers="video").attach(model)
        model.train()
        return peak_bytes(torch.device("cpu"), partial(backward, model))

    def backward(model: pb.DualEncoder) -> None:
        torch.autograd.backward(model.encode_video(frames).square().sum())

    assert peak("lst") < peak("lora") / 2


def test_a_reduction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(pb.UsageError, match=r"lst\.reduction=1000: expected at most 768"):
        pb.create_method("lst", reduction=1000).expected_trainable(B16)
