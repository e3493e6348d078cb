"""Autocast computes what fp32 computes, within the rounding of its numbers, for every method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from petl_bench.api.registry import METHODS
from petl_bench.testing.checks import Given
from petl_bench.testing.method_subject import SMALL, MethodSubject, batch_for, trainable
from petl_bench.training.device import autocast

#: Least cosine with what fp32 gives, of features and of the gradient: 8 and 11 bits of mantissa.
CLOSE = {"bf16": (0.999, 0.99), "fp16": (0.99999, 0.9999)}


def features_and_gradient(method: str, precision: str) -> tuple[Tensor, Tensor]:
    """Features of videos and texts, and the gradient of a loss over both; without dropout."""
    model, _ = MethodSubject("method", METHODS.get(method), Given()).trained()
    batch = batch_for(SMALL)
    with autocast(torch.device("cpu"), precision):
        features = torch.cat([model.encode_video(batch.frames), model.encode_text(batch.tokens)]).float()
    parameters = list(trainable(model).values())
    if not parameters:
        return features, torch.ones(1)
    gradients = torch.autograd.grad(features.sin().sum(), parameters, allow_unused=True)
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
