"""AdaptFormer against the public implementation's numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import petl_bench as pb
from petl_bench.models import transformer
from petl_bench.models.sites import AdapterSwitch

Golden = Callable[[str], dict[str, Tensor]]
BLOCK_NAMES = {
    "attention.norm": "norm1",
    "attention.q.base": "attn.q_proj",
    "attention.k.base": "attn.k_proj",
    "attention.v.base": "attn.v_proj",
    "attention.out.base": "attn.proj",
    "feedforward.norm": "norm2",
    "feedforward.fc.base": "fc1",
    "feedforward.proj.base": "fc2",
}


def adapter_with(tensors: dict[str, Tensor], prefix: str) -> pb.Bottleneck:
    adapter = pb.Bottleneck(64, 16).eval()
    names = {f"{part}.{kind}": f"{prefix}{part}_proj.{kind}" for part in ("down", "up") for kind in ("weight", "bias")}
    adapter.load_state_dict({mine: tensors[theirs] for mine, theirs in names.items()})
    return adapter


def test_bottleneck_output_and_gradients(golden: Golden) -> None:
    numbers = golden("adaptformer_adapter")
    adapter, x = adapter_with(numbers, "none.sd."), numbers["none.in.x"].requires_grad_()
    output = 0.1 * adapter(x)
    torch.testing.assert_close(output, numbers["none.out.no_residual"], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(x + output, numbers["none.out.residual"], atol=2e-5, rtol=1e-4)


def test_block_with_the_adapter_beside_its_feed_forward(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden's block is ViT's, with GELU; everything else is as in ViCLIP."""
    monkeypatch.setattr(transformer, "quick_gelu", F.gelu)
    numbers = golden("adaptformer_block")
    block = transformer.Block("video", 1, 64, 4, AdapterSwitch()).eval()
    names = {f"{m}.{kind}": f"sd.{t}.{kind}" for m, t in BLOCK_NAMES.items() for kind in ("weight", "bias")}
    block.load_state_dict({mine: numbers[theirs] for mine, theirs in names.items()})
    block.feedforward.add_parallel(adapter_with(numbers, "sd.adaptmlp."), scale=0.1)
    torch.testing.assert_close(block(numbers["in.x"]), numbers["out.parallel"], atol=2e-5, rtol=1e-4)


def test_attaches_beside_the_feed_forward_of_the_chosen_tower(small: pb.DualEncoder) -> None:
    pb.create_method("adaptformer", towers="text", scale=0.3).attach(small)
    assert [len(block.feedforward.parallel or ()) for block in small.blocks()] == [0, 0, 0, 1, 1, 1]
    attachment = small.blocks("text")[0].feedforward.parallel[0]
    assert (attachment.scale, attachment.normed, attachment.module.dropout.p) == (0.3, False, 0.1)
    assert attachment.module.up.weight.count_nonzero() == 0
    assert attachment.module.down.weight.abs().max() <= 48**-0.5  # Kaiming uniform with a = sqrt 5: 1 / sqrt(fan in)
