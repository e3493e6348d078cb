"""Side4Video: the side network against torch's own batch norms, convolutions and attention; what padding may change."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.costs import counting, formula
from petl_bench.costs.memory import peak_bytes
from petl_bench.methods._side_network import SideBlock, SideNetwork, TokenBatchNorm, shifted
from petl_bench.models.grid import Grid
from petl_bench.testing.method_subject import perturb

B16 = pb.CLIPConfig()
VALUES = {"width": 40, "heads": 5}


@pytest.fixture
def clip(small: pb.DualEncoder) -> pb.DualEncoder:
    """A random CLIP of 3 x 3 patches, with a side network that was moved from its start."""
    torch.manual_seed(0)
    model = pb.DualEncoder(pb.CLIPConfig(**{**asdict(small.config), "image_size": 48})).eval()
    pb.create_method("side4video", **VALUES).attach(model)
    perturb(model)
    return model


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(2, 4, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("values", "count"), [({}, 21_302_912), ({"width": 128, "heads": 2}, 4_403_456)])
def test_count_on_b16(values: dict[str, int], count: int) -> None:
    method = pb.create_method("side4video", **values)
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(B16) == count


# Against the equations


def norm(tokens: TokenBatchNorm, training: bool) -> nn.BatchNorm3d:
    volume = nn.BatchNorm3d(tokens.num_features).train(training)
    volume.load_state_dict(tokens.state_dict())
    return volume


def mixed(block: SideBlock, x: Tensor) -> Tensor:
    """The three convolutions of a volume [B, w, T, h, w']."""
    x = F.conv3d(x, block.enter.weight[..., None, None, None], block.enter.bias)
    x = F.conv3d(
        x, block.over_time.weight[:, None, :, None, None], block.over_time.bias, padding=(1, 0, 0), groups=x.shape[1]
    )
    return F.conv3d(x, block.leave.weight[..., None, None, None], block.leave.bias)


def attention(block: SideBlock) -> nn.MultiheadAttention:
    mine = block.attention
    made = nn.MultiheadAttention(mine.q.base.in_features, mine.heads, batch_first=True)
    with torch.no_grad():
        for name in ("weight", "bias"):
            of_qkv = torch.cat([getattr(site.base, name) for site in (mine.q, mine.k, mine.v)])
            getattr(made, f"in_proj_{name}").copy_(of_qkv)
            getattr(made.out_proj, name).copy_(getattr(mine.out.base, name))
    return made


def tokens_of(volume: Tensor) -> Tensor:
    """[B, w, T, h, w'] -> [B T, P, w]."""
    return volume.flatten(3).permute(0, 2, 3, 1).flatten(0, 1)


def volume_of(tokens: Tensor, like: Tensor) -> Tensor:
    b, w, t, height, width = like.shape
    return tokens.reshape(b, t, height, width, w).permute(0, 4, 1, 2, 3)


def features_by_volumes(side: SideNetwork, model: pb.DualEncoder, frames: Tensor, outputs: list[Tensor]) -> Tensor:
    """Features [B, D] by the equations, with torch's own layers on volumes."""
    training, count = side.training, frames.shape[1]
    stem = F.conv3d(frames.transpose(1, 2), side.stem.weight, side.stem.bias, (1, 16, 16), (1, 0, 0))
    x = norm(side.stem_norm, training)(stem)
    for block, before, down, y in zip(side.blocks, side.norms, side.down, outputs, strict=True):
        z = down(before(y))
        x = (x + volume_of(z[:, 1:], x)) / 2
        x = x + mixed(block, norm(block.conv_norm, training)(x))
        c = z[:, 0].unflatten(0, (-1, count))
        shift = torch.zeros_like(c)
        shift[:, :-1, :20], shift[:, 1:, 20:] = c[:, 1:, :20], c[:, :-1, 20:]
        keys = torch.cat([shift.flatten(0, 1)[:, None], tokens_of(x)], 1) + side.positions
        keys = block.attention.norm(keys)
        x = x + volume_of(attention(block)(keys[:, 1:], keys, keys)[0], x)
        x = x + volume_of(block.mlp(tokens_of(norm(block.mlp_norm, training)(x))), x)
    mean = norm(side.norm_post, training)(x).mean((3, 4)).transpose(1, 2)
    head = outputs[-1][:, 0].unflatten(0, (-1, count)) + side.up(mean)
    return (model.video.norm_post(head) @ model.video.projection).mean(1)


@pytest.mark.parametrize("training", [False, True])
def test_features_are_those_of_the_equations(clip: pb.DualEncoder, frames: Tensor, training: bool) -> None:
    side, outputs = clip.video.side.module, []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in clip.blocks("video")]
    with torch.no_grad():
        clip.train()
        for _ in range(2):
            clip.encode_video(frames + 1)  # running statistics that are not those of the start
        outputs.clear()
        clip.train(training)
        expected_of = {name: value.clone() for name, value in side.state_dict().items()}
        found = clip.encode_video(frames)
        side.load_state_dict(expected_of)
        expected = features_by_volumes(side, clip, frames, outputs)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_start() -> None:
    torch.manual_seed(0)
    model = pb.DualEncoder(B16.with_(vision_layers=1, text_layers=1, vocab_size=8))
    pb.create_method("side4video").attach(model)
    side = model.video.side.module
    (block,) = side.blocks
    assert not side.up.weight.any()
    for weight, std in [
        (side.positions, 0.01),
        (block.enter.weight, 0.02),
        (block.leave.weight, 0.02),
        (block.over_time.weight, 320**-0.5),
        (block.attention.q.base.weight, 320**-0.5),
        (block.mlp[0].weight, 640**-0.5),
    ]:
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    for norm_of in (side.stem_norm, block.conv_norm, block.mlp_norm, side.norm_post):
        assert bool((norm_of.weight == 1).all()) and not norm_of.bias.any()


def test_shifted_class_tokens() -> None:
    cls = torch.arange(1.0, 5.0).reshape(4, 1, 1).expand(4, 1, 5)
    found = shifted(cls, Grid(2, 1, 1, joint=False))
    assert found[:, 0].tolist() == [[2, 2, 0, 0, 0], [0, 0, 1, 1, 1], [4, 4, 0, 0, 0], [0, 0, 3, 3, 3]]


# Frames that pad a clip


@pytest.mark.parametrize("training", [False, True])
def test_a_padded_clip_has_the_feature_that_it_has_without_padding(
    clip: pb.DualEncoder, frames: Tensor, training: bool
) -> None:
    """In training both have the statistics of the real frames alone."""
    mask = torch.tensor([[True, True, True, False]]).expand(2, 4)
    clip.train(training)
    side = clip.video.side.module
    before = {name: value.clone() for name, value in side.state_dict().items()}
    with torch.no_grad():
        padded = clip.video(frames, mask=mask).features
        after = {name: value.clone() for name, value in side.state_dict().items()}
        side.load_state_dict(before)
        short = clip.video(frames[:, :3]).features
    torch.testing.assert_close(padded, short, atol=1e-5, rtol=1e-5)
    for name, value in side.state_dict().items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=1e-5)


def test_in_training_what_pads_a_clip_changes_no_gradient(clip: pb.DualEncoder, frames: Tensor) -> None:
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 2:] = False
    clip.train()
    found = []
    for filled in (frames, torch.where(mask[:, :, None, None, None], frames, 7)):
        clip.zero_grad()
        torch.autograd.backward(clip.video(filled, mask=mask).features.square().sum())
        found.append([p.grad.clone() for p in clip.parameters() if p.grad is not None])
    assert found[0] and all(torch.equal(one, other) for one, other in zip(*found, strict=True))


# The backbone


def test_no_gradient_reaches_the_tower(clip: pb.DualEncoder, frames: Tensor) -> None:
    kept: list[bool] = []
    clip.blocks("video")[0].register_forward_hook(lambda module, inputs, output: kept.append(output.requires_grad))
    clip.train()
    torch.autograd.backward(clip.encode_video(frames).square().sum())
    assert kept == [False]
    trained = {name for name, parameter in clip.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in clip.named_parameters() if name.startswith("video.side.")}


def test_running_statistics_are_part_of_the_adapter(clip: pb.DualEncoder) -> None:
    saved = [name.rpartition(".")[2] for name in clip.adapter_state()]
    norms = 2 + 2 * 3
    assert [saved.count(name) for name in ("running_mean", "running_var", "num_batches_tracked")] == [norms] * 3


def test_a_training_step_takes_a_fraction_of_the_memory() -> None:
    config = pb.CLIPConfig(image_size=64, patch_size=8, num_frames=4, vision_width=192, vision_layers=6)
    config = config.with_(vision_heads=3, text_layers=1, vocab_size=64, text_width=64, text_heads=2, embed_dim=64)
    frames = torch.randn(2, 4, 3, 64, 64)

    def peak(name: str, **values: object) -> int:
        torch.manual_seed(0)
        model = pb.DualEncoder(config)
        pb.create_method(name, **values).attach(model)
        model.train()
        return peak_bytes(torch.device("cpu"), partial(backward, model))

    def backward(model: pb.DualEncoder) -> None:
        torch.autograd.backward(model.encode_video(frames).square().sum())

    assert peak("side4video", width=48, heads=3) < 0.65 * peak("lora", towers="video")


def test_what_it_computes_is_counted() -> None:
    wide, w, patches, layers, frames = 64, 40, 4, 2, 4
    config = pb.CLIPConfig(image_size=32, num_frames=frames, embed_dim=32, vision_width=wide, vision_layers=layers)
    config = config.with_(vision_heads=4, text_width=48, text_layers=1, text_heads=4, vocab_size=64)
    with torch.device("meta"):
        model = pb.DualEncoder(config)
        pb.create_method("side4video", **VALUES).attach(model)
    tokens = 1 + patches
    convolutions, mlp = patches * (2 * w * w + 3 * w), patches * 8 * w * w
    attention = tokens * 4 * w * w + 2 * tokens * tokens * w
    block = tokens * wide * w + convolutions + attention + mlp
    added = frames * (patches * 9 * 16 * 16 * w + layers * block + w * wide)
    assert counting.count_video(model).macs == formula.video_macs(config) + added


# Where it cannot be


def test_viclip_has_no_class_tokens_of_frames(small: pb.DualEncoder) -> None:
    method = METHODS.get("side4video")
    assert [name for name in BACKBONES.names() if not method.hosted_by(BACKBONES.get(name))] == [
        "clip-b16",
        "clip-tiny",
    ]
    assert "one class token for all frames" in method.hosted_by(BACKBONES.get("viclip-tiny"))
    with pytest.raises(
        pb.UsageError, match=r"side4video shifts the class tokens of frames, but ViCLIP has .* clip-tiny"
    ):
        method().attach(small)
    composed = METHODS.get("text_adapter+side4video")
    assert composed.hosted_by(BACKBONES.get("viclip-tiny")).startswith("side4video: it shifts the class tokens")
    assert composed.hosted_by(BACKBONES.get("clip-tiny")) == ""


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(pb.UsageError, match=r"side4video\.heads=5: must divide side4video\.width=64"):
        pb.create_method("side4video", width=64)
