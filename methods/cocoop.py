"""CoCoOp: a context that depends on the clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import not_tuned_elsewhere
from petl_bench.methods.coop import SGD, WARM_UP, WORDS, CoOp

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("cocoop")
class CoCoOp(CoOp):
    """CoOp's context, moved by a small network of the clip's feature (Zhou et al., CVPR 2022).

    v_m(x) = v_m + W2 relu(W1 f / |f| + b1) + b2           f = f_v(x): [B, D], v: [n, width], v(x): [B, n, width]
    w_c(x) = f_t([start, v_1(x), ..., v_n(x), e(name_c), e("."), end])                            w(x): [B, C, D]

    W1: D -> D / r, W2: D / r -> width, started as torch's linear maps. Every clip has texts of its own: a batch of B
    clips takes B x C of them through the text tower, in training and in evaluation; a trial's notes say how many. The
    published code trains one clip at a time. ViCLIP-B/16, 4 vectors: 35,360 parameters.
    """

    display = "CoCoOp"
    paper = pb.Paper(
        title="Conditional Prompt Learning for Vision-Language Models",
        venue="CVPR 2022",
        url="https://arxiv.org/abs/2203.05557",
        bibtex="""@inproceedings{zhou2022cocoop,
  title     = {Conditional Prompt Learning for Vision-Language Models},
  author    = {Zhou, Kaiyang and Yang, Jingkang and Loy, Chen Change and Liu, Ziwei},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {16816--16825},
  year      = {2022}
}""",
        licence="MIT",
    )
    text_varies = "video"
    recipes = (
        *(
            pb.Recipe(
                setting,
                training={**SGD, "epochs": 10, "batch_size": 1},
                hyper={"words": WORDS},
                source="the paper's configuration for images: 4 vectors that start as words ('a photo of a', here of a "
                f"video), one clip per step{WARM_UP}",
                tuned=False,
            )
            for setting in ("base2novel", "zero_shot_transfer")
        ),
        *(
            pb.Recipe(setting, training=SGD, source=f"the paper's optimiser{WARM_UP}", tuned=False)
            for setting in ("few_shot", "fully_supervised")
        ),
        pb.Recipe("base2novel", "viclip-tiny", {"learning_rate": 0.1}, source="learning rate of coop", tuned=False),
        *not_tuned_elsewhere(0.1),
    )

    context: int = pb.hyper(4, "n: context vectors, if `words` gives none", minimum=1)
    reduction: int = pb.hyper(16, "r: the network has D / r channels inside", minimum=1)

    def attach(self, model: DualEncoder) -> None:
        """The context, and the network that moves it, between the start of every text and its words."""
        from torch import nn

        from petl_bench.methods._vectors import ConditionalContext

        config, hidden = model.config, self._hidden(model.config)
        meta = nn.Sequential(nn.Linear(config.embed_dim, hidden), nn.ReLU(), nn.Linear(hidden, config.text_width))
        model.text.set_prompt(ConditionalContext(self._vectors(model), meta))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """n vectors; W1 D*h + h, W2 h*width + width with h = D / r."""
        hidden, width = self._hidden(config), config.text_width
        count: int = self._length * width + (config.embed_dim + 1) * hidden + (hidden + 1) * width
        return count

    def _hidden(self, config: pb.ViCLIPConfig) -> int:
        if self.reduction > config.embed_dim:
            raise pb.UsageError(
                f"{self.name}.reduction={self.reduction}: the features have {config.embed_dim} channels; give at most "
                "as many"
            )
        return config.embed_dim // self.reduction
