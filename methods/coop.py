"""CoOp: learned context vectors in front of the class name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import not_tuned_elsewhere, tuned_on_draws

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder

#: CoOp's and CoCoOp's optimiser in all of their configurations, as near as the options here come.
SGD = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "learning_rate": 2e-3,
    "warmup_epochs": 1.0,
    "final_lr_ratio": 0.0,
}
WARM_UP = "; its first epoch at a constant 1e-5 is a linear warm-up here"
WORDS = "a video of a"


@pb.register_method("coop")
class CoOp(pb.Method):
    """Context vectors in front of the class name, shared by all classes (Zhou et al., IJCV 2022).

    w_c = f_t([start, v_1, ..., v_n, e(name_c), e("."), end])        v: [n, width], w_c: [D], both towers are frozen

    e are the frozen token embeddings. There is no template: the vectors take its place. They start as N(0, 0.02), or as
    the embeddings of `words`. Names, context, start and end must fit the text tower: 16 vectors leave 14 of ViCLIP's 32
    tokens for a name and its full stop. The published variants with a context for each class, and with the name in the
    middle, are left out: the first has none for novel classes. ViCLIP-B/16, 16 vectors: 8,192 parameters.
    """

    display = "CoOp"
    paper = pb.Paper(
        title="Learning to Prompt for Vision-Language Models",
        venue="IJCV 2022",
        url="https://arxiv.org/abs/2109.01134",
        bibtex="""@article{zhou2022coop,
  title   = {Learning to Prompt for Vision-Language Models},
  author  = {Zhou, Kaiyang and Yang, Jingkang and Loy, Chen Change and Liu, Ziwei},
  journal = {International Journal of Computer Vision},
  volume  = {130},
  number  = {9},
  pages   = {2337--2348},
  year    = {2022}
}""",
        licence="MIT",
    )
    identity_at_start = False  # another prompt than that of the template
    tasks = ("classification",)  # the context is a prompt of class names; captions have none
    recipes = (
        *(
            pb.Recipe(
                setting,
                training={**SGD, "epochs": 50, "batch_size": 32},
                hyper={"words": WORDS},
                source="CoCoOp's paper (CVPR 2022) for CoOp on images: 4 vectors that start as words ('a photo of a', "
                f"here of a video){WARM_UP}",
                tuned=False,
            )
            for setting in ("base2novel", "zero_shot_transfer")
        ),
        pb.Recipe(
            "few_shot",
            training={**SGD, "epochs": 200, "batch_size": 32},
            source=f"CoOp's configuration for ViT-B/16 and 16 shots of images{WARM_UP}",
            tuned=False,
        ),
        pb.Recipe("fully_supervised", training=SGD, source=f"CoOp's optimiser{WARM_UP}", tuned=False),
        tuned_on_draws(0.1, "0.03, 0.1, 0.3, 1"),
        *not_tuned_elsewhere(0.1, {"context": 4}),
    )

    context: int = pb.hyper(16, "n: context vectors, if `words` gives none", minimum=1)
    words: str | None = pb.hyper(None, "the vectors start as the embeddings of these words, one for each of its tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words is not None and not self._length:
            raise pb.UsageError(f"{self.name}.words: no words in {self.words!r}; leave it out for random vectors")

    def attach(self, model: DualEncoder) -> None:
        """The context between the start of every text and its words."""
        from petl_bench.methods._vectors import Context

        model.text.set_prompt(Context(self._vectors(model)))

    def prompts(self, classes: Sequence[str]) -> Sequence[Sequence[str]]:
        """The class name and a full stop; what stands in front of it is learned."""
        return [[f"{name}."] for name in classes]

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """n vectors of the text tower's width."""
        return self._length * config.text_width

    def _vectors(self, model: DualEncoder) -> Tensor:
        """The context at the start, [n, width]. Raises UsageError if it leaves no token for a name."""
        import torch

        room = model.config.context_length - 3  # start, a token of the name, end
        if self._length > room:
            raise pb.UsageError(
                f"{self.name}: {self._length} context vectors, but the text tower reads {room + 3} tokens, with start "
                f"and end: at most {room} leave one for a class's name. Set {self.name}.context, or shorter words"
            )
        if self.words is None:
            return 0.02 * torch.randn(self._length, model.config.text_width)
        embeddings, _ = model.embed([self.words])
        return embeddings[0, 1:-1].clone()

    @property
    def _length(self) -> int:
        if self.words is None:
            return self.context
        if self.words == WORDS:
            return len(WORDS.split())  # each is one token; the tokenizer would load torch, which no report does
        from petl_bench.models.tokenizer import token_lengths

        return token_lengths([self.words])[0] - 2
