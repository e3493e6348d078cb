"""Learned vectors as tokens: of a tower (VPT, MaPLe, PromptSRC), and as the context of a prompt (CoOp, CoCoOp).

This file imports torch; methods import it when they attach.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Vectors(nn.Module):
    """Learned vectors [n, W], given back when it is called."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self) -> Tensor:
        """[n, W]."""
        return self.values


class Projected(nn.Module):
    """Learned vectors [n, W'] that stand elsewhere too, through a linear map, given back when it is called."""

    def __init__(self, values: nn.Parameter, width: int) -> None:
        super().__init__()
        self.values = values
        self.linear = nn.Linear(values.shape[1], width)

    def forward(self) -> Tensor:
        """[n, W]."""
        tokens: Tensor = self.linear(self.values)
        return tokens


class Context(nn.Module):
    """Learned vectors v [n, W] between the start of a text and its words; a prompt of the text tower."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(self, embeddings: Tensor, ends: Tensor, video: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embeddings [M, L, W] of M texts become [M, n + L, W], or [B, M, n + L, W] for B clips; ends [M] move by n."""
        context = self.of(video)
        clips = context.shape[:-2]
        texts = embeddings.expand(*clips, -1, -1, -1)
        context = context.unsqueeze(-3).expand(*clips, len(embeddings), -1, -1)
        return torch.cat([texts[..., :1, :], context, texts[..., 1:, :]], dim=-2), ends + context.shape[-2]

    def of(self, video: Tensor | None) -> Tensor:
        """The context of every clip, [n, W]."""
        return self.vectors


class ConditionalContext(Context):
    """A context that a network moves by the features of a clip: v + meta(f / |f|), meta: [B, D] -> [B, W]."""

    def __init__(self, vectors: Tensor, meta: nn.Module) -> None:
        super().__init__(vectors)
        self.meta = meta

    def of(self, video: Tensor | None) -> Tensor:
        """The context of each clip, [B, n, W], for features `video` [B, D]; without a clip v itself, [n, W]."""
        if video is None:
            return self.vectors
        shift: Tensor = self.meta(functional.normalize(video.float(), dim=-1))
        return self.vectors + shift.unsqueeze(1)
