"""The modules of MV-Adapter. This file imports torch; methods import it when they attach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.models.grid import Grid, PatchPlaces, from_patches_by_place, patches_by_place
from petl_bench.models.transformer import quick_gelu

if TYPE_CHECKING:
    from petl_bench.methods.mv_adapter import MVAdapter

#: Channels inside the calibration, whatever the bottleneck's width is.
CALIBRATION_DIM = 16


class SmallTransformer(nn.Module):
    """QuickGELU(block(LN(x))) with one pre-norm transformer block of `dim` channels: [S, N, dim] -> [S, N, dim].

    Weights start as in the released code: normal, with a standard deviation that comes from the tower's `width`.
    """

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_pre, self.ln_attention, self.ln_feedforward = (nn.LayerNorm(dim) for _ in range(3))
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc, self.proj = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        nn.init.normal_(self.qkv.weight, std=width**-0.5)
        for linear in (self.out, self.fc, self.proj):
            nn.init.normal_(linear.weight, std=(2 * width) ** -0.5)
        for linear in (self.qkv, self.out):
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """[S, N, dim] -> [S, N, dim]; `mask`: bool [S, N], the tokens that others attend to; None: all."""
        x = self.ln_pre(x)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self._qkv(x))
        open_to = None if mask is None else mask[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=open_to, is_causal=causal)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return quick_gelu(x + self.proj(quick_gelu(self.fc(self.ln_feedforward(x)))))

    def _qkv(self, x: Tensor) -> tuple[Tensor, ...]:
        qkv: Tensor = self.qkv(self.ln_attention(x))
        return qkv.chunk(3, dim=2)


class Calibration(nn.Module):
    """alpha = 1 + b(ReLU(a([f; g(cc)]))), without g if there is no cc; b starts at zero, so that alpha is 1."""

    def __init__(self, dim: int, context: bool) -> None:
        super().__init__()
        self.g = nn.Linear(dim, dim) if context else None
        self.a = nn.Linear(2 * dim if context else dim, CALIBRATION_DIM)
        self.b = nn.Linear(CALIBRATION_DIM, dim, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, frames: Tensor, cc: Tensor, mask: Tensor | None) -> Tensor:
        """alpha [B, T, dim] for f [B, T, dim] and cc [B, 1, dim]; a reads zeros for frames that are not real."""
        read = frames if self.g is None else torch.cat([frames, self.g(cc).expand_as(frames)], dim=2)
        if mask is not None:
            read = read * mask[..., None]
        alpha: Tensor = 1 + self.b(F.relu(self.a(read)))
        return alpha


class Tie(nn.Module):
    """v = projection(factor): multiplies the input or output channels of one weight; two towers share the factor.

    `place` is "down in", "down out", "up in" or "up out". The factor starts at zero, as in the released code, so that
    the first v is the projection's random bias.
    """

    def __init__(self, factor: nn.Parameter, place: str, channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.side, self.end = place.split()
        self.projection = nn.Linear(len(factor), channels)

    def weight_of(self, linear: nn.Linear) -> Tensor:
        """The linear's weight [out, in] with its channels multiplied by v."""
        v: Tensor = self.projection(self.factor)
        return linear.weight * (v if self.end == "in" else v[:, None])


class Adapter(nn.Module):
    """What both towers' adapters have: Down, a small transformer with its positions, Up, the tie."""

    def __init__(self, options: MVAdapter, width: int, positions: int, factor: nn.Parameter | None) -> None:
        super().__init__()
        dim = options.bottleneck_dim
        self.ln_in = nn.LayerNorm(width) if options.input_norm else nn.Identity()
        self.down, self.up = nn.Linear(width, dim), nn.Linear(dim, width)
        self.transformer = SmallTransformer(dim, options.heads, width) if options.transformer else None
        self.positions = nn.Parameter(0.01 * torch.randn(positions, dim)) if options.transformer else None
        self.tie = None if factor is None else Tie(factor, options.tie, options.tied_channels(width))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def lowered(self, x: Tensor) -> Tensor:
        """Down of tokens [S, N, width]: [S, N, dim]."""
        return F.linear(self.ln_in(x), self._weight("down"), self.down.bias)

    def raised(self, h: Tensor) -> Tensor:
        """Up of [S, N, dim], tied if Up is: [S, N, width]."""
        return F.linear(h, self._weight("up"), self.up.bias)

    def _weight(self, side: str) -> Tensor:
        linear = self.down if side == "down" else self.up
        return linear.weight if self.tie is None or self.tie.side != side else self.tie.weight_of(linear)


class TextAdapter(Adapter):
    """Up(transformer(Down(y) + positions)), causal, for the text tower: [S, L, width] -> [S, L, width].

    L may be less than the number of positions: the text tower runs at the true length of the texts.
    """

    def __init__(self, options: MVAdapter, width: int, length: int, factor: nn.Parameter | None) -> None:
        super().__init__(options, width, length, factor)
        nn.init.normal_(self.down.weight, std=(2 * width) ** -0.5)

    def forward(self, y: Tensor) -> Tensor:
        """[S, L, width] -> [S, L, width]."""
        h = self.lowered(y)
        if self.transformer is None or self.positions is None:
            return self.raised(quick_gelu(h))
        return self.raised(self.transformer(h + self.positions[: h.shape[1]], causal=True))


class VideoAdapter(Adapter):
    """For the video tower: patches go down and up, class tokens through a transformer over the frames, calibrated.

    `frames`: for how many frames there are positions; those for other numbers are interpolated.
    """

    def __init__(self, options: MVAdapter, width: int, frames: int, factor: nn.Parameter | None) -> None:
        context = options.context_token
        super().__init__(options, width, 2 * frames + context, factor)
        dim = options.bottleneck_dim
        self.stand_in = options.stand_in
        self.cc = nn.Parameter(dim**-0.5 * torch.randn(dim)) if options.transformer and context else None
        self.calibration, self.patch_calibration = (
            Calibration(dim, context) if options.transformer and options.calibrate in kinds else None
            for kinds in (("class", "all"), ("all",))
        )
        # Down has torch's own start, which is Kaiming uniform with a = sqrt 5.

    def forward(self, y: Tensor, grid: Grid) -> Tensor:
        """Tokens [S, N, width] of the class token and the patches -> [S, N, width]."""
        h = quick_gelu(self.lowered(y))
        by_frame = PatchPlaces(grid).mean_by_time(h)
        cls, patches = self._class_tokens(h, by_frame, grid), h[:, 1:]
        if self.transformer is not None:
            cc, cls, mixed = self._over_frames(self.transformer, cls, by_frame, grid.mask)
            read = cls + mixed
            if self.calibration is not None:
                cls = self.calibration(read, cc, grid.mask) * cls
            if self.patch_calibration is not None:
                patches = _times(h, self.patch_calibration(read, cc, grid.mask), grid)
        cls = _mean(cls, grid.mask) if grid.joint else cls.flatten(0, 1)[:, None]
        if self.tie is not None and self.tie.side == "up":  # of the class token alone, as in the released code
            return torch.cat([self.raised(cls), self.up(patches)], dim=1)
        return self.raised(torch.cat([cls.to(patches.dtype), patches], dim=1))

    def _class_tokens(self, h: Tensor, by_frame: Tensor, grid: Grid) -> Tensor:
        """[B, T, dim]: one per frame, or what stands for them where a video has one class token."""
        if grid.joint:
            return by_frame if self.stand_in == "frame_mean" else h[:, :1].expand_as(by_frame)
        of_frames: Tensor = h[:, 0].unflatten(0, (-1, grid.frames))
        return of_frames

    def _over_frames(
        self, transformer: SmallTransformer, cls: Tensor, patches: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """cc [B, 1, dim] (or [B, 0, dim]), class tokens and patch means [B, T, dim] behind the transformer."""
        (clips, frames, dim), context = cls.shape, self.cc is not None
        first = [] if self.cc is None else [self.cc.expand(clips, 1, dim)]
        if mask is not None:
            mask = F.pad(mask.repeat(1, 2), (int(context), 0), value=True)
        x = torch.cat([*first, cls, patches], dim=1) + self._positions_for(frames)
        cc, cls, patches = transformer(x, mask).split([int(context), frames, frames], dim=1)
        return cc, cls, patches

    def _positions_for(self, frames: int) -> Tensor:
        """Positions [N, dim] for clips of this many frames: learned, or linear between the learned ones."""
        assert self.positions is not None
        first = int(self.cc is not None)
        learned = (len(self.positions) - first) // 2
        if frames == learned:
            return self.positions
        of_kinds = self.positions[first:].unflatten(0, (2, learned)).transpose(1, 2)
        between = F.interpolate(of_kinds, size=frames, mode="linear").transpose(1, 2)
        return torch.cat([self.positions[:first], between.flatten(0, 1)])


def _times(h: Tensor, alpha: Tensor, grid: Grid) -> Tensor:
    """The patch tokens of h [S, N, dim] times the alpha [B, T, dim] of their frames: [S, N - 1, dim]."""
    by_place = patches_by_place(h, grid) * alpha[:, None]
    return from_patches_by_place(by_place, grid, h[:, :1].to(by_place.dtype))[:, 1:]


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over real frames of x [B, T, dim]: [B, 1, dim]."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    real = mask[..., None].to(x.dtype)
    return (x * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True).clamp(min=1)
