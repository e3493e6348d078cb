"""OpenAI's CLIP ViT-B/16, applied to every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import petl_bench as pb
from petl_bench.benchmarks.papers import CLIP_PAPER

_WHERE = "github.com/openai/CLIP (a TorchScript archive there: save its state dict as this file first)"


@pb.register_backbone("clip-b16")
class CLIPB16(pb.Backbone):
    """CLIP ViT-B/16: frames encoded one by one and averaged, 77 text tokens, D = 512; 149,620,737 parameters.

    Frames are normalised with ImageNet's mean and standard deviation, as ViFi-CLIP and X-CLIP do; CLIP itself was
    trained with others.
    """

    paper = CLIP_PAPER
    activation: Literal["quick_gelu", "gelu"] = pb.hyper(
        "quick_gelu",
        "of every block, as the weights were trained: OpenAI's with quick_gelu, open_clip's (LAION, DataComp, ...) "
        "with gelu unless their model's name ends with -quickgelu",
        later=True,
    )

    config = pb.CLIPConfig()
    published = (
        pb.PublishedWeights(file="ViT-B-16-weights.pth", where=_WHERE, licence="MIT"),
        pb.PublishedWeights(file="clip-vit-b-16.safetensors", where=_WHERE, licence="MIT"),
    )

    def config_changes(self) -> Mapping[str, Any]:
        """The activation."""
        return {"activation": self.activation}

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
