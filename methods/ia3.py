"""(IA)^3: learned scales of keys, values and the feed-forward's hidden channels, which fold into the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    at_the_authors_rate,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("ia3")
class IA3(pb.Method):
    """Keys, values and hidden activations of every block, scaled per channel (Liu et al., NeurIPS 2022).

    y = Attention(q, l_k * k, l_v * v),  z = proj(l_ff * act(fc(LN x)))    k, v: [B, N, w]; l_k, l_v: [w]; l_ff: [4 w]

    The scales start at one: the identity. k and v are scaled with their biases, which the authors' T5 does not have; so
    does Hugging Face PEFT, of which this is the same function. `merge` folds l_k and l_v into the weights and biases of
    k and v, and l_ff into the columns of proj. Left out: the authors' terms for unlikely and for long answers, which
    are about generated text. Per block of width w: 6 w. ViCLIP-B/16: 55,296 in the video tower, 36,864 in the text
    tower, 92,160 in both.
    """

    display = "(IA)³"
    paper = pb.Paper(
        title="Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        venue="NeurIPS 2022",
        url="https://arxiv.org/abs/2205.05638",
        bibtex="""@inproceedings{liu2022fewshot,
  title     = {Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning},
  author    = {Liu, Haokun and Tam, Derek and Muqeeth, Mohammed and Mohta, Jay and Huang, Tenghao and Bansal, Mohit and
               Raffel, Colin},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022}
}""",
        licence="MIT",
    )
    mergeable = True
    recipes = (
        *at_the_authors_rate(3e-3, {}, "learning rate of the paper's recipe (T-Few), batch 8, Adafactor"),
        tuned_on_draws(1e-1, "3e-3, 1e-2, 3e-2, 1e-1, 3e-1"),
        *not_tuned_elsewhere(1e-1),
        tuned_for_retrieval(1e-2, "1e-2, 3e-2, 1e-1"),
        *not_tuned_in_retrieval(1e-2, backbones=["clip-tiny"]),
    )

    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """l_k and l_v behind k and v, l_ff before proj, in every block of the chosen towers."""
        from petl_bench.methods._sites import Scale

        for block in model.blocks(self.towers):
            block.attention.k.then(Scale(block.width))
            block.attention.v.then(Scale(block.width))
            block.feedforward.proj.first(Scale(4 * block.width))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per block: l_k and l_v w each, l_ff 4 w."""
        return 6 * sum(config.block_widths(self.towers))

    def merge(self, model: DualEncoder) -> None:
        """k, v: W <- l W by rows, b <- l b; proj: W <- W l by columns; once, and the scales are taken out."""
        import torch

        from petl_bench.methods._sites import Scale, take_before, take_behind

        with torch.no_grad():
            for block in model.blocks(self.towers):
                for site in (block.attention.k, block.attention.v):
                    scale = take_behind(site, Scale, self.name).scale
                    site.base.weight.mul_(scale[:, None])
                    site.base.bias.mul_(scale)
                site = block.feedforward.proj
                site.base.weight.mul_(take_before(site, Scale, self.name).scale)
