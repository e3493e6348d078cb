"""ViCLIP-L/14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import petl_bench as pb
from petl_bench.benchmarks.backbones.shared_options import frames_option, given
from petl_bench.benchmarks.backbones.viclip_b16 import PAGE, readme
from petl_bench.benchmarks.papers import INTERNVID

_LICENCE = "not stated beside the file; the code is Apache-2.0"


def _linked(data: str, figures: str = "", note: str = "") -> pb.PublishedWeights:
    return pb.PublishedWeights(
        file=f"ViCLIP-L_{data}.pth",
        where=f"linked from {PAGE}",
        licence=_LICENCE,
        note=note,
        expected=(readme(figures),) if figures else (),
    )


@pb.register_backbone("viclip-l14")
class ViCLIPL14(pb.Backbone):
    """ViCLIP-L/14: joint space-time attention, 8 frames at 224 x 224, 32 text tokens, D = 768; 427,590,145 weights."""

    display = "ViCLIP-L/14"
    paper = INTERNVID
    frames: int | None = frames_option(8)

    config = pb.ViCLIPConfig(
        patch_size=14,
        embed_dim=768,
        vision_width=1024,
        vision_layers=24,
        vision_heads=16,
        text_width=768,
        text_heads=12,
    )
    published = (
        pb.PublishedWeights(
            file="ViClip-InternVid-10M-FLT.pth",
            where="Hugging Face OpenGVLab/ViCLIP: --weights hf:OpenGVLab/ViCLIP/ViClip-InternVid-10M-FLT.pth",
            licence=_LICENCE,
            expected=(readme("zero-shot top-1 K400 64.80, K600 62.20, K700 54.30"),),
        ),
        _linked("InternVid-FLT-10M", note="the same weights, under another spelling that is in use"),
        _linked("InternVid-DIV-10M", "zero-shot top-1 K400 63.00, K600 60.68, K700 52.50"),
        _linked("InternVid-10M"),
        _linked("InternVid-50M"),
        _linked("InternVid-200M", "zero-shot top-1 K400 59.80, K600 57.80, K700 49.30"),
        _linked("WebVid-10M", "zero-shot top-1 K400 59.88, K600 58.66, K700 50.23"),
    )

    def config_changes(self) -> Mapping[str, Any]:
        """Frames: a shorter table of temporal positions is its first rows, a longer one is interpolated."""
        changes: dict[str, Any] = given(num_frames=self.frames)
        return changes
