"""What methods put into the text tower: replaced tokens, and the checks of what a prompt module returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from petl_bench.api.config import ViCLIPConfig
from petl_bench.errors import PluginError, UsageError


class ReplacedTokens(nn.Module):
    """The output of `module()`, [count, W], in the place of `count` tokens from `start` on, before one block."""

    def __init__(self, module: nn.Module, block: int, start: int, count: int) -> None:
        super().__init__()
        self.module = module
        self.block, self.start, self.count = block, start, count

    def overlaps(self, other: ReplacedTokens) -> bool:
        """Whether both replace the same token of the same block."""
        apart = self.start + self.count <= other.start or other.start + other.count <= self.start
        return self.block == other.block and not apart

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """x [S, L, W] with the tokens replaced, which must lie before the end of every text.

        Raises:
            PluginError: The module returned another shape.
            UsageError: A text is too short.
        """
        tokens: Tensor = self.module()
        stop = self.start + self.count
        if tokens.shape != (self.count, x.shape[2]):
            raise PluginError(
                f"replace_tokens: the module returned {list(tokens.shape)}; expected [{self.count}, {x.shape[2]}]"
            )
        if int(ends.min()) < stop:
            raise UsageError(
                f"replace_tokens: tokens {self.start} to {stop - 1} are replaced, but the shortest text has "
                f"{int(ends.min()) + 1} with its end; put as many into the texts with set_prompt, or replace fewer"
            )
        replacement = tokens.to(x.dtype).expand(len(x), -1, -1)
        return torch.cat([x[:, : self.start], replacement, x[:, stop:]], dim=1)


def checked_prompt(
    returned: Any, embeddings: Tensor, tokens: Tensor, video: Tensor | None, config: ViCLIPConfig
) -> tuple[Tensor, Tensor]:
    """What a prompt module returned, cut behind the last end of text: [M, L', W] or [B, M, L', W], and the ends [M].

    Args:
        returned: By the module, for these embeddings.
        embeddings: [M, L, W].
        tokens: int64 [M, L], to name a text.
        video: [B, D] or None.
        config: Of the model, for the length of its context.

    Raises:
        PluginError: It has another shape, or ends that are not within it.
        UsageError: A text is longer than the context.
    """
    x, ends = returned if isinstance(returned, Sequence) and len(returned) == 2 else (None, None)
    texts, _, width = embeddings.shape
    clips = () if video is None else (len(video),)
    if not (
        isinstance(x, Tensor)
        and x.ndim > 2
        and isinstance(ends, Tensor)
        and ends.shape == (texts,)
        and ends.dtype == torch.int64
        and (*x.shape[:-2], x.shape[-1]) in ((texts, width), (*clips, texts, width))
    ):
        given = clips[0] if clips else "none: no video features are given"
        raise PluginError(
            f"set_prompt: the module returned {_shapes(returned)}; expected embeddings [M, L, W] or [B, M, L, W] and "
            f"ends int64 [M], with M = {texts}, W = {width}, B = {given}"
        )
    last = int(ends.max())
    if last >= x.shape[-2] or int(ends.min()) < 0:
        raise PluginError(
            f"set_prompt: the module returned texts of {x.shape[-2]} tokens, but an end of text at place "
            f"{last if last >= x.shape[-2] else int(ends.min())}; move the ends by as many tokens as are put in before"
        )
    if last >= config.context_length:
        raise UsageError(_too_long(tokens, ends, config.context_length))
    _refuse_ends_elsewhere(x.flatten(0, -4)[0] if x.ndim > 3 else x, ends, embeddings, tokens)
    return x[..., : last + 1, :], ends


def _refuse_ends_elsewhere(x: Tensor, ends: Tensor, embeddings: Tensor, tokens: Tensor) -> None:
    """Raise PluginError if a text's end token, unchanged, stands at another place than at its end: x [M, L', W]."""
    every = torch.arange(len(x), device=x.device)
    end_tokens = embeddings[every, tokens.argmax(dim=1)]
    there = (x == end_tokens[:, None].to(x.dtype)).all(dim=2)
    elsewhere = there.any(dim=1) & ~there[every, ends]
    if not elsewhere.any():
        return
    text = int(elsewhere.int().argmax())
    found = int(there[text].int().argmax())
    raise PluginError(
        f"set_prompt: the module returned {int(ends[text])} as the end of a text whose end token stands at place "
        f"{found}; move the ends by as many tokens as are put in before"
    )


def _too_long(tokens: Tensor, ends: Tensor, context: int) -> str:
    from petl_bench.models.tokenizer import text_of

    longest = int(ends.argmax())
    own, whole = int(tokens[longest].argmax()) + 1, int(ends[longest]) + 1
    text = text_of(tokens[longest, 1 : own - 1].tolist())
    return (
        f"the prompt makes the text '{text}' of {own} tokens {whole} long, but the text tower reads {context}: use at "
        f"least {whole - context} fewer context tokens, or a shorter template"
    )


def _shapes(returned: Any) -> str:
    if isinstance(returned, Sequence):
        return "(" + ", ".join(map(_shapes, returned)) + ")"
    return str(list(returned.shape)) if isinstance(returned, Tensor) else type(returned).__name__
