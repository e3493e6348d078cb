"""SSF: scale and shift what the backbone's own parts give, and fold both into their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import at_the_authors_rate, not_tuned_elsewhere, not_tuned_in_retrieval, tuned_on_draws

if TYPE_CHECKING:
    from torch import Tensor

    from petl_bench.models.dual_encoder import DualEncoder
    from petl_bench.models.sites import LinearSite, Norm


@pb.register_method("ssf")
class SSF(pb.Method):
    """A scale and a shift per channel behind every norm and linear (Lian et al., NeurIPS 2022).

    y = gamma * f(x) + beta                                   f(x), y: [..., out]; gamma, beta: [out]

    f are the patch embedding, both norms, q, k, v, out, fc and proj of every block, and the last norm; the norm before
    the first block, which the authors' ViT lacks, only if `norm_pre`. gamma starts as N(1, 0.02^2), beta as
    N(0, 0.02^2): not the identity. `merge` folds both into the weights of f, which then costs nothing; the patch
    embedding has no bias, so that its beta goes into the positions of the patches. The text tower is this benchmark's
    addition. Per block of width w: 22 w. ViCLIP-B/16: 205,824 in the video tower (207,360 with `norm_pre`), 136,192 in
    the text tower.
    """

    display = "SSF"
    paper = pb.Paper(
        title="Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning",
        venue="NeurIPS 2022",
        url="https://arxiv.org/abs/2210.08823",
        bibtex="""@inproceedings{lian2022ssf,
  title     = {Scaling \\& Shifting Your Features: A New Baseline for Efficient Model Tuning},
  author    = {Lian, Dongze and Zhou, Daquan and Feng, Jiashi and Wang, Xinchao},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022}
}""",
        licence="not stated here",
    )
    identity_at_start = False
    mergeable = True
    recipes = (
        *at_the_authors_rate(
            1e-3, {}, "learning rate of the authors' script for ViT-B/16 on CIFAR-100, batch 256, AdamW"
        ),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2, 3e-2"),
        *not_tuned_elsewhere(1e-2),
        *not_tuned_in_retrieval(1e-2),
    )

    norm_pre: bool = pb.hyper(False, "also behind the video tower's norm before the first block")
    towers: pb.Towers = pb.hyper("both", "which towers are adapted")

    def attach(self, model: DualEncoder) -> None:
        """gamma and beta behind every norm and linear of the chosen towers, and behind the patch embedding."""
        from petl_bench.methods._sites import ScaleShift, weights_of

        for site in self._sites(model):
            site.then(ScaleShift(len(weights_of(site).bias)))
        if self.towers != "text":
            model.video.patches.then(ScaleShift(model.config.vision_width))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """gamma and beta: per block 4 w for two norms, 8 w for q, k, v and out, 10 w for fc and proj; outside of blocks
        2 w for the patch embedding and each norm."""
        outside = {"video": (3 if self.norm_pre else 2) * config.vision_width, "text": config.text_width}
        channels = sum(width for tower, width in outside.items() if self.towers in (tower, "both"))
        return 22 * sum(config.block_widths(self.towers)) + 2 * channels

    def merge(self, model: DualEncoder) -> None:
        """W <- gamma W, b <- gamma b + beta, once, and gamma and beta are taken out."""
        import torch

        from petl_bench.methods._sites import ScaleShift, take_behind, weights_of

        with torch.no_grad():
            for site in self._sites(model):
                own, base = take_behind(site, ScaleShift, self.name), weights_of(site)
                base.weight.mul_(_along_outputs(own.gamma, base.weight))
                base.bias.mul_(own.gamma).add_(own.beta)
            if self.towers != "text":
                video = model.video
                own = take_behind(video.patches, ScaleShift, self.name)
                video.patch_weight.mul_(_along_outputs(own.gamma, video.patch_weight))
                video.positional_embedding[1:].add_(own.beta)  # the first position is the class token's

    def _sites(self, model: DualEncoder) -> list[Norm | LinearSite]:
        from petl_bench.methods._sites import norms_and_linears

        sites = norms_and_linears(model, self.towers)
        return [site for site in sites if self.norm_pre or site is not model.video.norm_pre]


def _along_outputs(gamma: Tensor, weight: Tensor) -> Tensor:
    """gamma [out] in the shape in which it multiplies a weight [out, ...]."""
    return gamma.view(-1, *(1,) * (weight.ndim - 1))
