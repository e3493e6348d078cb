"""State that is lost at a stop, or on the way through an adapter file, fails the checks with what to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import petl_bench as pb
from tests.testing.test_methods import Good, failures, results_of, why

STOP, FILE, FROZEN = "goes on after a stop", "saved adapter equals trained", "only declared parameters train"


class Counting(Good):
    """A loss that fades out with the number of its calls; the count is lost at a stop."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        self.calls = 0

    def loss(self, step: pb.Step) -> Tensor | None:
        self.calls += 1
        return 0.1 / self.calls * step.logits.pow(2).mean()


class CountingLate(Counting):
    """As before, but the count matters only after many more steps than a check takes."""

    def loss(self, step: pb.Step) -> Tensor | None:
        self.calls += 1
        return step.logits.pow(2).mean() if self.calls > 10_000 else None


class CountingSaved(Counting):
    """As before, saved and taken back."""

    def extra_state(self) -> Mapping[str, Any]:
        return {"calls": self.calls}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]


class CountingSteps(CountingSaved):
    """As before; its loss is computed once per step, however many micro-batches there are."""

    whole_batch = True


class Remembering(Good):
    """A loss with a running mean of features, in a list."""

    def attach(self, model: Any) -> None:
        super().attach(model)
        self._means: list[Tensor] = []

    def loss(self, step: pb.Step) -> Tensor | None:
        self._means.append(step.video_features.detach().mean(0))
        return (step.video_features - torch.stack(self._means).mean(0)).pow(2).mean()


class NotTakenBack(CountingSaved):
    """Saved, but taken back by nobody."""

    load_extra_state = pb.Method.load_extra_state


class TakenBackWrongly(CountingSaved):
    """Saved, and forgotten on the way back."""

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.calls = 0


class Unsaveable(Counting):
    """Saves what no file can hold."""

    def extra_state(self) -> Mapping[str, Any]:
        return {"calls": (self.calls, object())}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Counting, "calls of the method is 6 without the stop and 2 with it; return it from extra_state()"),
        (CountingLate, "calls of the method is 6 without the stop and 2 with it"),
        (
            Remembering,
            "_means of the method is another one without the stop than with it; return it from extra_state()",
        ),
        (NotTakenBack, "keeps calls (extra_state), but has no load_extra_state(self, state)"),
        (TakenBackWrongly, "calls of the method is 6 without the stop and 2 with it"),
        (Unsaveable, "extra_state()['calls'] (tuple): expected a tensor, or a finite number"),
    ],
)
def test_python_state_that_a_stop_loses(method: type[pb.Method], words: str) -> None:
    assert words in why(method, STOP)


def test_python_state_that_is_saved_passes() -> None:
    assert failures(CountingSteps) == {}


def test_a_count_of_calls_depends_on_the_micro_batches() -> None:
    assert set(failures(CountingSaved)) == {"micro batches change nothing"}


class Scheduled(nn.Module):
    """An adapter whose output depends on a number of training passes, kept as `keep` says."""

    def __init__(self, width: int, keep: str) -> None:
        super().__init__()
        self.adapter, self.keep = pb.Bottleneck(width, 8), keep
        if keep == "attribute":
            self.passes = torch.zeros(())
        else:
            self.register_buffer("passes", torch.zeros(()), persistent=keep == "buffer")

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes = self.passes + 1
        return self.adapter(x) * (1 + self.passes)


class InAnAttribute(Good):
    """Passes are counted in a plain attribute of a module."""

    keep = "attribute"

    def adapter(self, width: int) -> nn.Module:
        return Scheduled(width, self.keep)


class InABufferThatIsNotSaved(InAnAttribute):
    """Passes are counted in a buffer that is not persistent."""

    keep = "passing"


class InABuffer(InAnAttribute):
    """Passes are counted in a persistent buffer."""

    keep = "buffer"


def test_a_plain_attribute_of_a_module_is_lost() -> None:
    found = failures(InAnAttribute)
    assert "passes of video.blocks.0.attention.parallel.0.module is another one" in found[STOP]
    assert "features differ after saving and loading; what they depend on must be a parameter" in found[FILE]


def test_a_buffer_that_is_not_persistent_is_lost() -> None:
    found = failures(InABufferThatIsNotSaved)
    assert {STOP, FILE, FROZEN} <= found.keys()
    assert "passes changed in training and is not saved; register this buffer with persistent=True" in found[FROZEN]


def test_a_persistent_buffer_passes() -> None:
    assert failures(InABuffer) == {}


class Normed(nn.Module):
    """A batch norm before the adapter, whose statistics are saved or not."""

    def __init__(self, width: int, saved: bool) -> None:
        super().__init__()
        self.norm, self.adapter = nn.BatchNorm1d(width), pb.Bottleneck(width, 8)
        if not saved:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.norm.register_buffer(name, getattr(self.norm, name), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.norm(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("saved", [True, False])
def test_batch_norm_passes_with_its_statistics_and_fails_without(saved: bool) -> None:
    class BatchNormed(Good):
        """A method."""

        batch_statistics = True

        def adapter(self, width: int) -> nn.Module:
            return Normed(width, saved)

        def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
            return super().expected_trainable(config) + sum(2 * width for width in config.block_widths())

    assert failures(BatchNormed).keys() == (set() if saved else {STOP, FILE, FROZEN})


def test_a_frozen_random_projection_is_another_one_in_the_next_trial() -> None:
    class Projected(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.adapter = pb.Bottleneck(width, 8)
            self.random = nn.Parameter(torch.randn(width, width) / width**0.5, requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.adapter(x @ self.random)

    class RandomProjection(Good):
        """A method."""

        def adapter(self, width: int) -> nn.Module:
            return Projected(width)

    assert set(failures(RandomProjection)) == {FILE}


def test_the_generators_of_python_and_numpy_are_left_alone() -> None:
    np.random.seed(4)
    expected = np.random.rand(2)
    np.random.seed(4)
    results_of(Good)
    assert (np.random.rand(2) == expected).all()
