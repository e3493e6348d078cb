"""Score every test clip of one evaluation. C classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.api.retrieval import RetrievalEvaluation
from petl_bench.api.setting import Evaluation
from petl_bench.api.step import Frozen, Step, cosine_logits
from petl_bench.api.trial import EvaluationResult
from petl_bench.errors import TrialError
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.towers import VideoOutput
from petl_bench.records.outcomes import class_sizes, mean_class_top1
from petl_bench.records.ranks import ranks_of
from petl_bench.training.device import autocast
from petl_bench.training.frozen import FrozenTexts, frozen_video
from petl_bench.training.hooks import overrides, scores_of
from petl_bench.training.text import TEXTS_PER_PASS, EncodedTexts, StepTexts, class_texts, gives_prompts, plain_texts
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
    method: Method,
    prompts: Prompts,
    precision: str,
    device: torch.device,
    train_classes: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[Scored]:
    """Score every encoded clip among the classes of an evaluation, batch by batch.

    A clip's score is the mean over its views of the softmax of the method's logits, by default `logit_scale * cosine`
    (the protocol of X-CLIP and ViFi-CLIP); with several templates the cosine is the mean of those with a class's
    prompts. Of a clip that was scored only its scores stay: memory hardly grows with the number of clips. In retrieval
    there are texts as they are in the place of prompts, and similarities are averaged over views as they are.

    Args:
        model: With its method attached; it is put into evaluation mode.
        evaluation: Its C classes, or C texts.
        encoded: The video tower's output for clips.
        method: The attached method; its `scores` see no labels and no names of clips.
        prompts: Templates of the class prompts.
        precision: Of the text tower: fp32, bf16 or fp16.
        device: Of the model and the features.
        train_classes: Those that the method was trained on.
        seed: Of the trial.

    Yields:
        Per batch the rows, clips, labels and scores float32 [B, C].

    Raises:
        TrialError: A feature or a score is not finite; the first class or clip is named.
        PluginError: The method's scores are not of the shape that they should have.
    """
    model.eval()
    by = f" by {method.name}.scores(step)" if overrides(method, "scores") else ""
    equal = first_of_equal(evaluation.candidates) if isinstance(evaluation, RetrievalEvaluation) else None
    scorer = Scorer(model, method, evaluation, prompts, precision, device, train_classes, seed)
    for batch in encoded:
        if not batch.clips:
            yield Scored([], [], [], np.zeros((0, len(evaluation.candidates)), dtype=np.float32))
            continue
        logits = scorer.logits(batch)
        values = logits if isinstance(evaluation, RetrievalEvaluation) else logits.softmax(dim=-1)
        of_views = values.unflatten(0, (-1, batch.views))
        scores = of_views.mean(dim=1).cpu().numpy().astype(np.float32)
        scores = scores if equal is None else scores[:, equal]
        _refuse_not_finite(scores, batch.clips, f"evaluation {evaluation.name}: the scores{by} of clip")
        yield Scored(batch.rows, batch.clips, batch.labels, scores)


def reads_to_score(method: Method, model: DualEncoder) -> tuple[str, ...]:
    """What is kept of a test clip's views beside features: what the method reads, and the clips themselves if the
    frozen model scores some classes and another video tower the others."""
    again = method.novel == "frozen" and not model.untouched(model.video)
    return (*method.reads, "pixels") if again else tuple(method.reads)


def first_of_equal(texts: Sequence[str]) -> np.ndarray | None:
    """Of each text the place of the first one that is equal, int64 [M]; None if all differ.

    Equal texts get the same similarities, and so tie, whatever rounding does to them at their own places.
    """
    first: dict[str, int] = {}
    places = [first.setdefault(text, place) for place, text in enumerate(texts)]
    return None if len(first) == len(texts) else np.array(places)


class Scorer:
    """Logits of clips among the classes, or texts, of one evaluation: by the method, or by the frozen model for classes
    that it leaves to that one."""

    def __init__(
        self,
        model: DualEncoder,
        method: Method,
        evaluation: Evaluation,
        prompts: Prompts,
        precision: str,
        device: torch.device,
        train_classes: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._model, self._method, self._evaluation = model, method, evaluation
        self._precision, self._device, self._seed = precision, device, seed
        places = {name: place for place, name in enumerate(train_classes)}
        trained = [places.get(name, -1) for name in evaluation.classes]
        self._trained = torch.tensor(trained, dtype=torch.int64, device=device)
        self._retrieval = isinstance(evaluation, RetrievalEvaluation)
        self._texts = (
            plain_texts(model, evaluation.candidates, device)
            if self._retrieval
            else class_texts(model, method, evaluation.classes, prompts, device)
        )
        self._step_texts = StepTexts(model, method, self._texts, retrieval=self._retrieval)
        self._frozen_texts = FrozenTexts(model, self._texts, retrieval=self._retrieval)
        self._encoded = None if self._step_texts.per_video else self._checked(self._encode_texts(None))

    def logits(self, batch: EncodedBatch) -> Tensor:
        """[B * V, C] of the views of a batch's clips."""
        label = f"evaluation {self._evaluation.name}: the video feature of clip"
        output = batch.output
        with autocast(self._device, self._precision):
            video = self._model.finish_video(output)
        unit = functional.normalize(video.float(), dim=-1).unflatten(0, (-1, batch.views))
        refuse_without_direction(unit, batch.clips, label)
        if self._retrieval and self._encoded is None:
            return self._in_chunks(video, output)
        step = self._step(video, output, self._encoded or self._encode_texts(video))
        frozen = self._method.novel == "frozen" and bool((self._trained < 0).any())
        if not frozen:
            return scores_of(self._method, step)
        if bool((self._trained < 0).all()):
            return step.frozen.logits
        return torch.where(self._trained >= 0, scores_of(self._method, step), step.frozen.logits)

    def _in_chunks(self, video: Tensor, output: VideoOutput) -> Tensor:
        """Similarities [B * V, M] with texts that depend on the clip: so many pairs of them at a time that memory does
        not grow with M."""
        numbers = torch.arange(self._texts.classes, device=self._device)
        chunks = numbers.split(max(1, TEXTS_PER_PASS // len(video)))
        steps = (self._step(video, output, self._encode_texts(video, chosen)) for chosen in chunks)
        return torch.cat([scores_of(self._method, step) for step in steps], dim=1)

    def _step(self, video: Tensor, output: VideoOutput, texts: EncodedTexts) -> Step:
        step = Step(self._model, video, texts.of_classes(), training=False, classes=self._evaluation.classes)
        step.seed = self._seed
        step.trained_class, step.several_prompts = None if self._retrieval else self._trained, texts.several
        step.frame_features, step.patch_tokens, step.pixels = output.frame_features, output.patch_tokens, output.pixels
        step.mask = output.mask
        if gives_prompts(self._method):
            step.prompt_features, step.prompt_class = texts.leaf, texts.class_of
        frozen_text = partial(self._frozen_text, texts.chosen)
        step.frozen = Frozen(partial(self._frozen_video, output), frozen_text, self._cosines)
        return step

    def _encode_texts(self, video: Tensor | None, chosen: Tensor | None = None) -> EncodedTexts:
        with autocast(self._device, self._precision):
            return self._step_texts.encode(chosen, video)

    def _checked(self, texts: EncodedTexts) -> EncodedTexts:
        unit = functional.normalize(texts.of_classes().float(), dim=-1)
        label = f"evaluation {self._evaluation.name}: the text feature of {'text' if self._retrieval else 'class'}"
        refuse_without_direction(unit, self._evaluation.candidates, label)
        return texts

    def _frozen_text(self, chosen: Tensor | None) -> Tensor:
        with autocast(self._device, self._precision):
            return self._frozen_texts(chosen)

    def _frozen_video(self, output: VideoOutput) -> Tensor:
        with autocast(self._device, self._precision):
            return frozen_video(self._model, self._method, output)

    def _cosines(self, video: Tensor, text: Tensor) -> Tensor:
        return cosine_logits(self._model, video, text, self._texts.several)


_TRY = (
    "Check the weights; if the method trained, try a lower --set training.learning_rate=RATE, or "
    "--set training.precision=fp32"
)


def refuse_without_direction(unit: Tensor, names: Sequence[str], what: str) -> None:
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
