"""LoRA against loralib's numbers, and without loralib's rewriting of weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import petl_bench as pb
from petl_bench.api.training_options import TrainingOptions
from petl_bench.models.sites import AdapterSwitch, LinearSite
from petl_bench.testing.method_subject import perturb
from petl_bench.training.step import make_optimizer

Golden = Callable[[str], dict[str, Tensor]]


class OneLinear(torch.nn.Module):
    """A stand-in for a model: one block with one linear."""

    def __init__(self, site: LinearSite) -> None:
        super().__init__()
        self.attention = torch.nn.Module()
        self.attention.q = site

    def begin_attach(self, method: pb.Method) -> None:
        self.requires_grad_(False)

    def blocks(self, towers: str) -> list[OneLinear]:
        return [self]


def test_output_unmerged_and_merged(golden: Golden) -> None:
    numbers = golden("loralib_linear")
    site = LinearSite(32, 48, AdapterSwitch())
    site.base.load_state_dict({"weight": numbers["linear.weight"], "bias": numbers["linear.bias"]})
    model = OneLinear(site).eval()
    method = pb.create_method("lora", rank=4, alpha=8.0, targets=("q",))
    method.attach(model)  # type: ignore[arg-type]
    with torch.no_grad():
        site.replacement.lora_A.copy_(numbers["linear.lora_A"])
        site.replacement.lora_B.copy_(numbers["linear.lora_B"])
    torch.testing.assert_close(site(numbers["linear.in"]), numbers["linear.out_unmerged"], atol=2e-5, rtol=1e-4)
    method.merge(model)  # type: ignore[arg-type]
    torch.testing.assert_close(site.base.weight, numbers["linear.weight_merged"], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(site(numbers["linear.in"]), numbers["linear.out_merged"], atol=2e-5, rtol=1e-4)


def test_frozen_weights_are_shared_and_never_rewritten(small: pb.DualEncoder, frames: Tensor) -> None:
    before = small.published_state_dict()
    pb.create_method("lora").attach(small)
    perturb(small)
    site = small.blocks("video")[0].attention.q
    assert site.replacement.weight is site.base.weight
    with torch.no_grad():
        expected = small.encode_video(frames)
        for _ in range(3):
            small.train()
            small.eval()
        assert torch.equal(small.encode_video(frames), expected)
    after = small.published_state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("mode", [True, False])
def test_saved_state_is_the_same_in_both_modes(small: pb.DualEncoder, mode: bool) -> None:
    pb.create_method("lora").attach(small)
    state = small.train(mode).adapter_state()
    assert len(state) == 2 * 2 * 6
    assert all(name.endswith(("lora_A", "lora_B")) for name in state)


def test_every_linear_can_be_a_target(small: pb.DualEncoder, frames: Tensor, tokens: Tensor) -> None:
    method = pb.create_method("lora", rank=3, targets=("q", "k", "v", "out", "fc", "proj"))
    method.attach(small)
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config)
    perturb(small)
    with torch.no_grad():
        unmerged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
        method.merge(small)
        merged = torch.cat([small.encode_video(frames), small.encode_text(tokens)])
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-4)
    assert all(block.feedforward.fc.replacement is None for block in small.blocks())


@pytest.mark.parametrize("targets", [(), ("q", "q"), ("query",)])
def test_wrong_targets_are_refused(targets: tuple[str, ...]) -> None:
    with pytest.raises(pb.UsageError, match=r"lora\.targets"):
        pb.create_method("lora", targets=targets)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8.0 / 9), (True, 8.0 / 3)])
def test_scale_of_the_update(small: pb.DualEncoder, frames: Tensor, rslora: bool, scale: float) -> None:
    method = pb.create_method("lora", rank=9, alpha=8.0, rslora=rslora)
    method.attach(small)
    perturb(small)
    site, x = small.blocks("text")[0].attention.v, torch.randn(3, 48)
    layer = site.replacement
    with torch.no_grad():
        torch.testing.assert_close(site(x), site.base(x) + scale * (x @ layer.lora_A.T @ layer.lora_B.T))
        before = small.encode_video(frames)
        method.merge(small)
        torch.testing.assert_close(small.encode_video(frames), before, atol=1e-5, rtol=1e-4)


def test_plus_is_the_ratio_of_the_rates(small: pb.DualEncoder) -> None:
    method = pb.create_method("lora", plus=16.0)
    method.attach(small)
    names = {id(parameter): name for name, parameter in small.named_parameters()}
    factors = {
        names[id(parameter)].rpartition(".")[2]: group["rate_factor"]
        for group in make_optimizer(small, TrainingOptions(), method).param_groups
        for parameter in group["params"]
    }
    assert factors == {"lora_A": 1.0, "lora_B": 16.0}


def test_plain_lora_has_no_groups_and_its_old_key(small: pb.DualEncoder) -> None:
    method = pb.create_method("lora")
    method.attach(small)
    (group,) = make_optimizer(small, TrainingOptions(), method).param_groups
    assert "rate_factor" not in group
    assert method.values().keys() == {"rank", "alpha", "dropout", "targets", "towers"}
    assert pb.create_method("lora", plus=4.0, rslora=True).values().keys() > {"plus", "rslora"}


def test_a_ratio_below_one_is_refused() -> None:
    with pytest.raises(pb.UsageError, match=r"lora\.plus"):
        pb.create_method("lora", plus=0.5)
