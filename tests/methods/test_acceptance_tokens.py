"""Plugins in small of published methods that act on tokens (X-CLIP, TempMe, Open-VCLIP), and MaPLe.

They show that the sites of the video tower carry such methods; each is compared with its equations, written by hand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.methods import maple
from petl_bench.models.grid import Grid

SIZES = {
    "image_size": 32,
    "num_frames": 4,
    "patch_size": 8,
    "embed_dim": 32,
    "vision_width": 64,
    "vision_layers": 3,
    "vision_heads": 2,
    "context_length": 16,
    "vocab_size": 64,
    "text_width": 64,
    "text_layers": 3,
    "text_heads": 2,
}
CONFIGS = {"frame-wise": pb.CLIPConfig(**SIZES), "joint": pb.ViCLIPConfig(**SIZES)}
OWN = {"frame-wise": 1 + 16, "joint": 1 + 4 * 16}  # the class token and the patches of a sequence


def model_of(layout: str) -> pb.DualEncoder:
    torch.manual_seed(0)
    model = pb.DualEncoder(CONFIGS[layout]).eval()
    with torch.no_grad():
        for parameter in model.video.parameters():  # far from the first draw, so that tokens differ
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model


class Message(nn.Module):
    """X-CLIP's message token of each frame: its class token, through attention over the frames of its video."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        message = self.fc(x[:, 0]).unflatten(0, (-1, grid.frames))
        h = self.norm(message)
        message = message + self.attention(h, h, h, need_weights=False)[0]
        return message.flatten(0, 1).unsqueeze(1)


class Integration(nn.Module):
    """X-CLIP's multi-frame integration: a transformer layer over the frames, averaged."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(frames, width))
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True)

    def forward(self, features: Tensor, mask: Tensor | None) -> Tensor:
        return (features + self.layer(features + self.positions)).mean(1)


class XCLIP(pb.Method):
    def attach(self, model: pb.DualEncoder) -> None:
        for block in model.blocks("video"):
            model.video.add_tokens(Message(block.width), block=block.index, scope="attention", with_grid=True)
        model.set_pool(Integration(model.config.embed_dim, model.config.num_frames))


class Merging(nn.Module):
    """TempMe's and ToMe's merging: the patches whose keys are most alike, in pairs; attention counts them all."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs
        self.strength = nn.Parameter(torch.ones(()))
        self.keys = torch.empty(0)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Attention in proportion to how many patches a token stands for."""
        self.keys = k.detach().mean(1)
        sizes = grid.sizes
        return q, k, v, None if sizes is None else self.strength * sizes.log()[:, None, None, :]

    def merge(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        sizes = x.new_ones(x.shape[:2]) if grid.sizes is None else grid.sizes
        unit = nn.functional.normalize(self.keys[:, 1:], dim=-1)
        alike, partner = (unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)).max(-1)
        order = alike.argsort(-1, descending=True)
        merged, kept = order[:, : self.pairs], order[:, self.pairs :].sort(-1).values
        weighted = torch.cat([x[:, 1:] * sizes[:, 1:, None], sizes[:, 1:, None]], -1)
        even, odd = weighted[:, ::2], weighted[:, 1::2]
        index = partner.gather(1, merged)[..., None].expand(-1, -1, weighted.shape[-1])
        odd = odd.scatter_add(1, index, even.gather(1, merged[..., None].expand_as(index)))
        even = even.gather(1, kept[..., None].expand(-1, -1, weighted.shape[-1]))
        patches = torch.cat([even, odd], 1)
        total = patches[..., -1]
        x = torch.cat([x[:, :1], patches[..., :-1] / total[..., None]], 1)
        return x, replace(grid, sizes=torch.cat([sizes[:, :1], total], 1))


class Reducing(nn.Module):
    """The reduction of a merging, which has no parameters of its own."""

    def __init__(self, merging: Merging) -> None:
        super().__init__()
        self.merge = merging.merge

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        return self.merge(x, grid)


class TempMe(pb.Method):
    pairs = 4

    def attach(self, model: pb.DualEncoder) -> None:
        for block in model.blocks("video"):
            merging = Merging(self.pairs)
            merging.strength.requires_grad_(block.index > 1)  # before, every size is 1
            block.attention.mix(merging)
            block.reduce(Reducing(merging))


class MaPLe(maple.MaPLe):
    """The shipped method, without words, which the small models do not have."""

    words: str | None = pb.hyper(None, "none: random vectors")
    depth: int | None = pb.hyper(2, "blocks with learned tokens")


class Neighbours(nn.Module):
    """Open-VCLIP's attention: a frame's tokens attend to those of the frames before and after it, too."""

    def __init__(self) -> None:
        super().__init__()
        self.nearness = nn.Parameter(torch.zeros(3))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        bias = self.nearness.repeat_interleave(k.shape[2]).unsqueeze(0)
        return q, self._around(k, grid.frames), self._around(v, grid.frames), bias

    def _around(self, x: Tensor, frames: int) -> Tensor:
        by_frame = x.unflatten(0, (-1, frames))
        around = [by_frame[:, (torch.arange(frames) + shift).clamp(0, frames - 1)] for shift in (-1, 0, 1)]
        return torch.cat(around, 3).flatten(0, 1)


class OpenVCLIP(pb.Method):
    def attach(self, model: pb.DualEncoder) -> None:
        for block in model.blocks("video"):
            block.attention.mix(Neighbours())


PLUGINS: list[tuple[type[pb.Method], str]] = [
    (XCLIP, "frame-wise"),
    (TempMe, "frame-wise"),
    (TempMe, "joint"),
    (MaPLe, "frame-wise"),
    (MaPLe, "joint"),
    (OpenVCLIP, "frame-wise"),
]
each_plugin = pytest.mark.parametrize(("plugin", "layout"), PLUGINS, ids=[f"{p.__name__}-{w}" for p, w in PLUGINS])


def attached(plugin: type[pb.Method], layout: str) -> pb.DualEncoder:
    model = model_of(layout)
    torch.manual_seed(1)
    plugin().attach(model)
    return model


@each_plugin
def test_gradients_reach_every_parameter_and_only_those(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    model = attached(plugin, layout)
    model.encode_video(frames).square().sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained.keys() == model.adapter_state().keys()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(
            parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0
        )
        assert reached == (name in trained), name


@each_plugin
def test_adapters_off_is_the_frozen_model_to_the_bit(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    frozen = model_of(layout).encode_video(frames)
    model = attached(plugin, layout)
    assert not torch.allclose(model.encode_video(frames), frozen, atol=1e-3)
    with model.adapters_off():
        assert torch.equal(model.encode_video(frames), frozen)


@each_plugin
def test_readers_of_the_grid_see_class_token_and_patches(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    class Sees(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, Grid]] = []

        def forward(self, x: Tensor, grid: Grid) -> Tensor:
            self.seen.append((x.shape[1], grid))
            return x

    model, sees = attached(plugin, layout), Sees()
    first, *later = model.blocks("video")
    for block in [first] if plugin is TempMe else [first, *later]:
        block.feedforward.add_after(sees, with_grid=True)
    model.encode_video(frames)
    assert set(sees.seen) == {(OWN[layout], Grid(4, 4, 4, layout == "joint"))}
    if plugin is TempMe:
        later[0].feedforward.add_after(sees, with_grid=True)
        with pytest.raises(pb.UsageError, match=r"block 2 of .* reads the grid of patches, but block 1 has reduced"):
            model.encode_video(frames)


@each_plugin
def test_a_clip_is_encoded_the_same_alone(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    model = attached(plugin, layout)
    alone = torch.cat([model.encode_video(clip[None]) for clip in frames])
    assert_close(model.encode_video(frames), alone, rtol=1e-4, atol=1e-4)


@each_plugin
def test_state_goes_into_a_new_model(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    trained, other = attached(plugin, layout), attached(plugin, layout)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    other.load_adapter_state(trained.adapter_state())
    assert torch.equal(other.encode_video(frames), trained.encode_video(frames))


@each_plugin
def test_checkpointed_blocks_give_equal_gradients(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    model, found = attached(plugin, layout), []
    for checkpointed in (False, True):
        model.zero_grad()
        model.checkpoint_blocks = checkpointed
        model.encode_video(frames).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(kept, again) for kept, again in zip(*found, strict=True))


@each_plugin
def test_bfloat16_stays_near(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    model = attached(plugin, layout)
    expected = model.encode_video(frames)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.encode_video(frames)
        features.float().square().sum().backward()
    # not by value for TempMe: which patches are most alike hangs on the last bits
    tolerance = 0.5 if plugin is TempMe else 0.05
    assert (features.float() - expected).abs().max() < tolerance * expected.abs().max()


@each_plugin
@pytest.mark.slow
def test_compiled_blocks_agree(plugin: type[pb.Method], layout: str, frames: Tensor) -> None:
    model = attached(plugin, layout)
    expected = model.encode_video(frames)
    for block in model.video.blocks:
        block.compile(backend="eager")
    assert_close(model.encode_video(frames), expected)


def by_frame(model: pb.DualEncoder, x: Tensor) -> Tensor:
    """Features of frames, [B, T, D], of the last block's tokens."""
    return (model.video.norm_post(x[:, 0]) @ model.video.projection).unflatten(0, (-1, 4))


def test_x_clip_as_its_equations(frames: Tensor) -> None:
    model = attached(XCLIP, "frame-wise")
    messages = [block.attention.messages[0].module for block in model.blocks("video")]
    pool = model.features.pool.module
    with model.adapters_off():
        x, grid = model.video._enter(frames)
        for block, message in zip(model.blocks("video"), messages, strict=True):
            longer = torch.cat([x, message(x, grid)], 1)
            x = (longer + block.attention(longer, grid))[:, : x.shape[1]]
            x = x + block.feedforward(x, grid)
        features = by_frame(model, x)
    assert_close(model.encode_video(frames), pool(features, None), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", OWN)
def test_tempme_merges_pairs_and_counts_every_patch(layout: str, frames: Tensor) -> None:
    model, seen = attached(TempMe, layout), []
    for block in model.blocks("video"):
        block.reducer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], *output)))
    model.encode_video(frames)
    for number, (before, after, grid) in enumerate(seen, start=1):
        assert after.shape[1] == OWN[layout] - number * TempMe.pairs
        assert_close(grid.sizes.sum(1), torch.full((len(after),), float(OWN[layout])))
        if number == 1:  # the mean over patches is kept
            assert_close((after * grid.sizes[..., None]).sum(1), before.sum(1), rtol=1e-4, atol=1e-3)


def test_merging_equal_patches_changes_nothing() -> None:
    """Tokens that are equal may be merged without a difference, thanks to the bias by their sizes."""
    model, plain = attached(TempMe, "frame-wise"), model_of("frame-wise")
    with torch.no_grad():
        for each in (model, plain):
            each.video.positional_embedding.zero_()
    same = torch.randn(2, 4, 3, 1, 1).expand(-1, -1, -1, 32, 32)
    assert_close(model.encode_video(same), plain.encode_video(same), rtol=1e-3, atol=1e-3)
    assert_close(model.blocks("video")[0].attention.mixer.module.keys.shape[1], 17)


def test_neighbour_attention_sees_other_frames(frames: Tensor) -> None:
    model, plain = attached(OpenVCLIP, "frame-wise"), model_of("frame-wise")
    same = frames[:, :1].expand(-1, 4, -1, -1, -1)
    assert_close(model.encode_video(same), plain.encode_video(same), rtol=1e-4, atol=1e-4)
    changed = frames.clone()
    changed[:, 3] = 0
    before = model.video_output(frames, ["frames"]).frame_features
    after = model.video_output(changed, ["frames"]).frame_features
    assert before is not None and after is not None
    assert not torch.allclose(before[:, 2], after[:, 2], atol=1e-4)  # of the next frame, in three blocks of all frames
    first_block = model.blocks("video")[0].attention.mixer.module
    assert first_block._around(torch.arange(8.0).view(8, 1, 1, 1), 4).flatten(1).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 3],
        [4, 4, 5],
        [4, 5, 6],
        [5, 6, 7],
        [6, 7, 7],
    ]
