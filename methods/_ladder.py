"""The side networks of Ladder Side-Tuning. This file imports torch; methods import it when they attach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch
from petl_bench.models.towers import TextTower, VideoTower, pooled_frames
from petl_bench.models.transformer import Block, initialise_blocks


class Ladder(nn.Module):
    """Blocks of a small width w, one beside each frozen block of width W, which it reads.

    They have the frozen blocks' number of heads if it divides w, else the greatest common divisor.
    """

    def __init__(self, tower: VideoTower | TextTower, width: int, temperature: float, residual: bool) -> None:
        super().__init__()
        beside = cast(Block, tower.blocks[0])
        layers, heads = len(tower.blocks), math.gcd(beside.attention.heads, width)
        self.temperature, self.residual = temperature, residual
        self.first = nn.Linear(beside.width, width)
        self.down = nn.ModuleList(nn.Linear(beside.width, width) for _ in range(layers))
        self.gate = nn.Parameter(torch.zeros(layers))
        self.blocks = nn.ModuleList(
            Block(beside.tower, index, width, heads, AdapterSwitch(), beside.feedforward.activation)
            for index in range(1, layers + 1)
        )
        initialise_blocks(self.blocks)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, beside.width)
        if residual:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def climb(self, stream: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """h_L [S, N, w], from the stream before the first frozen block and what each gives, [S, N, W]."""
        h: Tensor = self.first(stream)
        gates = torch.sigmoid(self.gate / self.temperature)
        for gate, down, block, output in zip(gates, self.down, self.blocks, outputs, strict=True):
            h = block(gate * h + (1 - gate) * down(output))
        return h

    def leave(self, h: Tensor, output: Tensor) -> Tensor:
        """What the tower's head reads, [S, W], of the token h [S, w] and the same token of the last frozen block."""
        x: Tensor = self.up(self.norm(h))
        return output + x if self.residual else x


class VideoLadder(Ladder):
    """A ladder beside the video tower; see `VideoTower.set_side`."""

    def __init__(self, tower: VideoTower, width: int, temperature: float, residual: bool) -> None:
        super().__init__(tower, width, temperature, residual)
        self._tower = (tower,)  # in a tuple, so that the tower is no part of its own side network

    def forward(self, stream: Tensor, outputs: Sequence[Tensor], grid: Grid) -> Tensor:
        """Features [B, D] of the class tokens; of a frame-wise backbone pooled over frames."""
        (tower,) = self._tower
        x = self.leave(self.climb(stream, outputs)[:, 0], outputs[-1][:, 0])
        features: Tensor = tower.norm_post(x) @ tower.projection
        if grid.joint:
            return features
        return pooled_frames(features.unflatten(0, (-1, grid.frames)), grid.mask, tower.config.pooling)


class TextLadder(Ladder):
    """A ladder beside the text tower; see `TextTower.set_side`."""

    def __init__(self, tower: TextTower, width: int, temperature: float, residual: bool) -> None:
        super().__init__(tower, width, temperature, residual)
        self._tower = (tower,)

    def forward(self, stream: Tensor, outputs: Sequence[Tensor], ends: Tensor) -> Tensor:
        """Features [S, D] of the tokens at the ends [S] of the texts."""
        (tower,) = self._tower
        texts = torch.arange(len(ends), device=ends.device)
        x = self.leave(self.climb(stream, outputs)[texts, ends], outputs[-1][texts, ends])
        features: Tensor = tower.norm_final(x) @ tower.projection
        return features
