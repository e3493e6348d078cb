"""AdaptFormer: a bottleneck beside every feed-forward branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_here,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"bottleneck_dim": 32, "scale": 1.0}


@pb.register_method("adaptformer")
class AdaptFormer(pb.Method):
    """A bottleneck in parallel with the feed-forward branch of every block (Chen et al., NeurIPS 2022).

    x''= x' + FFN(LN(x')) + s * Up(Dropout(ReLU(Down(x'))))     x', x'': [B, N, width], Down: width -> d, Up: d -> width

    x' is the residual stream after attention, before the second layer norm. Down starts with Kaiming uniform weights,
    Up and both biases with zeros: the identity at the start. With d = 256 in both towers of ViCLIP-B/16: 7,885,824
    parameters.
    """

    display = "AdaptFormer"
    paper = pb.Paper(
        title="AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition",
        venue="NeurIPS 2022",
        url="https://arxiv.org/abs/2205.13535",
        bibtex="""@inproceedings{chen2022adaptformer,
  title     = {AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition},
  author    = {Chen, Shoufa and Ge, Chongjian and Tong, Zhan and Wang, Jiangliu and Song, Yibing and Wang, Jue and
               Luo, Ping},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022}
}""",
        licence="MIT",
    )
    recipes = (
        *at_the_rates_of_msta(
            {"bottleneck_dim": 256},
            "MSTA (CVPR 2025), Table 5: 7.9 M parameters, 256 in both towers; none else is named",
        ),
        tuned_here(1.38e-3, 2e-3, TINY),
        *not_tuned_elsewhere(2e-3, TINY),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(1e-3, TINY, ["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(64, "d: channels of the bottleneck", minimum=1)
    scale: float = pb.hyper(0.1, "s in the equation")
    dropout: float = pb.hyper(0.1, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """One bottleneck beside every feed-forward branch of the chosen towers."""
        for block in model.blocks(self.towers):
            bottleneck = pb.Bottleneck(block.width, self.bottleneck_dim, dropout=self.dropout)
            block.feedforward.add_parallel(bottleneck, scale=self.scale)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block: Down width*d + d, Up d*width + width."""
        return sum((2 * width + 1) * self.bottleneck_dim + width for width in config.block_widths(self.towers))
