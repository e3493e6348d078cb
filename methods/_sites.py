"""The backbone's norms and linears, and what may stand behind them.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.models.sites import LinearSite, Norm


def norms_and_linears(model: pb.DualEncoder, towers: pb.Towers) -> Iterator[Norm | LinearSite]:
    """The backbone's own norms and linears in the chosen towers, video first."""
    for name, tower in (("video", model.video), ("text", model.text)):
        if towers in (name, "both"):
            yield from (module for module in tower.modules() if isinstance(module, Norm | LinearSite))


def weights_of(site: Norm | LinearSite) -> nn.LayerNorm | nn.Linear:
    """The backbone's module with the `weight` and `bias` of a site."""
    return site.base if isinstance(site, LinearSite) else site


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
