"""Score every test clip of one evaluation. B clips, V views, T frames, C classes, D embedding channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.data.loading import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.outcomes import ranks_of
from petl_bench.setting import Evaluation
from petl_bench.training.precision import autocast
from petl_bench.training.text import class_tokens
from petl_bench.trial import EvaluationResult


@dataclass(frozen=True)
class Scored:
    """Clips with their places in the list, labels, and scores float32 [N, C]: probabilities, averaged over views."""

    rows: list[int]
    clips: list[str]
    labels: list[int]
    scores: np.ndarray


@torch.no_grad()
def evaluate(
    model: DualEncoder,
    evaluation: Evaluation,
    batches: Iterable[ClipBatch],
    *,
    to_input: Callable[[Tensor], Tensor],
    template: str,
    batch_size: int,
    precision: str,
    device: torch.device,
    on_batch: Callable[[int], None],
) -> Scored:
    """Score every clip of `batches`; `to_input` turns their uint8 frames into the model's input, on their device.

    A clip's score is the mean over its views of the softmax of `logit_scale * cosine` (the protocol of X-CLIP
    and ViFi-CLIP). Views go through the model `batch_size` at a time, and of a clip that was scored only its scores
    stay: memory does not grow with the number of clips, nor the device's with the number of views.
    """
    model.eval()
    tokens = class_tokens(model, evaluation.classes, template, device)
    with autocast(device, precision):
        text = functional.normalize(model.encode_text(tokens).float(), dim=-1)
    parts: list[Scored] = []
    done = 0
    for batch in batches:
        scores = _scores(model, batch.frames, text, to_input, batch_size, precision, device)
        parts.append(Scored(batch.rows, batch.clips, batch.labels.tolist(), scores))
        done += len(batch.clips)
        on_batch(done)
    return joined(parts, len(evaluation.classes))


def joined(parts: Sequence[Scored], classes: int) -> Scored:
    """All parts as one, in the order of the list that they were scored from; `classes` is C."""
    scores = np.concatenate([np.zeros((0, classes), dtype=np.float32), *(part.scores for part in parts)])
    rows = [row for part in parts for row in part.rows]
    clips = [clip for part in parts for clip in part.clips]
    labels = [label for part in parts for label in part.labels]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return Scored([rows[i] for i in order], [clips[i] for i in order], [labels[i] for i in order], scores[order])


def _scores(
    model: DualEncoder,
    frames: Tensor,
    text: Tensor,
    to_input: Callable[[Tensor], Tensor],
    batch_size: int,
    precision: str,
    device: torch.device,
) -> np.ndarray:
    """Scores [B, C] of frames uint8 [B, V, T, 3, H, W]."""
    views = frames.shape[1]
    flat = frames.flatten(0, 1)
    probabilities = []
    for part in flat.split(batch_size):
        video = to_input(part.to(device, non_blocking=True))
        with autocast(device, precision):
            features = model.encode_video(video)
        logits = model.logit_scale.float() * functional.normalize(features.float(), dim=-1) @ text.T
        probabilities.append(logits.softmax(dim=-1))
    mean = torch.cat(probabilities).unflatten(0, (-1, views)).mean(dim=1)
    return mean.cpu().numpy().astype(np.float32)


def top_k_accuracy(labels: Sequence[int], scores: np.ndarray, k: int) -> float:
    """Percentage of clips whose label is among the `k` highest scores; ties count against the label."""
    if not len(labels):
        raise ValueError("no clips to score")
    return 100.0 * float((ranks_of(labels, scores) <= k).mean())


def evaluation_result(
    evaluation: Evaluation, scored: Scored, missing: list[str], unreadable: dict[str, str]
) -> EvaluationResult:
    """The record of one evaluation: accuracy over the scored clips, and what could not be scored."""
    return EvaluationResult(
        classes=evaluation.classes,
        clips=scored.clips,
        labels=scored.labels,
        scores=scored.scores,
        top1=top_k_accuracy(scored.labels, scored.scores, 1),
        top5=top_k_accuracy(scored.labels, scored.scores, 5),
        expected=len(evaluation.samples),
        missing=missing,
        unreadable=unreadable,
    )
