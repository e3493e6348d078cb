"""AIM: an image model's attention used over time as well, with adapters for time, space and both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import petl_bench as pb
from petl_bench.methods._recipes import at_the_authors_rate, tuned_on_draws

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder
    from petl_bench.models.transformer import Block

#: The authors' configuration for CLIP-B/16 on Kinetics-400.
PUBLISHED: dict[str, Any] = {
    "learning_rate": 3e-4,
    "weight_decay": 0.05,
    "beta2": 0.999,
    "epochs": 30,
    "warmup_epochs": 2.5,
    "final_lr_ratio": 0.0,
}
TINY_RATE = 1e-2
_JOINT = (
    "it uses the attention of an image model once over the frames of each place and once over each frame, and this "
    "backbone attends to all frames of a clip at once"
)


@pb.register_method("aim")
class AIM(pb.Method):
    """Adapting image models: frozen attention over time, then over space, and three adapters (Yang et al., ICLR 2023).

    In every block of the video tower, with attention's frozen weights used twice:

        x   <- x + T(Attention_time(LN1 x))                                              x: [B T, N, width]
        x   <- x + y + S(y),  y = Attention_space(LN1 x)
        x   <- x + FFN(LN2 x) + s * M(LN2 x)            T, S, M: up(GELU(down(z))), down: width -> h

    h = width * ratio. Attention_time is over the T frames of each patch's place, and of the class token;
    Attention_space over the N tokens of each frame. E_t [width] is added to every token of frame t before the first
    norm. E and the ups start at zero: the identity at the start. E and the last norm train too. Frames that pad a clip
    are not attended to. A clip with fewer frames than the backbone's takes the first rows of E, as if it were padded;
    one with more takes E interpolated linearly.

    Stochastic depth drops T's and M's term of a clip, at a rate that rises linearly from 0 in the first block to
    `drop_path` in the last. The released code draws it along the first dimension of tokens [N, B T, width], that is for
    each place of a token at once in all clips (`drop_path_over=places`). On Something-Something V2 the authors put one
    more adapter in front of the attention over time, LN1 x + T_in(LN1 x) (`time_adapters=2`). Their classifier with its
    dropout is left out: text classifies here, through the frozen projection.

    Per adapter 2 width h + h + width; CLIP-B/16, 12 blocks, ratio 1/4: 10,651,392 (14,201,856 with T_in), and with E
    for 8 frames (6,144) and the last norm (1,536) 10,659,072. Only for backbones that encode frame by frame: in ViCLIP
    attention over each frame alone would take the place of attention over all frames.
    """

    display = "AIM"
    paper = pb.Paper(
        title="AIM: Adapting Image Models for Efficient Video Action Recognition",
        venue="ICLR 2023",
        url="https://arxiv.org/abs/2302.03024",
        bibtex="""@inproceedings{yang2023aim,
  title     = {{AIM}: Adapting Image Models for Efficient Video Action Recognition},
  author    = {Yang, Taojiannan and Zhu, Yi and Xie, Yusheng and Zhang, Aston and Chen, Chen and Li, Mu},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}""",
        licence="Apache-2.0",
    )
    recipes = (
        *at_the_authors_rate(3e-4, {}, "learning rate of the authors' configurations for full data sets"),
        pb.Recipe(
            "fully_supervised",
            "clip-b16",
            PUBLISHED,
            source="the authors' configuration for Kinetics-400, in which a classifier trains too; 50 epochs with "
            "time_adapters=2 on Something-Something V2",
            tuned=False,
        ),
        replace(tuned_on_draws(TINY_RATE, "3e-4, 1e-3, 3e-3, 1e-2"), backbone="clip-tiny"),
        *(
            pb.Recipe(
                name, "clip-tiny", {"learning_rate": TINY_RATE}, source="as in base2novel, not tuned here", tuned=False
            )
            for name in ("few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        pb.Recipe(
            "retrieval",
            "clip-tiny",
            {"learning_rate": 3e-4, "epochs": 5},
            source="learning rate of 1e-4, 3e-4, 1e-3, 3e-3 with the best T2V R@1 on held-out training clips after the "
            "last epoch, one draw of motion (seed 3)",
        ),
    )

    ratio: float = pb.hyper(0.25, "channels inside an adapter, as a part of the width", minimum=0.0, maximum=4.0)
    scale: float = pb.hyper(0.5, "s in the equation")
    time_adapters: Literal[1, 2] = pb.hyper(1, "1: T alone; 2: T_in as well, as for Something-Something V2")
    drop_path: float = pb.hyper(
        0.2, "rate of stochastic depth in the last block; it falls linearly to 0 in the first", minimum=0.0, maximum=0.9
    )
    drop_path_over: Literal["clips", "places"] = pb.hyper(
        "clips", "what is dropped at once: a clip's tokens; or, as in the released code, a place's in all clips"
    )

    @classmethod
    def hosted_by(cls, backbone: type[pb.Backbone]) -> str:
        """Only backbones that encode frame by frame host it."""
        reason: str = super().hosted_by(backbone)
        return reason or (_JOINT if backbone.config.joint_space_time else "")

    def attach(self, model: DualEncoder) -> None:
        """Attention over time before each block, S behind attention, M beside the feed-forward; E; the last norm."""
        from petl_bench.methods._aim import FramePositions

        config = model.config
        if config.joint_space_time:
            raise pb.UsageError(f"{self.name}: {_JOINT}; take a frame-wise backbone: clip-tiny or clip-b16")
        model.video.embedding.add_after(FramePositions(config.num_frames, config.vision_width), with_grid=True)
        for block in model.blocks("video"):
            self._adapt(block, self.drop_path * (block.index - 1) / max(1, config.vision_layers - 1))
        for parameter in (model.video.norm_post.weight, model.video.norm_post.bias):
            parameter.requires_grad_(True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per adapter down width*h + h, up h*width + width; E frames*width; the last norm 2*width."""
        width, h = config.vision_width, self._channels(config.vision_width)
        adapters = config.vision_layers * (2 + self.time_adapters)
        return adapters * (2 * width * h + h + width) + (config.num_frames + 2) * width

    def _adapt(self, block: Block, drop_path: float) -> None:
        from petl_bench.methods._aim import DropPath, JointAdapter, TimeAttention, adapter

        width, h = block.width, self._channels(block.width)
        outer, inner = adapter(width, h), adapter(width, h) if self.time_adapters == 2 else None
        drop = DropPath(drop_path, self.drop_path_over)
        block.add_before(TimeAttention(block.attention, outer, inner, drop), with_grid=True)
        block.attention.add_after(adapter(width, h))
        block.feedforward.add_parallel(JointAdapter(adapter(width, h), drop), self.scale, normed=True, with_grid=True)

    def _channels(self, width: int) -> int:
        """Channels inside an adapter. Raises UsageError if there are none."""
        channels = int(width * self.ratio)
        if not channels:
            raise pb.UsageError(
                f"{self.name}.ratio={self.ratio:g} leaves no channel of {width}; give {1 / width:g} or more"
            )
        return channels
