"""LST: a small network beside a tower that runs without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.methods._recipes import at_the_authors_rate, not_tuned_elsewhere, not_tuned_in_retrieval, tuned_on_draws

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

TINY = {"reduction": 4}


@pb.register_method("lst")
class LST(pb.Method):
    """Ladder side-tuning: blocks of width W / r that read the frozen blocks of width W (Sung et al., NeurIPS 2022).

    h_0 = Down_0(x_0)                                                   x_i: [B, N, W], what frozen block i gives
    h_i = Block_i(g_i * h_{i-1} + (1 - g_i) * Down_i(x_i)),  g_i = sigmoid(a_i / T)     h_i: [B, N, W / r], a_i: scalar
    features = Head(x_L + Up(LN(h_L)))               Head: the tower's own last norm and projection, of the class token

    The tower keeps no graph, so that training takes a fraction of the memory. a starts at zero, Up at zero: the
    identity at the start. The authors' network leaves x_L out (`residual=false`), which throws a zero-shot backbone's
    alignment with text away; it starts from weights pruned out of the backbone by Fisher information, where this one is
    drawn by CLIP's initialisation; and it skips every fourth block of T5-base. Per tower of L blocks with w = W / r:
    L (12 w^2 + 13 w + 1) + (L + 1) (W w + w) + 2 w + w W + W. ViCLIP-B/16, r = 8: 2,376,492 in the video tower.
    """

    display = "LST"
    paper = pb.Paper(
        title="LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning",
        venue="NeurIPS 2022",
        url="https://arxiv.org/abs/2206.06522",
        bibtex="""@inproceedings{sung2022lst,
  title     = {{LST}: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning},
  author    = {Sung, Yi-Lin and Cho, Jaemin and Bansal, Mohit},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  year      = {2022}
}""",
        licence="not stated here",
    )
    needs_graph = False
    recipes = (
        *at_the_authors_rate(3e-3, {"reduction": 8}, "r and learning rate of the authors' script for T5-base on GLUE"),
        tuned_on_draws(1e-2, "3e-4, 1e-3, 3e-3, 1e-2", TINY),
        *not_tuned_elsewhere(1e-2, TINY),
        *not_tuned_in_retrieval(1e-2, TINY),
    )

    reduction: int = pb.hyper(8, "r: the side blocks are W // r wide", minimum=1)
    temperature: float = pb.hyper(0.1, "T of the gates", minimum=1e-3)
    residual: bool = pb.hyper(True, "the last frozen block's output is added to Up's; false: as the authors")
    towers: pb.Towers = pb.hyper("video", "which towers have a side network")

    def attach(self, model: DualEncoder) -> None:
        """A side network that makes the features of each chosen tower."""
        from petl_bench.methods._ladder import TextLadder, VideoLadder

        widths = self._widths(model.config)
        if "video" in widths:
            model.video.set_side(VideoLadder(model.video, widths["video"], self.temperature, self.residual))
        if "text" in widths:
            model.text.set_side(TextLadder(model.text, widths["text"], self.temperature, self.residual))

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """Per tower: L blocks and gates, L + 1 times Down, the norm, Up."""
        sizes = {
            "video": (config.vision_width, config.vision_layers),
            "text": (config.text_width, config.text_layers),
        }
        return sum(_side_parameters(*sizes[tower], w) for tower, w in self._widths(config).items())

    def _widths(self, config: pb.ViCLIPConfig) -> dict[str, int]:
        """W // r of the chosen towers; UsageError if nothing is left of one."""
        widths = {"video": config.vision_width, "text": config.text_width}
        chosen = {tower: width // self.reduction for tower, width in widths.items() if self.towers in (tower, "both")}
        for tower, width in chosen.items():
            if width == 0:
                raise pb.UsageError(
                    f"lst.reduction={self.reduction}: expected at most {widths[tower]}, the width of the {tower} tower"
                )
        return chosen


def _side_parameters(width: int, layers: int, small: int) -> int:
    """Of a side network of width `small` beside `layers` blocks of that width."""
    blocks = layers * (12 * small**2 + 13 * small + 1)
    down = (layers + 1) * (width + 1) * small
    return blocks + down + 2 * small + (small + 1) * width
