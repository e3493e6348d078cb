"""Forgetting: what a model that was adapted on one data set has lost on others that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import petl_bench as pb
from petl_bench.api.dataset import Annotations
from petl_bench.api.options import hyper
from petl_bench.api.retrieval import RetrievalTask, captioned, retrieval_evaluation
from petl_bench.api.setting import Case, Evaluation, Setting, Task
from petl_bench.api.splits import chosen_splits, names_of, refuse_shots, relabel
from petl_bench.api.step import Kind

NAME = "forgetting"
#: Kinds of cases: classes of the data set, or its captions.
CLASSES, CAPTIONS = "forgetting", "forgetting-captions"


@pb.register_setting(NAME)
class Forgetting(Setting):
    """Forgetting: zero-shot evaluation of an adapted model on data sets that it was not trained on.

    `petl-bench run --forgetting ucf101,hmdb51` plans such trials after those of another setting: one for each trial
    that adapts and each of these data sets, which starts from its adapter, and one of the frozen backbone for each data
    set and seed. Forgetting is the accuracy of the adapted model less that of the frozen backbone, in points, on the
    same clips; negative means lost.

    All test clips of split 1 are scored (of the first split, if a data set has no split 1), among all classes, with one
    view. A data set with captions and without classes is searched by its captions, as in the setting `retrieval`;
    forgetting is then of T2V R@1.
    """

    display = "Forgetting"
    version = 1
    metrics = ("top1", "top5")
    option_of_run = "--forgetting"

    task_of_targets: Literal["auto", "classification", "retrieval"] = hyper(
        "auto", "what data sets are evaluated in; auto: retrieval if one has captions and no classes"
    )

    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """One case per seed, of split 1 by default. Raises UsageError for shots, or a split that is not there."""
        refuse_shots(NAME, shots)
        first = "1" if 1 in annotations.test or not annotations.test else str(min(annotations.test))
        without_classes = bool(annotations.captions) and not annotations.classes
        by_captions = self.task_of_targets == "retrieval" or (self.task_of_targets == "auto" and without_classes)
        part = CAPTIONS if by_captions else CLASSES
        return [
            Case(split, None, seed, part) for split in chosen_splits(annotations, splits, [first]) for seed in seeds
        ]

    def kind_of(self, case: Case) -> Kind:
        """Retrieval if captions are searched."""
        return "retrieval" if case.part == CAPTIONS else "classification"

    def task(self, annotations: Annotations, case: Case) -> Task:
        """Nothing to train, and all test clips of the split. Raises UsageError if no test clip has a caption, in a case
        of retrieval."""
        split, source = int(case.split), f"none: test split {case.split} is only scored"
        if case.part == CAPTIONS:
            test = captioned(annotations, annotations.test[split], "test")
            return RetrievalTask((), (retrieval_evaluation("test", test),), source, train_texts=())
        labels = annotations.candidates.get(split, tuple(range(len(annotations.classes))))
        samples = relabel(annotations.test[split], labels)
        return Task((), (), (Evaluation("test", names_of(annotations, labels), samples),), source)

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """`top1`, `top5` and `mean_class_top1` in percent; of captions `pb.RETRIEVAL_METRICS`."""
        return dict(accuracies.get("test", {}))
