"""The pre-norm transformer block that ViCLIP and CLIP share, in the video and in the text tower."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petl_bench.api.config import Activation
from petl_bench.errors import PluginError, UsageError
from petl_bench.models.grid import Grid
from petl_bench.models.sites import AdapterSwitch, Attachment, LinearSite, Norm, Site, Stream, with_one_more
from petl_bench.models.substitution import recomputed
from petl_bench.models.tokens import ExtraTokens, extend, extra_tokens, reduced, shrink


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

    def __init__(self, width: int, switch: AdapterSwitch, place: str) -> None:
        super().__init__(switch, place)
        self.norm = Norm(width, switch, f"{place}.norm")

    def first_norm(self, x: Tensor) -> Tensor:
        """The branch's layer norm of x."""
        normed: Tensor = self.norm(x)
        return normed


class Attention(Branch):
    """Multi-head self-attention behind its layer norm: out(SDPA(q(h), k(h), v(h))) with h = LN(x); [B, N, width]."""

    def __init__(self, width: int, heads: int, causal: bool, switch: AdapterSwitch, place: str = "attention") -> None:
        super().__init__(width, switch, place)
        self.heads, self.causal = heads, causal
        self.q = LinearSite(width, width, switch, f"{place}.q")
        self.k = LinearSite(width, width, switch, f"{place}.k")
        self.v = LinearSite(width, width, switch, f"{place}.v")
        self.out = LinearSite(width, width, switch, f"{place}.out")
        self.mixer: Attachment | None = None
        self.messages: nn.ModuleList | None = None  #: of ExtraTokens, which are keys and values here

    def mix(self, module: nn.Module) -> None:
        """Let `module(q, k, v, grid) -> (q, k, v, bias)` change what attention is computed from.

        Args:
            module: gets q, k, v [S, heads, N, d] and the grid (None in the text tower), without extra tokens, which
                take part as they are. It returns q of the same shape, k and v of [S, heads, M, d] with any M, and a
                bias that is added to the scores, [N, M] or whatever broadcasts to [S, heads, N, M], or None.
                In the text tower a token attends to no later one; keys behind the first N are open to all.

        Raises:
            UsageError: if there is one already.
        """
        if self.mixer is not None:
            raise UsageError(f"{self.place}: two modules want to mix queries, keys and values; only one can")
        self.mixer = Attachment(module)

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """The attention's output for x, which the caller adds to x."""
        h = self.norm(x) if normed is None else normed
        if self._switch.on and not (self.mixer is None and self.messages is None):
            return self._leave(self._attend_mixed(h, x, grid))
        return self.attend(h)

    def attend(self, h: Tensor, read: Tensor | None = None) -> Tensor:
        """The attention's output [S, N, width] for any sequences h = LN(x) [S, N, width], without mixer and messages.

        `read`: bool [S, N], the tokens that others attend to; None: all.
        """
        q, k, v = self._split(self.q(h)), self._split(self.k(h)), self._split(self.v(h))
        keys = None if read is None else read[:, None, None]
        return self._leave(F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=self.causal))

    def _leave(self, mixed: Tensor) -> Tensor:
        """The output for what the heads attended to, [B, heads, N, d] -> [B, N, width]."""
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output

    def _split(self, x: Tensor) -> Tensor:
        """[B, N, width] -> [B, heads, N, width / heads]."""
        by_head: Tensor = x.unflatten(2, (self.heads, -1))
        return by_head.transpose(1, 2)

    def _attend_mixed(self, h: Tensor, x: Tensor, grid: Grid | None) -> Tensor:
        """Attention [S, heads, N, d] of h = LN(x), with messages among the keys, and behind the mixer."""
        heard, keys_grid = h, grid
        if self.messages is not None:
            assert grid is not None  # the text tower takes no extra tokens
            messages = torch.cat([message(x, grid) for message in extra_tokens(self.messages)], 1)
            heard, keys_grid = torch.cat([h, self.norm(messages)], 1), replace(grid, end=grid.end + messages.shape[1])
        q, k, v, bias = self._split(self.q(h)), self._split(self.k(heard)), self._split(self.v(heard)), None
        if self.mixer is not None:
            q, k, v, bias = self._mix(q, k, v, grid, keys_grid)
        if self.causal and (bias is not None or q.shape[2] != k.shape[2]):
            open_to_all = q.new_ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
            open_to_all[:, q.shape[2] :] = True
            bias = open_to_all if bias is None else torch.where(open_to_all, bias, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=self.causal and bias is None)

    def _mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: Grid | None, keys_grid: Grid | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """q, k, v and the bias behind the mixer, which sees no extra tokens: they are put back, with no bias."""
        assert self.mixer is not None
        if grid is None or keys_grid is None or not keys_grid.extra:
            return self._checked(q, self.mixer(q, k, v, grid))
        own_q, *extra_q = grid.split(q, 2)
        own_k, *extra_k = keys_grid.split(k, 2)
        own_v, *extra_v = keys_grid.split(v, 2)
        own_q, own_k, own_v, bias = self._checked(own_q, self.mixer(own_q, own_k, own_v, grid.without_extra))
        q = grid.join(own_q, extra_q[0], extra_q[1], 2)
        k, v = torch.cat([own_k, *extra_k], 2), torch.cat([own_v, *extra_v], 2)
        if bias is not None:
            bias = bias.expand(*bias.shape[:-2], own_q.shape[2], own_k.shape[2])
            none = [bias.new_zeros(*bias.shape[:-2], rows, bias.shape[-1]) for rows in (grid.start, grid.end)]
            bias = F.pad(grid.join(bias, none[0], none[1], bias.ndim - 2), (0, keys_grid.extra))
        return q, k, v, bias

    def _checked(self, before: Tensor, given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What the mixer gave for q `before`, the bias in q's type. Raises PluginError for what does not fit."""
        assert self.mixer is not None
        mixer = f"{self.place}, mix: {type(self.mixer.module).__name__}"
        if not isinstance(given, tuple) or len(given) != 4:
            raise PluginError(f"{mixer} must return a tuple (q, k, v, bias), where bias may be None")
        q, k, v, bias = given
        if q.shape != before.shape or k.shape != v.shape or k[:, :, :0].shape != q[:, :, :0].shape:
            raise PluginError(
                f"{mixer} gave q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}; expected q "
                f"{list(before.shape)}, and k and v alike but for the number of tokens"
            )
        return q, k, v, None if bias is None else bias.to(q.dtype)


class FeedForward(Branch):
    """proj(activation(fc(LN(x)))) with four times the width inside; [B, N, width]."""

    def __init__(self, width: int, switch: AdapterSwitch, activation: Activation, place: str = "feedforward") -> None:
        super().__init__(width, switch, place)
        self.activation = activation
        self.fc = LinearSite(width, 4 * width, switch, f"{place}.fc")
        self.proj = LinearSite(4 * width, width, switch, f"{place}.proj")

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """The feed-forward's output for x, which the caller adds to x."""
        h = self.fc(self.norm(x) if normed is None else normed)
        output: Tensor = self.proj(quick_gelu(h) if self.activation == "quick_gelu" else F.gelu(h))
        return output


class Block(Site):
    """x = x + attention(x); x = middle(x); x = x + feedforward(x).

    `tower` is "video" or "text", `width` the number of channels, `index` the position in the tower, counted from 1.
    `middle` is a site on the stream between the branches.
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
        place = f"block {index} of the {tower} tower"
        super().__init__(switch, place)
        self.tower, self.index, self.width = tower, index, width
        self.attention = Attention(width, heads, tower == "text", switch, f"{place}, attention")
        self.middle = Stream(switch, f"{place}, middle")
        self.feedforward = FeedForward(width, switch, activation, f"{place}, feedforward")
        self.tokens: nn.ModuleList | None = None  #: of ExtraTokens, which are put in before this block
        self.reducer: Attachment | None = None

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The block, computed again on the way back if blocks are checkpointed: around what torch.compile compiles."""
        if not (self._switch.checkpoint_blocks and torch.is_grad_enabled() and self._needs_gradient(inputs)):
            return super().__call__(*inputs, **named)
        return recomputed(self._switch, self, super().__call__, *inputs, **named)

    def reduce(self, module: nn.Module) -> None:
        """Let `module(x, grid) -> (x, grid)` leave fewer tokens behind this block (token merging).

        It gets the class token and the patches, x [S, N, width], without extra tokens. The class token stays first. A
        module that merges frames of a frame-wise backbone gives a grid with fewer `frames`. What reads the grid of
        patches later is refused; `attention.mix` and other reductions get the new grid.

        Raises:
            UsageError: in the text tower, or if there is one already.
        """
        if self.tower == "text":
            raise UsageError(f"{self.place}: only tokens of the video tower can be reduced")
        if self.reducer is not None:
            raise UsageError(f"{self.place}: two modules want to reduce the tokens; only one can")
        self.reducer = Attachment(module)

    def add_tokens(self, tokens: ExtraTokens) -> None:
        """See `VideoTower.add_tokens`."""
        if tokens.scope == "attention":
            self.attention.messages = with_one_more(self.attention.messages, tokens)
        else:
            self.tokens = with_one_more(self.tokens, tokens)

    def advance(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """A video's tokens through the block, with the extra tokens that are put in before it and its reduction."""
        if not self._switch.on or (self.tokens is None and self.reducer is None):
            return self(x, grid), grid
        tokens = extra_tokens(self.tokens)
        x, grid = extend(x, grid, [extra for extra in tokens if extra.scope == "rest"])
        x, inside = extend(x, grid, [extra for extra in tokens if extra.scope == "block"])
        x = shrink(self(x, inside), inside, grid)
        return (x, grid) if self.reducer is None else reduced(x, grid, self.reducer, self.index)

    def first_norm(self, x: Tensor) -> Tensor:
        """The layer norm of x that attention reads."""
        return self.attention.first_norm(x)

    def compute(self, x: Tensor, grid: Grid | None, normed: Tensor | None) -> Tensor:
        """Both branches with their residual connections."""
        x = self.middle(x + self.attention(x, grid, normed), grid)
        output: Tensor = x + self.feedforward(x, grid)
        return output

    def _needs_gradient(self, inputs: tuple[Any, ...]) -> bool:
        return inputs[0].requires_grad or any(parameter.requires_grad for parameter in self.parameters())


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
