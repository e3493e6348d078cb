"""LN-Tune: the layer norms train, and nothing is added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import (
    at_the_rates_of_msta,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("ln_tuning")
class LNTuning(pb.Method):
    """The weights and biases of all layer norms train (LN-Tune; Basu et al., AAAI 2024).

    y = w * (x - mean(x)) / sqrt(var(x) + eps) + b                            x, y: [..., width]; w, b: [width], trained

    Nothing is attached: the backbone's own w and b train, and are what the adapter file holds. Of the papers that train
    the norms alone, this one does so in vision transformers with few clips of each class, as here. Qi et al.
    (arXiv:2211.08682) named it LN-tuning, for language models; for Houlsby et al. (ICML 2019) it was a baseline.
    The text tower is this benchmark's addition. Per block of width w: 4 w; further norms 2 w each, of which the video
    tower has two and the text tower one. ViCLIP-B/16: 39,936 in the video tower, 25,600 in the text tower, 65,536 in
    both.
    """

    display = "Layer norm tuning"
    paper = pb.Paper(
        title="Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning",
        venue="AAAI 2024",
        url="https://arxiv.org/abs/2304.01917",
        bibtex="""@inproceedings{basu2024strong,
  title     = {Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning},
  author    = {Basu, Samyadeep and Hu, Shell and Massiceti, Daniela and Feizi, Soheil},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume    = {38},
  year      = {2024}
}""",
        licence="not stated here",
    )
    in_place = True
    recipes = (
        *at_the_rates_of_msta({}, "the method has no sizes"),
        tuned_on_draws(1e-1, "1e-3, 3e-3, 1e-2, 3e-2, 1e-1"),
        *not_tuned_elsewhere(1e-1),
        tuned_for_retrieval(1e-2, "3e-3, 1e-2, 3e-2"),
        *not_tuned_in_retrieval(1e-2, backbones=["clip-tiny"]),
    )

    towers: pb.Towers = pb.hyper("both", "whose layer norms train")

    def attach(self, model: DualEncoder) -> None:
        """Unfreeze the weight and the bias of every layer norm of the chosen towers."""
        train_norms(model, self.towers)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Weight and bias of each norm, 2 w."""
        return 2 * norm_channels(config, self.towers)


def train_norms(model: DualEncoder, towers: pb.Towers) -> None:
    """Unfreeze the backbone's layer norms in the chosen towers."""
    from petl_bench.methods._sites import norms_and_linears
    from petl_bench.models.sites import Norm

    for site in norms_and_linears(model, towers):
        if isinstance(site, Norm):
            site.weight.requires_grad_(True)  # not what another method put behind the norm
            site.bias.requires_grad_(True)


def norm_channels(config: pb.ViCLIPConfig, towers: pb.Towers) -> int:
    """The channels of these norms: two in each block; norm_pre and norm_post, or norm_final."""
    outside = {"video": 2 * config.vision_width, "text": config.text_width}
    further = sum(channels for tower, channels in outside.items() if towers in (tower, "both"))
    return 2 * sum(config.block_widths(towers)) + further
