"""OpenAI's CLIP ViT-B/16, applied to every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import petl_bench as pb
from petl_bench.benchmarks.backbones.shared_options import context_option, frames_option, given, pooling_option
from petl_bench.benchmarks.papers import CLIP_PAPER

_WHERE = "github.com/openai/CLIP (a TorchScript archive there: save its state dict as this file first)"

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@pb.register_backbone("clip-b16")
class CLIPB16(pb.Backbone):
    """CLIP ViT-B/16: frames encoded one by one and averaged, 77 text tokens, D = 512; 149,620,737 parameters.

    By default 8 frames, normalised with ImageNet's mean and standard deviation, as ViFi-CLIP and X-CLIP do; CLIP itself
    was trained with others. CLIP4Clip and what builds on it, MV-Adapter included: frames=12, context_length=32,
    pooling=unit_mean, normalisation=clip.
    """

    display = "CLIP-B/16"
    paper = CLIP_PAPER
    activation: Literal["quick_gelu", "gelu"] = pb.hyper(
        "quick_gelu",
        "of every block, as the weights were trained: OpenAI's with quick_gelu, open_clip's (LAION, DataComp, ...) "
        "with gelu unless their model's name ends with -quickgelu",
        later=True,
    )

    frames: int | None = frames_option(8)
    context_length: int | None = context_option(77)
    pooling: Literal["mean", "unit_mean"] = pooling_option()
    normalisation: Literal["imagenet", "clip"] = pb.hyper(
        "imagenet", "mean and standard deviation of images: ImageNet's, or those that CLIP was trained with", later=True
    )

    config = pb.CLIPConfig()
    published = (
        pb.PublishedWeights(file="ViT-B-16-weights.pth", where=_WHERE, licence="MIT"),
        pb.PublishedWeights(file="clip-vit-b-16.safetensors", where=_WHERE, licence="MIT"),
    )

    def config_changes(self) -> Mapping[str, Any]:
        """Activation, frames, context and pooling."""
        changes: dict[str, Any] = given(num_frames=self.frames, context_length=self.context_length)
        return {"activation": self.activation, "pooling": self.pooling, **changes}

    def normalised_with(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """ImageNet's or CLIP's mean and standard deviation."""
        return (CLIP_MEAN, CLIP_STD) if self.normalisation == "clip" else super().normalised_with()

    def assumptions(self, weights: str, sha256: str) -> Sequence[str]:
        """The activation, for any file whose origin is not known: its names and shapes are the same with both."""
        if weights == "random" or sha256 in {published.sha256 for published in self.published}:
            return ()
        other = "gelu" if self.activation == "quick_gelu" else "quick_gelu"
        return (
            f"{self.name} computes with {self.activation}: {weights} does not say which activation it was trained "
            "with, and its sha256 is that of no file known here. OpenAI's weights have quick_gelu, open_clip's gelu, "
            f"unless their model's name ends with -quickgelu; to change it: --set {self.name}.activation={other}",
        )
