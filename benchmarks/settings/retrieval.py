"""Video-text retrieval: texts search clips, and clips search texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import petl_bench as pb
from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.retrieval import (
    POST_PROCESSING,
    RETRIEVAL_METRICS,
    PostProcessing,
    RetrievalTask,
    retrieval_evaluation,
    retrieval_pairs,
)
from petl_bench.api.setting import Case, Setting
from petl_bench.api.splits import chosen_splits, refuse_shots, training_list
from petl_bench.errors import UsageError


@pb.register_setting("retrieval")
class Retrieval(Setting):
    """Video-text retrieval: train on pairs of clips and captions, search among the test clips and their captions.

    Every caption of a test clip is a query that searches all test clips (T2V); every test clip searches all captions,
    of which its own most similar one counts (V2T). Captions are read as they are, without a template.
    """

    post_processing: Literal["none", "dual_softmax", "qb_norm", "all"] = pb.hyper(
        "none",
        "rank the test list once more after changes that see all queries, as columns of their own: dual_softmax, "
        "qb_norm with a bank of training clips and captions, or all of them",
        later=True,
    )

    version = 1
    kind = "retrieval"
    training: ClassVar[Mapping[str, Any]] = {"epochs": 5, "batch_size": 128}
    metrics = RETRIEVAL_METRICS

    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """One case per split (1 by default) and seed. Raises UsageError if shots are asked for."""
        refuse_shots("retrieval", shots)
        return [Case(split, None, seed) for split in chosen_splits(annotations, splits, ["1"]) for seed in seeds]

    def task(self, annotations: Annotations, case: Case) -> RetrievalTask:
        """All pairs of the training list, and the test list. Raises UsageError if the data set has no captions."""
        train = _captions(annotations, training_list(annotations, case.split, "retrieval"), "training")
        test = _captions(annotations, annotations.test[int(case.split)], "test")
        pairs, texts = retrieval_pairs(train)
        return RetrievalTask(
            train=pairs,
            train_texts=texts,
            evaluations=(retrieval_evaluation("test", test),),
            source=f"every captioned training clip of split {case.split}",
            post_processing=self._post_processing(),
        )

    def _post_processing(self) -> tuple[PostProcessing, ...]:
        if self.post_processing == "all":
            return POST_PROCESSING
        return tuple(kind for kind in POST_PROCESSING if kind == self.post_processing)

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """`pb.RETRIEVAL_METRICS` of the test list."""
        return dict(accuracies["test"])


def _captions(annotations: Annotations, samples: Sequence[Sample], which: str) -> dict[str, tuple[str, ...]]:
    """The captioned clips of a list. Raises UsageError if there are none."""
    found = {
        clip: annotations.captions[clip] for clip in (sample.clip for sample in samples) if clip in annotations.captions
    }
    if not found:
        raise UsageError(f"{annotations.dataset}: none of its {which} clips has a caption, so retrieval has no queries")
    return found
