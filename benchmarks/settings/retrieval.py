"""Video-text retrieval: texts search clips, and clips search texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import petl_bench as pb
from petl_bench.api.dataset import Annotations
from petl_bench.api.retrieval import (
    POST_PROCESSING,
    RETRIEVAL_METRICS,
    PostProcessing,
    RetrievalTask,
    captioned,
    retrieval_evaluation,
    retrieval_pairs,
)
from petl_bench.api.setting import Case, Setting
from petl_bench.api.splits import chosen_splits, refuse_shots, training_list
from petl_bench.benchmarks.papers import CLIP4CLIP_PAPER


@pb.register_setting("retrieval")
class Retrieval(Setting):
    """Video-text retrieval: train on pairs of clips and captions, search among the test clips and their captions.

    Protocol (CLIP4Clip, Neurocomputing 2022, whose handling of data the later methods share; MV-Adapter, CVPR 2024):
    every caption of a training clip is a pair of its own, and all pairs are seen once in an epoch. The loss is the
    symmetric cross-entropy between the clips and the texts of a batch, over all processes. Every caption of a test clip
    is a query that searches all test clips (T2V); every test clip searches all captions, of which its own most similar
    one counts (V2T, MSVD's protocol). Captions are read as they are, without a template. Test clips without a caption
    are no part of the search.

    Budget of a method whose recipe says nothing else: 5 epochs with 128 pairs per step, warm-up of a tenth (CLIP4Clip
    and MV-Adapter on MSR-VTT; on DiDeMo and ActivityNet MV-Adapter has 15 epochs of 64 pairs).

    The batch size is part of the result, because the other pairs of a batch are the negatives. It is never changed by
    itself: `training.micro_batch_size` and `training.processes` split the work of a batch, and the loss stays that of
    the whole batch. The last, smaller batch of an epoch trains with as many negatives as it has, by its part of a
    step's weight; it and a training list smaller than the batch are noted in the record. If k captions of one clip are
    in a batch, each is a target of 1/k of that clip's cross-entropy; likewise each of k clips with the same caption.
    All of them stay in the denominator of the softmax.

    `--select val` holds out a part of the training clips with all of their captions, and selects the epoch by their T2V
    R@1.

    What published code did differently: the test list was scored after every epoch (by some several times in each), and
    the epoch that is best on it was printed, with its own epoch for each direction; MSR-VTT 1k-A has no validation part
    to select on. An incomplete last batch was left out of training by some. Of several captions of one clip in a batch,
    each pair had its own as the only target, and the others as negatives. A tied target counted once for each place
    that it may have.
    """

    display = "Video-text retrieval"
    post_processing: Literal["none", "dual_softmax", "qb_norm", "all"] = pb.hyper(
        "none",
        "rank the test list once more after changes that see all queries, as columns of their own: dual_softmax, "
        "qb_norm with a bank of training clips and captions, or all of them",
        later=True,
    )

    version = 1
    kind = "retrieval"
    training: ClassVar[Mapping[str, Any]] = {"epochs": 5, "batch_size": 128, "warmup_epochs": 0.5, "eval_every": 1}
    metrics = RETRIEVAL_METRICS
    paper = CLIP4CLIP_PAPER

    def cases(
        self, annotations: Annotations, seeds: Sequence[int], splits: Sequence[str] | None, shots: Sequence[int] | None
    ) -> list[Case]:
        """One case per split (1 by default) and seed. Raises UsageError if shots are asked for."""
        refuse_shots("retrieval", shots)
        return [Case(split, None, seed) for split in chosen_splits(annotations, splits, ["1"]) for seed in seeds]

    def task(self, annotations: Annotations, case: Case) -> RetrievalTask:
        """All pairs of the training list, and the test list. Without a training list there are no pairs.

        Raises UsageError if none of the training or test clips has a caption, or if qb_norm has no training list.
        """
        if "qb_norm" in self._post_processing():
            training_list(annotations, case.split, "post_processing=qb_norm")
        listed = annotations.train.get(int(case.split), ())
        train = captioned(annotations, listed, "training") if listed else {}
        test = captioned(annotations, annotations.test[int(case.split)], "test")
        pairs, texts = retrieval_pairs(train)
        return RetrievalTask(
            train=pairs,
            train_texts=texts,
            evaluations=(retrieval_evaluation("test", test),),
            source=f"every captioned training clip of split {case.split}"
            if listed
            else "none, there is no list of them",
            post_processing=self._post_processing(),
        )

    def _post_processing(self) -> tuple[PostProcessing, ...]:
        if self.post_processing == "all":
            return POST_PROCESSING
        return tuple(kind for kind in POST_PROCESSING if kind == self.post_processing)

    def summarise(self, accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """`pb.RETRIEVAL_METRICS` of the test list."""
        return dict(accuracies["test"])
