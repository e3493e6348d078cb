"""Tip-Adapter and Tip-Adapter-F against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from made_support import GivenSupport, attached, given_support, step_of
from torch.nn import functional

import petl_bench as pb

BOTH = pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f"])


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def keys_and_values(support: GivenSupport) -> tuple[np.ndarray, np.ndarray]:
    """K [N, D] of the mean over augmented passes and V [N, C], both zero for what cannot be read."""
    keys = unit(support.augmented.double().numpy().mean(axis=0))
    values = np.eye(len(support.text))[support.labels.numpy()]
    readable = np.array([[row not in support.unreadable] for row in range(support.clips)])
    return keys * readable, values * readable


def tip_logits(support: GivenSupport, video: np.ndarray, alpha: float, beta: float, without: int = -1) -> np.ndarray:
    """s f t^T + alpha exp(-beta (1 - f K^T)) V for one clip [D]; without the key `without`."""
    keys, values = keys_and_values(support)
    values[without] *= without < 0
    frozen = support.model.logit_scale.item() * unit(support.text.double().numpy()) @ unit(video)
    logits: np.ndarray = frozen + alpha * np.exp(-beta * (1 - keys @ unit(video))) @ values
    return logits


@BOTH
@pytest.mark.parametrize("passes", [2, 0])
def test_scores_are_those_of_the_equation(small: pb.DualEncoder, name: str, passes: int) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method(name, augment_passes=passes, alpha=1.5, beta=2.5), support)
    method.prepare(support)
    if not passes:
        support.augmented = support.centre[None]
    video = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    scores = method.scores(step_of(small, video, support.text, torch.arange(3)))
    expected = np.stack([tip_logits(support, each, 1.5, 2.5) for each in video.double().numpy()])
    np.testing.assert_allclose(scores.detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@BOTH
def test_alpha_and_beta_are_chosen_by_leaving_one_out(small: pb.DualEncoder, name: str) -> None:
    support = given_support(small, clips=13)
    small.temperature.data.fill_(0.2)  # so that the cache has a say
    method = attached(small, pb.create_method(name, augment_passes=2), support)
    method.prepare(support)
    clips = [row for row in range(support.clips) if row not in support.unreadable]

    def quality(pair: tuple[float, float]) -> tuple[int, float]:
        """Right answers, and the negative cross-entropy."""
        alpha, beta = pair
        rows = [tip_logits(support, support.centre[row].double().numpy(), alpha, beta, without=row) for row in clips]
        logits, labels = torch.tensor(np.stack(rows)), support.labels[clips]
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        return int((logits.argmax(dim=1) == labels).sum()), -loss.item()

    grid = itertools.product((0.1 + 2.9 / 20 * i for i in range(20)), (0.1 + 6.9 / 200 * i for i in range(200)))
    alpha, beta = max(grid, key=quality)
    cache = small.heads[name]
    assert (cache.alpha.item(), cache.beta.item()) == (pytest.approx(alpha), pytest.approx(beta))


def test_a_given_alpha_is_kept_and_beta_alone_is_chosen(small: pb.DualEncoder) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("tip_adapter", augment_passes=1, alpha=9.0), support)
    method.prepare(support)
    assert small.heads["tip_adapter"].alpha == 9.0
    assert 0.1 <= small.heads["tip_adapter"].beta < 7.0


@BOTH
def test_classes_without_training_clips_keep_their_logits(small: pb.DualEncoder, name: str) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method(name, augment_passes=1), support)
    method.prepare(support)
    text = torch.randn(4, 32, generator=torch.Generator().manual_seed(8))
    step = step_of(small, support.centre, text, torch.tensor([-1, 2, -1, 0]))
    scores, frozen = method.scores(step), step.cosine_logits()
    assert torch.equal(scores[:, [0, 2]], frozen[:, [0, 2]])
    assert (scores[:, [1, 3]] > frozen[:, [1, 3]]).all()
    in_order = method.scores(step_of(small, support.centre, text[[3, 3, 1]], torch.arange(3)))
    assert torch.allclose(scores[:, [3, 1]], in_order[:, [0, 2]], atol=1e-5), "by class, not by place"


def test_the_cache_is_what_the_adapter_holds(small: pb.DualEncoder) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("tip_adapter", augment_passes=1), support)
    method.prepare(support)
    state = small.adapter_state()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "heads.tip_adapter.keys": (7, 32),
        "heads.tip_adapter.labels": (7,),
        "heads.tip_adapter.alpha": (),
        "heads.tip_adapter.beta": (),
    }
    assert state["heads.tip_adapter.labels"].tolist() == [0, 1, 2, 0, -1, 2, 0]
    assert state["heads.tip_adapter.keys"][4].count_nonzero() == 0
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config) == 0


def test_keys_alone_train_in_f(small: pb.DualEncoder) -> None:
    support = given_support(small)
    method = attached(small, pb.create_method("tip_adapter_f", augment_passes=1, alpha=1.0, beta=1.0), support)
    method.prepare(support)
    assert [name for name, each in small.named_parameters() if each.requires_grad] == ["heads.tip_adapter_f.keys"]
    assert pb.trainable_parameters(small) == method.expected_trainable(small.config) == 7 * 32
    step = next(support.encode())
    step.logits = method.scores(step)
    method.objective(step).backward()  # type: ignore[no-untyped-call]
    gradient = small.heads["tip_adapter_f"].keys.grad
    assert gradient[4].count_nonzero() == 0, "an unreadable clip votes for no class"
    assert gradient[:4].abs().sum(dim=-1).all()
