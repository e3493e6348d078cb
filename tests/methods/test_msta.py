"""MSTA: its equations, its options, and the numbers of MMA, which it equals where its convolution is zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.models.adapters import SpatioTemporalUp, TemporalConv
from petl_bench.models.grid import Grid, from_volume, to_volume
from petl_bench.testing.method_subject import perturb

Golden = Callable[[str], dict[str, Tensor]]
SMALL = {"bottleneck_dim": 16, "dropout": 0.0}


def attached(model: pb.DualEncoder, **values: Any) -> pb.Method:
    method = pb.create_method("msta", **{**SMALL, **values})
    method.attach(model)
    return method


def adapters(model: pb.DualEncoder) -> dict[tuple[str, int], nn.Module]:
    return {(b.tower, b.index): b.parallel[0].module for b in model.blocks() if b.parallel}


def step_for(model: pb.DualEncoder, text: Tensor, labels: list[int]) -> pb.Step:
    generator = torch.Generator().manual_seed(5)
    descriptions = {kind: torch.randn(text.shape, generator=generator) for kind in ("spatial", "temporal")}
    return pb.Step(model, torch.zeros(1, 1), text, torch.tensor(labels), descriptions)


# The equations


def test_block_equation(small: pb.DualEncoder, frames: Tensor) -> None:
    """out = Block(x) + lambda * (U h + Conv3d(h)), h = relu(S relu(D LN(x))), with torch's own Conv3d on the volume."""
    attached(small, scale=0.1, class_token="zero")
    perturb(small)
    block, adapter = small.blocks("video")[1], adapters(small)["video", 2]
    x, grid = torch.randn(2, 17, 64), Grid(4, 2, 2, True)
    h = F.relu(adapter.middle[0](F.relu(adapter.down(block.attention.norm(x)))))
    convolved = F.conv3d(
        to_volume(h, grid), adapter.up.temporal.weight, adapter.up.temporal.bias, padding=(1, 0, 0), groups=16
    )
    expected = adapter.up.spatial(h) + from_volume(convolved, grid, torch.zeros(2, 1, 64))
    with small.adapters_off():
        frozen = block(x, grid)
    torch.testing.assert_close(block(x, grid), frozen + 0.1 * expected, atol=1e-5, rtol=1e-4)


def test_grouped_convolution_fans_out_as_in_the_golden(golden: Golden) -> None:
    numbers = golden("conv3d_grouped_fanout")
    conv = TemporalConv(4, 12)
    conv.load_state_dict({"weight": numbers["weight"], "bias": numbers["bias"]})
    volume = numbers["in.BCTHW"]
    grid = Grid(5, 2, 3, True)
    output = conv(from_volume(volume, grid, torch.zeros(2, 1, 4)), grid)
    torch.testing.assert_close(to_volume(output, grid), numbers["out.BCTHW"], atol=2e-5, rtol=1e-4)


def test_shared_projection_ties_the_towers(small: pb.DualEncoder, tokens: Tensor) -> None:
    attached(small)
    found = adapters(small)
    for layer in (1, 2, 3):
        assert found["video", layer].middle is found["text", layer].middle
    assert found["video", 1].middle is not found["video", 2].middle
    small.encode_text(tokens).sum().backward()
    assert found["video", 3].middle[0].weight.grad.any()


# MMA's numbers


@pytest.fixture
def mma(golden: Golden) -> tuple[pb.DualEncoder, dict[str, Tensor]]:
    """The golden's frozen CLIP with its adapters in MSTA's places, and a temporal convolution of zeros."""
    numbers = golden("mma_clip_small")
    config = pb.CLIPConfig(
        image_size=32, num_frames=1, embed_dim=32, vision_width=64, vision_layers=3, vision_heads=1,
        context_length=16, vocab_size=512, text_width=48, text_layers=3, text_heads=1,
    )  # fmt: skip
    model = pb.DualEncoder(config).eval()
    model.load_published_state_dict({k.removeprefix("clip."): v for k, v in numbers.items() if k.startswith("clip.")})
    pb.create_method("msta", bottleneck_dim=8, first_layer=2, scale=0.05).attach(model)
    with torch.no_grad():
        for name, parameter in golden_parameters(model).items():
            parameter.copy_(numbers[f"adapter_learner.{name}"])
        for layer in (2, 3):
            adapters(model)["video", layer].up.temporal.weight.zero_()
    return model, numbers


def golden_parameters(model: pb.DualEncoder) -> dict[str, nn.Parameter]:
    """The adapters' parameters by the golden's names."""
    found = {}
    for (tower, layer), adapter in adapters(model).items():
        up = adapter.up.spatial if tower == "video" else adapter.up
        stem = {"video": "visual", "text": "text"}[tower]
        parts = {f"{stem}_adapter.{layer}.down.0": adapter.down, f"{stem}_adapter.{layer}.up": up}
        parts[f"shared_adapter.{layer}.0"] = adapter.middle[0]
        found.update(
            {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}
        )
    return found


def test_features_equal_mma_where_the_convolution_is_zero(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    model, numbers = mma
    video, text = numbers["in.image"][:, None], numbers["in.tokens"]
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(model.encode_video(video), numbers["out.image_adapted"], **close)
    torch.testing.assert_close(model.encode_text(text), numbers["out.text_adapted"], **close)
    with model.adapters_off():
        torch.testing.assert_close(model.encode_video(video), numbers["out.image_frozen"], **close)
        torch.testing.assert_close(model.encode_text(text), numbers["out.text_frozen"], **close)


def test_scaled_gradients_equal_mma(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    model, numbers = mma
    image = model.encode_video(numbers["in.image"][:, None]) * numbers["in.probe_image"]
    (image.sum() + (model.encode_text(numbers["in.tokens"]) * numbers["in.probe_text"]).sum()).backward()
    for name, parameter in golden_parameters(model).items():
        expected = numbers[f"grad.adapter_learner.{name}"]
        torch.testing.assert_close(parameter.grad, expected, atol=2e-4, rtol=1e-3, msg=name)


def test_block_gradient_equals_mma(mma: tuple[pb.DualEncoder, dict[str, Tensor]]) -> None:
    """Sequence-first in the golden; the gradient that leaves the block is the true one."""
    model, numbers = mma
    x = numbers["block2.in"].transpose(0, 1).requires_grad_()
    output = model.blocks("video")[1](x, Grid(1, 2, 2, False))
    torch.testing.assert_close(output.transpose(0, 1), numbers["block2.out"], atol=2e-5, rtol=1e-4)
    (output * numbers["block2.probe"].transpose(0, 1)).sum().backward()
    torch.testing.assert_close(x.grad.transpose(0, 1), numbers["block2.grad_in"], atol=2e-5, rtol=1e-4)


def test_gradient_scaling_divides_by_lambda_and_changes_nothing_else(frames: Tensor) -> None:
    gradients, outputs = [], []
    for scaling in (True, False):
        torch.manual_seed(0)
        model = pb.DualEncoder(pb.ViCLIPConfig(**_shape())).eval()
        attached(model, scale=0.01, gradient_scaling=scaling)
        features = model.encode_video(frames)
        features.sum().backward()
        outputs.append(features.detach())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert torch.equal(*outputs)
    scaled, true = gradients
    assert scaled.keys() == true.keys()
    for name in true:
        torch.testing.assert_close(scaled[name], true[name] / 0.01, rtol=1e-3, atol=1e-5)


def _shape() -> dict[str, int]:
    return {
        "image_size": 32, "num_frames": 4, "embed_dim": 32, "vision_width": 64, "vision_layers": 3, "vision_heads": 4,
        "vocab_size": 64, "text_width": 48, "text_layers": 3, "text_heads": 4,
    }  # fmt: skip


# Where it stands, and what it costs


def test_nothing_before_the_first_adapter_is_stored_for_backward(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor
) -> None:
    attached(small, first_layer=3)
    seen: dict[tuple[str, int], bool] = {}
    for block in small.blocks():
        block.register_forward_hook(
            lambda module, _inputs, output: seen.update({(module.tower, module.index): output.requires_grad})
        )
    (small.encode_video(frames).sum() + small.encode_text(tokens).sum()).backward()
    assert seen == {(tower, layer): layer == 3 for tower in ("video", "text") for layer in (1, 2, 3)}
    assert all(p.grad is None for p in small.parameters() if not p.requires_grad)


@pytest.mark.parametrize(
    ("first", "last", "text_layers", "expected"),
    [
        (2, 3, 3, {("video", 2), ("video", 3), ("text", 2), ("text", 3)}),
        (3, None, 3, {("video", 3), ("text", 3)}),
        (2, None, 2, {("video", 2), ("video", 3), ("text", 2)}),
        (2, None, 4, {("video", 2), ("video", 3), ("text", 2), ("text", 3), ("text", 4)}),
        (3, 3, 2, {("video", 3)}),
    ],
)
def test_layers_are_counted_from_one_and_included(
    first: int, last: int | None, text_layers: int, expected: set[tuple[str, int]]
) -> None:
    config = pb.ViCLIPConfig(**{**_shape(), "text_layers": text_layers})
    model = pb.DualEncoder(config)
    method = attached(model, first_layer=first, last_layer=last)
    assert set(adapters(model)) == expected
    assert pb.trainable_parameters(model) == method.expected_trainable(config)


@pytest.mark.parametrize(("first", "last"), [(1, 4), (4, None), (3, 2)])
def test_layers_outside_the_backbone_are_refused(small: pb.DualEncoder, first: int, last: int | None) -> None:
    with pytest.raises(pb.UsageError, match="blocks are 1 to 3"):
        attached(small, first_layer=first, last_layer=last)


def test_a_dimension_that_does_not_divide_the_width_is_refused_with_the_legal_ones() -> None:
    method = pb.create_method("msta", bottleneck_dim=512)
    with pytest.raises(pb.UsageError, match=r"width 768; legal: .*192, 256, 384, 768"):
        method.expected_trainable(pb.ViCLIPConfig())
    with torch.device("meta"), pytest.raises(pb.UsageError, match="legal"):
        method.attach(pb.DualEncoder(pb.ViCLIPConfig()))
    assert pb.create_method("text_adapter", bottleneck_dim=500).expected_trainable(pb.ViCLIPConfig()) > 0


# Its options


def test_start_is_kaiming_or_zero(small: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    with torch.no_grad():
        frozen = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
        attached(small, bottleneck_dim=64, zero_init_up=True, scale=1.0)
        assert torch.equal(torch.cat([small.encode_video(frames), small.encode_text(tokens)]), frozen)
    kaiming = pb.DualEncoder(pb.ViCLIPConfig(**_shape()))
    attached(kaiming, bottleneck_dim=64)
    adapter = adapters(kaiming)["video", 1]
    deviations = {
        "down": (adapter.down.weight, (2 / 64) ** 0.5),
        "shared": (adapter.middle[0].weight, (2 / 64) ** 0.5),
        "up": (adapter.up.spatial.weight, (2 / 64) ** 0.5),
        "temporal": (adapter.up.temporal.weight, (2 / (64 * 3)) ** 0.5),
    }
    for part, (weight, deviation) in deviations.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.25), part
    assert not any(linear.bias.any() for linear in (adapter.down, adapter.middle[0], adapter.up.spatial))


@pytest.mark.parametrize(("class_token", "reached"), [("mean", True), ("replicate", True), ("zero", False)])
def test_last_temporal_weights_learn_unless_the_class_token_gets_zero(
    small: pb.DualEncoder, frames: Tensor, class_token: str, reached: bool
) -> None:
    attached(small, class_token=class_token)
    small.encode_video(frames).sum().backward()
    gradient = adapters(small)["video", 3].up.temporal.weight.grad
    assert bool(gradient.any()) is reached
    assert adapters(small)["video", 2].up.temporal.weight.grad.any()


OPTIONS = [
    {"adapter_input": "raw"},
    {"activation": "gelu"},
    {"shared": False},
    {"class_token": "zero"},
    {"class_token": "replicate"},
    {"token_layout": "sequence"},
    {"scaled": "spatial"},
    {"temporal_init": "torch"},
    {"scale": 0.2},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_changes_the_video_features(option: dict[str, Any], frames: Tensor) -> None:
    features = []
    for values in ({}, option):
        torch.manual_seed(0)
        model = pb.DualEncoder(pb.ViCLIPConfig(**_shape())).eval()
        torch.manual_seed(1)
        attached(model, **{"scale": 0.1, **values})
        features.append(model.encode_video(frames).detach())
    assert not torch.allclose(*features, atol=1e-5)


def test_dropout_stands_where_it_is_put(small: pb.DualEncoder) -> None:
    attached(small, dropout=0.5, dropout_place="before_shared")
    adapter = adapters(small)["text", 1].train()
    order: list[str] = []
    adapter.dropout.register_forward_hook(lambda *_: order.append("dropout"))
    adapter.middle.register_forward_hook(lambda *_: order.append("shared"))
    adapter(torch.randn(1, 2, 48))
    adapter.dropout_at = "up"
    adapter(torch.randn(1, 2, 48))
    assert order == ["dropout", "shared", "shared", "dropout"]
    assert pb.create_method("msta").dropout_place == "after_shared"


def test_sequence_layout_is_the_naive_view(frames: Tensor) -> None:
    """The tokens of (n, t) order viewed as (T, h, w) as they lie, convolved over the first axis."""
    grid, h = Grid(4, 2, 3, True), torch.randn(2, 1 + 24, 8)
    up = SpatioTemporalUp(8, 16, cls="zero", layout="sequence")
    volume = h[:, 1:].unflatten(1, (4, 2, 3)).permute(0, 4, 1, 2, 3)
    convolved = F.conv3d(volume, up.temporal.weight, up.temporal.bias, padding=(1, 0, 0), groups=8)
    expected = up.spatial(h)
    expected[:, 1:] += convolved.permute(0, 2, 3, 4, 1).flatten(1, 3)
    torch.testing.assert_close(up(h, grid), expected, atol=1e-5, rtol=1e-4)


def test_spatial_scale_leaves_the_convolution_unscaled(small: pb.DualEncoder) -> None:
    attached(small, scale=0.01, scaled="spatial", gradient_scaling=False)
    block, adapter = small.blocks("video")[0], adapters(small)["video", 1]
    x, grid = torch.randn(2, 17, 64), Grid(4, 2, 2, True)
    h = adapter.middle(F.relu(adapter.down(block.attention.norm(x))))
    with small.adapters_off():
        expected = block(x, grid) + 0.01 * adapter.up.spatial(h) + adapter.up.temporal(h, grid)
    torch.testing.assert_close(block(x, grid), expected, atol=1e-5, rtol=1e-4)


def test_lambda_zero_is_refused_where_it_would_divide() -> None:
    with pytest.raises(pb.UsageError, match=r"msta\.scale=0"):
        pb.create_method("msta", scale=0.0)
    assert pb.create_method("msta", scale=0.0, gradient_scaling=False).scale == 0.0


def test_uni_modal_halves_leave_the_other_tower_frozen(frames: Tensor, tokens: Tensor) -> None:
    for name, tower in (("vision_adapter", "video"), ("text_adapter", "text")):
        model = pb.DualEncoder(pb.ViCLIPConfig(**_shape()))
        pb.create_method(name, bottleneck_dim=16).attach(model)
        assert {found for found, _ in adapters(model)} == {tower}
        trained = {"video": model.encode_video(frames).requires_grad, "text": model.encode_text(tokens).requires_grad}
        assert trained == {"video": tower == "video", "text": tower == "text"}
        with pytest.raises(pb.UsageError, match="towers=both"):
            pb.create_method(name, towers="both")


# The consistency constraint


def test_consistency_loss_is_the_mean_of_two_cosine_distances(small: pb.DualEncoder) -> None:
    text = torch.randn(3, 32)
    step = step_for(small, text, [1, 1])
    expected = torch.stack(
        [
            2
            - F.cosine_similarity(text[c], step.descriptions["spatial"][c], dim=0)
            - F.cosine_similarity(text[c], step.descriptions["temporal"][c], dim=0)
            for c in range(3)
        ]
    )
    torch.testing.assert_close(pb.create_method("msta", consistency_weight=0.5).loss(step), 0.5 * expected.mean())
    in_batch = pb.create_method("msta", consistency_classes="batch").loss(step)
    torch.testing.assert_close(in_batch, expected[1])


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_consistency_with_one_kind_of_description(small: pb.DualEncoder, kind: str) -> None:
    text = torch.randn(3, 32)
    step = step_for(small, text, [0])
    expected = (1 - F.cosine_similarity(text, step.descriptions[kind], dim=-1)).mean()
    torch.testing.assert_close(pb.create_method("msta", description_kinds=kind).loss(step), expected)


def test_consistency_is_zero_at_the_description_and_pulls_towards_it(small: pb.DualEncoder) -> None:
    text = torch.randn(3, 32, requires_grad=True)
    step = step_for(small, text, [0])
    step.descriptions = {kind: 2 * text.detach() for kind in ("spatial", "temporal")}
    method = pb.create_method("msta")
    assert method.loss(step).item() == pytest.approx(0, abs=1e-5)
    step.descriptions = {kind: torch.ones(3, 32) for kind in ("spatial", "temporal")}
    before = method.loss(step)
    before.backward()
    step.text_features = text.detach() - 0.1 * text.grad
    assert method.loss(step) < before


@pytest.mark.parametrize(
    ("name", "values", "count"),
    [
        ("msta", {}, 2),
        ("msta", {"descriptions_per_class": 8}, 8),
        ("msta", {"consistency_weight": 0.0}, 0),
        ("msta", {"towers": "video"}, 0),
        ("vision_adapter", {}, 0),
        ("text_adapter", {}, 2),
    ],
)
def test_descriptions_asked_for(small: pb.DualEncoder, name: str, values: dict[str, Any], count: int) -> None:
    method = pb.create_method(name, **values)
    assert method.description_count == count
    if count == 0:
        assert method.loss(step_for(small, torch.randn(3, 32), [0])) is None
