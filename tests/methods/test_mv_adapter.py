"""MV-Adapter against the numbers of the released modules, the published counts, and what it does on ViCLIP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.api.marks import method_marks
from petl_bench.methods._mv_adapter import TextAdapter, VideoAdapter
from petl_bench.methods.mv_adapter import MVAdapter
from petl_bench.models.grid import Grid
from petl_bench.testing.method_subject import perturb
from petl_bench.training.step import make_optimizer

Golden = Callable[[str], dict[str, Tensor]]
LISTING = json.loads((Path(__file__).parents[1] / "goldens" / "mv_adapter_listing.json").read_text())
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
SCALE = 0.1  # the goldens' outputs are scaled
#: Ours -> the released code's.
NAMES = {
    "ln_in": "ln_in",
    "down": "down",
    "up": "up",
    "tie.projection": "md_proj",
    "transformer.ln_pre": "ln_pre",
    "transformer.ln_attention": "block.ln_1",
    "transformer.ln_feedforward": "block.ln_2",
    "transformer.out": "block.attn.out_proj",
    "transformer.fc": "block.mlp.c_fc",
    "transformer.proj": "block.mlp.c_proj",
    "calibration": "conv_rf_c",
    "patch_calibration": "conv_rf_p",
}
ALONE = {
    "positions": "positional_embedding",
    "cc": "cc",
    "tie.factor": "shared_factor",
    "transformer.qkv.weight": "block.attn.in_proj_weight",
    "transformer.qkv.bias": "block.attn.in_proj_bias",
}
VIDEO: dict[str, dict[str, Any]] = {
    "c_plain": {"tie": "none"},
    "c_nocc": {"tie": "none", "context_token": False},
    "c_downin": {"tie": "down in"},
    "c_downout": {"tie": "down out"},
    "cp_upout": {"tie": "up out", "calibrate": "all", "input_norm": True},
}
TEXT = {"plain": "none", "downin": "down in", "downout": "down out", "upin": "up in"}


def theirs(name: str) -> str:
    if name in ALONE:
        return ALONE[name]
    mine = max((mine for mine in NAMES if name.startswith(f"{mine}.")), key=len)
    return NAMES[mine] + name.removeprefix(mine)


def filled(adapter: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Every parameter with the released module's; of the positions those that it reads."""
    for name, parameter in adapter.named_parameters():
        parameter.data.copy_(tensors[theirs(name)][: len(parameter)])


def small_method(**values: Any) -> MVAdapter:
    method = pb.create_method("mv_adapter", bottleneck_dim=16, factor_dim=8, **values)
    assert isinstance(method, MVAdapter)
    return method


def factor_of(tie: str) -> nn.Parameter | None:
    return None if tie == "none" else nn.Parameter(torch.zeros(8))


def part(numbers: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}


# The released modules' numbers


@pytest.mark.parametrize("variant", VIDEO)
def test_video_module_outputs_and_gradients(golden: Golden, variant: str) -> None:
    numbers, method = part(golden("mv_adapter_modules"), f"video.{variant}."), small_method(**VIDEO[variant])
    adapter = VideoAdapter(method, 64, 4, factor_of(method.tie))
    filled(adapter, part(numbers, "sd."))
    grid = Grid(4, 3, 3, joint=False, mask=numbers["in.mask"].bool())
    output = SCALE * adapter(numbers["in.x"].transpose(0, 1), grid).transpose(0, 1)
    torch.testing.assert_close(output, numbers["out"], **CLOSE)

    (output * numbers["in.probe"]).sum().backward()
    gradients = {theirs(name): parameter.grad for name, parameter in adapter.named_parameters()}
    for name, expected in part(numbers, "grad.").items():
        if name == "cc" and not method.context_token:  # there and unused in the released code, and not here
            assert not expected.any()
        else:
            torch.testing.assert_close(gradients[name], expected, **CLOSE)


@pytest.mark.parametrize("variant", TEXT)
def test_text_module_outputs(golden: Golden, variant: str) -> None:
    numbers, tie = part(golden("mv_adapter_modules"), f"text.{variant}."), TEXT[variant]
    adapter = TextAdapter(small_method(tie=tie), 48, 6, factor_of(tie))
    filled(adapter, part(numbers, "sd."))
    output = SCALE * adapter(numbers["in.x"].transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(output, numbers["out"], **CLOSE)


# Counts


def on_clip(frames: int, words: int, **values: Any) -> tuple[pb.DualEncoder, MVAdapter]:
    config = pb.CLIPConfig(num_frames=frames, context_length=words)
    method = pb.create_method("mv_adapter", **values)
    assert isinstance(method, MVAdapter)
    with torch.device("meta"):
        model = pb.DualEncoder(config)
        method.attach(model)
    return model, method


@pytest.mark.parametrize(
    ("frames", "words", "values", "count"),
    [
        (12, 32, {}, 3_572_736),  # MSR-VTT, MSVD
        (12, 32, {"tied_layers": 3}, 3_615_008),  # LSMDC
        (32, 64, {}, 3_628_032),  # DiDeMo
        (32, 64, {"tied_layers": 1}, 3_585_760),  # ActivityNet
        (12, 32, {"tie": "down out"}, LISTING["param_counts"]["msrvtt"]["trainable_released_config"]),
        (32, 64, {"tie": "down out"}, LISTING["param_counts"]["didemo"]["trainable_released_config"]),
        (32, 64, {"tied_layers": 1, "input_norm": True}, LISTING["param_counts"]["anet"]["trainable_released_config"]),
        (12, 32, {"train_biases": False}, LISTING["param_counts"]["msvd"]["adapter_params"]),
        (
            12,
            32,
            {"tie": "none", "towers": "text", "train_biases": False},
            LISTING["param_counts"]["msrvtt"]["text_adapter"] - 2 * 33 * 64,
        ),
    ],
)
def test_published_and_released_counts(frames: int, words: int, values: dict[str, Any], count: int) -> None:
    model, method = on_clip(frames, words, **values)
    assert pb.trainable_parameters(model) == method.expected_trainable(model.config) == count


def test_shapes_of_the_released_listing() -> None:
    model, _ = on_clip(12, 32, tie="down out", train_biases=False)
    listed = LISTING["param_counts"]["msrvtt_keys_layers_0_and_11"]
    tensors = [
        parameter
        for block in model.blocks()
        if block.index in (1, 12)
        for name, parameter in block.feedforward.named_parameters()
        if parameter.requires_grad and not name.endswith("tie.factor")
    ]
    factors = {parameter for name, parameter in model.named_parameters(remove_duplicate=False) if "factor" in name}
    shapes = sorted(list(tensor.shape) for tensor in [*tensors, *factors])
    assert shapes == sorted(listed.values())


# Attached


def test_starts_as_the_frozen_model_and_as_the_released_modules_do(small: pb.DualEncoder) -> None:
    small_method().attach(small)
    video, text = (small.blocks(tower)[-1].feedforward.after[0] for tower in ("video", "text"))
    assert (video.scale, video.with_grid, text.with_grid) == (0.1, True, False)
    assert video.module.tie.factor is text.module.tie.factor
    assert not video.module.tie.factor.any() and not video.module.up.weight.any()
    assert video.module.down.weight.abs().max() <= 64**-0.5  # Kaiming uniform with a = sqrt 5
    assert text.module.down.weight.std().item() == pytest.approx(96**-0.5, rel=0.1)
    assert video.module.transformer.qkv.weight.std().item() == pytest.approx(1 / 8, rel=0.1)
    assert [block.feedforward.after[0].module.tie is not None for block in small.blocks()] == [False, True, True] * 2


def test_the_last_blocks_of_towers_of_unequal_depth_are_tied(small: pb.DualEncoder) -> None:
    model = pb.DualEncoder(small.config.with_(text_layers=2))
    small_method(tied_layers=1).attach(model)
    tied = [block for block in model.blocks() if block.feedforward.after[0].module.tie is not None]
    assert [(block.tower, block.index) for block in tied] == [("video", 3), ("text", 2)]


def test_adapters_are_saved_with_their_shared_factors(small: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    other = pb.DualEncoder(small.config).eval()
    other.load_state_dict(small.state_dict())
    for model in (small, other):
        small_method().attach(model)
    perturb(small)
    other.load_adapter_state(small.adapter_state())
    with torch.no_grad():
        assert torch.equal(other.encode_video(frames), small.encode_video(frames))
        assert torch.equal(other.encode_text(tokens), small.encode_text(tokens))


def test_only_the_backbone_s_biases_learn_slowly(small: pb.DualEncoder) -> None:
    backbone = {name for name, _ in small.named_parameters()}
    method = small_method()
    method.attach(small)
    optimizer = make_optimizer(small, pb.TrainingOptions(), method)
    rates = {id(parameter): group["rate_factor"] for group in optimizer.param_groups for parameter in group["params"]}
    trained = {name: rates[id(parameter)] for name, parameter in small.named_parameters() if parameter.requires_grad}
    assert {name for name, rate in trained.items() if rate == 0.02} == {n for n in backbone if n.endswith(".bias")}
    assert {rate for name, rate in trained.items() if name not in backbone} == {1.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heads": 3}, "mv_adapter.heads=3: must divide mv_adapter.bottleneck_dim=16"),
        ({"tied_layers": 4}, "mv_adapter.tied_layers=4: this backbone's towers have 3 and 3 blocks"),
    ],
)
def test_options_that_do_not_fit(small: pb.DualEncoder, values: dict[str, Any], message: str) -> None:
    with pytest.raises(pb.UsageError, match=message):
        small_method(**values).attach(small)


# Lengths, frames, masks


def noisy(adapter: nn.Module) -> nn.Module:
    torch.manual_seed(5)
    for parameter in adapter.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return adapter


def test_a_text_gets_the_same_in_passes_of_any_length() -> None:
    adapter, y = noisy(TextAdapter(small_method(), 48, 16, nn.Parameter(torch.zeros(8)))), torch.randn(2, 9, 48)
    torch.testing.assert_close(adapter(y)[:, :5], adapter(y[:, :5]))


@pytest.mark.parametrize("joint", [False, True])
def test_padded_frames_change_nothing(joint: bool) -> None:
    """What is in them reaches neither the other frames nor the video's class token, and two frames without them give
    what four with two padded ones give, but for the positions."""
    adapter = noisy(VideoAdapter(small_method(calibrate="all", stand_in="frame_mean"), 64, 4, None))
    mask = torch.tensor([[True, True, False, False]])
    grid = Grid(4, 2, 2, joint, mask=mask)
    patches = torch.randn(1, 4, 4, 64)  # [B, T, places, W]
    other = torch.cat([patches[:, :2], torch.randn(1, 2, 4, 64)], dim=1)
    cls = torch.randn(4, 1, 64)

    def of_real_frames(patches: Tensor) -> Tensor:
        if joint:
            return adapter(torch.cat([cls[:1], patches.transpose(1, 2).flatten(1, 2)], 1), grid)[0, 0]
        return adapter(torch.cat([cls, patches[0]], 1), grid)[:2]

    torch.testing.assert_close(of_real_frames(patches), of_real_frames(other))


@pytest.mark.parametrize("stand_in", ["class_token", "frame_mean"])
def test_the_class_token_of_a_video_is_that_of_frames_that_share_it(stand_in: str) -> None:
    """ViCLIP's tokens, class token then patch n of frame t at 1 + n*T + t, against CLIP's of the same patches: patches
    get the same, and the video's class token what frames with the stand-in as theirs get on average."""
    adapter = noisy(VideoAdapter(small_method(calibrate="all", stand_in=stand_in), 64, 3, None))
    generator = torch.Generator().manual_seed(3)
    cls, patches = (torch.randn(2, *size, 64, generator=generator) for size in ((1,), (3, 4)))
    joint = torch.stack([patches[:, t, n] for n in range(4) for t in range(3)], dim=1)
    got = adapter(torch.cat([cls, joint], 1), Grid(3, 2, 2, joint=True))

    if stand_in == "frame_mean":  # behind Down and its activation; below, Down of what gives it is not needed
        adapter._class_tokens = lambda h, by_frame, grid: by_frame
    by_frame = torch.cat([cls[:, None].expand(-1, 3, -1, -1), patches], 2).flatten(0, 1)
    expected = adapter(by_frame, Grid(3, 2, 2, joint=False)).unflatten(0, (2, 3))
    torch.testing.assert_close(got[:, 0], expected[:, :, 0].mean(1))
    torch.testing.assert_close(got[:, 1:].unflatten(1, (4, 3)).transpose(1, 2), expected[:, :, 1:])


def test_positions_for_other_numbers_of_frames_lie_between_the_learned_ones() -> None:
    adapter = VideoAdapter(small_method(), 64, 4, None)
    assert adapter._positions_for(4) is adapter.positions
    cc, cls, patches = adapter.positions.split([1, 4, 4])
    assert torch.equal(
        adapter._positions_for(2),
        torch.cat([cc, cls[::2] + cls[1::2], patches[::2] + patches[1::2]]) / torch.tensor([1.0, 2, 2, 2, 2])[:, None],
    )
    assert adapter._positions_for(9).shape == (19, 16)


# The mark


def test_numbers_on_viclip_carry_the_mark_of_an_adapted_method() -> None:
    method = pb.create_method("mv_adapter")
    assert method_marks(method, pb.ViCLIPConfig()) == ["adapted-method"]
    assert method_marks(method, pb.CLIPConfig()) == method_marks(method) == []
    both = pb.create_method("lora+mv_adapter")
    assert both.adapted_for(pb.ViCLIPConfig()).startswith("mv_adapter: one class token per video")
    assert both.adapted_for(pb.CLIPConfig()) == ""
