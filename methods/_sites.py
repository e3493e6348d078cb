"""The backbone's norms and linears, and what may stand behind them.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.models.sites import Chained, LinearSite, Norm


def norms_and_linears(model: pb.DualEncoder, towers: pb.Towers) -> Iterator[Norm | LinearSite]:
    """The backbone's own norms and linears in the chosen towers, video first."""
    for name, tower in (("video", model.video), ("text", model.text)):
        if towers in (name, "both"):
            yield from (module for module in tower.modules() if isinstance(module, Norm | LinearSite))


def weights_of(site: Norm | LinearSite) -> nn.LayerNorm | nn.Linear:
    """The backbone's module with the `weight` and `bias` of a site."""
    return site.base if isinstance(site, LinearSite) else site


def module_to_merge(site: Chained, modules: nn.ModuleList | None, method: str) -> Any:
    """The one module of `method` among those before or behind a site, to be folded into its weights.

    Raises:
        UsageError: The linear is replaced, or another method's modules are there too: what is folded would be wrong.
    """
    if getattr(site, "replacement", None) is not None:
        raise pb.UsageError(
            f"{site.place}: its replacement must be merged before {method}; in a composition name {method} first, "
            f"e.g. {method}+lora"
        )
    if modules is None or len(modules) != 1:
        raise pb.UsageError(f"{site.place}: {method} cannot be merged beside another method's module: leave one out")
    return modules[0].module


class Scale(nn.Module):
    """scale * y, for y [..., channels]; scale starts at one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        """[..., channels] -> [..., channels]."""
        return self.scale * y


class ScaleShift(nn.Module):
    """gamma * y + beta, for y [..., channels]; gamma starts as N(1, 0.02^2), beta as N(0, 0.02^2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(channels))
        self.beta = nn.Parameter(torch.empty(channels))
        nn.init.normal_(self.gamma, mean=1.0, std=0.02)
        nn.init.normal_(self.beta, std=0.02)

    def forward(self, y: Tensor) -> Tensor:
        """[..., channels] -> [..., channels]."""
        return self.gamma * y + self.beta
