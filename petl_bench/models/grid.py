"""The order of video tokens: the only place that knows it.

ViCLIP keeps one sequence per video, [B, 1 + h*w*T, C]: the class token, then patch n of frame t at 1 + n*T + t, with n
counted row by row (space-major, time-minor). CLIP keeps one sequence per frame, [B*T, 1 + h*w, C].

A method may put extra tokens between the class token and the patches, or behind them. What reads the grid never sees
them: it gets the class token and the patches, and a grid without extra tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from petl_bench.errors import UsageError


@dataclass(frozen=True)
class Grid:
    """What video tokens stand for: `frames` x `height` x `width` patches, and whether they are in one sequence."""

    frames: int
    height: int
    width: int
    joint: bool  #: True: one sequence per video (ViCLIP); False: one per frame (CLIP)
    start: int = 0  #: extra tokens between the class token and the patches
    end: int = 0  #: extra tokens behind the patches
    reduced_by: int = 0  #: index of the last block that reduced the tokens (`Block.reduce`); 0: every patch is there
    #: for a method that reduces tokens: how many patches each token stands for, [S, N] with the class token first
    sizes: Tensor | None = field(default=None, compare=False)
    mask: Tensor | None = field(default=None, compare=False)  #: bool [B, T], which frames are real; None: all

    @property
    def extra(self) -> int:
        """Number of extra tokens in every sequence."""
        return self.start + self.end

    @property
    def without_extra(self) -> Grid:
        """The grid of the class token and the patches alone."""
        return replace(self, start=0, end=0) if self.extra else self

    def complete(self, reader: str) -> Grid:
        """The grid without extra tokens, for a `reader` of every patch. Raises UsageError if tokens were reduced."""
        if self.reduced_by:
            raise UsageError(
                f"{reader} reads the grid of patches, but block {self.reduced_by} has reduced them (block.reduce): "
                "let it act in that block or before it, or reduce later"
            )
        return self.without_extra

    def real(self, tokens: Tensor) -> Tensor:
        """Tokens [S, N, C], zero in frames that pad their clip: what a convolution over time finds beyond its ends."""
        if self.mask is None or self.joint:
            return tokens
        return tokens * self.mask.flatten()[:, None, None].to(tokens.dtype)

    def mean_over_frames(self, x: Tensor, dim: int) -> Tensor:
        """The mean over dimension `dim` of x [B, ..., T, ...], the frames, without those that pad a clip."""
        if self.mask is None or self.joint:
            return x.mean(dim=dim)
        shape = [self.frames if place == dim else len(x) if place == 0 else 1 for place in range(x.ndim)]
        mask = self.mask.view(shape).to(x.dtype)
        return (x * mask).sum(dim) / mask.sum(dim)

    def own(self, tokens: Tensor) -> Tensor:
        """The class token and the patches of tokens [S, N, C]."""
        return self.split(tokens)[0] if self.extra else tokens

    def split(self, tokens: Tensor, dim: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """The class token and the patches; the extra tokens between them; those at the end. Tokens are along `dim`."""
        patches = tokens.shape[dim] - 1 - self.extra
        cls, start, own, end = tokens.split([1, self.start, patches, self.end], dim)
        return torch.cat([cls, own], dim), start, end

    def join(self, own: Tensor, start: Tensor, end: Tensor, dim: int = 1) -> Tensor:
        """The inverse of `split`."""
        cls, patches = own.split([1, own.shape[dim] - 1], dim)
        return torch.cat([cls, start, patches, end], dim)


def patches_by_place(tokens: Tensor, grid: Grid) -> Tensor:
    """The patch tokens without the class token, [B, h*w, T, C]; a view for ViCLIP's order."""
    patches, places = tokens[:, 1:], grid.height * grid.width
    by_place: Tensor = (
        patches.unflatten(1, (places, grid.frames))
        if grid.joint
        else patches.unflatten(0, (-1, grid.frames)).transpose(1, 2)
    )
    return by_place


def from_patches_by_place(patches: Tensor, grid: Grid, cls: Tensor) -> Tensor:
    """The inverse: [B, h*w, T, C] and class tokens ([B, 1, C], or [B*T, 1, C] per frame) back to a sequence."""
    if grid.joint:
        return torch.cat([cls, patches.flatten(1, 2)], dim=1)
    return torch.cat([cls, patches.transpose(1, 2).flatten(0, 1)], dim=1)


def over_time(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens of a frame-wise backbone as one sequence of frames for each place, the class token's among them:
    [B*T, 1 + h*w, C] -> [B*(1 + h*w), T, C]."""
    by_place: Tensor = tokens.unflatten(0, (-1, grid.frames)).transpose(1, 2)
    return by_place.flatten(0, 1)


def from_over_time(tokens: Tensor, grid: Grid) -> Tensor:
    """The inverse: [B*(1 + h*w), T, C] -> [B*T, 1 + h*w, C]."""
    by_frame: Tensor = tokens.unflatten(0, (-1, 1 + grid.height * grid.width)).transpose(1, 2)
    return by_frame.flatten(0, 1)


def to_volume(tokens: Tensor, grid: Grid) -> Tensor:
    """Patch tokens as a volume [B, C, T, h, w]; the class token is left out (it is `tokens[:, :1]`)."""
    by_row: Tensor = patches_by_place(tokens, grid).unflatten(1, (grid.height, grid.width))
    return by_row.permute(0, 4, 3, 1, 2)


def from_volume(volume: Tensor, grid: Grid, cls: Tensor) -> Tensor:
    """A volume [B, C, T, h, w] and class tokens ([B, 1, C], or [B*T, 1, C] per frame) back to a sequence of tokens."""
    return from_patches_by_place(volume.permute(0, 3, 4, 2, 1).flatten(1, 2), grid, cls)


@dataclass(frozen=True)
class PatchPlaces:
    """Patch tokens as they lie in memory, with time as a dimension: views only, in any order of tokens.

    `as_it_lies` reads ViCLIP's patch tokens as (T, h*w), whatever they stand for.
    """

    grid: Grid
    as_it_lies: bool = False

    def of(self, tokens: Tensor) -> Tensor:
        """The patch tokens: [B, h*w, T, C] or [B, T, h*w, C], see `time`."""
        grid, count = self.grid, self.grid.height * self.grid.width
        patches: Tensor
        if grid.joint:
            patches = tokens[:, 1:].unflatten(1, (count, grid.frames) if self.time == 2 else (grid.frames, count))
        else:
            patches = tokens.unflatten(0, (-1, grid.frames))[:, :, 1:]
        return patches

    @property
    def time(self) -> int:
        """The dimension of `of(tokens)` that is time."""
        return 2 if self.grid.joint and not self.as_it_lies else 1

    def mean_by_time(self, tokens: Tensor) -> Tensor:
        """The mean over the places of each frame: [B, T, C]."""
        return self.of(tokens).mean(dim=3 - self.time)

    def neighbours(self, here: Tensor, there: Tensor, kernel: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Per tap of a convolution over time but the middle one: the patches of `here` that it feeds, and those of
        `there` that it reads, as views of equal shape up to the channels."""
        frames = self.grid.frames
        for tap in range(kernel):
            offset = tap - kernel // 2
            if 0 < abs(offset) < frames:
                length = frames - abs(offset)
                fed = self.of(here).narrow(self.time, max(0, -offset), length)
                yield tap, fed, self.of(there).narrow(self.time, max(0, offset), length)
