"""The embedded data set: 32 actions of simple shapes, rendered on first use into the user's cache as real H.264 files.

It exists so that the whole harness runs anywhere, without a download. It is a constructed demonstration: its clips
lie outside the domain that `viclip-tiny` was pretrained on, and every class has a usual background, shape and
colour, as scenes give away actions in real data sets; so there is something to gain from fine-tuning and something
to lose. It is no evidence that one method beats another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petl_bench.api.dataset import Augmentation
from petl_bench.api.options import hyper
from petl_bench.api.registry import register_dataset
from petl_bench.benchmarks.datasets.rendered import RenderedDataset

if TYPE_CHECKING:
    import numpy as np

    from petl_bench.benchmarks.datasets.motion_render import Scene

CLIPS = {"train": 48, "test": 40}  #: of every class


@register_dataset("motion")
class Motion(RenderedDataset):
    """Rendered clips of 32 actions (moving left, growing, bouncing, ...); the embedded default.

    8 frames of 32 x 32 pixels, 48 training and 40 test clips per class.

    Half of the classes, by a seeded shuffle that is fixed for all, is base, the other half novel. Three fixed draws
    of 16 training clips per base class are the three seeds; draws may share clips. So differences between seeds
    here come from the training clips and the initialisation, not from which classes are novel.

    The design was tuned until there was something to see: the shift and the seed of the halves were chosen by the
    zero-shot accuracy on training clips (halves of about equal difficulty, far from the ceiling).

    For retrieval, the first training clip of each colour and shape in a class, and the first test clip of each colour,
    have three captions of what is drawn: 461 and 200 clips. motion_captions.py says how they were chosen.

    Training and test clips come from their own streams of random numbers, and so did the clips of pretraining,
    which were also less shifted (at most 0.55) and without context.
    """

    display = "Motion"
    code = ("motion.py", "motion_actions.py", "motion_captions.py", "motion_render.py")
    megabytes = 30
    # Left and right, up and down, clockwise and counterclockwise are classes: no flip, and crops that move little.
    augmentation = Augmentation(
        crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), flip=0.0, jitter_strength=(0.4, 0.4, 0.2, 0.0)
    )

    shift: float = hyper(
        0.75, "distance from the pretraining domain: 0 is close, 1 is hard to see", minimum=0, maximum=1
    )
    context: float = hyper(0.9, "part of the clips with their class's usual background", minimum=0, maximum=1)

    def class_names(self) -> tuple[str, ...]:
        """The 32 actions."""
        from petl_bench.benchmarks.datasets.motion_actions import CLASSES

        names: tuple[str, ...] = CLASSES
        return names

    def base_labels(self) -> list[int]:
        """Half of the classes, by a seeded shuffle."""
        from petl_bench.benchmarks.datasets.motion_render import generator

        count = len(self.class_names())
        labels: list[int] = sorted(generator("draws", 0, 0).permutation(count)[: count // 2].tolist())
        return labels

    def clips_per_class(self) -> Mapping[str, int]:
        """48 training and 40 test clips."""
        return CLIPS

    def scenes(self, part: str, label: int) -> list[Scene]:
        """What the "train" or "test" clips of a class show, each drawn from its own stream of random numbers."""
        from petl_bench.benchmarks.datasets.motion_render import draw_scene, generator, shifted

        domain = shifted(self.shift, self.context)
        return [draw_scene(generator(part, label, number), label, domain) for number in range(CLIPS[part])]

    def captions(self, part: str, clips: Sequence[str], scenes: Sequence[Scene]) -> dict[str, tuple[str, ...]]:
        """Those of the first clips of their look."""
        from petl_bench.benchmarks.datasets.motion_captions import captions_of

        captions: dict[str, tuple[str, ...]] = captions_of(part, clips, scenes)
        return captions

    def draw(self, number: int) -> np.random.Generator:
        """Random numbers for one of the three draws."""
        from petl_bench.benchmarks.datasets.motion_render import generator

        rng: np.random.Generator = generator("draws", 1, number)
        return rng

    def descriptions(self, classes: Sequence[str]) -> Mapping[str, Mapping[str, Sequence[str]]] | None:
        """Four spatial and four temporal sentences per class, written by hand."""
        file = Path(__file__).with_name("motion_descriptions.json")
        known = json.loads(file.read_text(encoding="utf-8"))
        return {name: known[name] for name in classes}
