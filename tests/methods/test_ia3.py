"""(IA)^3: the equation, Hugging Face PEFT's forward pass on equal weights, and the merge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.testing.method_subject import perturb


@torch.no_grad()
def test_a_block_is_its_equation(small: pb.DualEncoder) -> None:
    block = adapted(small, "ia3").blocks("video")[1]
    attention, feedforward, heads = block.attention, block.feedforward, block.attention.heads
    l_k, l_v = (site.after[0].module.scale for site in (attention.k, attention.v))
    l_ff = feedforward.proj.before[0].module.scale
    x = torch.randn(2, 17, 64, generator=torch.Generator().manual_seed(3))
    h = attention.norm(x)
    q, k, v = attention.q.base(h), l_k * attention.k.base(h), l_v * attention.v.base(h)
    q, k, v = (y.reshape(2, 17, heads, -1).transpose(1, 2) for y in (q, k, v))
    mixed = ((q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5).softmax(-1) @ v
    y = x + attention.out.base(mixed.transpose(1, 2).reshape(2, 17, -1))
    h = feedforward.fc.base(feedforward.norm(y))
    expected = y + feedforward.proj.base(l_ff * (h * torch.sigmoid(1.702 * h)))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


class PlainBlock(nn.Module):
    """A block with plain linears, as PEFT finds them; [B, N, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.attention_norm(x)
        q, k, v = (site(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for site in (self.q, self.k, self.v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = self.fc(self.feedforward_norm(x))
        output: Tensor = x + self.proj(h * torch.sigmoid(1.702 * h))
        return output


@torch.no_grad()
def test_a_block_is_that_of_peft(small: pb.DualEncoder) -> None:
    peft = pytest.importorskip("peft")
    block = adapted(small, "ia3").blocks("video")[1]
    plain = PlainBlock(block.width, block.attention.heads)
    plain.attention_norm.load_state_dict(block.attention.norm.state_dict())
    plain.feedforward_norm.load_state_dict(block.feedforward.norm.state_dict())
    for name, site in linears(block):
        getattr(plain, name).load_state_dict(site.base.state_dict())
    config = peft.IA3Config(target_modules=["k", "v", "proj"], feedforward_modules=["proj"])
    theirs = peft.get_peft_model(plain, config)
    scales = {
        "k": block.attention.k.after[0].module.scale,
        "v": block.attention.v.after[0].module.scale,
        "proj": block.feedforward.proj.before[0].module.scale,
    }
    for name, scale in scales.items():
        vector = getattr(plain, name).ia3_l["default"]
        assert torch.equal(vector, torch.ones_like(vector)), "it starts as ours"
        vector.copy_(scale.view_as(vector))
    trained = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert trained == 6 * block.width
    x = torch.randn(2, 17, 64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(block(x), theirs(x), atol=1e-6, rtol=1e-6)


def linears(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name in ("q", "k", "v", "out"):
        yield name, getattr(block.attention, name)
    for name in ("fc", "proj"):
        yield name, getattr(block.feedforward, name)


@pytest.mark.parametrize("towers", ["both", "video", "text"])
@pytest.mark.parametrize("kind", [pb.ViCLIPConfig, pb.CLIPConfig])
@torch.no_grad()
def test_merged_equals_unmerged(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor, towers: pb.Towers, kind: type[pb.ViCLIPConfig]
) -> None:
    model = pb.DualEncoder(kind(**vars(small.config))).eval()
    names = [name for name, _ in model.named_parameters()]
    check_merged(pb.create_method("ia3", towers=towers), model, frames, tokens)
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize("name", ["ia3+lora", "lora+ia3", "dora+ia3", "vera+ia3", "ssf+ia3", "ia3+ssf", "lora+ssf+ia3"])
def test_merged_beside_other_parts_in_any_order(
    small: pb.DualEncoder, frames: Tensor, tokens: Tensor, name: str
) -> None:
    """A replaced linear is merged before scales around it; of several modules behind a linear, the first one first."""
    names = [name for name, _ in small.named_parameters()]
    check_merged(pb.create_method(name), small, frames, tokens)
    assert [name for name, _ in small.named_parameters()] == names


@torch.no_grad()
def check_merged(method: pb.Method, model: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    """Features after `merge` are those before it, in fp64."""
    method.attach(model)
    perturb(model.double())
    before = model.encode_video(frames.double()), model.encode_text(tokens)
    method.merge(model)
    after = model.encode_video(frames.double()), model.encode_text(tokens)
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)


def test_what_cannot_be_folded_is_refused(small: pb.DualEncoder) -> None:
    method = pb.create_method("ia3")
    method.attach(small)
    keys, proj = small.blocks("video")[0].attention.k, small.blocks("video")[0].feedforward.proj
    replacement = nn.Linear(64, 64)
    keys.replace(replacement)
    with pytest.raises(pb.UsageError, match="its replacement must be merged before ia3"):
        method.merge(small)
    keys.restore()
    proj.first(nn.Identity())
    with pytest.raises(pb.UsageError, match="Identity, of another method, stands between it and the weights: leave"):
        method.merge(small)
    with pytest.raises(pb.UsageError, match="nothing of ia3 is there to be merged"):
        method.merge(small)


def adapted(model: pb.DualEncoder, name: str) -> pb.DualEncoder:
    pb.create_method(name).attach(model)
    perturb(model)
    return model
