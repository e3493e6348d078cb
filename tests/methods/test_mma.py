"""MMA against the public implementation's numbers: features, scaled gradients, shapes and initial values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.models.grid import Grid
from petl_bench.testing.method_subject import perturb

Golden = Callable[[str], dict[str, Tensor]]
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
STEMS = {"video": "visual", "text": "text"}


def attached(model: pb.DualEncoder, **values: Any) -> pb.Method:
    method = pb.create_method("mma", **{"bottleneck_dim": 8, "first_layer": 2, **values})
    method.attach(model)
    return method


def adapters(model: pb.DualEncoder) -> dict[tuple[str, int], nn.Module]:
    return {(b.tower, b.index): b.parallel[0].module for b in model.blocks() if b.parallel}


def published_parameters(model: pb.DualEncoder) -> dict[str, nn.Parameter]:
    """The adapters' parameters by the published code's names."""
    found = {}
    for (tower, layer), adapter in adapters(model).items():
        stem = f"{STEMS[tower]}_adapter.{layer}"
        parts = {f"{stem}.down.0": adapter.down, f"{stem}.up": adapter.up}
        parts[f"shared_adapter.{layer}.0"] = adapter.middle[0]
        found.update({f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in KINDS})
    return found


KINDS = ("weight", "bias")


@pytest.fixture
def mma(golden: Golden) -> tuple[pb.DualEncoder, dict[str, Tensor]]:
    """The golden's frozen CLIP, and its adapters."""
    numbers = golden("mma_clip_small")
    config = pb.CLIPConfig(
        image_size=32, num_frames=1, embed_dim=32, vision_width=64, vision_layers=3, vision_heads=1,
        context_length=16, vocab_size=512, text_width=48, text_layers=3, text_heads=1,
    )  # fmt: skip
    model = pb.DualEncoder(config).eval()
    model.load_published_state_dict({k.removeprefix("clip."): v for k, v in numbers.items() if k.startswith("clip.")})
    attached(model, scale=0.05)
    found = published_parameters(model)
    assert len(found) == sum(name.startswith("adapter_learner.") for name in numbers)
    with torch.no_grad():
        for name, parameter in found.items():
            parameter.copy_(numbers[f"adapter_learner.{name}"])
    return model, numbers


def test_adapted_and_frozen_features(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    model, numbers = mma
    video, text = numbers["in.image"][:, None], numbers["in.tokens"]
    torch.testing.assert_close(model.encode_video(video), numbers["out.image_adapted"], **CLOSE)
    torch.testing.assert_close(model.encode_text(text), numbers["out.text_adapted"], **CLOSE)
    with model.adapters_off():
        torch.testing.assert_close(model.encode_video(video), numbers["out.image_frozen"], **CLOSE)
        torch.testing.assert_close(model.encode_text(text), numbers["out.text_frozen"], **CLOSE)


def test_scaled_gradients(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    model, numbers = mma
    image = model.encode_video(numbers["in.image"][:, None]) * numbers["in.probe_image"]
    (image.sum() + (model.encode_text(numbers["in.tokens"]) * numbers["in.probe_text"]).sum()).backward()
    for name, parameter in published_parameters(model).items():
        expected = numbers[f"grad.adapter_learner.{name}"]
        torch.testing.assert_close(parameter.grad, expected, atol=2e-4, rtol=1e-3, msg=name)


def test_gradient_that_leaves_the_block_is_the_true_one(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    """Sequence-first in the golden."""
    model, numbers = mma
    x = numbers["block2.in"].transpose(0, 1).requires_grad_()
    output = model.blocks("video")[1](x, Grid(1, 2, 2, False))
    torch.testing.assert_close(output.transpose(0, 1), numbers["block2.out"], **CLOSE)
    (output * numbers["block2.probe"].transpose(0, 1)).sum().backward()
    torch.testing.assert_close(x.grad.transpose(0, 1), numbers["block2.grad_in"], **CLOSE)


def test_names_shapes_and_initial_values_on_b16() -> None:
    listing = json.loads((Path(__file__).parents[1] / "goldens" / "mma_b16_listing.json").read_text())
    torch.manual_seed(0)
    model = pb.DualEncoder(pb.CLIPConfig(vision_layers=12, text_layers=12, vocab_size=64)).eval()
    pb.create_method("mma").attach(model)
    found = published_parameters(model)
    assert sorted(found) == sorted(listing["keys"])
    assert pb.trainable_parameters(model) == listing["trainable_params"] == 674_560
    for name, expected in listing["layer12_init_stats"].items():
        assert list(found[name].shape) == expected["shape"], name
        assert found[name].std().item() == pytest.approx(expected["std"], rel=0.1), name


def test_without_gradient_scaling_parameters_get_the_true_gradient(small: pb.DualEncoder, frames: Tensor) -> None:
    gradients = []
    for scaling in (True, False):
        torch.manual_seed(0)
        model = pb.DualEncoder(small.config).eval()
        attached(model, scale=0.01, gradient_scaling=scaling)
        model.encode_video(frames).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    scaled, true = gradients
    assert scaled.keys() == true.keys()
    for name, gradient in true.items():
        torch.testing.assert_close(scaled[name], gradient / 0.01, rtol=1e-3, atol=1e-5)


def test_block_equation(small: pb.DualEncoder) -> None:
    """out = Block(x) + lambda * U relu(S relu(D LN(x))), with the S of the other tower."""
    attached(small, scale=0.1)
    perturb(small)
    block, adapter = small.blocks("video")[1], adapters(small)["video", 2]
    assert adapter.middle is adapters(small)["text", 2].middle
    assert adapter.middle is not adapters(small)["video", 3].middle
    x, grid = torch.randn(2, 17, 64), Grid(4, 2, 2, True)
    h = F.relu(adapter.middle[0](F.relu(adapter.down(block.attention.norm(x)))))
    with small.adapters_off():
        frozen = block(x, grid)
    torch.testing.assert_close(block(x, grid), frozen + 0.1 * adapter.up(h), atol=1e-5, rtol=1e-4)


def test_last_layer_is_included_and_no_block_below_the_first_keeps_a_graph(
    small: pb.DualEncoder, frames: Tensor
) -> None:
    attached(small, first_layer=2, last_layer=2)
    assert set(adapters(small)) == {("video", 2), ("text", 2)}
    seen: dict[int, bool] = {}
    for block in small.blocks("video"):
        block.register_forward_hook(lambda module, _, output: seen.update({module.index: output.requires_grad}))
    small.encode_video(frames)
    assert seen == {1: False, 2: True, 3: True}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"first_layer": 5}, "mma.first_layer=5, last_layer=none: this backbone's blocks are 1 to 3"),
        ({"first_layer": 3, "last_layer": 2}, "mma.first_layer=3, last_layer=2: this backbone's blocks are 1 to 3"),
        ({"scale": 0.0}, "mma.scale=0: gradient scaling divides by it"),
    ],
)
def test_bad_values_are_one_line(small: pb.DualEncoder, values: dict[str, Any], words: str) -> None:
    with pytest.raises(pb.UsageError) as raised:
        attached(small, **values)
    assert words in str(raised.value) and "\n" not in str(raised.value)
