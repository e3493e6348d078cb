"""ZeroI2V against its equation, written frame by frame and head by head; merging; frames that pad a clip."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.api.registry import BACKBONES, METHODS
from petl_bench.methods._zero_i2v import FramePositions, HeadShift
from petl_bench.models.grid import Grid
from petl_bench.models.transformer import Block, quick_gelu
from petl_bench.testing.method_subject import perturb

HEADS, WIDTH = 4, 64


@pytest.fixture
def clip(small: pb.DualEncoder) -> pb.DualEncoder:
    """The small model as a CLIP, which encodes frame by frame."""
    torch.manual_seed(0)
    return pb.DualEncoder(pb.CLIPConfig(**vars(small.config))).eval()


def attached(clip: pb.DualEncoder, name: str = "zero_i2v", **values: object) -> pb.Method:
    """The method on the model in double precision, with noise on all that trains."""
    method = pb.create_method(name, **values)
    method.attach(clip)
    perturb(clip.double())
    return method


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return x @ layer.weight.T + layer.bias


def adapted(x: Tensor, adapter: nn.Module, scale: float) -> Tensor:
    return x + scale * linear(linear(x, adapter.down), adapter.up)


def attended(block: Block, clip: list[Tensor], frame: int, offsets: tuple[int, ...]) -> Tensor:
    """The heads' outputs, side by side, for frame t of one clip; `clip`: what q, k and v read, [N, width] per frame."""
    attention, outputs = block.attention, []
    size = WIDTH // HEADS
    for head in range(HEADS):
        other = frame + (offsets[head] if head < len(offsets) else 0)
        other = other if 0 <= other < len(clip) else frame
        part = slice(head * size, (head + 1) * size)
        q = linear(clip[frame], attention.q.base)[:, part]
        k, v = (linear(clip[other], site.base)[:, part] for site in (attention.k, attention.v))
        outputs.append((q @ k.T / math.sqrt(size)).softmax(1) @ v)
    return torch.cat(outputs, 1)


def expected_features(model: pb.DualEncoder, frames: Tensor, offsets: tuple[int, ...], scale: float) -> Tensor:
    """One clip's features [D], frame by frame, of frames [T, 3, H, W]."""
    tower = model.video
    patches = F.conv2d(frames, tower.patch_weight, stride=16).flatten(2).transpose(1, 2)
    vectors = tower.embedding.after[0].module.vectors
    stream = []
    for frame, own in enumerate(patches):
        tokens = torch.cat([tower.class_embedding[None], own]) + tower.positional_embedding + vectors[frame]
        stream.append(F.layer_norm(tokens, [WIDTH], tower.norm_pre.weight, tower.norm_pre.bias))
    for block in model.blocks("video"):
        attention, feedforward = block.attention, block.feedforward
        before, behind = attention.norm.after[0].module, attention.out.after[0].module
        first, last = feedforward.fc.before[0].module, feedforward.proj.after[0].module
        read = [
            adapted(F.layer_norm(x, [WIDTH], attention.norm.weight, attention.norm.bias), before, scale) for x in stream
        ]
        stream = [
            x + adapted(linear(attended(block, read, frame, offsets), attention.out.base), behind, scale)
            for frame, x in enumerate(stream)
        ]
        for frame, x in enumerate(stream):
            normed = F.layer_norm(x, [WIDTH], feedforward.norm.weight, feedforward.norm.bias)
            hidden = quick_gelu(linear(adapted(normed, first, scale), feedforward.fc.base))
            stream[frame] = x + adapted(linear(hidden, feedforward.proj.base), last, scale)
    norm = tower.norm_post
    return torch.stack([F.layer_norm(x[0], [WIDTH], norm.weight, norm.bias) @ tower.projection for x in stream]).mean(0)


@pytest.mark.parametrize(("offsets", "count"), [((-1, 1), 4), ((-1, 1, -2, 2), 4), ((3,), 4), ((3, -3), 2)])
def test_features_are_those_of_the_equation(
    clip: pb.DualEncoder, frames: Tensor, offsets: tuple[int, ...], count: int
) -> None:
    attached(clip, offsets=offsets, scale=0.5)
    frames = frames[:, :count]
    with torch.no_grad():
        found = clip.encode_video(frames.double())
        expected = torch.stack([expected_features(clip, one.double(), offsets, 0.5) for one in frames])
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_the_adapters_start_as_the_identity(clip: pb.DualEncoder, frames: Tensor) -> None:
    pb.create_method("zero_i2v", offsets=(3,)).attach(clip)
    frames = frames[:, :3]  # no frame is three frames away: nothing is shifted
    with torch.no_grad():
        found = clip.encode_video(frames)
        with clip.adapters_off():
            assert torch.equal(found, clip.encode_video(frames))
    assert {tensor.std().item() for name, tensor in clip.named_parameters() if "up" in name.split(".")} == {0.0}
    down = torch.cat([tensor for name, tensor in clip.named_parameters() if name.endswith("down.weight")])
    assert down.std().item() == pytest.approx(0.02, abs=0.0005)


# Merging


def test_merged_equals_unmerged_and_the_shift_is_left(clip: pb.DualEncoder, frames: Tensor) -> None:
    names = [name for name, _ in clip.named_parameters()]
    method = attached(clip, scale=0.5)
    with torch.no_grad():
        before = clip.encode_video(frames.double())
        method.merge(clip)
        after = clip.encode_video(frames.double())
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)
    assert [name for name, _ in clip.named_parameters()] == names
    left = {type(module).__name__ for module in clip.video.modules() if type(module).__module__.endswith("_zero_i2v")}
    assert left == {"HeadShift", "FramePositions"}


@pytest.mark.parametrize(
    "name",
    [
        "zero_i2v+lora",
        "lora+zero_i2v",
        "zero_i2v+dora",
        "ssf+zero_i2v",
        "ia3+zero_i2v",
        "zero_i2v+ia3",
        "ssf+ia3+zero_i2v",
    ],
)
def test_merged_beside_other_parts(clip: pb.DualEncoder, frames: Tensor, name: str) -> None:
    """Replaced linears are merged first; behind a linear or norm, the module of the part named first."""
    method = attached(clip, name)
    with torch.no_grad():
        before = clip.encode_video(frames.double())
        method.merge(clip)
        torch.testing.assert_close(clip.encode_video(frames.double()), before, atol=1e-9, rtol=1e-9)


def test_what_cannot_be_folded_is_told(clip: pb.DualEncoder) -> None:
    """A scale between the adapter behind a norm and the linears that it folds into."""
    method = attached(clip, "zero_i2v+ssf")
    says = "ScaleShift, of another method, stands between it and q, k and v: in the composition name that method before"
    with pytest.raises(pb.UsageError, match=says):
        method.merge(clip)


# Frames


def test_a_padded_clip_is_the_short_clip(clip: pb.DualEncoder, frames: Tensor) -> None:
    """Whatever stands in the frames that pad it; vectors of frames and offsets of two frames included."""
    attached(clip, offsets=(-1, 1, -2, 2))
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    with torch.no_grad():
        padded = clip.encode_video(frames.double(), mask)
        alone = [clip.encode_video(one[None, real].double()) for one, real in zip(frames, mask, strict=True)]
    torch.testing.assert_close(padded, torch.cat(alone), atol=1e-10, rtol=1e-10)


def test_a_head_reads_its_own_frame_where_the_other_one_is_not_real() -> None:
    frames = torch.arange(4.0)
    x = frames[:, None, None, None].expand(4, 3, 2, 1)  # the number of its frame, for 3 heads and 2 tokens
    grid = Grid(4, 1, 1, joint=False)
    mask = torch.tensor([[True, True, True, False]])
    _, k, v, bias = HeadShift((-1, 1))(x, x, x, grid)
    _, masked, _, _ = HeadShift((-1, 1))(x, x, x, Grid(4, 1, 1, joint=False, mask=mask))
    assert torch.equal(k, v) and bias is None
    assert [k[:, head, 0, 0].tolist() for head in range(3)] == [[0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 2, 3]]
    assert masked[:3, 1, 0, 0].tolist() == [1, 2, 2]


def test_more_frames_than_vectors_take_them_interpolated() -> None:
    positions = FramePositions(2, 1)
    nn.init.constant_(positions.vectors, 3.0)
    with torch.no_grad():
        positions.vectors[0] = 1.0
    found = [positions(torch.zeros(2 * count, 5, 1), Grid(count, 2, 2, joint=False)) for count in (1, 2, 4)]
    assert [each[: len(each) // 2, 0, 0].tolist() for each in found] == [[1], [1, 3], [1, 1.5, 2.5, 3]]
    assert all(torch.equal(each[: len(each) // 2], each[len(each) // 2 :]) for each in found)


# Bad input


def test_a_backbone_with_joint_attention_is_refused(small: pb.DualEncoder) -> None:
    plugin = METHODS.get("zero_i2v")
    assert "attends to all frames of a clip at once" in plugin.hosted_by(BACKBONES.get("viclip-tiny"))
    assert plugin.hosted_by(BACKBONES.get("clip-tiny")) == ""
    with pytest.raises(pb.UsageError, match="--backbone clip-tiny"):
        plugin().attach(small)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"offsets": ()}, "expected at least one number, and none of them 0"),
        ({"offsets": (1, 0)}, "zero_i2v.offsets=1,0: expected at least one number, and none of them 0"),
        ({"offsets": (1, 2, 3, 4, 5)}, "has 5 numbers, .* but the video tower has 4 heads"),
        ({"offsets": (-1, 4)}, "zero_i2v.offsets=-1,4: no frame of a clip of 4 has one 4 frames away; .* from -3 to 3"),
        ({"ratio": 0.01}, "zero_i2v.ratio=0.01 leaves no channel of 64: expected at least 0.015625"),
    ],
)
def test_bad_values_are_told_in_one_line(clip: pb.DualEncoder, values: dict[str, object], says: str) -> None:
    with pytest.raises(pb.UsageError, match=says):
        pb.create_method("zero_i2v", **values).attach(clip)
    with pytest.raises(pb.UsageError, match=says):  # told when it is planned, too
        pb.create_method("zero_i2v", **values).expected_trainable(clip.config)
