"""Compositions whose parts cannot be on one model are refused when they are planned."""

from __future__ import annotations

from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.method import trainable_in
from petl_bench.api.registry import BACKBONES
from petl_bench.errors import UsageError
from petl_bench.running.planning.clashes import refuse_clash


def planned(name: str, backbone: str = "viclip-tiny", **values: Any) -> None:
    config = BACKBONES.get(backbone).config
    method = pb.create_method(name, **values)
    trainable_in(method, config)
    refuse_clash(method, config)


@pytest.mark.parametrize(
    ("name", "backbone", "message"),
    [
        (
            "lora+peft:IA3",
            "viclip-tiny",
            "lora and peft:IA3 cannot both be at video.blocks.0.attention.v: leave one of them out .*They go together "
            "with --set peft:IA3.targets=k,proj$",
        ),
        ("lora+dora", "viclip-tiny", "lora and dora cannot both be at video.blocks.0.attention.q: leave one of them"),
        (
            "lora+side4video",
            "clip-tiny",
            "with the side network of side4video the video tower runs without gradients, and lora cannot train "
            "video.blocks.0.attention.q.*leave one of them out. They go together with --set lora.towers=text$",
        ),
    ],
)
def test_parts_that_clash_are_refused_with_what_to_type(name: str, backbone: str, message: str) -> None:
    values = {"side4video.width": 20} if "side4video" in name else {}
    with pytest.raises(UsageError, match=message) as refused:
        planned(name, backbone, **values)
    assert "restore()" not in str(refused.value)


def test_parts_with_places_of_their_own_are_planned() -> None:
    planned("lora+peft:IA3", **{"peft:IA3.targets": ("k", "proj")})
    planned("lora+text_adapter")
    planned("lora")


def test_a_part_that_computes_with_weights_is_tried_with_weights() -> None:
    planned("peft:OSF+text_adapter", **{"peft:OSF.towers": "text"})
