"""ViCLIP-B/16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import petl_bench as pb
from petl_bench.benchmarks.backbones.shared_options import frames_option, given
from petl_bench.benchmarks.papers import INTERNVID

PAGE = "github.com/OpenGVLab/InternVideo, InternVideo1/Pretrain/ViCLIP/README.md"
_WHERE = f"OneDrive, linked from {PAGE}"
#: How ViCLIP's code evaluates zero-shot, and in what that differs from `--setting zero_shot_transfer` here.
README_PROTOCOL = (
    "16 ActionCLIP templates per class, similarities averaged over them; class names in lower case, no punctuation; "
    "the middle frame of each of 8 equal parts of the video, squashed to 224 x 224 without a crop; all classes of the "
    "validation set; some of its K400 scripts average the weights with CLIP's, and the README does not say whether the "
    "figure does. Here by default: one prompt, names as listed, shorter side resized to 256 and the centre cropped; "
    "docs/msta.md has the command for that protocol, as far as it is known"
)
_LICENCE = "not stated beside the file; the code is Apache-2.0"


def readme(figures: str) -> pb.Expectation:
    """Figures of ViCLIP's README, with its protocol."""
    return pb.Expectation(figures, "ViCLIP's README", README_PROTOCOL)


@pb.register_backbone("viclip-b16")
class ViCLIPB16(pb.Backbone):
    """ViCLIP-B/16: joint space-time attention, 8 frames at 224 x 224, 32 text tokens, D = 512; 149,603,841 weights."""

    display = "ViCLIP-B/16"
    paper = INTERNVID
    frames: int | None = frames_option(8)

    config = pb.ViCLIPConfig()
    published = (
        pb.PublishedWeights(
            file="ViCLIP-B_InternVid-FLT-10M.pth",
            where=_WHERE,
            licence=_LICENCE,
            expected=(
                readme("zero-shot top-1 K400 58.52, K600 55.37, K700 47.09"),
                pb.Expectation(
                    figures="zero-shot top-1 K400: base 68.7, novel 63.4",
                    source="MSTA, CVPR 2025, Table 2",
                    protocol="200 base and 200 novel classes, each half among itself; the paper's prompt is \"a video "
                    'of", its logs print "a photo of a"; 4 x 3 views, frames drawn at random; lists of its own that '
                    "were not published. Here: --setting base2novel, one view, or --set base2novel.views=published",
                ),
            ),
        ),
        pb.PublishedWeights(
            file="ViCLIP-B-InternVid-FLT-10M.pth",
            where=_WHERE,
            licence=_LICENCE,
            note="the same weights, under another spelling that is in use",
        ),
        pb.PublishedWeights(
            file="ViCLIP-B_InternVid-200M.pth",
            where=_WHERE,
            licence=_LICENCE,
            expected=(readme("zero-shot top-1 K400 56.58, K600 53.57, K700 45.82"),),
        ),
    )

    def config_changes(self) -> Mapping[str, Any]:
        """Frames: a shorter table of temporal positions is its first rows, a longer one is interpolated."""
        changes: dict[str, Any] = given(num_frames=self.frames)
        return changes
