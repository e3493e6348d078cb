"""Side4Video: a spatial and temporal side network beside a video tower that runs without gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._mv_adapter_baselines import CLIP4CLIP
from petl_bench.methods._recipes import MSTA_RATES, tuned_for_retrieval, tuned_on_draws

if TYPE_CHECKING:
    from petl_bench.api.backbone import Backbone
    from petl_bench.models.dual_encoder import DualEncoder

ONE_CLASS_TOKEN = "it shifts the class tokens of frames, and this backbone has one class token for all frames of a clip"
TINY = {"width": 64, "heads": 4}
RECOGNITION = "learning rate and weight decay of the authors' code for Kinetics-400; not tuned for this setting"
RETRIEVAL = "the authors' script for MSR-VTT and their optimiser, without what they do to the text tower"


@pb.register_method("side4video")
class Side4Video(pb.Method):
    """A side network of width w for video beside frozen blocks of width W (Yao, Wu & Li, 2023).

    x_0 = BN(Conv3d(frames))                          x_i: [B T, P, w], kernel 3 x 16 x 16, P patches of each frame
    x   = (x_{i-1} + z) / 2,  [c; z] = Down(LN(y_i))                   y_i: [B T, 1 + P, W], what frozen block i gives
    x  <- x + Conv(BN(x))                   Conv: 1x1x1, then depth-wise 3x1x1 over time, then 1x1x1, all from w to w
    x  <- x + Attention(LN([shift(c); x] + p))              within a frame; 5 heads, p: [1 + P, w], shared by the blocks
    x_i = x + MLP(BN(x))                                                                        w -> 4 w -> w, GELU
    features = mean over frames of Head(c_L + Up(mean over patches of BN(x_L)))     c_L: [B T, W], frozen class tokens

    shift(c): the first half of the channels of a frame's class token comes from the next frame, the second half from
    the one before, zero where there is none. Head: the tower's own last norm and projection. The tower keeps no graph.
    Up starts at zero: the identity at the start. Batch norm makes a clip's features in training depend on the others
    that go through it together. Frames that pad a clip are zero for convolutions and the shift, and no part of means
    and statistics. With L blocks and p x p pixels in a patch: L (14 w^2 + 21 w + 2 W + W w + w) + (9 p^2 + P + 6) w +
    W w parameters; CLIP-B/16, w = 320: 21,302,912.

    The head is that of the authors' code for retrieval, where text and video are compared, too. For recognition they
    leave c_L out, and put a linear classifier on the mean of x_L: a closed vocabulary. In retrieval they also fine-tune
    the text tower at a thousandth of the rate, and weight words and frames: here it is frozen, and a frame counts as
    much as any other.
    """

    display = "Side4Video"
    paper = pb.Paper(
        title="Side4Video: Spatial-Temporal Side Network for Memory-Efficient Image-to-Video Transfer Learning",
        venue="arXiv 2023",
        url="https://arxiv.org/abs/2311.15769",
        bibtex="""@article{yao2023side4video,
  title   = {{Side4Video}: Spatial-Temporal Side Network for Memory-Efficient Image-to-Video Transfer Learning},
  author  = {Yao, Huanjin and Wu, Wenhao and Li, Zhiheng},
  journal = {arXiv preprint arXiv:2311.15769},
  year    = {2023}
}""",
        licence="MIT",
    )
    needs_graph = False
    batch_statistics = True
    recipes = (
        *(
            pb.Recipe(name, None, {"learning_rate": 1e-3, "weight_decay": 0.15}, source=RECOGNITION, tuned=False)
            for name in MSTA_RATES
            if name != "retrieval"
        ),
        pb.Recipe("retrieval", None, {**CLIP4CLIP, "learning_rate": 1e-4}, source=RETRIEVAL, tuned=False),
        replace(tuned_on_draws(3e-3, "3e-4, 1e-3, 3e-3, 1e-2", TINY), backbone="clip-tiny"),
        *(
            pb.Recipe(name, "clip-tiny", {"learning_rate": 3e-3}, TINY, "as in base2novel, not tuned here", tuned=False)
            for name in ("few_shot", "zero_shot_transfer", "fully_supervised")
        ),
        tuned_for_retrieval(1e-3, "3e-4, 1e-3, 3e-3, 1e-2", TINY, backbone="clip-tiny"),
    )

    width: int = pb.hyper(320, "w: channels of the side network", minimum=2)
    heads: int = pb.hyper(5, "attention heads; must divide the width", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise pb.UsageError(f"side4video.heads={self.heads}: must divide side4video.width={self.width}")

    @classmethod
    def hosted_by(cls, backbone: type[Backbone]) -> str:
        """It needs a class token for each frame."""
        return ONE_CLASS_TOKEN if backbone.config.joint_space_time else super().hosted_by(backbone)

    def attach(self, model: DualEncoder) -> None:
        """A side network that makes the features of the video tower."""
        from petl_bench.methods._side_network import SideNetwork

        model.video.check_frame_wise("side4video shifts the class tokens of frames")
        model.video.set_side(SideNetwork(model.video, self.width, self.heads), with_pixels=True)

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Stem, positions, L times block and Down, the last norm and Up; see the equation."""
        w, wide, patch = self.width, config.vision_width, config.patch_size
        stem = (3 * 3 * patch**2 + 1 + 2) * w
        positions = (1 + (config.image_size // patch) ** 2) * w
        block, down = 14 * w**2 + 21 * w, 2 * wide + (wide + 1) * w
        return stem + positions + config.vision_layers * (block + down) + 2 * w + w * wide
