"""Rows of a table for the frames of a clip; a Transformer over the features of frames.

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.errors import UsageError
from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch
from petl_bench.models.towers import TextTower
from petl_bench.models.transformer import Block, initialise_blocks


def rows_of_frames(table: Tensor, frames: int) -> Tensor:
    """A row for each frame, [T, W] -> [frames, W]: the first ones; for more than T the table interpolated linearly.

    A clip with fewer frames than T so has the same rows alone as it has padded to T.
    """
    if frames <= len(table):
        return table[:frames]
    return F.interpolate(table.T[None], frames, mode="linear")[0].T


class RealFramesOnly(nn.Module):
    """Attention reads no frame that `grid.mask` says is padding."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """q, k, v [B, heads, T, d] as they are, and the bias of the scores [B, 1, 1, T]."""
        if grid.mask is None:
            return q, k, v, None
        bias = torch.zeros_like(grid.mask, dtype=q.dtype).masked_fill(~grid.mask, -torch.inf)
        return q, k, v, bias[:, None, None]


class FrameTransformer(nn.Module):
    """mean_t n(f_t + Transformer(f + P)_t), n: L2 norm: frame features [B, T, D] -> [B, D].

    P [positions, D] and the blocks of the Transformer are drawn as CLIP's are. They have the text tower's number of
    heads if it divides D, else the greatest common divisor.
    """

    def __init__(self, channels: int, text: TextTower, layers: int, positions: int) -> None:
        super().__init__()
        heads = math.gcd(text.config.text_heads, channels)
        self.positions = nn.Parameter(torch.empty(positions, channels))
        blocks = [
            Block("video", index, channels, heads, AdapterSwitch(), text.config.activation)
            for index in range(1, layers + 1)
        ]
        for block in blocks:
            block.attention.mix(RealFramesOnly())
        self.blocks = nn.ModuleList(blocks)
        nn.init.normal_(self.positions, std=0.01)
        initialise_blocks(self.blocks)

    @torch.no_grad()
    def copy_text(self, text: TextTower) -> None:
        """Start from the first blocks and positions of a text tower of the same width."""
        known = min(len(self.positions), len(text.positional_embedding))
        self.positions[:known] = text.positional_embedding[:known]
        for mine, theirs in zip(self.blocks, text.blocks, strict=False):
            mine.load_state_dict(theirs.state_dict(), strict=False)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """The video's feature, of frames [B, T, D]; `mask`: bool [B, T], which of them are real; None: all."""
        count = frames.shape[1]
        if count > len(self.positions):
            raise UsageError(
                f"{count} frames per clip, but the head has {len(self.positions)} positions of frames; "
                f"set seq_transf.positions={count} or more"
            )
        grid = Grid(count, 1, 1, joint=True, mask=mask)
        x = frames + self.positions[:count]
        for block in self.blocks:
            x = block(x, grid)
        units = F.normalize(frames + x, dim=-1)
        if mask is None:
            return units.mean(1)
        real = mask.unsqueeze(-1).to(units.dtype)
        return (units * real).sum(1) / real.sum(1)
