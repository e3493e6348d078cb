"""Score every test clip of one evaluation. B clips, V views, T frames, C classes, D embedding channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from petl_bench.data.loading import ClipBatch
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.setting import Evaluation
from petl_bench.training.precision import autocast
from petl_bench.training.text import class_tokens
from petl_bench.trial import EvaluationResult


@torch.no_grad()
def evaluate(
    model: DualEncoder,
    evaluation: Evaluation,
    batches: Iterable[ClipBatch],
    *,
    template: str,
    batch_size: int,
    precision: str,
    device: torch.device,
    on_batch: Callable[[int], None],
) -> tuple[list[str], list[int], np.ndarray]:
    """Clips, labels and scores [N, C] of every clip that could be read.

    A clip's score is the mean over its views of the softmax of `logit_scale * cosine` (the protocol of X-CLIP
    and ViFi-CLIP); memory does not grow with the number of views.
    """
    model.eval()
    tokens = class_tokens(model, evaluation.classes, template, device)
    with autocast(device, precision):
        text = functional.normalize(model.encode_text(tokens).float(), dim=-1)
    clips: list[str] = []
    labels: list[int] = []
    scores: list[np.ndarray] = []
    for batch in batches:
        scores.append(_scores(model, batch.frames, text, batch_size, precision, device))
        clips += batch.clips
        labels += batch.labels.tolist()
        on_batch(len(clips))
    empty = np.zeros((0, len(evaluation.classes)), dtype=np.float32)
    return clips, labels, np.concatenate(scores) if scores else empty


def _scores(
    model: DualEncoder, frames: Tensor, text: Tensor, batch_size: int, precision: str, device: torch.device
) -> np.ndarray:
    """Scores [B, C] of frames [B, V, T, 3, H, W]."""
    views = frames.shape[1]
    flat = frames.flatten(0, 1)
    probabilities = []
    for part in flat.split(batch_size):
        with autocast(device, precision):
            features = model.encode_video(part.to(device, non_blocking=True))
        logits = model.logit_scale.float() * functional.normalize(features.float(), dim=-1) @ text.T
        probabilities.append(logits.softmax(dim=-1))
    mean = torch.cat(probabilities).unflatten(0, (-1, views)).mean(dim=1)
    return mean.cpu().numpy().astype(np.float32)


def top_k_accuracy(labels: Sequence[int], scores: np.ndarray, k: int) -> float:
    """Percentage of clips whose label is among the `k` highest scores; ties count against the label."""
    if not len(labels):
        raise ValueError("no clips to score")
    of_label = scores[np.arange(len(labels)), np.asarray(labels)]
    # At least as high as the label's own score, itself included: a constant score is never right by luck of the order.
    rank = (scores >= of_label[:, None]).sum(axis=1)
    return 100.0 * float((rank <= k).mean())


def evaluation_result(
    evaluation: Evaluation,
    clips: list[str],
    labels: list[int],
    scores: np.ndarray,
    missing: list[str],
    unreadable: dict[str, str],
) -> EvaluationResult:
    """The record of one evaluation: accuracy over the scored clips, and what could not be scored."""
    return EvaluationResult(
        classes=evaluation.classes,
        clips=clips,
        labels=labels,
        scores=scores,
        top1=top_k_accuracy(labels, scores, 1),
        top5=top_k_accuracy(labels, scores, 5),
        expected=len(evaluation.samples),
        missing=missing,
        unreadable=unreadable,
    )
