"""VPT: learned tokens in the video tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"tokens": 4}


@pb.register_method("vpt")
class VPT(pb.Method):
    """Visual prompt tuning: learned tokens between the class token and the patches (Jia et al., ECCV 2022).

    deep:     [x_i, _, E_i] = Block_i([x_{i-1}, P_i, E_{i-1}])                          i = 1..N
    shallow:  [x_1, Z_1, E_1] = Block_1([x_0, P_1, E_0]),   [x_i, Z_i, E_i] = Block_i([x_{i-1}, Z_{i-1}, E_{i-1}])

    x: class token, E: patches, P_i: [tokens, width], uniform in [-v, v] at the start, v = sqrt(6 / (3 p p + width)), p
    the side of a patch. They stand before the first block, behind CLIP's first norm, which the published backbones do
    not have. ViCLIP attends over all frames at once: one set for a clip; a frame-wise backbone gets the same set in
    every frame. ViCLIP-B/16: 460,800 parameters with 50 tokens, 92,160 with 10; 38,400 shallow with 50.
    """

    display = "VPT"
    paper = pb.Paper(
        title="Visual Prompt Tuning",
        venue="ECCV 2022",
        url="https://arxiv.org/abs/2203.12119",
        bibtex="""@inproceedings{jia2022vpt,
  title     = {Visual Prompt Tuning},
  author    = {Jia, Menglin and Tang, Luming and Chen, Bor-Chun and Cardie, Claire and Belongie, Serge and
               Hariharan, Bharath and Lim, Ser-Nam},
  booktitle = {European Conference on Computer Vision},
  year      = {2022}
}""",
        licence="CC BY-NC 4.0",
    )
    identity_at_start = False
    recipes = (
        *at_the_rates_of_msta(
            {"tokens": 10},
            "the authors choose 1 to 200 tokens, and the learning rate, for each of their data sets of images; 10 as "
            "in ViFi-CLIP's configuration with prompts",
        ),
        tuned_on_draws(3e-2, "1e-3, 3e-3, 1e-2, 3e-2", TINY, "4 tokens for the width of this backbone; "),
        *not_tuned_elsewhere(3e-2, TINY),
        *not_tuned_in_retrieval(3e-2, TINY),
    )

    tokens: int = pb.hyper(10, "learned tokens of each block; shallow: of the first block", minimum=1)
    deep: bool = pb.hyper(True, "every block has tokens of its own; false: those of the first go through all")

    def attach(self, model: DualEncoder) -> None:
        """P_i before block i, in the place of what came of those before."""
        from petl_bench.methods._vectors import Vectors

        for block in model.blocks("video")[: None if self.deep else 1]:
            tokens = Vectors(self._start(model.config))
            model.video.add_tokens(tokens, block=block.index, replace=block.index > 1)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """tokens * width for every block, or for the first."""
        return (config.vision_layers if self.deep else 1) * self.tokens * config.vision_width

    def _start(self, config: pb.ViCLIPConfig) -> Tensor:
        import torch

        limit = (6 / (3 * config.patch_size**2 + config.vision_width)) ** 0.5
        return torch.empty(self.tokens, config.vision_width).uniform_(-limit, limit)
