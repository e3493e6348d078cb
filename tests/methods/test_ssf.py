"""SSF: the equation at every place, its start, and the merge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.testing.method_subject import perturb

B16 = pb.ViCLIPConfig()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"towers": "video"}, 205_824),
        ({"towers": "video", "norm_pre": True}, 207_360),
        ({"towers": "text"}, 136_192),
        ({}, 205_824 + 136_192),
    ],
)
def test_count_on_b16(values: dict[str, object], count: int) -> None:
    method = pb.create_method("ssf", **values)
    with torch.device("meta"):
        model = pb.DualEncoder(B16)
        method.attach(model)
    assert pb.trainable_parameters(model) == method.expected_trainable(B16) == count


def test_a_block_is_the_authors_block(small: pb.DualEncoder) -> None:
    """As SSF's code writes it: qkv in one, and a scale and a shift behind every part."""
    pb.create_method("ssf").attach(small)
    perturb(small)
    block = small.blocks("video")[1]
    attention, feedforward, heads = block.attention, block.feedforward, block.attention.heads

    def ssf(site: nn.Module, y: Tensor) -> Tensor:
        own = site.after[0].module  # type: ignore[union-attr, index]
        return y * own.gamma + own.beta

    def norm(site: nn.LayerNorm, x: Tensor) -> Tensor:
        return ssf(site, F.layer_norm(x, x.shape[-1:], site.weight, site.bias))

    x = torch.randn(2, 17, 64, generator=torch.Generator().manual_seed(3))
    h = norm(attention.norm, x)
    q, k, v = (ssf(site, site.base(h)) for site in (attention.q, attention.k, attention.v))
    q, k, v = (y.reshape(2, 17, heads, -1).transpose(1, 2) for y in (q, k, v))
    mixed = ((q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5).softmax(-1) @ v
    y = x + ssf(attention.out, attention.out.base(mixed.transpose(1, 2).reshape(2, 17, -1)))
    h = ssf(feedforward.fc, feedforward.fc.base(norm(feedforward.norm, y)))
    expected = y + ssf(feedforward.proj, feedforward.proj.base(h * torch.sigmoid(1.702 * h)))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_it_starts_near_the_identity_but_not_at_it(small: pb.DualEncoder) -> None:
    torch.manual_seed(0)
    pb.create_method("ssf").attach(small)
    trained = {name: p.detach() for name, p in small.named_parameters() if p.requires_grad}
    gamma, beta = (torch.cat([p for name, p in trained.items() if name.endswith(end)]) for end in ("gamma", "beta"))
    for values, mean in ((gamma, 1.0), (beta, 0.0)):
        assert abs(values.mean().item() - mean) < 0.002
        assert abs(values.std().item() - 0.02) < 0.002


@pytest.mark.parametrize("values", [{}, {"norm_pre": True}, {"towers": "video"}, {"towers": "text"}])
@pytest.mark.parametrize("kind", [pb.ViCLIPConfig, pb.CLIPConfig])
def test_merged_equals_unmerged(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor, values: dict[str, object], kind: type[pb.ViCLIPConfig]
) -> None:
    model = pb.DualEncoder(kind(**vars(small.config))).double().eval()
    names = [name for name, _ in model.named_parameters()]
    check_merged(pb.create_method("ssf", **values), model, frames, tokens)
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("name", ["ssf+lora", "lora+ssf"])
def test_merged_with_a_part_that_replaces_linears(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor, name: str
) -> None:
    check_merged(pb.create_method(name), small.double(), frames, tokens)


def check_merged(method: pb.Method, model: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    """Features after `merge` are those before it, in fp64."""
    method.attach(model)
    perturb(model.double())
    with torch.no_grad():
        before = model.encode_video(frames.double()), model.encode_text(tokens)
        method.merge(model)
        after = model.encode_video(frames.double()), model.encode_text(tokens)
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)


def test_a_replacement_that_is_not_merged_is_refused(small: pb.DualEncoder) -> None:
    method = pb.create_method("ssf")
    method.attach(small)
    small.blocks("video")[0].attention.q.replace(nn.Linear(64, 64))
    with pytest.raises(pb.UsageError, match="its replacement must be merged before ssf"):
        method.merge(small)
