"""The backbone's norms and linears, and what may stand behind them.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

import petl_bench as pb
from petl_bench.models.sites import Chained, LinearSite, Norm

M = TypeVar("M", bound=nn.Module)


def norms_and_linears(model: pb.DualEncoder, towers: pb.Towers) -> Iterator[Norm | LinearSite]:
    """The backbone's own norms and linears in the chosen towers, video first."""
    for name, tower in (("video", model.video), ("text", model.text)):
        if towers in (name, "both"):
            yield from (module for module in tower.modules() if isinstance(module, Norm | LinearSite))


def weights_of(site: Norm | LinearSite) -> nn.LayerNorm | nn.Linear:
    """The backbone's module with the `weight` and `bias` of a site."""
    return site.base if isinstance(site, LinearSite) else site


def take_behind(site: Chained, kind: type[M], method: str) -> M:
    """The module of `method` behind a site, taken out, to be folded into the site's weights.

    Raises:
        UsageError: The linear is still replaced, or another module stands between: what is folded would be wrong.
    """
    found = _to_fold(site, site.after, 0, kind, method, f"in the composition name that method before {method}")
    site.drop_first_behind()
    return found


def take_before(site: LinearSite, kind: type[M], method: str) -> M:
    """The module of `method` before a linear, as `take_behind`."""
    found = _to_fold(site, site.before, -1, kind, method, "leave one of them out")
    site.drop_last_before()
    return found


def _to_fold(site: Chained, modules: nn.ModuleList | None, place: int, kind: type[M], method: str, advice: str) -> M:
    """The module next to the weights, if it is of that kind."""
    if getattr(site, "replacement", None) is not None:
        raise pb.UsageError(f"{site.place}: its replacement must be merged before {method}")
    if modules is None:
        raise pb.UsageError(f"{site.place}: nothing of {method} is there to be merged")
    found: nn.Module = modules[place].get_submodule("module")
    if not isinstance(found, kind):
        raise pb.UsageError(
            f"{site.place}: {method} cannot be merged, because {type(found).__name__}, of another method, stands "
            f"between it and the weights: {advice}"
        )
    return found


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
