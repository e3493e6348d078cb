"""Linear adapters, a shift of attention heads over time, and positions of frames, as in ZeroI2V.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.errors import UsageError
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
    """Fold the adapter behind a norm into the linears that read it: W <- W M, b <- W c + b."""
    matrix, shift = _only(norm.after, norm.place).as_affine()
    for site in linears:
        _refuse_others(site, site.before)
        weight = site.base.weight
        site.base.bias.add_(weight @ shift)
        weight.copy_(weight @ matrix)
    norm.clear()


def fold_first(site: LinearSite) -> None:
    """Fold the adapter before a linear into it."""
    _refuse_others(site, site.after)
    matrix, shift = _only(site.before, site.place).as_affine()
    site.base.bias.add_(site.base.weight @ shift)
    site.base.weight.copy_(site.base.weight @ matrix)
    site.clear()


def fold_behind(site: LinearSite) -> None:
    """Fold the adapter behind a linear into it: W <- M W, b <- M b + c."""
    _refuse_others(site, site.before)
    matrix, shift = _only(site.after, site.place).as_affine()
    site.base.weight.copy_(matrix @ site.base.weight)
    site.base.bias.copy_(matrix @ site.base.bias + shift)
    site.clear()


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
        vectors = self.vectors[: grid.frames]
        if len(vectors) < grid.frames:
            vectors = F.interpolate(vectors.T[None], grid.frames, mode="linear")[0].T
        return vectors.repeat(len(x) // grid.frames, 1).unsqueeze(1)

    def fix(self) -> None:
        """From now on the vectors are constants of the model, and no parameter."""
        values = self.vectors.detach()
        del self.vectors
        self.register_buffer("vectors", values)


def _only(modules: Iterable[nn.Module] | None, place: str) -> LinearAdapter:
    """The adapter that stands alone at a place. Raises UsageError if something else is there, too."""
    found = [attachment.module for attachment in modules or ()]
    if len(found) != 1 or not isinstance(found[0], LinearAdapter):
        raise UsageError(f"{place}: another method's module stands there too, so that zero_i2v cannot be merged")
    return found[0]


def _refuse_others(site: LinearSite, modules: nn.ModuleList | None) -> None:
    if site.replacement is not None:
        raise UsageError(
            f"{site.place}: its replacement must be merged before zero_i2v; in a composition name zero_i2v first, "
            "e.g. zero_i2v+lora"
        )
    if modules is not None:
        raise UsageError(f"{site.place}: another method's module stands there too, so that zero_i2v cannot be merged")
