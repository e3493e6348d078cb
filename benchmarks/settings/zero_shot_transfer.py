"""Zero-shot transfer: adapt once on a source data set, evaluate on others without any further training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import petl_bench as pb
from petl_bench.api.dataset import Annotations, HalfSplit, Sample
from petl_bench.api.options import hyper
from petl_bench.api.retrieval import RetrievalTask, captioned, retrieval_evaluation, retrieval_pairs
from petl_bench.api.setting import Case, Evaluation, Setting, Task
from petl_bench.api.splits import chosen_splits, halves_of, names_of, refuse_shots, relabel, training_list
from petl_bench.api.step import Kind
from petl_bench.benchmarks.papers import XCLIP

NAME = "zero_shot_transfer"
#: Kinds of cases: adapting on the source, evaluating on a target; the same within one data set, by halves of classes.
SOURCE, TARGET, SOURCE_BASE, TARGET_NOVEL = "source", "target", "source-base", "target-novel"
#: The same of retrieval. The names of targets do not begin like those of classification: tables select by these.
RETRIEVAL = {
    SOURCE: "source-retrieval",
    TARGET: "retrieval",
    SOURCE_BASE: "source-base-retrieval",
    TARGET_NOVEL: "retrieval-novel",
}
#: Of each part that is a target.
TABLES = {
    TARGET: "zero_shot",
    TARGET_NOVEL: "zero_shot",
    RETRIEVAL[TARGET]: "zero_shot_retrieval",
    RETRIEVAL[TARGET_NOVEL]: "zero_shot_retrieval",
}


@pb.register_setting(NAME)
class ZeroShotTransfer(Setting):
    """Zero-shot transfer: adapt on all training clips of a source data set, evaluate on targets never trained on.

    Protocol (X-CLIP, ECCV 2022; ViFi-CLIP, CVPR 2023; MSTA, CVPR 2025, Table 4): adapt on Kinetics-400; evaluate on
    UCF-101 and HMDB-51, all classes, over the three test splits, and on Kinetics-600 over three sets of 160 classes
    that Kinetics-400 lacks. One view of 8 frames. Mean and standard deviation are those over splits; the seeds are
    those of the adaptation.

    One adaptation per method and seed serves every target and split: its trial evaluates the source's own test clips
    (`source_top1`), and the trials of the targets start from its adapter. A method without trainable parameters needs
    no source. How many target classes are among the source's is noted in every record (Kinetics-400 holds many actions
    of UCF-101 and HMDB-51 under the same or another name, so "zero-shot" means no training clip of the target).

    Where a target is the source itself, as `motion` by default, its base half is adapted on and its novel half
    evaluated (halves as in base2novel), so that no class that is evaluated was trained. That is this package's
    demonstration of the setting, not a published protocol.

    Source and target may also be of retrieval, each for itself: an adapter of a classification source searches a
    target's test clips by their captions (of motion, those of the novel half), and an adapter that was trained on the
    captions of a source recognises classes. Captions take part as in the setting `retrieval`, whose learning rates and
    sizes are to be given by `--set` for a source of retrieval. A target of retrieval has the metrics of that setting:
    the table `zero_shot` shows the targets of classification, `zero_shot_retrieval` those of retrieval.

    Budget of a method whose recipe says nothing else: 100 epochs with 256 clips per step (MSTA, Table 1).

    What published code did differently: ViFi-CLIP's zero-shot configurations name a few-shot list, or the evaluated
    list itself, as the training list of a run that is not meant to train; here a target has nothing to train on. The
    three sets of Kinetics-600 hold 217 classes together, not 220, and their clips come from all of its parts
    (`train/` for the most), not from its test set as papers say. Incomplete last batches were never scored.
    """

    display = "Zero-shot transfer"
    version = 1
    training: ClassVar[Mapping[str, Any]] = {"epochs": 100, "batch_size": 256}
    metrics = ("top1", "top5", "source_top1")
    table = "zero_shot"
    paper = XCLIP

    source: str = hyper("motion", "data set that methods are adapted on (--source)")
    source_task: Kind = hyper("classification", "what methods are adapted to on the source", later=True)
    task_of_targets: Literal["auto", "classification", "retrieval"] = hyper(
        "auto", "what targets are evaluated in; auto: retrieval if a target has captions and no classes", later=True
    )

    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """One case per test split of the target (all by default) and seed. Raises UsageError if shots are asked."""
        refuse_shots(NAME, shots)
        part = TARGET_NOVEL if annotations.dataset == self.source else TARGET
        without_classes = bool(annotations.captions) and not annotations.classes
        if self.task_of_targets == "retrieval" or (self.task_of_targets == "auto" and without_classes):
            part = RETRIEVAL[part]
        return [
            Case(split, None, seed, part)
            for split in chosen_splits(annotations, splits, default=None)
            for seed in seeds
        ]

    @property
    def source_dataset(self) -> str | None:
        """The data set that methods are adapted on."""
        return self.source

    def source_case(self, case: Case) -> Case | None:
        """Split 1 of the source, one adaptation per seed; within one data set the base half of the same split."""
        parts = {SOURCE: SOURCE, SOURCE_BASE: SOURCE_BASE} if self.source_task == "classification" else RETRIEVAL
        if case.part in (TARGET, RETRIEVAL[TARGET]):
            return Case("1", None, case.seed, parts[SOURCE])
        if case.part in (TARGET_NOVEL, RETRIEVAL[TARGET_NOVEL]):
            return Case(case.split, None, case.seed, parts[SOURCE_BASE])
        return None

    def kind_of(self, case: Case) -> Kind:
        """That of the source, or of the target."""
        return "retrieval" if case.part in RETRIEVAL.values() else "classification"

    def table_of(self, case: Case) -> str:
        """That of the target's kind; none shows an adaptation."""
        return TABLES.get(case.part, "")

    def task(self, annotations: Annotations, case: Case) -> Task:
        """What the case trains (a source alone) and evaluates.

        Raises UsageError if the source has no training list, or too few classes to be halved, or if there are no
        captions in a case of retrieval.
        """
        if case.part in RETRIEVAL.values():
            return _of_retrieval(annotations, case)
        if case.part == SOURCE:
            return _source(annotations, case)
        if case.part == TARGET:
            return _target(annotations, case)
        halves = halves_of(annotations, case.split, NAME)
        return (_source_base if case.part == SOURCE_BASE else _target_novel)(annotations, case, halves)

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """`top1`, `top5` and `mean_class_top1` of a target, of the source all but top-5 (`source_top1`); in percent. Of
        a target of retrieval `pb.RETRIEVAL_METRICS`, of such a source the same after `source_`."""
        if "source" in accuracies:
            return {f"source_{name}": value for name, value in accuracies["source"].items() if name != "top5"}
        return dict(accuracies.get("target", {}))


def _source(annotations: Annotations, case: Case) -> Task:
    test = tuple(annotations.test.get(int(case.split), ()))
    return Task(
        train_classes=annotations.classes,
        train=training_list(annotations, case.split, NAME),
        evaluations=(Evaluation("source", annotations.classes, test),),
        source=f"every training clip of the source, split {case.split}",
    )


def _target(annotations: Annotations, case: Case) -> Task:
    split = int(case.split)
    labels = annotations.candidates.get(split, tuple(range(len(annotations.classes))))
    return _nothing_to_train(annotations, labels, annotations.test[split], f"test split {case.split}")


def _source_base(annotations: Annotations, case: Case, halves: HalfSplit) -> Task:
    base = set(halves.base)
    train = halves.base_train or tuple(
        sample for sample in training_list(annotations, case.split, NAME) if sample.label in base
    )
    names = names_of(annotations, halves.base)
    return Task(
        train_classes=names,
        train=relabel(train, halves.base),
        evaluations=(Evaluation("source", names, relabel(halves.base_test, halves.base)),),
        source=f"every training clip of the base half; classes: {halves.source}",
    )


def _target_novel(annotations: Annotations, case: Case, halves: HalfSplit) -> Task:
    which = f"novel half, split {case.split}; classes: {halves.source}"
    return _nothing_to_train(annotations, halves.novel, halves.novel_test, which)


def _of_retrieval(annotations: Annotations, case: Case) -> RetrievalTask:
    """What the case trains or evaluates, by captions; within one data set those of the clips of a half's classes."""
    keep, which = _half(annotations, case)
    test = captioned(annotations, [each for each in annotations.test.get(int(case.split), ()) if keep(each)], "test")
    if case.part in (RETRIEVAL[TARGET], RETRIEVAL[TARGET_NOVEL]):
        evaluation = retrieval_evaluation("target", test)
        return RetrievalTask((), (evaluation,), f"none: a target is only scored ({which})", train_texts=())
    listed = [each for each in training_list(annotations, case.split, NAME) if keep(each)]
    pairs, texts = retrieval_pairs(captioned(annotations, listed, "training"))
    source = f"every captioned training clip of the source, {which}"
    return RetrievalTask(pairs, (retrieval_evaluation("source", test),), source, train_texts=texts)


def _half(annotations: Annotations, case: Case) -> tuple[Callable[[Sample], bool], str]:
    """Whether a sample takes part in a case of retrieval, and which ones do, in words."""
    if case.part in (RETRIEVAL[SOURCE], RETRIEVAL[TARGET]):
        return lambda sample: True, f"split {case.split}"
    halves = halves_of(annotations, case.split, NAME)
    name, labels = ("base", halves.base) if case.part == RETRIEVAL[SOURCE_BASE] else ("novel", halves.novel)
    return lambda sample: sample.label in labels, f"{name} half, split {case.split}; classes: {halves.source}"


def _nothing_to_train(annotations: Annotations, labels: Sequence[int], test: Sequence[Sample], which: str) -> Task:
    evaluation = Evaluation("target", names_of(annotations, labels), relabel(test, labels))
    return Task(
        train_classes=(), train=(), evaluations=(evaluation,), source=f"none: a target is only scored ({which})"
    )
