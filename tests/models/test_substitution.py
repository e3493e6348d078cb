"""Computing with other weights in the place of a model's own, and computing again on the way back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

import petl_bench as pb
from petl_bench.models.dual_encoder import DualEncoder

NAMES = ("text.blocks.0.attention.q.base.weight", "text.blocks.2.feedforward.norm.bias", "text.projection")


def mixed(model: DualEncoder, share: Tensor) -> dict[str, Tensor]:
    """Weights that depend on one number: share * (as they are) + (1 - share) * (twice that)."""
    own = {name: model.get_parameter(name).detach() for name in NAMES}
    return {name: share * tensor + (1 - share) * 2 * tensor for name, tensor in own.items()}


def expected(model: DualEncoder, tokens: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Features with mixed weights, and the gradient in the share."""
    at = torch.tensor(share, requires_grad=True)
    features = functional_call(model.text, {n.removeprefix("text."): w for n, w in mixed(model, at).items()}, (tokens,))
    return features.detach(), torch.autograd.grad(features.square().sum(), at)[0]


@pytest.mark.parametrize("checkpointed", [False, True])
def test_with_weights_computes_with_them_and_is_differentiable_in_them(
    viclip: DualEncoder, tokens: Tensor, checkpointed: bool
) -> None:
    viclip.requires_grad_(False)
    features, gradient = expected(viclip, tokens, 0.3)
    own = viclip.encode_text(tokens)
    viclip.checkpoint_blocks = checkpointed
    share = torch.tensor(0.3, requires_grad=True)
    found = viclip.with_weights(mixed(viclip, share), lambda model: model.encode_text(tokens))
    assert_close(found, features, atol=0, rtol=0)
    assert torch.equal(viclip.encode_text(tokens), own)
    found.square().sum().backward()
    assert_close(share.grad, gradient)


def test_weights_within_weights_are_seen_again_on_the_way_back(viclip: DualEncoder, tokens: Tensor) -> None:
    viclip.requires_grad_(False)
    features, gradient = expected(viclip, tokens, 0.3)
    viclip.checkpoint_blocks = True
    share = torch.tensor(0.3, requires_grad=True)
    weights = mixed(viclip, share)
    first = {NAMES[0]: weights[NAMES[0]], NAMES[1]: torch.zeros_like(weights[NAMES[1]])}
    rest = {name: weights[name] for name in NAMES[1:]}
    found = viclip.with_weights(first, lambda model: model.with_weights(rest, lambda model: model.encode_text(tokens)))
    assert_close(found, features, atol=0, rtol=0)
    found.square().sum().backward()
    assert_close(share.grad, gradient)


def test_what_is_computed_again_has_its_adapters_off_if_they_were(viclip: DualEncoder, tokens: Tensor) -> None:
    viclip.requires_grad_(False)
    viclip.text.blocks[1].add_parallel(nn.Linear(48, 48))
    viclip.checkpoint_blocks = True
    prompt = nn.Parameter(torch.zeros(48))
    viclip.text.token_embedding.register_forward_hook(lambda module, args, output: output + prompt)

    def gradient(back_inside: bool) -> Tensor:
        with viclip.adapters_off():
            loss = viclip.encode_text(tokens).square().sum()
            if back_inside:
                return torch.autograd.grad(loss, prompt)[0]
        return torch.autograd.grad(loss, prompt)[0]

    assert torch.equal(gradient(True), gradient(False))


def test_a_weight_that_sites_share_is_replaced_at_each_of_them(viclip: DualEncoder, tokens: Tensor) -> None:
    pb.create_method("lora", rank=2).attach(viclip)
    q = viclip.text.blocks[0].attention.q
    assert q.replacement.weight is q.base.weight
    with torch.no_grad():
        features = viclip.with_weights({NAMES[0]: 2 * q.base.weight}, lambda model: model.encode_text(tokens))
        q.base.weight.mul_(2)
    assert torch.equal(features, viclip.encode_text(tokens))


def test_the_models_own_weights_come_back_whatever_happens(viclip: DualEncoder) -> None:
    parameters = dict(viclip.named_parameters())

    def fail(model: DualEncoder) -> None:
        assert model.text.projection is not parameters["text.projection"]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        viclip.with_weights({"text.projection": torch.zeros(48, 32)}, fail)
    for weights, why in (
        ({"text.projections": torch.zeros(48, 32)}, "no parameter text.projections"),
        ({"text.projection": torch.zeros(32)}, r"text.projection \[32\] instead of \[48, 32\]"),
    ):
        with pytest.raises(pb.UsageError, match=why):
            viclip.with_weights(weights, fail)
    assert all(parameter is parameters[name] for name, parameter in viclip.named_parameters())
    assert viclip._switch.substitutions == ()


@pytest.mark.slow
def test_with_weights_through_compiled_blocks(viclip: DualEncoder, frames: Tensor) -> None:
    viclip.requires_grad_(False)
    name = "video.blocks.0.attention.q.base.weight"
    own, base = viclip.encode_video(frames), viclip.get_parameter(name).detach()

    def found(share: Tensor) -> tuple[Tensor, Tensor]:
        features = viclip.with_weights({name: share * base}, lambda model: model.encode_video(frames))
        return features.detach(), torch.autograd.grad(features.square().sum(), share)[0]

    share = torch.tensor(0.5, requires_grad=True)
    eager = found(share)
    for block in viclip.video.blocks:
        block.compile()
    close = {"atol": 1e-4, "rtol": 1e-4}
    assert_close(viclip.encode_video(frames), own, **close)
    assert_close(found(share), eager, **close)
    assert_close(viclip.encode_video(frames), own, **close)
    viclip.checkpoint_blocks = True
    assert_close(found(share), eager, **close)
