"""DoRA's linear map. This file imports torch; methods import it when they attach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoRALinear(nn.Module):
    """y = m / |W + s B A| * (W + s B A) x + b: [..., in] -> [..., out]; W and b are those of `base`, shared."""

    def __init__(self, base: nn.Linear, rank: int, scaling: float, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.scaling = scaling
        self.dropout = nn.Dropout(dropout)
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self.magnitude = nn.Parameter(base.weight.detach().norm(dim=1))

    def direction(self) -> Tensor:
        """W + s B A, [out, in]."""
        return torch.add(self.weight, self.lora_B @ self.lora_A, alpha=self.scaling)

    def ratio(self) -> Tensor:
        """m / |W + s B A|, [out]; no gradient flows through the norm."""
        with torch.no_grad():
            norm = self.direction().norm(dim=1)
        ratio: Tensor = self.magnitude / norm
        return ratio

    def forward(self, x: Tensor) -> Tensor:
        """W x + b, and what the ratio and the update change in it: the identity to the bit at the start."""
        ratio = self.ratio()
        frozen = F.linear(x, self.weight, self.bias)
        if self.training and self.dropout.p:
            x = self.dropout(x)
            without_bias = F.linear(x, self.weight)
        else:
            without_bias = frozen - self.bias
        update = F.linear(F.linear(x, self.lora_A), self.lora_B)
        return frozen + (ratio - 1) * without_bias + ratio * update * self.scaling

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The weight [out, in] that computes the same with the bias b."""
        return self.ratio().unsqueeze(1) * self.direction()
