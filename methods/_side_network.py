"""The side network of Side4Video. This file imports torch; methods import it when they attach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch
from petl_bench.models.towers import VideoTower, pooled_frames
from petl_bench.models.transformer import Attention


class TokenBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm3d` of tokens [S, P, w] as a volume; frames that pad a clip have no part in it."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        """The norm of x; in training frames that pad a clip become zero."""
        if grid.mask is None or not self.training:
            normed: Tensor = super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return normed
        real, y = grid.mask.flatten(), torch.zeros_like(x)
        y[real] = super().forward(x[real].flatten(0, 1)).unflatten(0, (-1, x.shape[1])).to(x.dtype)
        return y


class Stem(nn.Conv3d):
    """Patches of p x p pixels of a frame and its two neighbours: frames [B, T, 3, H, W] -> tokens [B T, P, width].

    `nn.Conv3d(3, width, (3, p, p), stride=(1, p, p), padding=(1, 0, 0))`, computed as a matrix product over patches.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__(3, width, (3, patch, patch), stride=(1, patch, patch), padding=(1, 0, 0))

    def forward(self, pixels: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]
        """Frames before the first, behind the last, and those that pad a clip count as zero."""
        if grid.mask is not None:
            pixels = torch.where(grid.mask[:, :, None, None, None], pixels, 0)
        patch, rows, columns = self.stride[1], grid.height, grid.width
        x = pixels[..., : rows * patch, : columns * patch].unflatten(4, (columns, patch)).unflatten(3, (rows, patch))
        patches = x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # [B, T, P, 3 p p]
        by_tap = F.linear(patches, self.weight.transpose(1, 2).flatten(2).transpose(0, 1).flatten(0, 1))
        padded = F.pad(by_tap.unflatten(3, (3, -1)), (0, 0, 0, 0, 0, 0, 1, 1))  # [B, T + 2, P, taps, width]
        assert self.bias is not None
        y: Tensor = self.bias
        for tap in range(3):
            y = y + padded[:, tap : tap + grid.frames, :, tap]
        return y.flatten(0, 1)


class OverTime(nn.Module):
    """A depth-wise convolution over time, three frames long: tokens [S, P, w] -> [S, P, w]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3).normal_(std=width**-0.5))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-(3**-0.5), 3**-0.5))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Frames before the first, behind the last, and those that pad a clip count as zero."""
        padded = F.pad(grid.real(x).unflatten(0, (-1, grid.frames)), (0, 0, 0, 0, 1, 1))  # [B, T + 2, P, w]
        y: Tensor = self.bias
        for tap in range(3):
            y = torch.addcmul(y, padded[:, tap : tap + grid.frames], self.weight[:, tap])
        return y.flatten(0, 1)


class SideBlock(nn.Module):
    """A block of width w: x += conv(BN(x)); x += attention(LN([c; x] + p)); x += MLP(BN(x)). Tokens x: [S, P, w].

    c [S, 1, w] is the class token of each frame: half of its channels come from the frame behind it, half from the one
    before. Only patches ask, so that what the class token would get is left out.
    """

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.conv_norm, self.mlp_norm = TokenBatchNorm(width), TokenBatchNorm(width)
        self.enter, self.over_time, self.leave = nn.Linear(width, width), OverTime(width), nn.Linear(width, width)
        self.attention = Attention(width, heads, False, AdapterSwitch(), "the side network, attention")
        fc, proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(fc, nn.GELU(), proj)
        attention_std, branch_std = width**-0.5, (2 * layers * width) ** -0.5
        _draw({self.enter: 0.02, self.leave: 0.02, fc: (2 * width) ** -0.5, proj: branch_std})
        q, k, v, out = (
            site.base for site in (self.attention.q, self.attention.k, self.attention.v, self.attention.out)
        )
        _draw({q: attention_std, k: attention_std, v: attention_std, out: branch_std})
        for linear in (q, k, v, out):
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, cls: Tensor, positions: Tensor, grid: Grid) -> Tensor:
        """x [S, P, w] behind the block; class tokens [S, 1, w], positions [1 + P, w] of the class token and patches."""
        x = x + self.leave(self.over_time(self.enter(self.conv_norm(x, grid)), grid))
        x = x + self.attention(torch.cat([shifted(cls, grid), x], dim=1) + positions)[:, 1:]
        x = x + self.mlp(self.mlp_norm(x, grid))
        return x


def shifted(cls: Tensor, grid: Grid) -> Tensor:
    """Class tokens [S, 1, w]: the first w // 2 channels of the next frame, the others of the one before, else zero."""
    by_frame = F.pad(grid.real(cls).unflatten(0, (-1, grid.frames)), (0, 0, 0, 0, 1, 1))  # [B, T + 2, 1, w]
    half = cls.shape[-1] // 2
    return torch.cat([by_frame[:, 2:, :, :half], by_frame[:, :-2, :, half:]], dim=-1).flatten(0, 1)


def _draw(stds: Mapping[nn.Linear, float]) -> None:
    """Normal weights with these standard deviations."""
    for linear, std in stds.items():
        nn.init.normal_(linear.weight, std=std)


class SideNetwork(nn.Module):
    """A side network beside the video tower of a frame-wise backbone; see `VideoTower.set_side`, `with_pixels`."""

    def __init__(self, tower: VideoTower, width: int, heads: int) -> None:
        super().__init__()
        config, layers = tower.config, len(tower.blocks)
        patch, wide = config.patch_size, config.vision_width
        self._tower = (tower,)  # in a tuple, so that the tower is no part of its own side network
        self.stem = Stem(width, patch)
        self.stem_norm, self.norm_post = TokenBatchNorm(width), TokenBatchNorm(width)
        self.positions = nn.Parameter(torch.empty(1 + (config.image_size // patch) ** 2, width).normal_(std=0.01))
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(wide, width) for _ in range(layers))
        self.blocks = nn.ModuleList(SideBlock(width, heads, layers) for _ in range(layers))
        self.up = nn.Linear(width, wide, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, stream: Tensor, outputs: Sequence[Tensor], grid: Grid, pixels: Tensor) -> Tensor:
        """Features [B, D] of frames `pixels` [B, T, 3, H, W], whose class token and patches each frozen block gives."""
        x = self.stem_norm(self.stem(pixels, grid), grid)
        for norm, down, block, output in zip(self.norms, self.down, self.blocks, outputs, strict=True):
            frozen = down(norm(output))
            x = block(0.5 * x + 0.5 * frozen[:, 1:], frozen[:, :1], self.positions, grid)
        (tower,) = self._tower
        change = self.up(self.norm_post(x, grid).mean(1))
        features: Tensor = tower.norm_post(outputs[-1][:, 0] + change) @ tower.projection
        return pooled_frames(features.unflatten(0, (-1, grid.frames)), grid.mask, tower.config.pooling)
