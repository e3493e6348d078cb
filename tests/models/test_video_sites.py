"""Sites of the video tower beside branches and blocks: norms, linears, streams, attention, tokens, frames, side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.grid import Grid, patches_by_place, to_volume


class Affine(nn.Module):
    """scale * x + shift, per channel; keeps the shapes of what it was given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.shapes: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(list(x.shape))
        return self.scale * x + self.shift


class Calls(nn.Module):
    """A module that does what a function says."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class Sees(nn.Module):
    """Keeps what it was given, and returns ones of x's shape."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Grid]] = []

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        self.seen.append((x, grid))
        return torch.ones_like(x)


@pytest.fixture(params=["viclip", "clip"])
def model(request: pytest.FixtureRequest) -> DualEncoder:
    """ViCLIP (17 tokens, 2 sequences) and CLIP (5 tokens, 8 sequences), with gradients off."""
    model: DualEncoder = request.getfixturevalue(request.param)
    return model.requires_grad_(False).eval()


def sequences(model: DualEncoder) -> tuple[int, int]:
    """Of two clips of four frames: how many sequences, and how many tokens each."""
    return (2, 17) if model.config.joint_space_time else (8, 5)


def refused(call: Callable[[], Any], words: str, kind: type[Exception] = pb.UsageError) -> None:
    with pytest.raises(kind, match=words) as error:
        call()
    assert "\n" not in str(error.value)


# Behind a map: norms, linears, patches, pixels, features


CHAINED: dict[str, Callable[[DualEncoder], Any]] = {
    "norm_pre": lambda model: model.video.norm_pre,
    "norm_post": lambda model: model.video.norm_post,
    "norm_final": lambda model: model.text.norm_final,
    "attention.norm": lambda model: model.blocks("video")[1].attention.norm,
    "feedforward.norm": lambda model: model.blocks("text")[1].feedforward.norm,
    "linear": lambda model: model.blocks("video")[1].attention.q,
    "patches": lambda model: model.video.patches,
    "pixels": lambda model: model.video.pixels,
    "features.video": lambda model: model.features.video,
    "features.text": lambda model: model.features.text,
}


@pytest.mark.parametrize("name", CHAINED)
def test_modules_behind_a_map_act_in_order_and_are_off_with_the_adapters(
    model: DualEncoder, frames: Tensor, tokens: Tensor, name: str
) -> None:
    def encode() -> Tensor:
        return torch.cat([model.encode_video(frames), model.encode_text(tokens)])

    frozen, site, order = encode(), CHAINED[name](model), []
    site.then(Calls(lambda y: (order.append(1), y)[1]))
    assert torch.equal(encode(), frozen)
    site.then(Calls(lambda y: (order.append(2), 1.5 * y + 0.5 * torch.ones_like(y).cumsum(-1))[1]))
    assert not torch.allclose(encode(), frozen, atol=1e-3)
    assert order[-2:] == [1, 2]
    with model.adapters_off():
        assert torch.equal(encode(), frozen)
    site.clear()
    assert torch.equal(encode(), frozen)


@pytest.mark.parametrize("name", CHAINED)
def test_a_module_that_changes_the_shape_is_named(
    model: DualEncoder, frames: Tensor, tokens: Tensor, name: str
) -> None:
    CHAINED[name](model).then(Calls(lambda y: y[..., :-1]))
    call = (lambda: model.encode_text(tokens)) if "text" in name or name in ("norm_final", "feedforward.norm") else None
    refused(call or (lambda: model.encode_video(frames)), "Calls gave a tensor .* keep its shape", pb.PluginError)


def test_a_norm_gives_what_its_module_makes_of_it() -> None:
    from petl_bench.models.sites import AdapterSwitch, Norm

    norm, affine, x = Norm(8, AdapterSwitch()), Affine(8), torch.randn(2, 3, 8)
    expected = affine(torch.nn.functional.layer_norm(x, (8,)))
    norm.then(affine)
    assert torch.equal(norm(x), expected)
    assert list(norm.state_dict()) == ["weight", "bias", "after.0.module.scale", "after.0.module.shift"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_linear_has_modules_before_and_behind_it_also_if_it_is_replaced(viclip: DualEncoder, replaced: bool) -> None:
    site, first, then, x = viclip.blocks("video")[0].feedforward.fc, Affine(64), Affine(256), torch.randn(2, 5, 64)
    other = nn.Linear(64, 256)
    frozen = site(x)
    if replaced:
        site.replace(other)
    site.first(first)
    site.then(then)
    assert torch.equal(site(x), then((other if replaced else site.base)(first(x))))
    with viclip.adapters_off():
        assert torch.equal(site(x), frozen)
    site.restore()
    site.clear()
    assert torch.equal(site(x), frozen)


def test_patches_and_pixels_have_their_shapes(model: DualEncoder, frames: Tensor) -> None:
    count, tokens = sequences(model)
    patches, pixels = Affine(64), Affine(32)
    model.video.patches.then(patches)
    model.video.pixels.then(pixels)
    output = model.video_output(frames, ["pixels"])
    assert (patches.shapes, pixels.shapes) == ([[count, tokens - 1, 64]], [[2, 4, 3, 32, 32]])
    assert output.pixels is frames


# Streams


def test_the_middle_is_the_stream_between_the_branches(model: DualEncoder, frames: Tensor) -> None:
    block, module = model.blocks("video")[1], nn.Linear(64, 64)
    x, grid = torch.randn(2, 17, 64), Grid(4, 2, 2, True)
    between = x + block.attention(x, grid)
    between = between + 0.5 * module(between)
    expected = between + block.feedforward(between, grid)
    block.middle.add_after(module, scale=0.5)
    assert_close(block(x, grid), expected)
    refused(lambda: block.middle.add_parallel(module, normed=True) or model.encode_video(frames), "middle has no norm")


def test_the_embedding_is_the_stream_before_the_first_norm(model: DualEncoder, frames: Tensor) -> None:
    sees = Sees()
    x, _ = model.video._embed(frames)
    model.video.embedding.add_after(sees, scale=0.25, with_grid=True)
    entered, grid = model.video._enter(frames)
    assert torch.equal(sees.seen[0][0], x)
    assert torch.equal(entered, model.video.norm_pre(x + 0.25))
    assert sees.seen[0][1] == grid == Grid(4, 2, 2, model.config.joint_space_time)


# attention.mix


def test_a_mixer_that_changes_nothing_changes_nothing(model: DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    frozen = [model.encode_video(frames), model.encode_text(tokens)]
    grids: list[Grid | None] = []
    for block in model.blocks():
        block.attention.mix(Calls(lambda q, k, v, grid: (grids.append(grid), (q, k, v, None))[1]))
    assert torch.equal(model.encode_video(frames), frozen[0])
    assert torch.equal(model.encode_text(tokens), frozen[1])
    assert grids[0] == Grid(4, 2, 2, model.config.joint_space_time)
    assert grids[-1] is None


def test_keys_may_grow_and_a_bias_closes_them_again(model: DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    frozen = [model.encode_video(frames), model.encode_text(tokens)]

    def twice(close: bool) -> Callable[..., Any]:
        def mix(q: Tensor, k: Tensor, v: Tensor, grid: Grid | None) -> Any:
            more = torch.randn(*k.shape[:2], 3, k.shape[3], generator=torch.Generator().manual_seed(0))
            bias = torch.zeros(q.shape[2], k.shape[2] + 3)
            bias[:, k.shape[2] :] = -torch.inf if close else 0
            return q, torch.cat([k, more], 2), torch.cat([v, more], 2), bias

        return mix

    changing: dict[str, Callable[..., Any]] = {"mix": twice(close=True)}
    for block in model.blocks():
        block.attention.mix(Calls(lambda *inputs: changing["mix"](*inputs)))
    assert_close(model.encode_video(frames), frozen[0])
    assert_close(model.encode_text(tokens), frozen[1])
    changing["mix"] = twice(close=False)
    assert not torch.allclose(model.encode_video(frames), frozen[0], atol=1e-3)
    assert not torch.allclose(model.encode_text(tokens), frozen[1], atol=1e-3)


@pytest.mark.parametrize("keys", [0, 2])
def test_text_attention_stays_causal(viclip: DualEncoder, keys: int) -> None:
    attention = viclip.blocks("text")[0].attention
    more = torch.randn(1, 4, keys, 12)

    def mix(q: Tensor, k: Tensor, v: Tensor, grid: None) -> Any:
        extra = more.expand(len(k), -1, -1, -1)
        return q, torch.cat([k, extra], 2), torch.cat([v, extra], 2), q.new_full((1, 1), 0.5)

    attention.mix(Calls(mix))
    x = torch.randn(2, 6, 48)
    changed = x.clone()
    changed[:, 4:] += torch.randn(48)
    before, after = attention(x), attention(changed)
    assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_a_second_mixer_and_wrong_shapes_are_refused(model: DualEncoder, frames: Tensor) -> None:
    attention = model.blocks("video")[1].attention
    attention.mix(Calls(lambda q, k, v, grid: (q, k, v[:, :, 1:], None)))
    refused(lambda: attention.mix(nn.Identity()), "block 2 of the video tower, attention: two modules")
    refused(lambda: model.encode_video(frames), "block 2 .* mix: Calls gave", pb.PluginError)


@pytest.mark.parametrize("site", ["mix", "reduce"])
def test_modules_that_return_too_little_are_named(model: DualEncoder, frames: Tensor, site: str) -> None:
    block = model.blocks("video")[0]
    getattr(block.attention if site == "mix" else block, site)(Calls(lambda x, *_: x))
    refused(lambda: model.encode_video(frames), f"block 1.* {site}: Calls must return a tuple", pb.PluginError)


# Tokens


EXTRA = 3


def prompts(seed: int = 1) -> nn.Module:
    tokens = nn.ParameterList([torch.randn(EXTRA, 64, generator=torch.Generator().manual_seed(seed))])
    return Calls(lambda: tokens[0])


def stream(model: DualEncoder, frames: Tensor, extras: dict[int, Tensor], last: int = 99) -> Tensor:
    """Features by hand: these tokens behind the patches from a block on (in the place of earlier ones), to `last`."""
    x, grid = model.video._enter(frames)
    own = x.shape[1]
    for block in model.blocks("video"):
        if block.index in extras:
            x = torch.cat([x[:, :own], extras[block.index].expand(len(x), -1, -1)], 1)
        x = block(x, grid)
        if block.index == last:
            x = x[:, :own]
    features = model.video.norm_post(x[:, 0]) @ model.video.projection
    return features if grid.joint else features.unflatten(0, (-1, 4)).mean(1)


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("scope", ["rest", "block"])
def test_tokens_take_part_in_attention_from_their_block_on(
    model: DualEncoder, frames: Tensor, place: Any, scope: Any
) -> None:
    module = prompts()
    frozen = model.encode_video(frames)
    expected = stream(model, frames, {2: module()}, last=2 if scope == "block" else 99)
    model.video.add_tokens(module, block=2, place=place, scope=scope)
    assert_close(model.encode_video(frames), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, frozen, atol=1e-3)
    with model.adapters_off():
        assert torch.equal(model.encode_video(frames), frozen)


def test_tokens_before_the_first_norm_go_through_it(model: DualEncoder, frames: Tensor) -> None:
    module = prompts()
    expected = stream(model, frames, {1: model.video.norm_pre(module())})
    model.video.add_tokens(module, block=0)
    assert_close(model.encode_video(frames), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["start", "end"])
def test_tokens_replace_those_at_their_place(model: DualEncoder, frames: Tensor, place: Any) -> None:
    first, second = prompts(1), prompts(2)
    expected = stream(model, frames, {1: first(), 3: second()})
    model.video.add_tokens(first, block=1, place=place)
    model.video.add_tokens(second, block=3, place=place, replace=True)
    assert_close(model.encode_video(frames), expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_one_block_lie_beside_those_that_stay(model: DualEncoder, frames: Tensor) -> None:
    seen: list[int] = []
    model.video.add_tokens(prompts(1), block=1, place="end")
    model.video.add_tokens(prompts(2), block=1, place="start")
    model.video.add_tokens(prompts(3), block=2, scope="block", place="end")
    model.video.add_tokens(prompts(4), block=2, scope="block", place="start")
    for block in model.blocks("video"):
        block.feedforward.add_before(Calls(lambda x: (seen.append(x.shape[1]), x)[1]))
    kept: list[Tensor] = []
    model.blocks("video")[2].add_before(Calls(lambda x: (kept.append(x), x)[1]))
    behind: list[Tensor] = []
    model.blocks("video")[1].register_forward_hook(lambda module, inputs, output: behind.append(output))
    model.encode_video(frames)
    own = sequences(model)[1]
    assert seen == [own + 2 * EXTRA, own + 4 * EXTRA, own + 2 * EXTRA]
    [x], [after] = behind, kept
    wanted = [*range(1 + EXTRA), *range(1 + 2 * EXTRA, own + 2 * EXTRA), *range(own + 3 * EXTRA, own + 4 * EXTRA)]
    assert torch.equal(after, x[:, wanted])


def test_tokens_for_attention_are_keys_and_values_alone(model: DualEncoder, frames: Tensor) -> None:
    module, block = prompts(), model.blocks("video")[1]
    grid = Grid(4, 2, 2, model.config.joint_space_time)
    count, own = sequences(model)
    x = torch.randn(count, own, 64)
    longer = torch.cat([x, module().expand(count, -1, -1)], 1)
    expected = block.attention(longer, grid)[:, :own]
    model.video.add_tokens(module, block=2, scope="attention")
    assert_close(block.attention(x, grid), expected)
    normed = block.attention.norm(x)
    assert_close(block.attention(x, grid, normed), expected)
    assert block(x, grid).shape == x.shape


@pytest.mark.parametrize("place", ["start", "end"])
def test_readers_of_the_grid_never_see_extra_tokens(model: DualEncoder, frames: Tensor, place: Any) -> None:
    block, sees, mixed = model.blocks("video")[1], Sees(), []
    model.video.add_tokens(prompts(), block=1, place=place)
    for site in (block, block.attention, block.middle, block.feedforward):
        site.add_after(sees, scale=0.0, with_grid=True)
        site.add_parallel(sees, scale=0.0, with_grid=True)
    block.attention.mix(Calls(lambda q, k, v, grid: (mixed.append((k.shape[2], grid)), (q, k, v, None))[1]))
    count, own = sequences(model)
    output = model.video_output(frames, ["tokens"])
    plain = Grid(4, 2, 2, model.config.joint_space_time)
    assert [(tuple(x.shape), grid) for x, grid in sees.seen] == [((count, own, 64), plain)] * 8
    assert mixed == [(own, plain)]
    assert output.patch_tokens is not None and output.patch_tokens.shape == (2, 4, 4, 64)
    assert to_volume(sees.seen[0][0], plain).shape == (2, 64, 4, 2, 2)


@pytest.mark.parametrize("place", ["start", "end"])
def test_a_module_with_grid_adds_nothing_to_extra_tokens_and_leaves_them_before_a_site(
    model: DualEncoder, frames: Tensor, place: Any
) -> None:
    block, outputs = model.blocks("video")[0], []
    model.video.add_tokens(prompts(), block=1, place=place)
    block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    model.encode_video(frames)
    block.add_after(Sees(), with_grid=True)
    model.encode_video(frames)
    difference = outputs[1] - outputs[0]
    extra = slice(1, 1 + EXTRA) if place == "start" else slice(-EXTRA, None)
    assert torch.equal(difference[:, extra], torch.zeros_like(difference[:, extra]))
    assert_close(difference.sum(), torch.tensor(float(difference.numel() - difference[:, extra].numel())))
    inside: list[Tensor] = []
    block.attention.add_before(Sees(), with_grid=True)
    block.attention.norm.register_forward_hook(lambda module, inputs, output: inside.append(inputs[0]))
    model.encode_video(frames)
    x = inside[-1]
    assert not torch.allclose(x[:, extra], torch.ones(1)) and torch.equal(x[:, 0], torch.ones_like(x[:, 0]))


def test_a_mixers_bias_is_zero_for_extra_tokens(model: DualEncoder, frames: Tensor) -> None:
    """Own queries that may look at extra keys alone, extra queries that look at all: as written out by hand."""
    module, block = prompts(), model.blocks("video")[0]
    _, own = sequences(model)
    block.attention.mix(Calls(lambda q, k, v, grid: (q, k, v, q.new_full((1, k.shape[2]), -torch.inf))))
    model.video.add_tokens(module, block=1, place="end")
    captured: dict[str, Tensor] = {}
    block.attention.register_forward_hook(lambda module, inputs, output: captured.update(x=inputs[0], y=output))
    model.encode_video(frames)
    x, attention = captured["x"], block.attention
    h = attention.norm(x)
    q, k, v = (attention._split(linear.base(h)) for linear in (attention.q, attention.k, attention.v))
    bias = torch.zeros(x.shape[1], x.shape[1])
    bias[:own, :own] = -torch.inf
    scores = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5 + bias).softmax(-1) @ v
    assert_close(captured["y"], attention.out(scores.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


def test_modules_without_grid_act_on_extra_tokens(model: DualEncoder, frames: Tensor) -> None:
    affine = Affine(64)
    model.video.add_tokens(prompts(), block=1)
    model.blocks("video")[0].attention.q.then(affine)
    model.encode_video(frames)
    assert affine.shapes[0][1] == sequences(model)[1] + EXTRA


def test_msta_beside_extra_tokens_and_one_frame(model: DualEncoder, frames: Tensor) -> None:
    pb.create_method("msta", bottleneck_dim=8, consistency_weight=0.0).attach(model)
    tokens = nn.Parameter(torch.randn(EXTRA, 64))
    module = Calls(lambda: tokens)
    module.register_parameter("tokens", tokens)
    model.video.add_tokens(module, block=1)
    for clip in (frames, frames[:, :1]):
        model.zero_grad()
        model.encode_video(clip).sum().backward()
        assert tokens.grad is not None and tokens.grad.abs().sum() > 0


def test_tokens_made_of_the_stream(model: DualEncoder, frames: Tensor) -> None:
    seen: list[tuple[tuple[int, ...], Grid]] = []

    def make(x: Tensor, grid: Grid) -> Tensor:
        seen.append((tuple(x.shape), grid))
        return 2 * x[:, :1]

    count, own = sequences(model)
    for block in (1, 2):
        model.video.add_tokens(Calls(make), block=block, with_grid=True)
    model.video.add_tokens(Calls(make), block=3, scope="attention", with_grid=True)
    model.encode_video(frames)
    assert seen == [((count, own, 64), Grid(4, 2, 2, model.config.joint_space_time))] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block": 4}, "tokens before block 4: the video tower has blocks 1 to 3"),
        ({"block": -1}, "blocks 1 to 3"),
        ({"block": 0, "scope": "block"}, "block=0, before the first norm, needs scope='rest', not 'block'"),
        ({"block": 1, "place": "middle"}, "place='middle'; expected one of start, end"),
        ({"block": 1, "scope": "all"}, "scope='all'; expected one of rest, block, attention"),
        ({"block": 2, "scope": "block", "replace": True}, "replace=True needs scope='rest', not 'block'"),
    ],
)
def test_what_add_tokens_refuses(viclip: DualEncoder, options: dict[str, Any], words: str) -> None:
    refused(lambda: viclip.video.add_tokens(prompts(), **options), words)


@pytest.mark.parametrize("shape", [(64,), (3, 32), (5, 3, 64)])
def test_tokens_of_another_shape_are_named(model: DualEncoder, frames: Tensor, shape: tuple[int, ...]) -> None:
    model.video.add_tokens(Calls(lambda: torch.zeros(shape)), block=2)
    refused(lambda: model.encode_video(frames), "block 2, tokens: Calls gave a tensor", pb.PluginError)


# reduce


def halve(x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Neighbouring patches averaged, with their number in the grid."""
    fewer = torch.cat([x[:, :1], x[:, 1:].unflatten(1, (-1, 2)).mean(2)], 1)
    sizes = torch.full(fewer.shape[:2], 2.0)
    sizes[:, 0] = 1
    return fewer, replace(grid, sizes=sizes)


@pytest.mark.parametrize("place", ["start", "end"])
def test_later_blocks_get_fewer_tokens_and_extra_ones_stay(model: DualEncoder, frames: Tensor, place: Any) -> None:
    lengths: list[int] = []
    mixed: list[tuple[int, Grid]] = []
    model.video.add_tokens(prompts(), block=1, place=place)
    for block in model.blocks("video"):
        block.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[1]))
    model.blocks("video")[0].reduce(Calls(halve))
    model.blocks("video")[2].attention.mix(
        Calls(lambda q, k, v, grid: (mixed.append((k.shape[2], grid)), (q, k, v, None))[1])
    )
    model.encode_video(frames)
    own = sequences(model)[1]
    half = 1 + (own - 1) // 2
    assert lengths == [own + EXTRA, half + EXTRA, half + EXTRA]
    [(keys, grid)] = mixed
    assert keys == half and grid.reduced_by == 1 and grid.extra == 0
    assert grid.sizes is not None and grid.sizes.shape == (sequences(model)[0], half)


def test_frames_of_a_frame_wise_backbone_may_be_merged(clip: DualEncoder, frames: Tensor) -> None:
    def merge(x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        return x.unflatten(0, (-1, 2)).mean(1), replace(grid, frames=grid.frames // 2)

    clip.blocks("video")[0].reduce(Calls(merge))
    output = clip.video_output(frames, ["frames"])
    assert output.frame_features is not None and output.frame_features.shape == (2, 2, 32)
    clip.video.add_tokens(prompts(), block=1)
    refused(lambda: clip.encode_video(frames), "block 1, reduce: frames cannot be merged while")


def test_later_readers_of_the_grid_are_refused(model: DualEncoder, frames: Tensor) -> None:
    first, second, third = model.blocks("video")
    second.reduce(Calls(halve))
    first.add_after(Sees(), with_grid=True)
    second.feedforward.add_after(Sees(), with_grid=True)
    model.encode_video(frames)
    refused(lambda: model.video_output(frames, ["tokens"]), "reads = tokens reads the grid of patches, but block 2")
    third.middle.add_after(Sees(), with_grid=True)
    refused(lambda: model.encode_video(frames), "block 3 of the video tower, middle: Sees reads .*, but block 2 has")
    with model.adapters_off():
        model.video_output(frames, ["tokens"])


def test_what_reduce_refuses(model: DualEncoder, frames: Tensor) -> None:
    block = model.blocks("video")[0]
    block.reduce(Calls(lambda x, grid: (x[:, :, :-1], grid)))
    refused(lambda: block.reduce(nn.Identity()), "block 1 of the video tower: two modules want to reduce")
    refused(lambda: model.blocks("text")[0].reduce(nn.Identity()), "only tokens of the video tower")
    refused(lambda: model.encode_video(frames), "block 1, reduce: Calls gave a tensor", pb.PluginError)


# Frames, tokens, pool


def test_outputs_hold_what_is_read(model: DualEncoder, frames: Tensor) -> None:
    plain, joint = model.video_output(frames), model.config.joint_space_time
    assert (plain.frame_features, plain.patch_tokens, plain.pixels) == (None, None, None)
    reads = ["tokens", "pixels"] if joint else ["frames", "tokens", "pixels"]
    output = model.video_output(frames, reads)
    assert torch.equal(output.features, plain.features)
    assert torch.equal(model.finish_video(output), model.encode_video(frames))
    assert output.pixels is frames
    x, grid = model.video._enter(frames)
    for block in model.blocks("video"):
        x = block(x, grid)
    expected = patches_by_place(model.video.norm_post(x), grid).transpose(1, 2)
    assert output.patch_tokens is not None and torch.equal(output.patch_tokens, expected)
    if not joint:
        assert output.frame_features is not None and output.frame_features.shape == (2, 4, 32)
        assert torch.equal(output.frame_features.mean(1), output.features)
        one = model.video_output(frames[1:, 2:3], ["frames"]).frame_features
        assert one is not None
        assert_close(one[0, 0], output.frame_features[1, 2])


def test_a_pool_takes_the_place_of_the_mean(clip: DualEncoder, frames: Tensor) -> None:
    frozen, masks = clip.encode_video(frames), []

    def last(features: Tensor, mask: Tensor | None) -> Tensor:
        masks.append(mask)
        return features[:, -1]

    clip.set_pool(Calls(last))
    clip.features.video.then(Calls(lambda features: 2 * features))
    output = clip.video_output(frames)
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert output.frame_features is not None
    assert torch.equal(clip.finish_video(replace(output, mask=mask)), 2 * output.frame_features[:, -1])
    assert masks == [mask]
    with clip.adapters_off():
        assert torch.equal(clip.encode_video(frames), frozen)
        assert torch.equal(clip.finish_video(output), frozen)
        assert clip.video_output(frames).frame_features is None
    refused(lambda: clip.set_pool(nn.Identity()), "two modules want to pool")


def test_the_pool_and_the_sites_on_features_leave_the_towers_untouched(clip: DualEncoder) -> None:
    clip.requires_grad_(False)
    clip.set_pool(nn.Linear(1, 1))
    clip.features.video.then(nn.Linear(1, 1))
    clip.features.text.then(nn.Linear(1, 1))
    assert clip.untouched(clip.video) and clip.untouched(clip.text)
    assert not clip.text_is_untouched


def test_a_pool_of_another_shape_is_named(clip: DualEncoder, frames: Tensor) -> None:
    clip.set_pool(Calls(lambda features, mask: features))
    refused(lambda: clip.encode_video(frames), r"pool: Calls gave a tensor \[2, 4, 32\]", pb.PluginError)


def test_viclip_has_no_features_of_frames(viclip: DualEncoder, frames: Tensor) -> None:
    refused(lambda: viclip.set_pool(nn.Identity()), "ViCLIP has one feature per video .* --backbone clip-tiny")
    refused(lambda: viclip.video_output(frames, ["frames"]), "take a frame-wise backbone")


# Side network


class Ladder(nn.Module):
    """A small side network: a linear map of each block's class tokens, added up."""

    def __init__(self, layers: int, joint: bool) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(64, 32) for _ in range(layers + 1)])
        self.joint = joint
        self.seen: list[Any] = []

    def forward(self, stream: Tensor, outputs: list[Tensor], grid: Grid) -> Tensor:
        self.seen = [stream, *outputs]
        features = torch.stack([each(x[:, 0]) for each, x in zip(self.maps, self.seen, strict=True)]).sum(0)
        return features if self.joint else features.unflatten(0, (-1, grid.frames)).mean(1)


def test_a_side_network_reads_the_blocks_and_the_backbone_keeps_no_graph(model: DualEncoder, frames: Tensor) -> None:
    frozen, side = model.encode_video(frames), Ladder(3, model.config.joint_space_time)
    model.video.set_side(side)
    features = model.encode_video(frames)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in side.parameters())
    assert not any(x.requires_grad for x in side.seen)
    with model.adapters_off():
        assert torch.equal(model.encode_video(frames), frozen)
    refused(lambda: model.video.set_side(side), "has a side network already")
    model.blocks("video")[1].add_parallel(nn.Linear(64, 64))
    refused(lambda: model.encode_video(frames), "side network .*: blocks.1.parallel.0.module.weight cannot train")
    with torch.no_grad():
        model.encode_video(frames)


def test_a_side_network_reads_the_frames_that_the_patches_are_cut_from(model: DualEncoder, frames: Tensor) -> None:
    seen: list[Tensor] = []

    def side(stream: Tensor, outputs: list[Tensor], grid: Grid, pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return stream.new_zeros(len(pixels), 32)

    model.video.set_side(Calls(side), with_pixels=True)
    model.video.pixels.then(Calls(lambda x: 2 * x))
    model.encode_video(frames)
    (pixels,) = seen
    assert torch.equal(pixels, 2 * frames)
    with model.adapters_off():
        model.encode_video(frames)
    assert len(seen) == 1


def test_what_a_side_network_cannot_give(clip: DualEncoder, frames: Tensor) -> None:
    clip.requires_grad_(False)
    clip.video.set_side(Calls(lambda stream, outputs, grid: stream[:, 0]))
    refused(lambda: clip.set_pool(nn.Identity()), "a side network makes the video's feature")
    refused(lambda: clip.encode_video(frames), r"side network Calls gave .* expected \[2, 32\]", pb.PluginError)


# Gradient checkpointing


def with_dropout(model: DualEncoder) -> None:
    """An adapter with dropout beside every block, a trained norm, and tokens."""
    torch.manual_seed(0)
    model.requires_grad_(False)
    for block in model.blocks():
        adapter = nn.Sequential(nn.Linear(block.width, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, block.width))
        block.add_parallel(adapter, scale=0.3, normed=True)
        block.attention.norm.requires_grad_(True)
    model.train()


def gradients(model: DualEncoder, frames: Tensor, tokens: Tensor, checkpointed: bool) -> dict[str, Tensor]:
    model.checkpoint_blocks = checkpointed
    model.zero_grad()
    torch.manual_seed(7)
    loss = model.encode_video(frames).square().sum() + model.encode_text(tokens).square().sum()
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return found | {"loss": loss.detach()}


def test_checkpointed_blocks_give_the_same_gradients_to_the_bit(
    model: DualEncoder, frames: Tensor, tokens: Tensor
) -> None:
    with_dropout(model)
    kept = gradients(model, frames, tokens, checkpointed=False)
    again = gradients(model, frames, tokens, checkpointed=True)
    assert model.checkpoint_blocks and kept.keys() == again.keys() and len(kept) > 30
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_checkpointed_blocks_keep_less(model: DualEncoder, frames: Tensor) -> None:
    with_dropout(model)

    def kept(checkpointed: bool) -> int:
        model.checkpoint_blocks, sizes = checkpointed, []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: (sizes.append(x.numel()), x)[1], lambda x: x):
            model.encode_video(frames)
        return sum(sizes)

    assert kept(True) < kept(False) / 4


def test_checkpointed_blocks_are_computed_again_as_they_were(viclip: DualEncoder, frames: Tensor) -> None:
    """Also if adapters were off in the first pass alone."""
    with_dropout(viclip.eval())
    viclip.eval()
    results = []
    for checkpointed in (False, True):
        viclip.checkpoint_blocks = checkpointed
        viclip.zero_grad()
        with viclip.adapters_off():
            features = viclip.encode_video(frames)
        features.sum().backward()
        norm = viclip.blocks("video")[0].attention.norm
        assert norm.weight.grad is not None
        results.append(norm.weight.grad.clone())
    assert torch.equal(*results)
    viclip.zero_grad()
    viclip.encode_video(frames).sum().backward()
    assert not torch.equal(norm.weight.grad, results[0])


def test_nothing_is_computed_again_if_nothing_trains(
    viclip: DualEncoder, frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from petl_bench.models import transformer

    monkeypatch.setattr(transformer, "recomputed", lambda *_, **__: pytest.fail("nothing is to be computed again"))
    viclip.requires_grad_(False).checkpoint_blocks = True
    viclip.encode_video(frames)
    viclip.requires_grad_(True)
    with torch.no_grad():
        viclip.encode_video(frames)


@pytest.mark.slow
def test_compiled_blocks_can_be_checkpointed(viclip: DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    with_dropout(viclip)
    for block in viclip.video.blocks:
        block.compile(backend="aot_eager")  # with the default backend, too, but that takes a minute
    kept = gradients(viclip, frames, tokens, checkpointed=False)
    again = gradients(viclip, frames, tokens, checkpointed=True)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
