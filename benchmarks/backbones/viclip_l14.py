"""ViCLIP-L/14."""

from __future__ import annotations

import petl_bench as pb
from petl_bench.benchmarks.backbones.viclip_b16 import INTERNVID

_HUB = "Hugging Face OpenGVLab/ViCLIP"
_PAGE = "linked from InternVid's ViCLIP page, github.com/OpenGVLab/InternVideo (Data/InternVid)"
_LICENCE = "see the model page"


@pb.register_backbone("viclip-l14")
class ViCLIPL14(pb.Backbone):
    """ViCLIP-L/14: joint space-time attention over 8 frames of 224 x 224, 32 text tokens, D = 768; 427,590,145 parameters."""

    paper = INTERNVID
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
            where=f"{_HUB}: --weights hf:OpenGVLab/ViCLIP/ViClip-InternVid-10M-FLT.pth",
            licence=_LICENCE,
        ),
        *(
            pb.PublishedWeights(file=f"ViCLIP-L_{data}.pth", where=_PAGE, licence=_LICENCE)
            for data in (
                "InternVid-FLT-10M",
                "InternVid-DIV-10M",
                "InternVid-10M",
                "InternVid-50M",
                "InternVid-200M",
                "WebVid-10M",
            )
        ),
    )
