"""Averages of the trained parameters: over steps (`Method.ema_decay`) or over epochs (`Method.averaging`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from petl_bench.api.method import Method
from petl_bench.errors import PluginError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.training.hooks import calling, overrides


class Averages:
    """The average of the trained parameters that is evaluated in their place; nothing if the method keeps none.

    Over steps: a <- d a + (1 - d) p, from the parameters after the first step on. Over epochs: the mean with the
    weights of `averaging`. Buffers stay those of the last step.
    """

    def __init__(self, model: DualEncoder, method: Method) -> None:
        self._parameters: list[nn.Parameter] = [p for p in model.parameters() if p.requires_grad]
        self._method = method
        self._decay = method.ema_decay
        self._of_epochs = overrides(method, "averaging")
        if self._decay is not None and not (isinstance(self._decay, float) and 0 <= self._decay < 1):
            raise PluginError(f"{method.name}: ema_decay = {self._decay!r}: expected a number from 0 to below 1")
        if self._decay is not None and self._of_epochs:
            raise PluginError(f"{method.name}: ema_decay and averaging(): only one average can be evaluated")
        self._mean: list[Tensor] = []
        self._weight = 0.0
        self._applied = False

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the parameters into the average over steps."""
        if self._decay is None:
            return
        if not self._mean:
            self._mean, self._weight = [p.detach().clone() for p in self._parameters], 1.0
        else:
            get_ema_multi_avg_fn(self._decay)(self._mean, list(self._parameters), 0)

    @torch.no_grad()
    def after_epoch(self, epoch: int, epochs: int) -> None:
        """Take the parameters into the average over epochs; `epoch` from 0."""
        if not self._of_epochs:
            return
        with calling(self._method, "averaging(epoch, epochs)"):
            weight = self._method.averaging(epoch, epochs)
        if weight is None:
            return
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight < 0:
            raise PluginError(f"{self._method.name}.averaging({epoch}, {epochs}) gave {weight}: expected a weight >= 0")
        if not weight:
            return
        self._weight += weight
        if not self._mean:
            self._mean = [p.detach().clone() for p in self._parameters]
        else:
            torch._foreach_lerp_(self._mean, list(self._parameters), weight / self._weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model computes with the average, if there is one."""
        if not self._mean or self._applied:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Inside, the model has its own parameters, also within `applied`."""
        if not self._applied:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def finish(self) -> None:
        """Leave the average in the model."""
        if self._mean:
            self._exchange()
            self._mean, self._applied = [], False

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, mean in zip(self._parameters, self._mean, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)
        self._applied = not self._applied

    def state(self) -> dict[str, Any]:
        """For a checkpoint; empty if there is no average."""
        return {"mean": [each.cpu() for each in self._mean], "weight": self._weight} if self._mean else {}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        if state:
            pairs = zip(state["mean"], self._parameters, strict=True)
            self._mean = [mean.to(parameter.device) for mean, parameter in pairs]
            self._weight = state["weight"]
