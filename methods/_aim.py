"""The modules of AIM. This file imports torch; methods import it when they attach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.methods._frames import rows_of_frames
from petl_bench.models.adapters import Bottleneck
from petl_bench.models.grid import Grid, from_over_time, over_time
from petl_bench.models.transformer import Attention


def adapter(width: int, dim: int) -> Bottleneck:
    """D_fc2(GELU(D_fc1(x))) without skip, [..., width] -> [..., width]: D_fc1 as truncated normal, D_fc2 as zeros."""
    made = Bottleneck(width, dim, activation="gelu")
    nn.init.trunc_normal_(made.down.weight, std=0.02)
    return made


class DropPath(nn.Module):
    """Stochastic depth: in training y * keep / (1 - rate), keep drawn once for all of a clip's tokens [S, N, width].

    `over` "places": drawn for each place of a token in its sequence, and the same in all clips and frames.
    """

    def __init__(self, rate: float, over: str) -> None:
        super().__init__()
        self.rate, self.over = rate, over

    def forward(self, y: Tensor, grid: Grid) -> Tensor:
        """[S, N, width] -> [S, N, width]."""
        if not self.training or self.rate == 0:
            return y
        if self.over == "places":
            return y * F.dropout(y.new_ones(1, y.shape[1], 1), self.rate)
        of_clips = F.dropout(y.new_ones(len(y) // grid.frames, 1, 1), self.rate)
        return y * of_clips.repeat_interleave(grid.frames, dim=0)


class TimeAttention(nn.Module):
    """x + DropPath(T(Attention(LN x))): the block's own attention, over the frames of each place, and an adapter.

    Args:
        attention: the block's, with its layer norm; it stays the block's alone.
        outer: T, behind the attention.
        inner: an adapter T_in in front of it, LN x + T_in(LN x); None: none.
        drop: stochastic depth.
    """

    def __init__(self, attention: Attention, outer: nn.Module, inner: nn.Module | None, drop: DropPath) -> None:
        super().__init__()
        self._attention = (attention,)  # in a tuple, so that it is no part of this module
        self.outer, self.inner, self.drop = outer, inner, drop

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens [B*T, N, width] of a frame-wise backbone; of frames that pad a clip, nothing is attended to."""
        (attention,) = self._attention
        h = attention.norm(x)
        if self.inner is not None:
            h = h + self.inner(h)
        read = None if grid.mask is None else grid.mask.repeat_interleave(x.shape[1], dim=0)
        mixed = from_over_time(attention.attend(over_time(h, grid), read), grid)
        output: Tensor = x + self.drop(self.outer(mixed), grid)
        return output


class JointAdapter(nn.Module):
    """DropPath(M(h)) of the normed tokens h beside the feed-forward."""

    def __init__(self, adapter: nn.Module, drop: DropPath) -> None:
        super().__init__()
        self.adapter, self.drop = adapter, drop

    def forward(self, h: Tensor, grid: Grid) -> Tensor:
        """[S, N, width] -> [S, N, width]."""
        output: Tensor = self.drop(self.adapter(h), grid)
        return output


class FramePositions(nn.Module):
    """E_t for every token of frame t, zero at the start.

    A clip with fewer frames takes the first ones; one with more takes E interpolated linearly.
    """

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(frames, width))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """[B*T, N, width], to be added to the tokens x [B*T, N, width]."""
        positions: Tensor = rows_of_frames(self.positions, grid.frames)
        return positions.repeat(len(x) // grid.frames, 1)[:, None].expand_as(x)
