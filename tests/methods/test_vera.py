"""VeRA against PEFT's module; its projections come from the seed alone, and are in no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.methods._vera import Projections, VeRALinear
from petl_bench.testing.method_subject import perturb


class One(nn.Module):
    """A model of one linear, for PEFT."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(32, 48)

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x)


def test_output_and_gradients_are_those_of_peft() -> None:
    """PEFT draws A and B from its own seed: they agree to the bit if there is one shape."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = One()
    ours = VeRALinear(nn.Linear(32, 48), Projections(16, 32, 48, seed=7), 0.1, 0.0)
    ours.weight, ours.bias = base.q.weight, base.q.bias
    config = peft.VeraConfig(r=16, target_modules=["q"], projection_prng_key=7, d_initial=0.1)
    theirs = peft.get_peft_model(base, config).base_model.model.q
    assert torch.equal(ours.projections.A, theirs.vera_A["default"])
    assert torch.equal(ours.projections.B, theirs.vera_B["default"])
    assert torch.equal(ours.vera_d, theirs.vera_lambda_d["default"])
    assert torch.equal(ours.vera_b, theirs.vera_lambda_b["default"])
    with torch.no_grad():
        for own, other in ((ours.vera_d, theirs.vera_lambda_d), (ours.vera_b, theirs.vera_lambda_b)):
            own.normal_()
            other["default"].copy_(own)
    x, weights = torch.randn(5, 7, 32), torch.randn(5, 7, 48)
    wanted, got = x.clone().requires_grad_(), x.clone().requires_grad_()
    for layer, inputs in ((theirs, wanted), (ours, got)):
        (layer(inputs) * weights).sum().backward()
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    for mine, other in (
        (got.grad, wanted.grad),
        (ours.vera_d.grad, theirs.vera_lambda_d["default"].grad),
        (ours.vera_b.grad, theirs.vera_lambda_b["default"].grad),
    ):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-5)


def test_projections_depend_on_their_seed_alone(small: pb.DualEncoder) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Projections(4, 6, 5, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with torch.device("meta"):
        again = Projections(4, 6, 5, seed=0)
    assert torch.equal(first.A, again.A) and torch.equal(first.B, again.B)
    assert not torch.equal(first.A, Projections(4, 6, 5, seed=1).A)
    assert first.A.abs().max() <= 1 and first.B.abs().max() <= (6 / 4) ** 0.5


def test_numbers_that_files_of_adapters_rely_on() -> None:
    """Drawn again in another version of torch, A and B must be these."""
    projections = Projections(256, 768, 768, seed=0)
    expected_a = torch.tensor([-0.01637469, 0.03295189, -0.04970779])
    expected_b = torch.tensor([0.018705, -0.0203073, -0.109524])
    torch.testing.assert_close(projections.A[-1, -3:], expected_a, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(projections.B[-1, -3:], expected_b, atol=1e-7, rtol=1e-6)


def test_one_pair_serves_all_linears_of_a_shape_over_both_towers_and_stays_one() -> None:
    model = pb.DualEncoder(pb.ViCLIPConfig(vision_width=64, vision_heads=4, vision_layers=2, text_width=64,
                                           text_heads=4, text_layers=2, image_size=32, embed_dim=32))  # fmt: skip
    pb.create_method("vera", rank=8, targets=("q", "fc")).attach(model)
    pairs = [(block.attention.q.replacement, block.feedforward.fc.replacement) for block in model.blocks()]
    assert len({id(layer.projections) for pair in pairs for layer in pair}) == 2
    model.to(torch.float64)
    pointers = {layer.projections.A.data_ptr() for pair in pairs for layer in pair}
    assert len(pointers) == 2 and pairs[0][0].projections.A.dtype == torch.float64


def test_the_adapter_holds_d_and_b_alone(small: pb.DualEncoder, tmp_path: Path) -> None:
    method = pb.create_method("vera", rank=8)
    method.attach(small)
    state = small.adapter_state()
    assert all(name.endswith(("vera_d", "vera_b")) for name in state)
    assert sum(tensor.numel() for tensor in state.values()) == method.expected_trainable(small.config)


def test_every_linear_can_be_a_target_and_is_merged(small: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    method = pb.create_method("vera", rank=16, targets=("q", "k", "v", "out", "fc", "proj"))
    method.attach(small)
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config)
    perturb(small)
    with torch.no_grad():
        unmerged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
        method.merge(small)
        merged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"targets": ()}, r"vera\.targets"), ({"projection_seed": -1}, r"vera\.projection_seed"), ({"rank": 0}, r"rank")],
)
def test_bad_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(pb.UsageError, match=message):
        pb.create_method("vera", **values)
