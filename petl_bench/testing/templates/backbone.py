"""Template backbone: a video-language model by its sizes, and where its weights are."""

from __future__ import annotations

import petl_bench as pb


@pb.register_backbone("template_backbone")
class TemplateBackbone(pb.Backbone):
    """ViCLIP with 2 blocks of width 64 per tower, 8 frames of 32 x 32 pixels.

    pb.ViCLIPConfig has one sequence of all frames' tokens; pb.CLIPConfig encodes frame by frame and averages.
    """

    display = "Template backbone"  # what readers of tables and figures see
    config = pb.ViCLIPConfig(
        image_size=32,
        patch_size=16,
        num_frames=8,
        embed_dim=64,
        vision_width=64,
        vision_layers=2,
        vision_heads=4,
        context_length=32,
        text_width=64,
        text_layers=2,
        text_heads=4,
    )
    # How frames are normalised after scaling to [0, 1].
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    # Training options for this size: training: ClassVar[Mapping[str, Any]] = {"epochs": 10}; petl-bench show training

    # Checkpoints with ViCLIP's or CLIP's published keys. --weights auto looks for the files by name in
    # $PETL_BENCH_WEIGHTS_DIR; --weights random tries things out.
    published = (
        pb.PublishedWeights(
            file="template_backbone.safetensors",
            where="https://example.org/template_backbone.safetensors",
            licence="MIT",
            sha256="",  # of the file, once it is published
        ),
    )
