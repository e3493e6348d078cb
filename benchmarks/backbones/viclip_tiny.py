"""A ViCLIP small enough to train on a laptop's CPU; its weights ship with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import petl_bench as pb
from petl_bench.benchmarks.backbones.shared_options import frames_option, given

_HERE = Path(__file__).parent


def read_record(name: str = "viclip_tiny") -> dict[str, Any]:
    """NAME.json: configuration, token ids, sha256 of the weights, and how they were made."""
    record: dict[str, Any] = json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8"))
    return record


_RECORD = read_record()


@pb.register_backbone("viclip-tiny")
class ViCLIPTiny(pb.Backbone):
    """ViCLIP with 4 blocks of width 128 per tower, 8 frames of 32 x 32 pixels, 32 text tokens, D = 128; about 2
    million parameters.

    Made for the `motion` data set, and pretrained by this package on rendered clips (`python -m
    petl_bench.benchmarks.backbones.pretrain_tiny`; viclip_tiny.json records the run). It has CLIP's tokenizer, and
    a table of the tokens that captions, the class names of common data sets and everyday English need; a word
    outside the table warns. On real video it shows that everything runs, and nothing about accuracy.
    """

    display = "ViCLIP-Tiny"
    frames: int | None = frames_option(_RECORD["config"]["num_frames"])

    config = pb.ViCLIPConfig(**_RECORD["config"], token_ids=tuple(_RECORD["token_ids"]))
    demonstration_of = "motion"
    mean = (_RECORD["mean"],) * 3
    std = (_RECORD["std"],) * 3
    # One thread: the model is too small for more, and a trial's last bits then do not depend on how many run at once.
    training: ClassVar[Mapping[str, Any]] = {
        "epochs": 10,
        "batch_size": 32,
        "warmup_epochs": 1.0,
        "clip_grad_norm": 1.0,
        "threads": 1,
    }

    def config_changes(self) -> Mapping[str, Any]:
        """Frames: a shorter table of temporal positions is its first rows, a longer one is interpolated."""
        changes: dict[str, Any] = given(num_frames=self.frames)
        return changes

    @classmethod
    def packaged_weights(cls) -> Path | None:
        """viclip_tiny.safetensors beside this file."""
        return _HERE / "viclip_tiny.safetensors"
