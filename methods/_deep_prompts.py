"""Learned tokens before several blocks of both towers: what MaPLe and PromptSRC share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods.coop import WORDS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from petl_bench.models.dual_encoder import DualEncoder

#: Blocks with learned tokens in both methods' configurations for base-to-novel, of the 12 of CLIP-B/16.
PUBLISHED_DEPTH = 9


class DeepPrompts(pb.Method):
    """Learned tokens in the places of a prompt's first words, other ones there before later blocks, and tokens at the
    end of the video tower's sequences."""

    identity_at_start = False  # other tokens in both towers
    tasks = ("classification",)  # the vectors are a prompt of class names; captions have none

    context: int = pb.hyper(4, "n: learned tokens of a text", minimum=1)
    words: str | None = pb.hyper(
        WORDS,
        "the context starts as the embeddings of the first n of these words; the others stay, in front of the class "
        "name. none: random vectors",
    )
    depth: int | None = pb.hyper(
        None,
        f"J: blocks with learned tokens, from the first on; none: {PUBLISHED_DEPTH}, in a shallower tower all of them",
        minimum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words is not None and len(self.words.split()) < self.context:
            raise pb.UsageError(
                f"{self.name}.words: {len(self.words.split())} words in {self.words!r} for {self.name}.context="
                f"{self.context} vectors, which start as one word each; give more words, or none for random vectors"
            )

    def prompts(self, classes: Sequence[str]) -> Sequence[Sequence[str]]:
        """The words that no vector takes the place of, the class name and a full stop."""
        rest = self._words[self.context :]
        return [[" ".join([*rest, f"{name}."])] for name in classes]

    def prompt_text(self, model: DualEncoder) -> list[nn.Parameter]:
        """The context between the start of every text and its words, and other vectors in its places before blocks 2
        to J. Returns all of them, block by block, each [n, W_t]."""
        import torch

        from petl_bench.methods._vectors import Context, Vectors

        context = Context(self._start(model))
        model.text.set_prompt(context)
        vectors = [context.vectors]
        for block in range(2, self.blocks(model.config) + 1):
            deep = Vectors(0.02 * torch.randn(self.context, model.config.text_width))
            model.text.replace_tokens(deep, block, start=1, count=self.context)
            vectors.append(deep.values)
        return vectors

    def prompt_video(self, model: DualEncoder, tokens: Sequence[nn.Module]) -> None:
        """Tokens behind the patches: the first before the first norm, each of the others before its block, in the
        place of what came of those before."""
        for index, module in enumerate(tokens):
            model.video.add_tokens(module, block=index + 1 if index else 0, place="end", replace=index > 0)

    def blocks(self, config: pb.ViCLIPConfig) -> int:
        """J. Raises UsageError if a tower has fewer blocks, or if the text tower has no room for the prompt."""
        most = min(config.vision_layers, config.text_layers)
        if self.depth is not None and self.depth > most:
            raise pb.UsageError(
                f"{self.name}.depth={self.depth}: this backbone has {config.vision_layers} blocks of video and "
                f"{config.text_layers} of text; give at most {most}"
            )
        length, room = max(self.context, len(self._words)), config.context_length - 3  # start, a token of the name, end
        if length > room:
            raise pb.UsageError(
                f"{self.name}: {length} tokens of context and words, but the text tower reads {room + 3} tokens, with "
                f"start and end: at most {room} leave one for a class's name. Set {self.name}.context, or shorter words"
            )
        return min(self.depth or PUBLISHED_DEPTH, most)

    @property
    def _words(self) -> list[str]:
        return [] if self.words is None else self.words.split()

    def _start(self, model: DualEncoder) -> Tensor:
        """The context at the start, [n, W_t]. Raises UsageError if a word that it starts as has several tokens."""
        import torch

        if self.words is None:
            return 0.02 * torch.randn(self.context, model.config.text_width)
        first = " ".join(self._words[: self.context])
        embeddings, ends = model.embed([first])
        if int(ends[0]) - 1 != self.context:
            raise pb.UsageError(
                f"{self.name}.words: {first!r} is {int(ends[0]) - 1} tokens for {self.context} vectors; take words of "
                "one token each, or none for random vectors"
            )
        return embeddings[0, 1:-1].clone()
