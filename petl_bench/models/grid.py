"""The order of video tokens: the only place that knows it.

ViCLIP keeps one sequence per video, [B, 1 + h*w*T, C]: the class token, then patch n of frame t at 1 + n*T + t, with n
counted row by row (space-major, time-minor). CLIP keeps one sequence per frame, [B*T, 1 + h*w, C].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """What video tokens stand for: `frames` x `height` x `width` patches, and whether they are in one sequence."""

    frames: int
    height: int
    width: int
    joint: bool  #: True: one sequence per video (ViCLIP); False: one per frame (CLIP)


def patches_by_place(tokens: Tensor, grid: Grid) -> Tensor:
    """The patch tokens without the class token, [B, h*w, T, C]; a view for ViCLIP's order."""
    patches, places = tokens[:, 1:], grid.height * grid.width
    if grid.joint:
        return patches.unflatten(1, (places, grid.frames))
    return patches.unflatten(0, (-1, grid.frames)).transpose(1, 2)


def from_patches_by_place(patches: Tensor, grid: Grid, cls: Tensor) -> Tensor:
    """The inverse: [B, h*w, T, C] and class tokens ([B, 1, C], or [B*T, 1, C] per frame) back to a sequence."""
    if grid.joint:
        return torch.cat([cls, patches.flatten(1, 2)], dim=1)
    return torch.cat([cls, patches.transpose(1, 2).flatten(0, 1)], dim=1)


def to_volume(tokens: Tensor, grid: Grid) -> Tensor:
    """Patch tokens as a volume [B, C, T, h, w]; the class token is left out (it is `tokens[:, :1]`)."""
    return patches_by_place(tokens, grid).unflatten(1, (grid.height, grid.width)).permute(0, 4, 3, 1, 2)


def from_volume(volume: Tensor, grid: Grid, cls: Tensor) -> Tensor:
    """A volume [B, C, T, h, w] and class tokens ([B, 1, C], or [B*T, 1, C] per frame) back to a sequence of tokens."""
    return from_patches_by_place(volume.permute(0, 3, 4, 2, 1).flatten(1, 2), grid, cls)
