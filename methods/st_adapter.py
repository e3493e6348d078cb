"""ST-Adapter: bottlenecks with a convolution over time, before the blocks of the video tower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import petl_bench as pb
from petl_bench.methods._mv_adapter_baselines import VideoAdapter, as_in_mv_adapter
from petl_bench.methods._recipes import (
    in_proportion_to_the_batch,
    not_tuned_elsewhere,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
    tuned_on_draws,
)

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"bottleneck_dim": 64}


@pb.register_method("st_adapter")
class STAdapter(VideoAdapter):
    """A bottleneck with a convolution over time before every block of the video tower (Pan et al., NeurIPS 2022).

    x <- x + fc2(Conv(fc1(x)))          patches x: [B, T h w, width], fc1: width -> d, Conv: depth-wise, 3 frames

    Class tokens stay as they are, and there is no activation. Conv and all biases start at zero: the identity at the
    start. The authors' configuration for Kinetics-400 has one before each feed-forward branch (`places=feedforward`),
    that for Something-Something one before each branch (`places=both`). Per adapter 2 width d + d + width + 4 d;
    CLIP-B/16 or ViCLIP-B/16, d = 384: 7,110,144 parameters with one in each block, 14,220,288 with two. The authors'
    classifier with its dropout is left out, since text classifies here. ViCLIP's attention already mixes frames; the
    adapter then acts on the patches of all its frames.

    In the tables of MV-Adapter (CVPR 2024) it stands before each block, beside a sequential adapter of 128 channels in
    the text tower. Its 5.93 % of CLIP-B/16 (149,620,737) counts the biases of CLIP as well: 8,873,984 parameters.
    """

    display = "ST-Adapter"
    paper = pb.Paper(
        title="ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning",
        venue="NeurIPS 2022",
        url="https://arxiv.org/abs/2206.13559",
        bibtex="""@inproceedings{pan2022stadapter,
  title     = {{ST-Adapter}: Parameter-Efficient Image-to-Video Transfer Learning},
  author    = {Pan, Junting and Lin, Ziyi and Zhu, Xiatian and Shao, Jing and Li, Hongsheng},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022}
}""",
        licence="MIT",
    )
    recipes = (
        *in_proportion_to_the_batch(
            1e-3,
            256,
            {"bottleneck_dim": 384},
            "d of the authors' configurations for CLIP-B/16, and the learning rate of their code, 1e-3 for 256 clips",
        ),
        as_in_mv_adapter({"bottleneck_dim": 384, "text": "sequential"}, "5.93"),
        tuned_on_draws(1e-2, "1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_elsewhere(1e-2, TINY),
        tuned_for_retrieval(1e-3, "3e-4, 1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_in_retrieval(1e-3, TINY, backbones=["clip-tiny"]),
    )

    bottleneck_dim: int = pb.hyper(384, "d: channels of the bottleneck", minimum=1)
    places: Literal["block", "feedforward", "both"] = pb.hyper(
        "block",
        "before each block, before its feed-forward branch, or both. In the last block only the class token is read "
        "behind the feed-forward: the adapter there never learns",
    )

    def attach(self, model: DualEncoder) -> None:
        """One adapter on the stream at each chosen place of the video tower."""
        from petl_bench.methods._convolutions import SpatioTemporalAdapter

        for block in model.blocks("video"):
            if self.places in ("block", "both"):
                block.add_before(SpatioTemporalAdapter(block.width, self.bottleneck_dim), with_grid=True)
            if self.places in ("feedforward", "both"):
                block.middle.add_before(SpatioTemporalAdapter(block.width, self.bottleneck_dim), with_grid=True)
        self.adapt_text(model)
        self.train_biases(model)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per adapter fc1 width*d + d, Conv 3*d + d, fc2 d*width + width; the text tower's adapter, the biases."""
        width, d = config.vision_width, self.bottleneck_dim
        adapters = config.vision_layers * (2 if self.places == "both" else 1) * (2 * width * d + 5 * d + width)
        count: int = adapters + self.text_parameters(config) + self.bias_parameters(config)
        return count
