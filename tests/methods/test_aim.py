"""AIM against the public implementation's numbers; where it is refused; time, padding, stochastic depth and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.costs import formula
from petl_bench.costs.counting import count_video
from petl_bench.methods._aim import DropPath, FramePositions
from petl_bench.models import transformer
from petl_bench.models.grid import Grid, from_over_time, over_time
from petl_bench.models.sites import AdapterSwitch
from petl_bench.testing.method_subject import perturb

Golden = Callable[[str], dict[str, Tensor]]
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
#: The golden's clips: two of four frames of 3 x 3 patches, a sequence for each frame.
GRID = Grid(4, 3, 3, joint=False)
BLOCK_NAMES = {
    "attention.norm": "ln_1",
    "attention.out.base": "attn.out_proj",
    "feedforward.norm": "ln_2",
    "feedforward.fc.base": "mlp.c_fc",
    "feedforward.proj.base": "mlp.c_proj",
}
KINDS = ("weight", "bias")


def frame_wise(small: pb.DualEncoder, **values: Any) -> pb.DualEncoder:
    """A random CLIP of the small shape with AIM, nothing of which is at its start."""
    torch.manual_seed(0)
    model = pb.DualEncoder(pb.CLIPConfig(**asdict(small.config))).eval()
    pb.create_method("aim", **values).attach(model)
    perturb(model)
    return model


def block_with(numbers: dict[str, Tensor], time_adapters: int) -> transformer.Block:
    """The golden's block: frozen weights and adapters."""
    tensors = {k.removeprefix(f"t{time_adapters}.sd."): v for k, v in numbers.items()}
    model = pb.DualEncoder(pb.CLIPConfig(vision_width=64, vision_layers=1, vision_heads=4, vocab_size=64))
    pb.create_method("aim", time_adapters=time_adapters, scale=0.5).attach(model)
    (block,) = model.eval().blocks("video")
    state = {f"{mine}.{kind}": tensors[f"{theirs}.{kind}"] for mine, theirs in BLOCK_NAMES.items() for kind in KINDS}
    for kind in KINDS:
        parts = tensors[f"attn.in_proj_{kind}"].chunk(3)
        state.update({f"attention.{name}.base.{kind}": part for name, part in zip("qkv", parts, strict=True)})
    places = {
        "T_Adapter": "before.0.module.outer",
        "S_Adapter": "attention.after.0.module",
        "MLP_Adapter": "feedforward.parallel.0.module.adapter",
    }
    if time_adapters == 2:
        places["T_Adapter_in"] = "before.0.module.inner"
    for theirs, mine in places.items():
        for layer, name in (("D_fc1", "down"), ("D_fc2", "up")):
            state.update({f"{mine}.{name}.{kind}": tensors[f"{theirs}.{layer}.{kind}"] for kind in KINDS})
    block.load_state_dict(state)
    return block


@pytest.mark.parametrize("time_adapters", [1, 2])
def test_block(golden: Golden, time_adapters: int) -> None:
    """Sequence-first in the golden."""
    numbers = golden("aim_block")
    block = block_with(numbers, time_adapters)
    output = block(numbers[f"t{time_adapters}.in.x"].transpose(0, 1), GRID)
    torch.testing.assert_close(output.transpose(0, 1), numbers[f"t{time_adapters}.out.y"], **CLOSE)


def test_tokens_over_time_are_the_frames_of_each_place() -> None:
    tokens = torch.arange(2 * 4 * 10).view(8, 10, 1)  # clip, frame and place by number
    by_place = over_time(tokens, GRID)
    assert by_place.shape == (20, 4, 1)
    assert by_place[13, :, 0].tolist() == [43, 53, 63, 73], "place 3 of the second clip"
    assert torch.equal(from_over_time(by_place, GRID), tokens)


def test_order_of_frames_counts(small: pb.DualEncoder, frames: Tensor) -> None:
    model = frame_wise(small)
    assert (model.encode_video(frames) - model.encode_video(frames.flip(1))).abs().max() > 1e-3
    with torch.no_grad():
        model.video.embedding.after[0].module.positions.zero_()
    torch.testing.assert_close(model.encode_video(frames), model.encode_video(frames.flip(1)), **CLOSE)


def test_positions_are_added_to_every_token_before_the_first_norm(small: pb.DualEncoder, frames: Tensor) -> None:
    model = frame_wise(small)
    seen: list[Tensor] = []
    model.video.norm_pre.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model.encode_video(frames)
    with torch.no_grad():
        positions = model.video.embedding.after[0].module.positions
        of_frames, kept = seen[0].clone(), positions.clone()
        positions.zero_()
        model.encode_video(frames)
    torch.testing.assert_close(of_frames - seen[1], kept.repeat(2, 1)[:, None].expand(8, 5, 64), **CLOSE)


@pytest.mark.parametrize(
    ("frames", "expected"), [(4, [0, 1, 2, 3]), (2, [0, 1]), (1, [0]), (6, [0, 0.5, 1 + 1 / 6, 1 + 5 / 6, 2.5, 3])]
)
def test_positions_of_fewer_frames_are_the_first_and_of_more_linear_between(frames: int, expected: list[float]) -> None:
    positions = FramePositions(4, 2)
    with torch.no_grad():
        positions.positions.copy_(torch.arange(4.0)[:, None].expand(4, 2))
    given = positions(torch.zeros(3 * frames, 5, 2), Grid(frames, 2, 2, False))
    assert given[:, 0, 0].tolist() == pytest.approx(3 * expected)
    assert given.shape == (3 * frames, 5, 2)


def test_a_padded_clip_is_the_clip_of_its_real_frames(small: pb.DualEncoder, frames: Tensor) -> None:
    """Positions of its frames included."""
    model = frame_wise(small, time_adapters=2)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    features = model.finish_video(model.video_output(frames, (), mask))
    torch.testing.assert_close(features[:1], model.encode_video(frames[:1, :2]), **CLOSE)
    torch.testing.assert_close(features[1:], model.encode_video(frames[1:]), **CLOSE)


def test_extra_tokens_take_no_part_in_the_attention_over_time(small: pb.DualEncoder, frames: Tensor) -> None:
    torch.manual_seed(0)
    model = pb.DualEncoder(pb.CLIPConfig(**asdict(small.config))).eval()
    method = pb.create_method("vpt+aim", **{"vpt.tokens": 3})
    method.attach(model)
    perturb(model)
    assert model.encode_video(frames).isfinite().all()
    seen: list[Tensor] = []
    model.blocks("video")[1].before[0].module.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    model.encode_video(frames)
    assert seen[0].shape == (8, 5, 64)


def test_trained_beside_the_adapters_are_positions_and_the_last_norm(small: pb.DualEncoder) -> None:
    model = frame_wise(small)
    mine = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in mine if "blocks" not in name} == {
        "video.embedding.after.0.module.positions",
        "video.norm_post.weight",
        "video.norm_post.bias",
    }
    assert all(".module." in name for name in mine if "blocks" in name), "no weight of the backbone's blocks"
    assert len([name for name in mine if "blocks.1." in name]) == 3 * 4


@pytest.mark.parametrize(("over", "shape"), [("clips", (3, 1)), ("places", (1, 5))])
def test_drop_path(over: str, shape: tuple[int, int]) -> None:
    """All of a clip's tokens at once, or a place's in all clips; what stays is scaled so that the mean stays."""
    drop, grid, y = DropPath(0.4, over), Grid(4, 2, 2, False), torch.ones(12, 5, 2)
    torch.manual_seed(0)
    kept = torch.stack([drop(y, grid) for _ in range(200)])
    clips = kept.unflatten(1, (3, 4))
    first = clips[:, : shape[0], :1, : shape[1], :1]
    assert torch.equal(clips, first.expand_as(clips)), "one draw for all of it"
    assert sorted(kept.unique().tolist()) == pytest.approx([0, 1 / 0.6])
    assert kept.mean().item() == pytest.approx(1, abs=0.15)
    assert drop.eval()(y, grid) is y


def test_drop_path_rises_from_the_first_block_to_the_last(small: pb.DualEncoder) -> None:
    model = frame_wise(small, drop_path=0.3)
    drops = [
        [block.before[0].module.drop, block.feedforward.parallel[0].module.drop] for block in model.blocks("video")
    ]
    assert [drop.rate for pair in drops for drop in pair] == pytest.approx([0, 0, 0.15, 0.15, 0.3, 0.3])


def test_space_is_adapted_even_where_stochastic_depth_drops_everything(small: pb.DualEncoder, frames: Tensor) -> None:
    """T and M are dropped, S never is: the features are those of the model without T and M."""
    model = frame_wise(small, drop_path=0.5).train()
    for block in model.blocks("video"):
        for drop in (block.before[0].module.drop, block.feedforward.parallel[0].module.drop):
            drop.register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
    dropped = model.encode_video(frames)
    for block in model.blocks("video"):
        block.before = block.feedforward.parallel = None
    torch.testing.assert_close(dropped, model.encode_video(frames), **CLOSE)


@pytest.mark.parametrize("time_adapters", [1, 2])
def test_counted_operations_hold_the_second_attention(small: pb.DualEncoder, time_adapters: int) -> None:
    model = frame_wise(small, time_adapters=time_adapters)
    config, count = model.config, count_video(model)
    tokens, width = 4 * 5, 64
    attention = 4 * width**2 + 2 * 4 * width  # q, k, v and out; scores and their sum over 4 frames
    adapters = (2 + time_adapters) * 2 * width * (width // 4)
    # In the last block the class tokens alone are read behind attention, but all are computed.
    expected = formula.video_macs(config) + config.vision_layers * tokens * (attention + adapters)
    assert count.macs == pytest.approx(expected, rel=1e-3), count.reason


def test_is_hosted_frame_by_frame_alone(small: pb.DualEncoder) -> None:
    plugin = METHODS.get("aim")
    reasons = {
        name: plugin.hosted_by(BACKBONES.get(name)) for name in ("viclip-tiny", "viclip-b16", "clip-tiny", "clip-b16")
    }
    assert reasons["clip-tiny"] == reasons["clip-b16"] == ""
    assert "attends to all frames of a clip at once" in reasons["viclip-tiny"] == reasons["viclip-b16"]
    with pytest.raises(pb.UsageError, match="take a frame-wise backbone"):
        pb.create_method("aim").attach(small)


def test_a_ratio_that_leaves_no_channel_is_refused(small: pb.DualEncoder) -> None:
    model = pb.DualEncoder(pb.CLIPConfig(**asdict(small.config)))
    with pytest.raises(pb.UsageError, match=r"aim.ratio=0.001 leaves no channel of 64; give 0.015625 or more"):
        pb.create_method("aim", ratio=0.001).attach(model)


def test_attention_of_the_block_is_no_second_copy(small: pb.DualEncoder) -> None:
    """The time's attention is the block's own: one set of weights, which a linear's replacement changes for both."""
    model = frame_wise(small)
    assert not any("attention" in name for name, _ in model.blocks("video")[0].before.named_parameters())
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(list(model.parameters()))


def test_block_is_the_equation(small: pb.DualEncoder) -> None:
    """By hand, with torch's own attention on the frozen weights."""
    block = frame_wise(small, scale=0.7).blocks("video")[1]
    x, grid = torch.randn(8, 5, 64), Grid(4, 2, 2, False)

    def attended(h: Tensor) -> Tensor:
        linears = [getattr(block.attention, name).base for name in "qkv"]
        attention = torch.nn.MultiheadAttention(64, 4, batch_first=True)
        with torch.no_grad():
            attention.in_proj_weight.copy_(torch.cat([linear.weight for linear in linears]))
            attention.in_proj_bias.copy_(torch.cat([linear.bias for linear in linears]))
        attention.out_proj.load_state_dict(block.attention.out.base.state_dict())
        output: Tensor = attention(h, h, h, need_weights=False)[0]
        return output

    def adapted(module: torch.nn.Module, z: Tensor) -> Tensor:
        output: Tensor = module.up(F.gelu(module.down(z)))
        return output

    time, space = block.before[0].module.outer, block.attention.after[0].module
    joint = block.feedforward.parallel[0].module.adapter
    h = block.attention.norm(x).view(2, 4, 5, 64).transpose(1, 2).reshape(10, 4, 64)
    mixed = attended(h).view(2, 5, 4, 64).transpose(1, 2).reshape(8, 5, 64)
    y = x + adapted(time, mixed)
    of_space = attended(block.attention.norm(y))
    y = y + of_space + adapted(space, of_space)
    h = block.feedforward.norm(y)
    hidden = block.feedforward.fc.base(h)
    y = y + block.feedforward.proj.base(hidden * torch.sigmoid(1.702 * hidden)) + 0.7 * adapted(joint, h)
    torch.testing.assert_close(block(x, grid), y, **CLOSE)


def test_switch_passes_the_time_over(small: pb.DualEncoder) -> None:
    block = frame_wise(small).blocks("video")[0]
    x, grid = torch.randn(8, 5, 64), Grid(4, 2, 2, False)
    bare = transformer.Block("video", 1, 64, 4, AdapterSwitch()).eval()
    bare.load_state_dict(block.state_dict(), strict=False)
    block._switch.on = False
    torch.testing.assert_close(block(x, grid), bare(x, grid), **CLOSE)
