"""Score every test clip of one evaluation. C classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.prompts import Prompts
from petl_bench.api.setting import Evaluation
from petl_bench.api.trial import EvaluationResult
from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.records.outcomes import class_sizes, mean_class_top1, ranks_of
from petl_bench.training.device import autocast
from petl_bench.training.text import by_template, class_directions, class_tokens, encoded_classes
from petl_bench.training.video import EncodedBatch


@dataclass(frozen=True)
class Scored:
    """Clips with their places in the list, labels, and scores float32 [N, C]: probabilities, averaged over views."""

    rows: list[int]
    clips: list[str]
    labels: list[int]
    scores: np.ndarray


@torch.no_grad()
def score(
    model: DualEncoder,
    evaluation: Evaluation,
    encoded: Iterable[EncodedBatch],
    *,
    prompts: Prompts,
    precision: str,
    device: torch.device,
) -> Iterator[Scored]:
    """Score every encoded clip among the classes of an evaluation, batch by batch.

    A clip's score is the mean over its views of the softmax of `logit_scale * cosine` (the protocol of X-CLIP
    and ViFi-CLIP); with several templates the cosine is the mean of those with a class's prompts. Of a clip that was
    scored only its scores stay: memory hardly grows with the number of clips.

    Args:
        model: With its method attached; it is put into evaluation mode.
        evaluation: Its C classes.
        encoded: Features [B, V, D] of clips.
        prompts: Templates of the class prompts.
        precision: Of the text tower: fp32, bf16 or fp16.
        device: Of the model and the features.

    Yields:
        Per batch the rows, clips, labels and scores float32 [B, C].

    Raises:
        TrialError: A feature or a score is not finite; the first class or clip is named.
    """
    model.eval()
    tokens = class_tokens(model, evaluation.classes, prompts, device)
    with autocast(device, precision):
        text = class_directions(encoded_classes(model, by_template(tokens)), tokens)
    of_class = f"evaluation {evaluation.name}: the text feature of class"
    _refuse_without_direction(functional.normalize(text, dim=-1), evaluation.classes, of_class)
    for batch in encoded:
        if not batch.clips:
            yield Scored([], [], [], np.zeros((0, len(evaluation.classes)), dtype=np.float32))
            continue
        video = functional.normalize(batch.features.float(), dim=-1)
        _refuse_without_direction(video, batch.clips, f"evaluation {evaluation.name}: the video feature of clip")
        of_views = (model.logit_scale.float() * video @ text.T).softmax(dim=-1)
        scores = of_views.mean(dim=1).cpu().numpy().astype(np.float32)
        _refuse_not_finite(scores, batch.clips, f"evaluation {evaluation.name}: the scores of clip")
        yield Scored(batch.rows, batch.clips, batch.labels, scores)


_TRY = (
    "Check the weights; if the method trained, try a lower --set training.learning_rate=RATE, or "
    "--set training.precision=fp32"
)


def _refuse_without_direction(unit: Tensor, names: Sequence[str], what: str) -> None:
    """`unit`: normalised features [N, ..., D]. Only those of a feature that is not finite, beyond what can be squared,
    or zero have another length than 1."""
    has_direction = (unit.norm(dim=-1) > 0.5).reshape(len(names), -1).all(dim=1)
    if not has_direction.all():
        first = names[int(has_direction.int().argmin())]
        raise TrialError(f"{what} {first!r} is not finite, or zero. {_TRY}")


def _refuse_not_finite(scores: np.ndarray, clips: Sequence[str], what: str) -> None:
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise TrialError(f"{what} {clips[int(finite.argmin())]!r} are not finite. {_TRY}")


def top_k_accuracy(labels: Sequence[int], scores: np.ndarray, k: int) -> float:
    """Percentage of clips whose label is among the `k` highest scores; ties count against the label."""
    if not len(labels):
        raise ValueError("no clips to score")
    return 100.0 * float((ranks_of(labels, scores) <= k).mean())


def mean_class_accuracy(labels: Sequence[int], scores: np.ndarray) -> float | None:
    """Mean over the classes with clips of their top-1, in percent; None if all of them have as many clips."""
    if len(set(class_sizes(labels))) < 2:
        return None
    return mean_class_top1(labels, ranks_of(labels, scores))


def evaluation_result(
    evaluation: Evaluation, scored: Scored, groups: list[str], missing: list[str], unreadable: dict[str, str]
) -> EvaluationResult:
    """The record of one evaluation: accuracy over the scored clips, their groups, and what could not be scored."""
    return EvaluationResult(
        classes=evaluation.classes,
        clips=scored.clips,
        labels=scored.labels,
        scores=scored.scores,
        top1=top_k_accuracy(scored.labels, scored.scores, 1),
        top5=top_k_accuracy(scored.labels, scored.scores, 5),
        expected=len(evaluation.samples),
        groups=groups,
        missing=missing,
        unreadable=unreadable,
        mean_class_top1=mean_class_accuracy(scored.labels, scored.scores),
    )
