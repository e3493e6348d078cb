"""Captions of `motion`'s clips, for retrieval, from what is drawn in them.

Which clips have captions: of each class, the first training clip of each colour and shape, and the first test clip of
each colour. So the action, colour and shape of a caption are those of one training clip at most, and of one test clip.
Shapes are hard to see at this data set's distance from pretraining; test clips of a class differ in colour too, so that
action and colour are enough to find one. This was decided by the frozen model and LoRA on training clips alone, half of
which served as test clips.

Every such clip has three captions. All name action, colour and shape, each with another phrase for the action and in
another sentence; the first also says "small" or "big" of a clip that is clearly so. Sentences and words are those that
the tiny backbones were pretrained with. Training and test clips may have equal captions.

What they leave open, as captions of real videos do: some actions include others (what speeds up also moves left or
right, what falls also moves down), so that a caption may be true of a second test clip with the same colour and shape,
which counts as wrong. A clip that changes its colour is described by the first one.
"""

from __future__ import annotations

from collections.abc import Sequence

from petl_bench.benchmarks.datasets.motion_actions import ACTIONS, CLASSES
from petl_bench.benchmarks.datasets.motion_render import BIG_ABOVE, COLOURS, SHAPES, SMALL_BELOW, Scene

_COLOURS = list(COLOURS)


def size_word(radius: float) -> str | None:
    """`small`, `big`, or nothing for what lies between."""
    return "small" if radius < SMALL_BELOW else "big" if radius > BIG_ABOVE else None


def with_article(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def captions_of(part: str, clips: Sequence[str], scenes: Sequence[Scene]) -> dict[str, tuple[str, ...]]:
    """The captions of those clips of a class that are the first ones of their look, in the order of the list.

    Args:
        part: "train": colour and shape are the look of a clip; "test": its colour.
        clips: Of one class.
        scenes: What each of them shows.
    """
    chosen: dict[tuple[int, ...], tuple[str, Scene]] = {}
    for clip, scene in zip(clips, scenes, strict=True):
        look = (scene.colour, scene.shape) if part == "train" else (scene.colour,)
        chosen.setdefault(look, (clip, scene))
    return {clip: _captions(scene) for clip, scene in chosen.values()}


def _captions(scene: Scene) -> tuple[str, ...]:
    name = CLASSES[scene.action]
    second, third = ACTIONS[name][1][:2]
    thing = f"{_COLOURS[scene.colour]} {SHAPES[scene.shape]}"
    size = size_word(scene.size)
    return (
        f"{with_article(f'{size} {thing}' if size else thing)} {name}",
        f"in this video {with_article(thing)} is {second}.",
        f"a clip showing {with_article(thing)} {third}",
    )
