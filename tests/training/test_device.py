"""Autocast computes what fp32 computes, within the rounding of its numbers, for every method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from petl_bench.api.registry import METHODS
from petl_bench.testing.checks import Given
from petl_bench.testing.harness import CLIPS, batch_for, learner_for, training_texts
from petl_bench.testing.method_subject import MethodSubject, trainable
from petl_bench.training.device import autocast
from petl_bench.training.hooks import overrides
from petl_bench.training.text import StepTexts

#: Least cosine with what fp32 gives, of features and of the gradient: 8 and 11 bits of mantissa.
CLOSE = {"bf16": (0.999, 0.99), "fp16": (0.99999, 0.9997)}


def features_and_gradient(method: str, precision: str) -> tuple[Tensor, Tensor]:
    """Features of videos and texts, and the gradient of a loss over both; without dropout."""
    model, adapter = MethodSubject("method", METHODS.get(method), Given()).trained()
    with autocast(torch.device("cpu"), precision):
        video = model.encode_video(batch_for(model.config).frames)
        text = StepTexts(model, adapter, training_texts(model, adapter)).encode(None, video).of_classes()
    features = torch.cat([video, text.flatten(0, -2)]).float()
    parameters = list(trainable(model).values())
    if not parameters:
        return features, torch.ones(1)
    total = features.sin().sum()
    if overrides(adapter, "scores"):  # which may be all that the parameters have a part in
        step = learner_for(model, adapter).bare_step(video, text, torch.arange(CLIPS))
        total = total + (adapter.scores(step) / model.logit_scale).sin().sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    assert all(gradient is None or gradient.dtype == torch.float32 for gradient in gradients)
    return features.detach(), torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("precision", CLOSE)
def test_features_and_gradients_are_those_of_fp32_up_to_rounding(method: str, precision: str) -> None:
    exact, rounded = features_and_gradient(method, "fp32"), features_and_gradient(method, precision)
    if len(exact[1]) > 1:
        assert not torch.equal(exact[1], rounded[1])
    for least, one, other in zip(CLOSE[precision], exact, rounded, strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > least
