"""The parallel adapter: a bottleneck beside the feed-forward that reads what the feed-forward reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._mv_adapter_baselines import (
    WithBiases,
    as_in_mv_adapter,
    bottleneck,
    bottleneck_parameters,
)
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"bottleneck_dim": 32, "scale": 1.0}


@pb.register_method("parallel_adapter")
class ParallelAdapter(WithBiases):
    """A scaled bottleneck in parallel with the feed-forward of every block (He et al., ICLR 2022).

    h = LN(x'),  x'' = x' + FFN(h) + s * Up(ReLU(Down(h)))     x', h: [B, N, width], Down: width -> d, Up: d -> width

    AdaptFormer's bottleneck, but for its input: AdaptFormer's reads x', before the layer norm. Up and both biases start
    at zero: the identity at the start. Per block 2 width d + d + width; ViCLIP-B/16, d = 64, both towers: 1,982,976.

    Adapt_par in the tables of MV-Adapter (CVPR 2024): s = 0.1, both towers. Its 2.78 % of CLIP-B/16 (149,620,737) is
    d = 128 with a layer norm of the adapter's own (`norm`) and the biases of CLIP: 4,152,320 parameters. With the
    backbone's layer norm, as above, that is 2.75 %; so is AdaptFormer's count with d = 128 and the biases.
    """

    display = "Parallel adapters"
    paper = pb.Paper(
        title="Towards a Unified View of Parameter-Efficient Transfer Learning",
        venue="ICLR 2022",
        url="https://arxiv.org/abs/2110.04366",
        bibtex="""@inproceedings{he2022unified,
  title     = {Towards a Unified View of Parameter-Efficient Transfer Learning},
  author    = {He, Junxian and Zhou, Chunting and Ma, Xuezhe and Berg-Kirkpatrick, Taylor and Neubig, Graham},
  booktitle = {International Conference on Learning Representations},
  year      = {2022}
}""",
        licence="not stated here",
    )
    recipes = (
        *at_the_rates_of_msta({"bottleneck_dim": 64}, "64 channels, as AdaptFormer's default"),
        as_in_mv_adapter({"bottleneck_dim": 128, "scale": 0.1, "norm": True}, "2.78"),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_elsewhere(1e-2, TINY),
        tuned_for_retrieval(1e-3, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(1e-3, TINY, backbones=["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(64, "d: channels of the bottleneck", minimum=1)
    scale: float = pb.hyper(4.0, "s in the equation")
    dropout: float = pb.hyper(0.0, "dropout between the activation and Up", minimum=0.0, maximum=0.9)
    norm: bool = pb.hyper(False, "h is a layer norm of the adapter's own, and not the backbone's")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """One bottleneck beside every feed-forward branch of the chosen towers."""
        for block in model.blocks(self.towers):
            adapter = bottleneck(block.width, self.bottleneck_dim, dropout=self.dropout, norm=self.norm)
            block.feedforward.add_parallel(adapter, scale=self.scale, normed=not self.norm)
        self.train_biases(model)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block Down width*d + d, Up d*width + width, the layer norm 2*width; the biases."""
        widths = config.block_widths(self.towers)
        adapters = sum(bottleneck_parameters(width, self.bottleneck_dim, self.norm) for width in widths)
        count: int = adapters + self.bias_parameters(config)
        return count
