"""Bottlenecks with a convolution inside, over the patches of video tokens.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from petl_bench.models.adapters import TemporalConv
from petl_bench.models.grid import Grid, from_volume, to_volume
from petl_bench.models.transformer import quick_gelu


class ConvBypass(nn.Module):
    """Up(dropout(act(Conv(act(Down(x)))))): [S, N, width] -> [S, N, width], act: QuickGELU (Jie & Deng, 2022).

    Conv is 3x3 on the patches of each frame; the class token is an image of one pixel. It starts as the identity
    (weights zero but for the middle), Down Xavier uniform, Up and all biases zero.
    """

    def __init__(self, width: int, dim: int, dropout: float, depthwise: bool, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.down = nn.Linear(width, dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim if depthwise else 1)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(dim, width)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.dirac_(self.conv.weight, self.conv.groups)
        for tensor in (self.down.bias, self.conv.bias, self.up.weight, self.up.bias):
            assert tensor is not None
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """The bypass of tokens x that lie as `grid` says."""
        h = self._over_space(quick_gelu(self.down(self.norm(x))), grid)
        output: Tensor = self.up(self.dropout(quick_gelu(h)))
        return output

    def _over_space(self, h: Tensor, grid: Grid) -> Tensor:
        """Conv of tokens [S, N, dim], frame by frame."""
        volume = to_volume(h, grid).transpose(1, 2)  # [B, T, dim, h, w]
        patches = self.conv(volume.flatten(0, 1)).unflatten(0, volume.shape[:2]).transpose(1, 2)
        cls = self.conv(h[:, 0, :, None, None]).flatten(1)  # [S, dim]
        return from_volume(patches, grid, cls.unsqueeze(1))


class SpatioTemporalAdapter(nn.Module):
    """x + fc2(Conv(fc1(x))) for patches, x for class tokens: [S, N, width] -> [S, N, width] (Pan et al., 2022).

    Conv is depth-wise over time, three frames long, and starts at zero, as all biases do. There is no activation.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, dim)
        self.conv = TemporalConv(dim, dim)
        self.fc2 = nn.Linear(dim, width)
        for tensor in (self.conv.weight, self.conv.bias, self.fc1.bias, self.fc2.bias):
            assert tensor is not None
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """What takes the place of tokens x, which lie as `grid` says."""
        change = self.fc2(self.conv(self.fc1(x), grid)[:, 1:])
        return torch.cat([x[:, :1], x[:, 1:] + change], dim=1)
