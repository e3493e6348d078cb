"""Linear adapters, a shift of attention heads over time, and positions of frames, as in ZeroI2V.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petl_bench.errors import UsageError
from petl_bench.methods._frames import rows_of_frames
from petl_bench.methods._sites import take_before, take_behind
from petl_bench.models.grid import Grid
from petl_bench.models.sites import LinearSite, Norm


class LinearAdapter(nn.Module):
    """A(x) = x + scale * (W2 dropout(W1 x + b1) + b2): [..., width] -> [..., width], linear in evaluation.

    W1 starts as N(0, 0.02^2) (the authors cut it off at -2 and 2, which nothing reaches), W2 and the biases at zero.
    """

    def __init__(self, width: int, dim: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(dim, width)
        self.scale = scale
        nn.init.normal_(self.down.weight, std=0.02)
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        """A(x)."""
        output: Tensor = x + self.scale * self.up(self.dropout(self.down(x)))
        return output

    def as_affine(self) -> tuple[Tensor, Tensor]:
        """M [width, width] and c [width] with A(x) = M x + c."""
        shift = self.scale * self.up(self.down.bias)
        identity = torch.eye(len(shift), device=shift.device, dtype=shift.dtype)
        return identity + self.scale * (self.up.weight @ self.down.weight), shift


def fold_before(norm: Norm, linears: Sequence[LinearSite]) -> None:
    """Fold the adapter behind a norm into the linears that read it: W <- W M, b <- W c + b.

    Raises UsageError if something stands between the adapter and the linears.
    """
    matrix, shift = take_behind(norm, LinearAdapter, "zero_i2v").as_affine()
    between = next((modules for modules in (norm.after, *(site.before for site in linears)) if modules), None)
    if between is not None:
        raise UsageError(
            f"{norm.place}: zero_i2v cannot be merged, because {type(between[0].module).__name__}, of another method, "
            "stands between it and q, k and v: in the composition name that method before zero_i2v"
        )
    for site in linears:
        _fold_into(site, matrix, shift)


def fold_first(site: LinearSite) -> None:
    """Fold the adapter before a linear into it: W <- W M, b <- W c + b."""
    _fold_into(site, *take_before(site, LinearAdapter, "zero_i2v").as_affine())


def fold_behind(site: LinearSite) -> None:
    """Fold the adapter behind a linear into it: W <- M W, b <- M b + c."""
    matrix, shift = take_behind(site, LinearAdapter, "zero_i2v").as_affine()
    site.base.weight.copy_(matrix @ site.base.weight)
    site.base.bias.copy_(matrix @ site.base.bias + shift)


def _fold_into(site: LinearSite, matrix: Tensor, shift: Tensor) -> None:
    if site.replacement is not None:
        raise UsageError(f"{site.place}: its replacement must be merged before zero_i2v")
    weight = site.base.weight
    site.base.bias.add_(weight @ shift)
    weight.copy_(weight @ matrix)


class HeadShift(nn.Module):
    """Head i of frame t attends to frame t + offsets[i]: its keys and values are that frame's; for `Attention.mix`.

    The heads beyond the offsets attend to their own frame, and so does a head whose frame is not there, or pads the
    clip (`grid.mask`). Nothing is learned, and no product is computed.
    """

    def __init__(self, offsets: Sequence[int]) -> None:
        super().__init__()
        self.offsets = tuple(offsets)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor, None]:
        """q [S, heads, N, d] as it is; k and v shifted."""
        return q, self._shift(k, grid), self._shift(v, grid), None

    def _shift(self, x: Tensor, grid: Grid) -> Tensor:
        """x [S, heads, N, d], a sequence per frame."""
        by_frame = x.unflatten(0, (-1, grid.frames))  # [B, T, heads, N, d]
        shifted = [_from_frames(by_frame[:, :, head], offset, grid.mask) for head, offset in enumerate(self.offsets)]
        return torch.cat([torch.stack(shifted, 2), by_frame[:, :, len(shifted) :]], 2).flatten(0, 1)


def _from_frames(x: Tensor, offset: int, real: Tensor | None) -> Tensor:
    """Frames t + offset of x [B, T, ...]; frame t itself where that one is not there, or not `real` (bool [B, T])."""
    if abs(offset) >= x.shape[1]:
        return x
    there = _moved(x, offset)
    if real is None:
        return there
    found = _moved(real, offset).view(*real.shape, *(1,) * (x.ndim - 2))
    return torch.where(found, there, x)


def _moved(x: Tensor, offset: int) -> Tensor:
    """x[:, t + offset] for every t, and x[:, t] beyond the ends."""
    if offset < 0:
        return torch.cat([x[:, :-offset], x[:, :offset]], 1)
    return torch.cat([x[:, offset:], x[:, -offset:]], 1)


class FramePositions(nn.Module):
    """A vector for each frame of a clip, [T, width], zero at the start, which is added to all tokens of that frame.

    A clip with fewer frames takes the first ones; one with more takes the vectors interpolated linearly.
    """

    vectors: Tensor

    def __init__(self, frames: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(frames, width))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """What is added to tokens x [S, N, width], a sequence per frame: [S, 1, width]."""
        vectors: Tensor = rows_of_frames(self.vectors, grid.frames)
        return vectors.repeat(len(x) // grid.frames, 1).unsqueeze(1)

    def fix(self) -> None:
        """From now on the vectors are constants of the model, and no parameter."""
        values = self.vectors.detach()
        del self.vectors
        self.register_buffer("vectors", values)
