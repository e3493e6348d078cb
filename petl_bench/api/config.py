"""Shapes of a dual encoder, without torch: what a method needs to compute its number of trainable parameters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

#: Between the two linears of a block.
Activation = Literal["quick_gelu", "gelu"]
Towers = Literal["video", "text", "both"]
#: How the features of frames become a video's: their mean as they are, or the mean of their unit vectors.
Pooling = Literal["mean", "unit_mean"]


@dataclass(frozen=True, kw_only=True)
class ViCLIPConfig:
    """A ViCLIP of any size; the defaults are ViCLIP-B/16 (InternVid, ICLR 2024).

    `tubelet_size` is the temporal size and stride of the patch embedding. `token_ids`, if given, says which ids of
    CLIP's vocabulary the rows of a reduced token table stand for (row 0 is the unknown word); None means row = id.
    """

    image_size: int = 224
    patch_size: int = 16
    tubelet_size: int = 1
    num_frames: int = 8
    embed_dim: int = 512
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    context_length: int = 32
    vocab_size: int = 49408
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    activation: Activation = "quick_gelu"
    token_ids: tuple[int, ...] | None = field(default=None, repr=False)

    #: Of the features of frames, which a ViCLIP does not have.
    pooling: Pooling = "mean"
    #: True: one sequence of all frames' tokens and one class token per video; False: frame by frame (CLIP).
    joint_space_time = True

    def block_widths(self, towers: Towers = "both") -> list[int]:
        """Width of every block of the chosen towers: video blocks first, then text blocks."""
        video = [self.vision_width] * self.vision_layers if towers in ("video", "both") else []
        text = [self.text_width] * self.text_layers if towers in ("text", "both") else []
        return video + text

    def with_(self, **changes: Any) -> ViCLIPConfig:
        """A copy with some fields changed, e.g. `config.with_(num_frames=16)`."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class CLIPConfig(ViCLIPConfig):
    """OpenAI CLIP (ViT); a video is encoded frame by frame and averaged, as ViFi-CLIP does. Defaults: CLIP ViT-B/16."""

    context_length: int = 77
    joint_space_time = False
