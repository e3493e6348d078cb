"""The frozen backbone, as published: nothing trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.benchmarks.papers import INTERNVID

if TYPE_CHECKING:
    from petl_bench.models.dual_encoder import DualEncoder

NOTHING_TO_TRAIN = {"epochs": 0}


@pb.register_method("zero_shot")
class ZeroShot(pb.Method):
    """The frozen backbone scored with class prompts: the line that every adapter starts from.

    p(c | x) = softmax_c( cos(f_v(x), f_t(prompt_c)) / temp )     f_v(x): [B, D], f_t(prompt): [C, D]

    The template of the prompt belongs to the data set ("a video of {class}." unless it says otherwise).
    """

    display = "Zero-shot"
    paper = INTERNVID
    in_place = True
    needs_graph = False
    recipes = tuple(
        pb.Recipe(setting, training=NOTHING_TO_TRAIN, source="nothing trains")
        for setting in ("base2novel", "few_shot", "zero_shot_transfer", "fully_supervised", "retrieval")
    )

    def attach(self, model: DualEncoder) -> None:
        """Leave the model as it is: frozen."""

    def expected_trainable(self, config: pb.ViCLIPConfig) -> int:
        """None at all."""
        return 0
