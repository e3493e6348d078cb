"""Methods that act on the projected features: linear probe, TaskRes, CLIP-Adapter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_support import attached, given_support, step_of
from torch import Tensor
from torch.nn import functional

import petl_bench as pb


@pytest.fixture
def video() -> Tensor:
    """Features of four clips."""
    return torch.randn(4, 32, generator=torch.Generator().manual_seed(1))


# Linear probe


def test_the_probe_starts_at_zero_shot_from_the_class_prompts(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("linear_probe"), support)
    method.prepare(support)
    step = step_of(small, video, support.text, torch.arange(3))
    torch.testing.assert_close(method.scores(step).detach(), step.cosine_logits(), rtol=1e-4, atol=1e-4)


def test_the_probe_starts_at_zero_shot_from_several_prompts_of_a_class(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    support.text *= 0.1
    method = attached(small, pb.create_method("linear_probe"), support)

    def with_several_prompts(step: pb.Step) -> pb.Step:
        step.several_prompts = True
        return step

    encode = support.encode
    support.encode = lambda *given: map(with_several_prompts, encode(*given))  # type: ignore[method-assign]
    method.prepare(support)
    step = with_several_prompts(step_of(small, video, support.text, torch.arange(3)))
    torch.testing.assert_close(method.scores(step).detach(), step.cosine_logits(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("features", ["unit", "raw"])
def test_the_probe_is_a_linear_classifier_of_the_features(small: pb.DualEncoder, video: Tensor, features: str) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("linear_probe", features=features), support)
    method.prepare(support)
    head = small.heads["linear_probe"]
    with torch.no_grad():
        head.bias.add_(torch.tensor([1.0, -2.0, 0.5]))
    x = video.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True) if features == "unit" else x
    expected = x @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    scores = method.scores(step_of(small, video, support.text, torch.arange(3)))
    np.testing.assert_allclose(scores.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_probe_on_raw_features_starts_with_the_decisions_of_zero_shot(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("linear_probe", features="raw"), support)
    method.prepare(support)
    step = step_of(small, 20 * video, support.text, torch.arange(3))
    assert torch.equal(method.scores(step).argmax(dim=1), step.cosine_logits().argmax(dim=1))


def test_the_probe_can_start_at_zero(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("linear_probe", start="zero"), support)
    method.prepare(support)
    assert method.scores(step_of(small, video, support.text, torch.arange(3))).count_nonzero() == 0


def test_the_probe_scores_the_classes_that_are_asked_for_and_no_others(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("linear_probe"), support)
    method.prepare(support)
    whole = method.scores(step_of(small, video, support.text, torch.arange(3)))
    some = method.scores(step_of(small, video, support.text[[2, 0]], torch.tensor([2, 0])))
    assert torch.equal(some, whole[:, [2, 0]])
    assert type(method).novel == "none"


# TaskRes


def test_taskres_adds_a_scaled_residual_to_the_text_features(small: pb.DualEncoder, video: Tensor) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("taskres", scale=0.3), support)
    step = step_of(small, video, support.text, torch.tensor([2, -1, 0]))
    assert torch.equal(method.scores(step), step.cosine_logits())

    residuals = small.heads["taskres"]["residuals"]
    with torch.no_grad():
        residuals.copy_(torch.randn(3, 32, generator=torch.Generator().manual_seed(2)))
    text = support.text.clone()
    text[0] += 0.3 * residuals[2].detach()
    text[2] += 0.3 * residuals[0].detach()
    expected = small.logit_scale * functional.cosine_similarity(video[:, None], text[None], dim=-1)
    scores = method.scores(step)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(scores[:, 1], step.cosine_logits()[:, 1]), "a class that was not trained on keeps its feature"


# CLIP-Adapter


def test_clip_adapter_mixes_the_bottleneck_with_the_feature(small: pb.DualEncoder, frames: Tensor) -> None:
    before = small.encode_video(frames).detach()
    pb.create_method("clip_adapter", ratio=0.3).attach(small)
    down, up = (parameter for parameter in small.parameters() if parameter.requires_grad)
    assert (down.shape, up.shape) == ((8, 32), (32, 8))
    x = before.double().numpy()
    hidden = np.maximum(x @ down.detach().double().numpy().T, 0)
    expected = 0.3 * np.maximum(hidden @ up.detach().double().numpy().T, 0) + 0.7 * x
    np.testing.assert_allclose(small.encode_video(frames).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_clip_adapter_acts_on_the_mean_over_frames(frames: Tensor) -> None:
    """A frame-wise backbone: one feature of the whole clip goes through the adapter."""
    torch.manual_seed(0)
    config = pb.CLIPConfig(
        image_size=32, num_frames=4, embed_dim=32, vision_width=64, vision_layers=2, vision_heads=4,
        context_length=16, vocab_size=64, text_width=48, text_layers=2, text_heads=4,
    )  # fmt: skip
    model = pb.DualEncoder(config).eval()
    before = model.encode_video(frames)
    pb.create_method("clip_adapter").attach(model)
    adapter = model.features.video.after
    assert adapter is not None
    torch.testing.assert_close(model.encode_video(frames), adapter[0](before))


def test_clip_adapter_refuses_a_bottleneck_without_channels(small: pb.DualEncoder) -> None:
    with pytest.raises(pb.UsageError, match="reduction=64: at most 32"):
        pb.create_method("clip_adapter", reduction=64).attach(small)
