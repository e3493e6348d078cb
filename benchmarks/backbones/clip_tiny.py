"""A frame-wise CLIP small enough to train on a laptop's CPU; its weights ship with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import petl_bench as pb
from petl_bench.benchmarks.backbones.shared_options import context_option, frames_option, given, pooling_option
from petl_bench.benchmarks.backbones.viclip_tiny import ViCLIPTiny, read_record

_RECORD = read_record("clip_tiny")


@pb.register_backbone("clip-tiny")
class CLIPTiny(pb.Backbone):
    """CLIP at the size of `viclip-tiny`: each of 8 frames of 32 x 32 pixels by itself, features averaged, D = 128.

    It is there for methods that act on the features of single frames, which ViCLIP does not have. Made as
    `viclip-tiny` is, from the same clips and captions (`python -m petl_bench.benchmarks.backbones.pretrain_tiny
    --backbone clip-tiny`; clip_tiny.json records the run), with the same tokenizer and table of tokens.

    The mean of frame features does not know their order: zero-shot it cannot tell moving left from moving right, and
    guesses between such classes. What it recognises is where and how objects are in the single frames.
    """

    display = "CLIP-Tiny"
    frames: int | None = frames_option(_RECORD["config"]["num_frames"])
    context_length: int | None = context_option(_RECORD["config"]["context_length"])
    pooling: Literal["mean", "unit_mean"] = pooling_option()

    config = pb.CLIPConfig(**_RECORD["config"], token_ids=tuple(_RECORD["token_ids"]))
    demonstration_of = "motion"
    mean = (_RECORD["mean"],) * 3
    std = (_RECORD["std"],) * 3
    training: ClassVar[Mapping[str, Any]] = ViCLIPTiny.training

    def config_changes(self) -> Mapping[str, Any]:
        """Frames, context and pooling."""
        changes: dict[str, Any] = given(num_frames=self.frames, context_length=self.context_length)
        return {"pooling": self.pooling, **changes}

    @classmethod
    def packaged_weights(cls) -> Path | None:
        """clip_tiny.safetensors beside this file."""
        return Path(__file__).with_name("clip_tiny.safetensors")
