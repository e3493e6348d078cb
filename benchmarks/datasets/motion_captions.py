"""Captions of `motion`'s clips, from what is drawn in them."""

from __future__ import annotations

from collections.abc import Sequence

from petl_bench.benchmarks.datasets.motion_actions import ACTIONS
from petl_bench.benchmarks.datasets.motion_render import COLOURS, SHAPES, Scene

_COLOURS, _SHAPES = list(COLOURS), list(SHAPES)


def captions_of(name: str, clips: Sequence[str], scenes: Sequence[Scene]) -> dict[str, tuple[str, ...]]:
    """Two captions for the clips of a class that differ in colour or shape: of those that do not, the first one."""
    captions: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[int, int]] = set()
    for clip, scene in zip(clips, scenes, strict=True):
        if (scene.colour, scene.shape) not in seen:
            seen.add((scene.colour, scene.shape))
            thing = f"{_COLOURS[scene.colour]} {_SHAPES[scene.shape]}"
            other = ACTIONS[name][1][0]
            captions[clip] = (f"a {thing} {name}", f"in this video a {thing} is {other}.")
    return captions
