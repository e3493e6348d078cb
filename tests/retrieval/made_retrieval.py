"""A made data set and setting of retrieval, and its table: some motion clips, with captions of what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import petl_bench as pb
from petl_bench.benchmarks.datasets.motion import Motion
from petl_bench.benchmarks.datasets.motion_render import COLOURS, SHAPES

CLASSES = 12
CLIPS = {"train": 4, "test": 3}  #: of every class


@pb.register_dataset("captioned_motion")
class CaptionedMotion(Motion):
    """Motion clips with one to three captions each: action, colour and shape; captions of several clips may be equal.

    Nothing is published of it: it proves the way of a retrieval setting through the engine.
    """

    def annotations(self, root: Path) -> pb.Annotations:
        """The first clips of the first classes, with captions made from what was drawn."""
        whole = super().annotations(root)
        captions: dict[str, tuple[str, ...]] = {}
        lists: dict[str, tuple[pb.Sample, ...]] = {}
        for part, samples in (("train", whole.train[1]), ("test", whole.test[1])):
            chosen: list[pb.Sample] = []
            for label in range(CLASSES):
                own = [sample for sample in samples if sample.label == label][: CLIPS[part]]
                scenes = self.scenes(part, label)
                for number, (sample, scene) in enumerate(zip(own, scenes, strict=False)):
                    thing = f"{list(COLOURS)[scene.colour]} {SHAPES[scene.shape]}"
                    name = whole.classes[label]
                    captions[sample.clip] = (f"a {thing} {name}", f"{name}: {thing}", name)[: 1 + number % 3]
                chosen += own
            lists[part] = tuple(chosen)
        return replace(whole, train={1: lists["train"]}, test={1: lists["test"]}, base_to_novel=None, captions=captions)


@pb.register_setting("made_retrieval")
class MadeRetrievalSetting(pb.Setting):
    """Train on all training clips with their captions, search among the test clips and their captions."""

    kind = "retrieval"
    metrics = pb.RETRIEVAL_METRICS

    def cases(
        self,
        annotations: pb.Annotations,
        seeds: Sequence[int],
        splits: Sequence[str] | None,
        shots: Sequence[int] | None,
    ) -> list[pb.Case]:
        """One case for each split and seed."""
        pb.refuse_shots("made_retrieval", shots)
        return [
            pb.Case(split, None, seed)
            for split in pb.chosen_splits(annotations, splits, default=["1"])
            for seed in seeds
        ]

    def task(self, annotations: pb.Annotations, case: pb.Case) -> pb.RetrievalTask:
        """Pairs of the training list, and the test list as one evaluation."""
        train, texts = pb.retrieval_pairs(_captions(annotations, annotations.train[int(case.split)]))
        test = pb.retrieval_evaluation("test", _captions(annotations, annotations.test[int(case.split)]))
        return pb.RetrievalTask(train=train, train_texts=texts, evaluations=(test,), source="all training clips")

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """The metrics of the test list."""
        return dict(accuracies["test"])


def _captions(annotations: pb.Annotations, samples: Sequence[pb.Sample]) -> dict[str, tuple[str, ...]]:
    return {sample.clip: annotations.captions[sample.clip] for sample in samples}


@pb.register_table("made_retrieval")
class MadeRetrievalTable(pb.RetrievalTable):
    """Recalls and ranks of the made retrieval setting."""

    setting = "made_retrieval"
    title = "Made retrieval: recalls in percent, and ranks"
