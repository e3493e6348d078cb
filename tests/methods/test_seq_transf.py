"""seqTransf against CLIP4Clip's formula, and which frames take part."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.methods._frames import FrameTransformer
from petl_bench.testing.method_subject import perturb


def frame_wise(small: pb.DualEncoder, **changes: int) -> pb.DualEncoder:
    torch.manual_seed(0)
    return pb.DualEncoder(pb.CLIPConfig(**{**asdict(small.config), **changes})).eval()


def head_of(model: pb.DualEncoder) -> FrameTransformer:
    assert model.features.pool is not None
    head = model.features.pool.module
    assert isinstance(head, FrameTransformer)
    return head


def by_hand(head: FrameTransformer, frames: Tensor, mask: Tensor) -> Tensor:
    """CLIP4Clip's seqTransf: -1e6 for padded keys, and the mean over real frames of normalised features."""
    x = frames + head.positions[: frames.shape[1]]
    hidden = (1.0 - mask.float())[:, None, None, :] * -1e6
    for block in head.blocks:
        attention, feedforward = block.attention, block.feedforward
        h = attention.norm(x)
        q, k, v = (
            part(h).unflatten(2, (attention.heads, -1)).transpose(1, 2)
            for part in (attention.q, attention.k, attention.v)
        )
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + hidden).softmax(-1)
        x = x + attention.out((weights @ v).transpose(1, 2).flatten(2))
        h = feedforward.fc(feedforward.norm(x))
        x = x + feedforward.proj(h * torch.sigmoid(1.702 * h))
    units = F.normalize(x + frames, dim=-1) * mask[..., None]
    return units.sum(1) / mask.sum(1, keepdim=True)


@torch.no_grad()
def test_head_is_the_formula_of_clip4clip(small: pb.DualEncoder) -> None:
    model = frame_wise(small)
    pb.create_method("seq_transf", start="random", layers=2).attach(model)
    perturb(model)
    head, features = head_of(model), torch.randn(3, 4, 32)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, False, False]])
    torch.testing.assert_close(head(features, mask), by_hand(head, features, mask), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(features, None), by_hand(head, features, torch.ones(3, 4)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_video_s_feature_is_the_head_of_its_frames_features(small: pb.DualEncoder, frames: Tensor) -> None:
    model = frame_wise(small)
    of_frames = torch.stack([model.encode_video(frames[:, t : t + 1]) for t in range(4)], dim=1)
    pb.create_method("seq_transf", start="random", layers=2).attach(model)
    expected = by_hand(head_of(model), of_frames, torch.ones(2, 4))
    torch.testing.assert_close(model.encode_video(frames), expected, atol=1e-5, rtol=1e-5)


def test_starts_from_the_text_tower(small: pb.DualEncoder) -> None:
    model = frame_wise(small, text_width=32, text_heads=2)
    pb.create_method("seq_transf", layers=2, positions=20).attach(model)
    head, text = head_of(model), model.text
    assert torch.equal(head.positions[:16], text.positional_embedding)
    assert head.positions[16:].any()
    for mine, theirs in zip(head.blocks, text.blocks, strict=False):
        assert mine.attention.heads == theirs.attention.heads
        state = mine.state_dict()
        assert all(torch.equal(state[name], value) for name, value in theirs.state_dict().items())
    assert not any(parameter.requires_grad for parameter in text.parameters())


def test_starts_from_the_loaded_text_tower_in_a_composition(small: pb.DualEncoder) -> None:
    """LoRA is attached to the blocks first."""
    model = frame_wise(small, text_width=32, text_heads=2)
    pb.create_method("lora+seq_transf", **{"seq_transf.layers": 2}).attach(model)
    first = model.blocks("text")[0].attention.q.base.weight
    assert torch.equal(head_of(model).blocks[0].attention.q.base.weight, first)


@pytest.mark.parametrize(
    ("values", "config", "message"),
    [
        ({}, {}, "seq_transf.start=text: the text tower is 48 wide, but features have 32 channels"),
        ({}, {"text_width": 32}, "seq_transf.layers=4: the text tower has 3 blocks"),
    ],
)
def test_what_it_cannot_start_from(
    small: pb.DualEncoder, values: dict[str, object], config: dict[str, int], message: str
) -> None:
    with pytest.raises(pb.UsageError, match=message):
        pb.create_method("seq_transf", **values).attach(frame_wise(small, **config))


def test_more_frames_than_positions(small: pb.DualEncoder, frames: Tensor) -> None:
    model = frame_wise(small)
    pb.create_method("seq_transf", start="random", positions=3).attach(model)
    with pytest.raises(pb.UsageError, match=r"4 frames per clip, .* set seq_transf.positions=4 or more"):
        model.encode_video(frames)


def test_viclip_is_refused(small: pb.DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match="ViCLIP has one feature per video"):
        pb.create_method("seq_transf", start="random").attach(small)
