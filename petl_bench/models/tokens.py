"""Extra tokens that a method puts into the sequences of the video tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from petl_bench.errors import PluginError, UsageError
from petl_bench.models.grid import Grid
from petl_bench.models.sites import Attachment

#: Between the class token and the patches, or behind the patches.
Place = Literal["start", "end"]
#: How long extra tokens stay: to the end of the tower; in one block; as keys and values of one block's attention.
Scope = Literal["rest", "block", "attention"]


class ExtraTokens(Attachment):
    """A module that makes extra tokens: `module()`, or `module(x, grid)` of the class token and the patches.

    See `VideoTower.add_tokens`. Block `index` is named in errors.
    """

    def __init__(
        self, module: nn.Module, index: int, place: Place, scope: Scope, replaces: bool, with_grid: bool
    ) -> None:
        super().__init__(module)
        self.index, self.place, self.scope = index, place, scope
        self.replaces, self.with_grid = replaces, with_grid

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Extra tokens [S, n, W] for tokens x [S, N, W], which may hold earlier extra ones.

        Raises PluginError for another shape, UsageError if the module reads the grid and tokens were reduced.
        """
        tokens: Tensor
        if self.with_grid:
            complete = grid.complete(f"block {self.index}, tokens: {type(self.module).__name__}")
            tokens = self.module(grid.own(x), complete)
        else:
            tokens = self.module()
        sequences, _, width = x.shape
        if tokens.ndim not in (2, 3) or tokens.shape[-1] != width or (tokens.ndim == 3 and len(tokens) != sequences):
            raise PluginError(
                f"block {self.index}, tokens: {type(self.module).__name__} gave a tensor {list(tokens.shape)}; "
                f"expected [n, {width}] or [{sequences}, n, {width}]"
            )
        return tokens.to(x.dtype).expand(sequences, -1, -1)


def extra_tokens(modules: nn.ModuleList | None) -> list[ExtraTokens]:
    """The modules of a list that holds ExtraTokens alone; none if there is no list."""
    return [cast(ExtraTokens, module) for module in modules or ()]


def extend(x: Tensor, grid: Grid, tokens: Sequence[ExtraTokens]) -> tuple[Tensor, Grid]:
    """x [S, N, W] with these extra tokens, next to the patches, and its grid."""
    if not tokens:
        return x, grid
    own, start, end = grid.split(x)
    for extra in tokens:
        new = extra(x, grid)
        if extra.place == "start":
            start = new if extra.replaces else torch.cat([start, new], 1)
        else:
            end = new if extra.replaces else torch.cat([new, end], 1)
    grid = replace(grid, start=start.shape[1], end=end.shape[1])
    return grid.join(own, start, end), grid


def shrink(x: Tensor, grid: Grid, wanted: Grid) -> Tensor:
    """x [S, N, W] of `grid` without the extra tokens next to the patches that `wanted` does not have."""
    if grid.extra == wanted.extra:
        return x
    own, start, end = grid.split(x)
    return wanted.join(own, start[:, : wanted.start], end[:, grid.end - wanted.end :])


def reduced(x: Tensor, grid: Grid, reducer: Attachment, index: int) -> tuple[Tensor, Grid]:
    """What the reducer of block `index` makes of tokens x [S, N, W] and their grid; extra tokens stay.

    Raises PluginError if it gives something else, or a shape that does not fit the grid that it gives.
    """
    own = grid.own(x)
    given, name = reducer(own, grid.without_extra), type(reducer.module).__name__
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], Grid):
        raise PluginError(f"block {index}, reduce: {name} must return a tuple (x, grid)")
    fewer, new = given
    frames = (1, 1) if grid.joint else (grid.frames, new.frames)
    if fewer.ndim != 3 or fewer.shape[2] != x.shape[2] or len(fewer) * frames[0] != len(own) * frames[1]:
        raise PluginError(
            f"block {index}, reduce: {name} gave a tensor {list(fewer.shape)} for one of "
            f"{list(own.shape)}; expected [S, N, {x.shape[2]}], with one sequence per video or per frame of its grid"
        )
    if new.mask is not None and new.mask.shape[1] != new.frames:
        raise PluginError(
            f"block {index}, reduce: {name} merged {grid.frames} frames into {new.frames}, and left a mask of "
            f"{new.mask.shape[1]} in the grid (grid.mask, bool [B, T]: which frames are real)"
        )
    new = replace(
        new, start=grid.start, end=grid.end, reduced_by=index if fewer.shape != own.shape else grid.reduced_by
    )
    if not grid.extra:
        return fewer, new
    if len(fewer) != len(own):
        raise UsageError(f"block {index}, reduce: frames cannot be merged while their sequences hold extra tokens")
    _, start, end = grid.split(x)
    return new.join(fewer, start, end), new
