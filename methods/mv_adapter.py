"""MV-Adapter: bottlenecks behind the feed-forwards of both towers, with a small transformer over frames and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import petl_bench as pb
from petl_bench.methods._recipes import (
    SEARCHED_IN_RETRIEVAL,
    at_the_authors_rate,
    not_tuned_in_retrieval,
    tuned_for_retrieval,
)
from petl_bench.methods.bitfit import BitFit

if TYPE_CHECKING:
    from torch import nn

    from petl_bench.models.dual_encoder import DualEncoder

#: Section 4.2 and the released configurations: MSR-VTT, MSVD, LSMDC.
PUBLISHED = {
    "batch_size": 128,
    "epochs": 5,
    "warmup_epochs": 0.5,
    "learning_rate": 5e-6,
    "weight_decay": 0.2,
    "adam_epsilon": 1e-6,
}

SOURCE = "MV-Adapter (CVPR 2024), section 4.2"
#: For the width of the small backbones.
TINY, TINY_RATE = {"bottleneck_dim": 32, "scale": 1.0}, 1e-3


@pb.register_method("mv_adapter")
class MVAdapter(pb.Method):
    """Multi-modal video adapter for video-text retrieval (Jin et al., CVPR 2024).

    Behind the feed-forward of every block, before its residual connection, y = FFN(LN(x)), y: [S, N, width]:

        out      = x + y + s * Up(h)                                  h: [S, N, d], Up: d -> width, zero at the start
        text:    h = G(T(Down(y) + E))                                T: a causal transformer block behind a layer norm
        video:   z = G(Down(y)),  h = z of every patch token, and of frame f's class token alpha_f * c'_f with
                 [cc', c'_1..F, p'_1..F] = G(T([cc, c_1..F, p_1..F] + E))         c_f, p_f: class token of frame f of z,
                 alpha_f = 1 + b(ReLU(a([c'_f + p'_f; g(cc')])))                             mean of its patches, [d]

    G is QuickGELU, E learned positions (2 F + 1 of them in video, one per word in text), cc a learned token, T has d
    channels; a, b and g are linear (2d -> 16, 16 -> d without bias, d -> d), b is zero at the start. Of frames that pad
    a clip, nothing is attended to. In the last `tied_layers` blocks the towers share a factor f [factor_dim]: the
    channels of Down's weight (input or output) are multiplied by each tower's own P f + q. All biases of the backbone
    train too, at `bias_rate` times the learning rate.

    CLIP ViT-B/16 with 12 frames and 32 words: 3,572,736 parameters, the backbone's 171,008 biases among them. Text and
    clips may be shorter than E; for other numbers of frames its positions are interpolated linearly.

    On a joint space-time backbone (ViCLIP), which has one class token per video and no feature of frames, the method is
    adapted, and its numbers carry the mark adapted-method: c_f is what `stand_in` says, and the video's class token
    gets Up of the mean over frames of alpha_f * c'_f, as the mean over frames is what CLIP's features go through.

    Where the paper, its tables and the released code disagree: docs/mv_adapter.md.
    """

    display = "MV-Adapter"
    paper = pb.Paper(
        title="MV-Adapter: Multimodal Video Transfer Learning for Video Text Retrieval",
        venue="CVPR 2024",
        url="https://arxiv.org/abs/2301.07868",
        bibtex="""@inproceedings{jin2024mvadapter,
  title     = {{MV-Adapter}: Multimodal Video Transfer Learning for Video Text Retrieval},
  author    = {Jin, Xiaojie and Zhang, Bowen and Gong, Weibo and Xu, Kai and Deng, Xueqing and Wang, Peng and
               Zhang, Zhao and Shen, Xiaohui and Feng, Jiashi},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}""",
        licence="no licence file",
    )
    recipes = (
        pb.Recipe("retrieval", "clip-b16", training=PUBLISHED, source=SOURCE),
        *at_the_authors_rate(5e-6, {}, f"learning rate of retrieval in {SOURCE}"),
        tuned_for_retrieval(TINY_RATE, SEARCHED_IN_RETRIEVAL, TINY),
        *not_tuned_in_retrieval(TINY_RATE, TINY, backbones=["clip-tiny"]),
        *(
            pb.Recipe(
                setting,
                backbone,
                {"learning_rate": TINY_RATE},
                TINY,
                "sizes and learning rate of retrieval on viclip-tiny, not tuned for this setting",
                tuned=False,
            )
            for setting in ("base2novel", "few_shot", "zero_shot_transfer", "fully_supervised")
            for backbone in ("viclip-tiny", "clip-tiny")
        ),
    )

    bottleneck_dim: int = pb.hyper(64, "d: channels of the bottleneck (128 for CLIP ViT-L/14)", minimum=1)
    heads: int = pb.hyper(2, "attention heads of the small transformer; must divide bottleneck_dim", minimum=1)
    scale: float = pb.hyper(0.1, "s: the adapter's output is scaled by it", minimum=0.0)
    towers: pb.Towers = pb.hyper("both", "which towers are adapted; with one alone, nothing is tied")
    transformer: bool = pb.hyper(True, "the small transformers; false: h = G(Down(y)) in both towers, not calibrated")
    calibrate: Literal["class", "all", "none"] = pb.hyper(
        "class",
        "alpha multiplies the class tokens; all: the patches of each frame too, by an alpha of their own; or none",
    )
    context_token: bool = pb.hyper(True, "cc among the frames, and read by the calibration")
    tie: Literal["down in", "down out", "up in", "up out", "none"] = pb.hyper(
        "down in",
        "channels that the shared factors multiply: Down's input (as the printed percentages) or output (the released "
        "configuration of MSR-VTT and DiDeMo), Up's input or output (in video of the class token alone); or none",
    )
    tied_layers: int = pb.hyper(2, "the last blocks of both towers that are tied", minimum=1)
    factor_dim: int = pb.hyper(32, "numbers in a shared factor", minimum=1)
    input_norm: bool = pb.hyper(False, "a layer norm before Down (the released configuration of ActivityNet)")
    train_biases: bool = pb.hyper(True, "all biases of the adapted towers train too, as published")
    bias_rate: float = pb.hyper(0.02, "their learning rate, as a part of the adapters': 1e-7 / 5e-6", minimum=0.0)
    stand_in: Literal["frame_mean", "class_token"] = pb.hyper(
        "frame_mean",
        "c_f where a video has one class token (ViCLIP): p_f, the mean of the frame's patches; or that class token, in "
        "every frame. Not read on frame-wise backbones",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck_dim % self.heads:
            raise pb.UsageError(
                f"mv_adapter.heads={self.heads}: must divide mv_adapter.bottleneck_dim={self.bottleneck_dim}"
            )

    @classmethod
    def adapted_for(cls, config: pb.ViCLIPConfig) -> str:
        """ViCLIP has no class token of frames."""
        return "one class token per video stands for those of the frames" if config.joint_space_time else ""

    def attach(self, model: DualEncoder) -> None:
        """An adapter behind each feed-forward; shared factors in the last blocks; the backbone's biases."""
        from petl_bench.methods._sites import norms_and_linears, weights_of

        if self.train_biases:
            for site in norms_and_linears(model, self.towers):
                weights_of(site).bias.requires_grad_(True)
        factors, depth = self._factors(model.config), {"video": len(model.video.blocks), "text": len(model.text.blocks)}
        for block in model.blocks(self.towers):
            adapter = self._adapter(model.config, block.tower, factors.get(depth[block.tower] - block.index))
            block.feedforward.add_after(adapter, scale=self.scale, with_grid=block.tower == "video")

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Adapters of both towers, cc and calibration in video, factors and their projections, biases."""
        d, layers = self.bottleneck_dim, {"video": config.vision_layers, "text": config.text_layers}
        widths = {"video": config.vision_width, "text": config.text_width}
        towers = [tower for tower in layers if self.towers in (tower, "both")]
        ties = self._ties(config)
        total = ties * self.factor_dim
        for tower in towers:
            width = widths[tower]
            adapter = 2 * width * d + d + width + 2 * width * self.input_norm
            if self.transformer:
                adapter += 12 * d**2 + 15 * d + self._positions(config, tower) * d
            if tower == "video":
                adapter += self._over_frames()
            total += layers[tower] * adapter + ties * (self.factor_dim + 1) * self.tied_channels(width)
        return total + (BitFit(towers=self.towers).expected_trainable(config) if self.train_biases else 0)

    def parameter_groups(self, model: DualEncoder) -> dict[str, tuple[float, float]]:
        """The backbone's biases learn at `bias_rate`; the adapters', which stand behind feed-forwards, do not."""
        return {"*.after.*": (1.0, 1.0), "*.bias": (self.bias_rate, 1.0)} if self.train_biases else {}

    def tied_channels(self, width: int) -> int:
        """How many channels of a weight between `width` and d channels a factor multiplies."""
        return self.bottleneck_dim if self.tie in ("down out", "up in") else width

    def _ties(self, config: pb.ViCLIPConfig) -> int:
        """Number of tied blocks of each tower. Raises UsageError for more than a tower has."""
        if self.tie == "none" or self.towers != "both":
            return 0
        if self.tied_layers > min(config.vision_layers, config.text_layers):
            raise pb.UsageError(
                f"mv_adapter.tied_layers={self.tied_layers}: this backbone's towers have {config.vision_layers} and "
                f"{config.text_layers} blocks"
            )
        return self.tied_layers

    def _positions(self, config: pb.ViCLIPConfig, tower: str) -> int:
        if tower == "text":
            return config.context_length
        return 2 * self._frames(config) + self.context_token

    @staticmethod
    def _frames(config: pb.ViCLIPConfig) -> int:
        """Times that the video tower tells apart."""
        return config.num_frames // (config.tubelet_size if config.joint_space_time else 1)

    def _over_frames(self) -> int:
        """Parameters of cc and of the calibration, g, a and b, in one block."""
        if not self.transformer:
            return 0
        from_context, d = self.context_token, self.bottleneck_dim
        calibration = (d**2 + d) * from_context + (d * (1 + from_context) + 1) * 16 + 16 * d
        return d * from_context + {"class": 1, "all": 2, "none": 0}[self.calibrate] * calibration

    def _factors(self, config: pb.ViCLIPConfig) -> dict[int, nn.Parameter]:
        """The shared factors, by a block's place counted from the end of its tower (0: the last)."""
        import torch
        from torch import nn

        return {place: nn.Parameter(torch.zeros(self.factor_dim)) for place in range(self._ties(config))}

    def _adapter(self, config: pb.ViCLIPConfig, tower: str, factor: nn.Parameter | None) -> nn.Module:
        from petl_bench.methods._mv_adapter import TextAdapter, VideoAdapter

        adapter: nn.Module = (
            VideoAdapter(self, config.vision_width, self._frames(config), factor)
            if tower == "video"
            else TextAdapter(self, config.text_width, config.context_length, factor)
        )
        return adapter
