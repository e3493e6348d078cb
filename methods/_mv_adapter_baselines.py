"""What the adapters in the tables of MV-Adapter (CVPR 2024) share: the backbone's biases, and an adapter for text.

Its baselines are trained by its own code, which trains all biases of CLIP (171,008) beside every adapter, at a rate of
their own: the published percentages count them. A method that adapts the video tower alone gets a sequential adapter of
128 channels in the text tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import petl_bench as pb

if TYPE_CHECKING:
    from torch import nn

    from petl_bench.models.dual_encoder import DualEncoder

#: CLIP4Clip's and MV-Adapter's code for MSR-VTT, but for the learning rate; BertAdam in both.
CLIP4CLIP: dict[str, Any] = {
    "epochs": 5,
    "batch_size": 128,
    "weight_decay": 0.2,
    "warmup_epochs": 0.5,
    "adam_epsilon": 1e-6,
    "final_lr_ratio": 0.0,
    "clip_grad_norm": 1.0,
}


def as_in_mv_adapter(hyper: Mapping[str, Any], percent: str) -> pb.Recipe:
    """The recipe for `clip-b16` in `retrieval`: the sizes of a baseline in MV-Adapter's tables, by its `percent`."""
    source = (
        "MV-Adapter (CVPR 2024): learning rate of section 4.2, which says none for its baselines; the rest as in its "
        f"code. Sizes are not named, but chosen by the count: {percent} % of CLIP's parameters"
    )
    training = {**CLIP4CLIP, "learning_rate": 5e-6}
    return pb.Recipe("retrieval", "clip-b16", training, {**hyper, "biases": True}, source, tuned=False)


def bottleneck(
    width: int, dim: int, *, activation: str = "relu", dropout: float = 0.0, norm: bool = False
) -> nn.Module:
    """Up(dropout(activation(Down(x)))) with Up = 0 at the start, [..., width]; `norm`: behind a layer norm of x."""
    from torch import nn

    adapter = pb.Bottleneck(width, dim, activation=activation, dropout=dropout)
    return nn.Sequential(nn.LayerNorm(width), adapter) if norm else adapter


def bottleneck_parameters(width: int, dim: int, norm: bool = False) -> int:
    """Down width*dim + dim, Up dim*width + width; the layer norm 2*width."""
    return (2 * width + 1) * dim + width + 2 * width * norm


class WithBiases(pb.Method):
    """A method beside whose modules the backbone's own biases may train."""

    biases: bool = pb.hyper(False, "all biases of the backbone train too, as in MV-Adapter's code")
    bias_rate: float = pb.hyper(
        0.02, "their learning rate, as a factor of that of the adapters (1e-7 beside 5e-6)", minimum=0.0
    )

    def parameter_groups(self, model: DualEncoder) -> Mapping[str, tuple[float, float]]:
        """The rate of the backbone's biases, in linears and norms; modules at sites are named `module`."""
        slow = (self.bias_rate, 1.0)
        return {"*.module.*": (1.0, 1.0), "*.base.bias": slow, "*norm*.bias": slow} if self.biases else {}

    def train_biases(self, model: DualEncoder) -> None:
        """Unfreeze the bias of every norm and linear of both towers, if `biases`."""
        from petl_bench.methods._sites import norms_and_linears, weights_of

        for site in norms_and_linears(model, "both") if self.biases else ():
            weights_of(site).bias.requires_grad_(True)

    def bias_parameters(self, config: pb.ViCLIPConfig) -> int:
        """Of every block 11*width, of the further norms width each; 0 without `biases`."""
        further = 2 * config.vision_width + config.text_width
        return self.biases * (sum(11 * width for width in config.block_widths()) + further)


class VideoAdapter(WithBiases):
    """A method whose modules are in the video tower, with an adapter in the text tower if wanted."""

    text: Literal["none", "sequential"] = pb.hyper(
        "none",
        "adapter of the text tower: none, or in every block y + text_scale * Up(ReLU(Down(LN(y)))) on the output y of "
        "the feed-forward branch, as in MV-Adapter's tables",
    )
    text_dim: int = pb.hyper(128, "channels of that adapter", minimum=1)
    text_scale: float = pb.hyper(0.1, "scale of that adapter's output")

    def adapt_text(self, model: DualEncoder) -> None:
        """The adapter behind every feed-forward branch of the text tower, if `text` asks for it."""
        for block in model.blocks("text") if self.text == "sequential" else ():
            block.feedforward.add_after(bottleneck(block.width, self.text_dim, norm=True), scale=self.text_scale)

    def text_parameters(self, config: pb.ViCLIPConfig) -> int:
        """Of that adapter, in all blocks of the text tower."""
        widths = config.block_widths("text") if self.text == "sequential" else []
        return sum(bottleneck_parameters(width, self.text_dim, norm=True) for width in widths)
