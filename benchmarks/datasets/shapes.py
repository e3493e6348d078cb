"""The second embedded data set: which shape and which colour an object has, however it moves. Rendered on first use.

It exists to show what adapting to `motion` loses: the tiny backbones learned these words in pretraining, and no class
of `motion` needs them. It was constructed for that, and is no evidence that one method forgets less than another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from petl_bench.api.dataset import Augmentation
from petl_bench.api.registry import register_dataset
from petl_bench.benchmarks.datasets.rendered import RenderedDataset

if TYPE_CHECKING:
    import numpy as np

    from petl_bench.benchmarks.datasets.motion_render import Scene

NAMES = ("triangle", "moon")
SHIFT = 0.5  #: from the clean clips of pretraining, which went up to 0.55; `motion` has 0.75
#: Actions that do not fit "a red moon": there are two objects, or its colour changes.
LEFT_OUT = (
    "splitting in two",
    "merging into one",
    "orbiting another object",
    "colliding with another object",
    "passing behind another object",
    "changing color",
)


@register_dataset("shapes")
class Shapes(RenderedDataset):
    """Rendered clips of a triangle or a moon in 8 colours, 16 classes (red triangle, ...), however it moves.

    8 frames of 32 x 32 pixels, 26 training and 26 test clips per class.

    Each of the 26 clips shows another one of `motion`'s actions (those of one object that keeps its colour), so that
    actions say nothing about the class; nor do backgrounds. The clips are drawn like those of pretraining, at a
    distance (0.5) within its range (up to 0.55), from streams of random numbers of their own.

    Both shapes in every second colour are the base half of the classes, the others the novel half. Three fixed draws
    of 16 training clips per base class are the three seeds; draws share clips.

    For retrieval every clip has three captions: colour, shape and action, once with "small" or "big" if it is clearly
    so. No two test clips have the same caption.

    The design was tuned until there was something to lose: shapes and distance were chosen by zero-shot accuracy, and
    not without a look at what adapters of `motion` lost, both on clips drawn for that alone. docs/demo.md says what
    was tried. There are no descriptions of its classes: methods that use some take sentences made from the names.
    """

    display = "Shapes"
    code = ("shapes.py", "motion_actions.py", "motion_captions.py", "motion_render.py")
    megabytes = 9
    # Colours are classes: no greyscale, and no other saturation. Left and right stand in captions: no flip.
    augmentation = Augmentation(
        crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), flip=0.0, jitter_strength=(0.4, 0.4, 0.0, 0.0), grey=0.0
    )

    def class_names(self) -> tuple[str, ...]:
        """Colour and shape: all colours of the first shape, then of the second."""
        from petl_bench.benchmarks.datasets.motion_render import COLOURS

        return tuple(f"{colour} {shape}" for shape in NAMES for colour in COLOURS)

    def base_labels(self) -> Sequence[int]:
        """Every second colour, of both shapes."""
        return range(0, len(self.class_names()), 2)

    def clips_per_class(self) -> Mapping[str, int]:
        """One clip of each action, for training and for testing."""
        return dict.fromkeys(("train", "test"), len(_actions()))

    def scenes(self, part: str, label: int) -> list[Scene]:
        """What the "train" or "test" clips of a class show: one action after the other."""
        from petl_bench.benchmarks.datasets.motion_render import COLOURS, SHAPES, draw_scene, generator, shifted

        shape, colour = divmod(label, len(COLOURS))
        look, domain = (SHAPES.index(NAMES[shape]), colour), shifted(SHIFT)
        return [draw_scene(generator(f"shapes {part}", label, action), action, domain, look) for action in _actions()]

    def captions(self, part: str, clips: Sequence[str], scenes: Sequence[Scene]) -> dict[str, tuple[str, ...]]:
        """Those of every clip."""
        from petl_bench.benchmarks.datasets.motion_captions import texts_of
        from petl_bench.benchmarks.datasets.motion_render import SHAPES

        return {clip: texts_of(scene, SHAPES[scene.shape]) for clip, scene in zip(clips, scenes, strict=True)}

    def draw(self, number: int) -> np.random.Generator:
        """Random numbers for one of the three draws."""
        from petl_bench.benchmarks.datasets.motion_render import generator

        rng: np.random.Generator = generator("shapes draws", number)
        return rng


def _actions() -> list[int]:
    """The actions that fit, as indices into those of `motion`."""
    from petl_bench.benchmarks.datasets.motion_actions import CLASSES

    return [index for index, name in enumerate(CLASSES) if name not in LEFT_OUT]
