"""MaPLe: learned tokens of the text tower, and linear maps of them in the video tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._deep_prompts import DeepPrompts
from petl_bench.methods._recipes import not_tuned_elsewhere, tuned_on_draws
from petl_bench.methods.coop import SGD, WARM_UP

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("maple")
class MaPLe(DeepPrompts):
    """Deep prompts of both towers, the video tower's made from the text tower's (Khattak et al., CVPR 2023).

    text:    [s_i, _, e_i] = Block_i([s_{i-1}, P_i, e_{i-1}])                             i = 1..J    P_i: [n, W_t]
    video:   [c_i, x_i, _] = Block_i([c_{i-1}, x_{i-1}, P_i F_i + b_i])                   i = 1..J    F_i: [W_t, W_v]

    s: start of text, e: the other words, c: class token, x: patches. Each block has tokens of its own; those of block J
    go through the blocks behind it. P_1 starts as the embeddings of the first n words of `words` (the authors' are "a
    photo of a", for images), whose others stay in front of the class name; P_2 to P_J start as N(0, 0.02), F_i and b_i
    as torch's linear maps, each drawn for itself (the released code copies one draw into all F_i with i > 1). P_1 gets
    the positions of its places; P_1 F_1 + b_1 has none and goes through CLIP's first norm, as in the released code.

    Context, words, name, start and end must fit the text tower, ViCLIP's 32 tokens. ViCLIP attends over all frames at
    once: one set of tokens for a clip; a frame-wise backbone gets the same set in every frame. For classification: the
    context is a prompt of class names. B/16, n = 2, J = 9: 3,555,072 parameters, nearly all of them in F.
    """

    display = "MaPLe"
    paper = pb.Paper(
        title="MaPLe: Multi-modal Prompt Learning",
        venue="CVPR 2023",
        url="https://arxiv.org/abs/2210.03117",
        bibtex="""@inproceedings{khattak2023maple,
  title     = {{MaPLe}: Multi-modal Prompt Learning},
  author    = {Khattak, Muhammad Uzair and Rasheed, Hanoona and Maaz, Muhammad and Khan, Salman and
               Khan, Fahad Shahbaz},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {19113--19122},
  year      = {2023}
}""",
        licence="MIT",
    )
    recipes = (
        pb.Recipe(
            "base2novel",
            training={**SGD, "learning_rate": 3.5e-3, "epochs": 5, "batch_size": 4},
            source=f"the authors' configuration for base-to-novel on images{WARM_UP}",
            tuned=False,
        ),
        pb.Recipe(
            "zero_shot_transfer",
            training={**SGD, "learning_rate": 2.6e-3, "epochs": 2, "batch_size": 4},
            hyper={"depth": 3},
            source=f"the authors' configuration for transfer from ImageNet to other images{WARM_UP}",
            tuned=False,
        ),
        *(
            pb.Recipe(
                setting,
                training={**SGD, "learning_rate": 3.5e-3},
                source=f"the authors' optimiser and learning rate for base-to-novel{WARM_UP}",
                tuned=False,
            )
            for setting in ("few_shot", "fully_supervised")
        ),
        tuned_on_draws(0.03, "0.0035, 0.01, 0.03, 0.1, 0.3"),
        *not_tuned_elsewhere(0.03),
    )

    context: int = pb.hyper(2, "n: learned tokens of a text, and of a video", minimum=1)

    def attach(self, model: DualEncoder) -> None:
        """P_i in the text tower, P_i F_i + b_i in the video tower."""
        from petl_bench.methods._vectors import Projected

        width = model.config.vision_width
        self.prompt_video(model, [Projected(vectors, width) for vectors in self.prompt_text(model)])

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block n * W_t, W_t * W_v + W_v."""
        text, video = config.text_width, config.vision_width
        count: int = self.blocks(config) * (self.context * text + (text + 1) * video)
        return count
