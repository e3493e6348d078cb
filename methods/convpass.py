"""Convpass: bottlenecks with a convolution over each frame, beside attention and feed-forward of the video tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import petl_bench as pb
from petl_bench.methods._mv_adapter_baselines import VideoAdapter, as_in_mv_adapter
from petl_bench.methods._recipes import (
    at_the_authors_rate,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder


@pb.register_method("convpass")
class Convpass(VideoAdapter):
    """Convolutional bypasses beside both branches of every block of the video tower (Jie & Deng, 2022).

    x'  = x  + Attention(LN x) + s * Bypass(LN x)                                           x, x', x'': [S, N, width]
    x'' = x' + FFN(LN x')      + s * Bypass'(LN x'),    Bypass(z) = Up(act(Conv(act(Down(z)))))    Down: width -> h

    Conv is 3x3 from h to h channels on the grid of patches of each frame; the class token is an image of one pixel, so
    that only the middle of the kernel acts on it. act: QuickGELU. Conv starts as the identity, Up at zero: the identity
    at the start. Nothing mixes frames. Per bypass 2 width h + h + width + 9 h^2 + h; ViCLIP-B/16, h = 8: 327,552.
    Convpass_attn is the variant with the bypass beside attention alone (`places=attention`). For some data sets the
    authors draw Conv instead (`start=xavier`), and they drop whole branches in training, which is left out here.

    MV-Adapter (CVPR 2024) prints 2.80 % of CLIP-B/16 (149,620,737) and says no sizes. With what its other baselines
    count, the biases of CLIP and a sequential adapter of 128 channels in the text tower (1,763,840), 2,425,541 +- 7,481
    are left for the video tower. With the authors' convolution, no multiple of 4 for h gives that: one or two bypasses
    per block, with or without a layer norm were tried. h = 64 with a depth-wise convolution (`depthwise`) and a layer
    norm of each bypass's own (`norm`) gives 2,431,488, and 4,195,328 in all: 2.80 %. The paper does not confirm it.
    """

    display = "Convpass"
    paper = pb.Paper(
        title="Convolutional Bypasses Are Better Vision Transformer Adapters",
        venue="arXiv 2022",
        url="https://arxiv.org/abs/2207.07039",
        bibtex="""@article{jie2022convpass,
  title   = {Convolutional Bypasses Are Better Vision Transformer Adapters},
  author  = {Jie, Shibo and Deng, Zhi-Hong},
  journal = {arXiv preprint arXiv:2207.07039},
  year    = {2022}
}""",
        licence="MIT",
    )
    #: the authors choose among five powers of ten, by data set
    space: ClassVar = {"scale": pb.Range(0.01, 100.0, log=True)}
    recipes = (
        *at_the_authors_rate(1e-3, {"bottleneck_dim": 8}, "h and learning rate of the authors' code for VTAB-1k"),
        as_in_mv_adapter(
            {"bottleneck_dim": 64, "depthwise": True, "norm": True, "scale": 0.1, "text": "sequential"}, "2.80"
        ),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2"),
        *not_tuned_elsewhere(1e-2),
        tuned_for_retrieval(3e-3, "3e-4, 1e-3, 3e-3, 1e-2"),
        *not_tuned_in_retrieval(3e-3, backbones=["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(8, "h: channels of the bypass", minimum=1)
    scale: float = pb.hyper(1.0, "s in the equation; the authors choose it per data set, from 0.01 to 100")
    dropout: float = pb.hyper(0.1, "dropout between the second activation and Up", minimum=0.0, maximum=0.9)
    depthwise: bool = pb.hyper(False, "every channel of Conv reads itself alone")
    norm: bool = pb.hyper(False, "a layer norm of the bypass's own, and not the backbone's")

    places: Literal["both", "attention"] = pb.hyper(
        "both", "beside attention and feed-forward, or beside attention alone (Convpass_attn)", later=True
    )
    start: Literal["identity", "xavier"] = pb.hyper(
        "identity", "Conv at the start: the identity, or drawn by Xavier's rule", later=True
    )

    def attach(self, model: DualEncoder) -> None:
        """One bypass beside each chosen branch of the video tower's blocks."""
        from torch import nn

        from petl_bench.methods._convolutions import ConvBypass

        for block in model.blocks("video"):
            for branch in (block.attention, block.feedforward) if self.places == "both" else (block.attention,):
                bypass = ConvBypass(block.width, self.bottleneck_dim, self.dropout, self.depthwise, self.norm)
                if self.start == "xavier":
                    nn.init.xavier_uniform_(bypass.conv.weight)
                branch.add_parallel(bypass, scale=self.scale, normed=not self.norm, with_grid=True)
        self.adapt_text(model)
        self.train_biases(model)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per bypass Down width*h + h, Conv 9*h*h + h, Up h*width + width; the text tower's adapter, the biases."""
        width, h = config.vision_width, self.bottleneck_dim
        bypass = 2 * width * h + h + width + 9 * h * (1 if self.depthwise else h) + h + 2 * width * self.norm
        places = 2 if self.places == "both" else 1
        count: int = (
            places * config.vision_layers * bypass + self.text_parameters(config) + self.bias_parameters(config)
        )
        return count
