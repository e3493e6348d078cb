"""What a setting of retrieval gives: pairs of clips and texts that train, and evaluations of clips and their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from petl_bench.api.dataset import Annotations, Sample
from petl_bench.api.setting import Case, Evaluation, Setting, Task
from petl_bench.errors import PluginError, UsageError

#: Texts as queries that search their clips, and clips as queries that search their texts.
Direction = Literal["t2v", "v2t"]
DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")

#: Metrics of an evaluation of retrieval, for each direction: the share of queries, in percent, with their target among
#: the first 1, 5 and 10; median and mean of the targets' ranks (from 1, lower is better); and the sum of the shares.
RETRIEVAL_METRICS = tuple(
    f"{direction}_{metric}"
    for direction in DIRECTIONS
    for metric in ("r1", "r5", "r10", "median_rank", "mean_rank", "rsum")
)


#: Further evaluations of one training that the engine makes of retrieval if they are asked for, stored like variants of
#: a method: of the epochs that are best on the test clips, by direction (`--select best-on-test`); and of similarities
#: that were changed before they were ranked (`RetrievalTask.post_processing`).
BEST_EPOCHS: Mapping[str, Direction] = {f"best_{direction}": direction for direction in DIRECTIONS}
PostProcessing = Literal["dual_softmax", "qb_norm"]
POST_PROCESSING: tuple[PostProcessing, ...] = ("dual_softmax", "qb_norm")
BESIDE = (*BEST_EPOCHS, *POST_PROCESSING)

_UNUSED = "captions are not used: "


def queries_of(evaluation: str, direction: Direction) -> str:
    """The name of the queries of one direction, e.g. "test/t2v", for `OutcomeSource.of` and `ScoredMetric`."""
    return f"{evaluation}/{direction}"


def split_queries(name: str) -> tuple[str, str]:
    """Evaluation and direction of such a name; the direction is "" if it is that of an evaluation."""
    evaluation, _, direction = name.partition("/")
    return evaluation, direction


@dataclass(frozen=True)
class RetrievalEvaluation(Evaluation):
    """One evaluation of retrieval: every text searches its clip among all clips, every clip its texts among all texts.

    A clip stands once in `samples`, however many texts it has; its label is its place there. There are no classes.

    Raises PluginError if a clip comes twice or has no text, or a text has no clip.
    """

    classes: tuple[str, ...] = field(default=(), init=False)
    texts: tuple[str, ...]
    owners: tuple[int, ...]  #: of each text, the place of its clip in `samples`

    def __post_init__(self) -> None:
        """Refuse what cannot be scored."""
        count, clips = len(self.samples), [sample.clip for sample in self.samples]
        wrong = f"evaluation {self.name!r} of a retrieval task: "
        if len(set(clips)) < count:
            raise PluginError(f"{wrong}a clip stands twice in samples; give it once, with all of its texts")
        if [sample.label for sample in self.samples] != list(range(count)):
            raise PluginError(f"{wrong}the label of each sample must be its place in samples")
        if len(self.owners) != len(self.texts) or not set(self.owners) <= set(range(count)):
            raise PluginError(f"{wrong}owners must name one of its {count} clips for each of {len(self.texts)} texts")
        if without_text := set(range(count)) - set(self.owners):
            raise PluginError(f"{wrong}{clips[min(without_text)]} has no text")

    @property
    def candidates(self) -> tuple[str, ...]:
        """The texts."""
        return self.texts


@dataclass(frozen=True)
class RetrievalTask(Task):
    """What a trial of a retrieval setting trains and evaluates; there are no classes.

    A sample of `train` is a pair of a clip and a text: its label indexes into `train_texts`. A clip may have several
    texts, and a text several clips. Texts are read as they are, without a template.

    `post_processing`: the evaluations are ranked once more with each of these, beside the plain ranks; see
    `petl_bench.training.post_processing`.
    """

    train_classes: tuple[str, ...] = field(default=(), init=False)
    train_texts: tuple[str, ...]
    evaluations: tuple[RetrievalEvaluation, ...]
    post_processing: tuple[PostProcessing, ...] = ()


def refuse_other_kind(setting: Setting, case: Case, task: Task) -> None:
    """Raise PluginError if the task of a case is not of the kind that the setting declares for it."""
    kind, found = setting.kind_of(case), type(task)
    expected = RetrievalTask if kind == "retrieval" else Task
    if isinstance(task, RetrievalTask) != (expected is RetrievalTask):
        raise PluginError(
            f"{type(setting).__name__}.task() returned pb.{found.__name__}; its kind is {kind!r}, so it must "
            f"return pb.{expected.__name__}"
        )


def unused_captions(reason: str) -> str:
    """The note on captions that cannot be used, in a data set with classes that can."""
    return f"{_UNUSED}{reason}"


def refuse_other_data(setting: Setting, case: Case, annotations: Annotations) -> None:
    """Raise UsageError if a case of one kind of task is asked for on a data set of the other kind alone."""
    kind, asked = setting.kind_of(case), setting.option_of_run
    if kind == "retrieval" and not annotations.captions:
        unused = next((note for note in annotations.notes if note.startswith(_UNUSED)), "")
        option = asked or f"--setting {setting.name}"
        raise UsageError(
            f"{annotations.dataset} has classes and no captions: {option} needs captions of its clips; "
            + (unused or "a folder of videos has them in captions.csv (clip,caption)")
        )
    if kind != "retrieval" and not annotations.classes:
        fields = f"change the fields in petl-bench show {setting.name}" if setting.has_both_kinds() else ""
        ways = filter(None, ("" if asked else "--setting retrieval", fields))
        raise UsageError(f"{annotations.dataset} has captions and no classes: {', or '.join(ways)}")


def retrieval_evaluation(name: str, captions: Mapping[str, Sequence[str]]) -> RetrievalEvaluation:
    """An evaluation of these clips, each with its captions."""
    samples = tuple(Sample(clip, place) for place, clip in enumerate(captions))
    texts = tuple(text for own in captions.values() for text in own)
    owners = tuple(place for place, own in enumerate(captions.values()) for _ in own)
    return RetrievalEvaluation(name=name, samples=samples, texts=texts, owners=owners)


def retrieval_pairs(captions: Mapping[str, Sequence[str]]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """`train` and `train_texts` of a task: a pair for each caption of these clips; equal captions are one text."""
    texts = {text: place for place, text in enumerate(dict.fromkeys(text for own in captions.values() for text in own))}
    pairs = tuple(Sample(clip, texts[text]) for clip, own in captions.items() for text in dict.fromkeys(own))
    return pairs, tuple(texts)


def captioned(annotations: Annotations, samples: Sequence[Sample], which: str) -> dict[str, tuple[str, ...]]:
    """The captions of those clips of a list that have some.

    Args:
        annotations: Of the data set.
        samples: The list; a clip may stand in it several times.
        which: What the clips are, in words: "training" or "test".

    Raises:
        UsageError: None of them has a caption.
    """
    captions = annotations.captions
    found = {sample.clip: captions[sample.clip] for sample in samples if sample.clip in captions}
    if not found:
        raise UsageError(f"{annotations.dataset}: none of its {which} clips has a caption, so retrieval has no queries")
    return found
