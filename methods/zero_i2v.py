"""ZeroI2V: linear adapters that fold into the backbone, and attention heads that look at other frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.methods._recipes import at_the_authors_rate, tuned_on_draws

if TYPE_CHECKING:
    from petl_bench.api.backbone import Backbone
    from petl_bench.models.dual_encoder import DualEncoder

#: The authors' configuration for CLIP-B/16 on Kinetics-400, with 16 frames.
PUBLISHED: dict[str, Any] = {
    "learning_rate": 3e-4,
    "weight_decay": 0.05,
    "beta2": 0.999,
    "epochs": 40,
    "warmup_epochs": 2.5,
    "final_lr_ratio": 0.0,
}
JOINT = (
    "it lets some heads of each frame attend to another frame, and this backbone attends to all frames of a clip at "
    "once"
)


@pb.register_method("zero_i2v")
class ZeroI2V(pb.Method):
    """Linear adapters around attention and feed-forward, and heads that attend over time (Li et al., ECCV 2024).

    x'  = x  + A2(out(attention(q, k, v)))    with q, k, v of A1(LN x)              x, x', x'': [B*T, N, width]
    x'' = x' + A4(proj(act(fc(A3(LN x')))))
    A(z) = z + s * (W2 (W1 z + b1) + b2)      W1: [d, width], W2: [width, d], d = ratio * width, no activation
    head i of frame t takes k, v of frame t + offsets[i]; the other heads those of their own frame

    In the video tower of backbones that encode frame by frame. A1 is one for q, k and v; a head whose frame is not
    there, or pads the clip, takes its own frame's. As in the authors' code a vector per frame, [T, width], is added to
    the embedded tokens, and the last norm trains. W2 and the vectors start at zero: before training the model differs
    from the frozen one by the shifted heads alone. Text classifies here, in the place of the authors' classifier.

    `merge` folds A1 into q, k and v, A2 into out, A3 into fc, A4 into proj. What is left are the shift, which copies
    keys and values, and the vectors of the frames, which are then constants: no product more than the frozen model's.

    The released configurations have s = 0.5 and dropout 0.1 on Kinetics, UCF-101 and HMDB-51, and s = 1, no dropout and
    offsets -1, 1, -2, 2 on Something-Something; `shift_div=12` there is one of CLIP-B/16's 12 heads in each direction.
    Per block 4 (2 d width + d + width). CLIP-B/16, ratio 0.25, 8 frames: 14,201,856 + 6,144 + 1,536 = 14,209,536.
    """

    display = "ZeroI2V"
    paper = pb.Paper(
        title="ZeroI2V: Zero-Cost Adaptation of Pre-trained Transformers from Image to Video",
        venue="ECCV 2024",
        url="https://arxiv.org/abs/2310.01324",
        bibtex="""@inproceedings{li2024zeroi2v,
  title     = {{ZeroI2V}: Zero-Cost Adaptation of Pre-trained Transformers from Image to Video},
  author    = {Li, Xinhao and Zhu, Yuhan and Wang, Limin},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}""",
        licence="not stated here",
    )
    identity_at_start = False
    mergeable = True
    recipes = (
        *at_the_authors_rate(
            3e-4,
            {"scale": 0.5, "dropout": 0.1},
            "learning rate, scale and dropout of the authors' configurations for CLIP-B/16 on Kinetics-400 and UCF-101",
        ),
        pb.Recipe(
            "fully_supervised",
            "clip-b16",
            PUBLISHED,
            {"scale": 0.5, "dropout": 0.1},
            source="the authors' configuration for Kinetics-400 (16 frames), in which a classifier trains too, norms "
            "and vectors of frames do not decay, and the warm-up begins at a tenth of the rate",
            tuned=False,
        ),
        replace(tuned_on_draws(1e-2, "3e-4, 1e-3, 3e-3, 1e-2, 3e-2"), backbone="clip-tiny"),
        *(
            pb.Recipe(
                name,
                "clip-tiny",
                {"learning_rate": 1e-2},
                source="learning rate of base2novel, not tuned for this setting",
                tuned=False,
            )
            for name in ("few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        pb.Recipe(
            "retrieval",
            "clip-tiny",
            {"learning_rate": 3e-4, "epochs": 5},
            source="learning rate of 1e-4, 3e-4, 1e-3, 3e-3, 1e-2 with the best T2V R@1 on held-out training clips "
            "after the last epoch, one draw of motion (seed 3)",
        ),
    )

    ratio: float = pb.hyper(0.25, "d / width: channels of the adapters", minimum=0.0, maximum=4.0)
    scale: float = pb.hyper(1.0, "s in the equation")
    dropout: float = pb.hyper(0.0, "dropout between W1 and W2", minimum=0.0, maximum=0.9)
    offsets: tuple[int, ...] = pb.hyper(
        (-1, 1), "the first heads take keys and values of the frame so many frames later (negative: earlier)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.offsets or 0 in self.offsets:
            shown = ",".join(map(str, self.offsets))
            raise pb.UsageError(
                f"zero_i2v.offsets={shown}: expected at least one number, and none of them 0, e.g. -1,1"
            )

    @classmethod
    def hosted_by(cls, backbone: type[Backbone]) -> str:
        """Not on a backbone whose attention is joint over frames."""
        return super().hosted_by(backbone) or (JOINT if backbone.config.joint_space_time else "")

    def attach(self, model: DualEncoder) -> None:
        """Four adapters and the shift in each block of the video tower; vectors of frames; the last norm trains."""
        from petl_bench.methods._zero_i2v import FramePositions, HeadShift, LinearAdapter

        config = model.config
        if config.joint_space_time:
            raise pb.UsageError(f"zero_i2v: {JOINT}; take a frame-wise backbone, e.g. --backbone clip-tiny")
        self._refuse_offsets(config)
        for block in model.blocks("video"):
            adapters = [LinearAdapter(block.width, self._channels(config), self.scale, self.dropout) for _ in range(4)]
            block.attention.norm.then(adapters[0])
            block.attention.mix(HeadShift(self.offsets))
            block.attention.out.then(adapters[1])
            block.feedforward.fc.first(adapters[2])
            block.feedforward.proj.then(adapters[3])
        positions = FramePositions(config.num_frames, config.vision_width)
        model.video.embedding.add_after(positions, with_grid=True)
        for tensor in (model.video.norm_post.weight, model.video.norm_post.bias):
            tensor.requires_grad_(True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per adapter W1 width*d + d, W2 d*width + width; a vector per frame; scale and bias of the last norm."""
        self._refuse_offsets(config)
        width, d = config.vision_width, self._channels(config)
        return 4 * config.vision_layers * (2 * width * d + d + width) + (config.num_frames + 2) * width

    def merge(self, model: DualEncoder) -> None:
        """W <- W M, b <- W c + b for q, k, v and fc; W <- M W, b <- M b + c for out and proj, with A(z) = M z + c."""
        import torch

        from petl_bench.methods._zero_i2v import FramePositions, fold_before, fold_behind, fold_first

        with torch.no_grad():
            for block in model.blocks("video"):
                attention, feedforward = block.attention, block.feedforward
                fold_before(attention.norm, (attention.q, attention.k, attention.v))
                fold_behind(attention.out)
                fold_first(feedforward.fc)
                fold_behind(feedforward.proj)
        for module in model.video.embedding.modules():
            if isinstance(module, FramePositions):
                module.fix()

    def _refuse_offsets(self, config: pb.ViCLIPConfig) -> None:
        """Raise UsageError for more offsets than heads, or one that no frame of a clip has another frame at."""
        if len(self.offsets) > config.vision_heads:
            raise pb.UsageError(
                f"zero_i2v.offsets has {len(self.offsets)} numbers, one for each head that looks at another frame, "
                f"but the video tower has {config.vision_heads} heads"
            )
        if far := [offset for offset in self.offsets if abs(offset) >= config.num_frames]:
            raise pb.UsageError(
                f"zero_i2v.offsets={','.join(map(str, self.offsets))}: no frame of a clip of {config.num_frames} has "
                f"one {abs(far[0])} frames away; expected numbers from {1 - config.num_frames} to "
                f"{config.num_frames - 1}"
            )

    def _channels(self, config: pb.ViCLIPConfig) -> int:
        """d. Raises UsageError if it is 0."""
        channels = int(self.ratio * config.vision_width)
        if not channels:
            raise pb.UsageError(
                f"zero_i2v.ratio={self.ratio:g} leaves no channel of {config.vision_width}: "
                f"expected at least {1 / config.vision_width:g}"
            )
        return channels
