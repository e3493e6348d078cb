"""VeRA's linear map and its frozen projections. This file imports torch; methods import it when they attach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Projections(nn.Module):
    """A: [r, in] and B: [out, r], frozen, Kaiming uniform, drawn from the seed alone.

    They are no part of any state. One module stands for all linears of a shape, so that they stay one pair in memory
    on every device.
    """

    A: Tensor
    B: Tensor

    def __init__(self, rank: int, in_features: int, out_features: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator("cpu").manual_seed(seed)  # not the global one, and no device's
        for name, rows, columns in (("A", rank, in_features), ("B", out_features, rank)):
            bound = (6 / columns) ** 0.5
            drawn = torch.empty(rows, columns, device="cpu").uniform_(-bound, bound, generator=generator)
            self.register_buffer(name, drawn, persistent=False)


class VeRALinear(nn.Module):
    """y = W x + bias + b * (B (d * (A x))): [..., in] -> [..., out]; W and its bias are those of `base`, shared."""

    def __init__(self, base: nn.Linear, projections: Projections, d_initial: float, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.projections = projections
        self.dropout = nn.Dropout(dropout)
        self.vera_d = nn.Parameter(base.weight.new_full((len(projections.A),), d_initial))
        self.vera_b = nn.Parameter(base.weight.new_zeros(base.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """The backbone's own linear, and the scaled projections beside it."""
        inner = self.vera_d * F.linear(self.dropout(x), self.projections.A)
        return F.linear(x, self.weight, self.bias) + self.vera_b * F.linear(inner, self.projections.B)

    @torch.no_grad()
    def update(self) -> Tensor:
        """diag(b) B diag(d) A, [out, in]."""
        return self.vera_b.unsqueeze(1) * (self.projections.B @ (self.vera_d.unsqueeze(1) * self.projections.A))
