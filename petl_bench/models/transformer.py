"""The pre-norm transformer block that ViCLIP and CLIP share, in the video and in the text tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.api.config import Activation
from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch, LinearSite, Site


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), CLIP's activation; through SiLU, whose factors cancel on the way back."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return F.silu(1.702 * x, inplace=True).mul_(1 / 1.702)
    y: Tensor = _QuickGELU.apply(x)
    return y


class _QuickGELU(torch.autograd.Function):
    """silu(1.702 x) / 1.702: keeps one tensor, and its backward pass is SiLU's alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scaled = 1.702 * x
        ctx.save_for_backward(scaled)
        return F.silu(scaled).mul_(1 / 1.702)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (scaled,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.silu_backward(gradients[0], scaled)
        return gradient


class Branch(Site):
    """A residual branch: a layer norm, and what it computes behind it."""

    def __init__(self, width: int, switch: AdapterSwitch) -> None:
        super().__init__(switch)
        self.norm = nn.LayerNorm(width)

    def first_norm(self, x: Tensor) -> Tensor:
        """The branch's layer norm of x."""
        normed: Tensor = self.norm(x)
        return normed


class Attention(Branch):
    """Multi-head self-attention behind its layer norm: out(SDPA(q(h), k(h), v(h))) with h = LN(x); [B, N, width]."""

    def __init__(self, width: int, heads: int, causal: bool, switch: AdapterSwitch) -> None:
        super().__init__(width, switch)
        self.heads, self.causal = heads, causal
        self.q = LinearSite(width, width, switch)
        self.k = LinearSite(width, width, switch)
        self.v = LinearSite(width, width, switch)
        self.out = LinearSite(width, width, switch)

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """The attention's output for x, which the caller adds to x."""
        h = self.norm(x) if normed is None else normed
        q, k, v = self._split(self.q(h)), self._split(self.k(h)), self._split(self.v(h))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, heads, N, width / heads]."""
        by_head: Tensor = x.unflatten(2, (self.heads, -1))
        return by_head.transpose(1, 2)


class FeedForward(Branch):
    """proj(activation(fc(LN(x)))) with four times the width inside; [B, N, width]."""

    def __init__(self, width: int, switch: AdapterSwitch, activation: Activation) -> None:
        super().__init__(width, switch)
        self.activation = activation
        self.fc = LinearSite(width, 4 * width, switch)
        self.proj = LinearSite(4 * width, width, switch)

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """The feed-forward's output for x, which the caller adds to x."""
        h = self.fc(self.norm(x) if normed is None else normed)
        output: Tensor = self.proj(quick_gelu(h) if self.activation == "quick_gelu" else F.gelu(h))
        return output


class Block(Site):
    """x = x + attention(x); x = x + feedforward(x).

    `tower` is "video" or "text", `width` the number of channels, `index` the position in the tower, counted from 1.
    """

    def __init__(
        self,
        tower: str,
        index: int,
        width: int,
        heads: int,
        switch: AdapterSwitch,
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__(switch)
        self.tower, self.index, self.width = tower, index, width
        self.attention = Attention(width, heads, tower == "text", switch)
        self.feedforward = FeedForward(width, switch, activation)

    def first_norm(self, x: Tensor) -> Tensor:
        """The layer norm of x that attention reads."""
        return self.attention.first_norm(x)

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """Both branches with their residual connections."""
        x = x + self.attention(x, grid, normed)
        output: Tensor = x + self.feedforward(x, grid)
        return output


def initialise_blocks(blocks: nn.ModuleList) -> None:
    """CLIP's initialisation (Radford et al., 2021): normal weights scaled by width and depth, zero biases."""
    for block in blocks:
        assert isinstance(block, Block)
        attention_std = block.width**-0.5
        residual_std = attention_std * (2 * len(blocks)) ** -0.5
        attention, feedforward = block.attention, block.feedforward
        for site in (attention.q, attention.k, attention.v):
            _initialise(site.base, attention_std)
        _initialise(attention.out.base, residual_std)
        _initialise(feedforward.fc.base, (2 * block.width) ** -0.5)
        _initialise(feedforward.proj.base, residual_std)


def _initialise(linear: nn.Linear, std: float) -> None:
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
