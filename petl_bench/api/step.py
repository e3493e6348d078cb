"""What the hooks of a method get: one batch, in training or in evaluation. No torch at import."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from petl_bench.models.dual_encoder import DualEncoder

#: The class of a clip is asked for, or which of many texts belongs to which clip.
Kind = Literal["classification", "retrieval"]


@dataclass(frozen=True)
class MethodTask:
    """The task that a method is adapted to, as the method sees it from `attach` on.

    It is stored in the adapter file, so that an adapter whose shapes depend on it can be built again.
    """

    kind: Kind = "classification"
    classes: tuple[str, ...] = ()  #: the training classes; none in retrieval
    support_clips: int = 0  #: training clips, without those that are held out


class Frozen:
    """The clips and texts of a step through the frozen model. Each is computed when it is first read, without
    gradients."""

    def __init__(
        self, video: Callable[[], Tensor], text: Callable[[], Tensor], logits: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self._video, self._text, self._logits = video, text, logits

    @cached_property
    def video_features(self) -> Tensor:
        """[B, D], not normalised."""
        return self._video()

    @cached_property
    def text_features(self) -> Tensor:
        """[C, D], not normalised; in retrieval [M, D]."""
        return self._text()

    @cached_property
    def logits(self) -> Tensor:
        """[B, C]; in retrieval [B, M]."""
        return self._logits(self.video_features, self.text_features)


@dataclass
class Step:
    """One batch. B clips, C classes, M texts, T frames, P patches of a frame, D embedding channels, W width.

    In retrieval, M texts take the place of C classes. In evaluation there are no labels, no positives, no rows and no
    names of clips, and B counts views. The steps of `Support` have labels and rows, and no gradients.
    """

    model: DualEncoder
    video_features: Tensor  #: [B, D], not normalised
    #: [C, D], one per class: of its prompt, not normalised; of several prompts the mean of their unit vectors.
    #: [B, C, D] if the method declares text_varies = "video".
    text_features: Tensor
    labels: Tensor = None  # type: ignore[assignment]  #: int64 [B], indices into `classes`; None in evaluation
    #: by kind that the method reads ("spatial", "temporal"): [C, D], frozen means of each class's description features
    descriptions: Mapping[str, Tensor] = field(default_factory=dict)
    logits: Tensor = field(init=False, repr=False)  #: [B, C], of `Method.scores`; there from `objective` and `loss` on

    training: bool = True
    epoch: int = 0  #: from 0
    number: int = 0  #: of the step in all epochs, from 0
    #: int64 [B], on the CPU: places of the clips in the list of training clips; None in evaluation
    rows: Tensor | None = None
    seed: int = 0  #: of the trial
    generator: Generator | None = None  #: on the CPU, seeded by trial and step, the same in every process; in training
    classes: tuple[str, ...] = ()
    #: int64 [C], index among the training classes, -1: not one of them; None in retrieval
    trained_class: Tensor | None = None
    positive: Tensor | None = None  #: bool [B, M], which texts belong to which clips; retrieval, in training

    # What `Method.reads` asks for
    frame_features: Tensor | None = None  #: [B, T, D], before pooling
    patch_tokens: Tensor | None = None  #: [B, T, P, W], the last block's, behind the final norm
    pixels: Tensor | None = None  #: [B, T, 3, H, W], normalised
    prompt_features: Tensor | None = None  #: [M, D] of every prompt, not normalised
    prompt_class: Tensor | None = None  #: int64 [M], the class of every prompt
    mask: Tensor | None = None  #: bool [B, T], which frames are real; None: all

    several_prompts: bool = False  #: whether `text_features` are means of unit vectors
    frozen: Frozen = field(init=False, repr=False)

    def cosine_logits(self) -> Tensor:
        """logit_scale * cosine of video and text features, in fp32: [B, C].

        With several prompts per class the cosine is the mean of those with its prompts.
        """
        return cosine_logits(self.model, self.video_features, self.text_features, self.several_prompts)

    def draw(self, high: int) -> Tensor:
        """A whole number from 0 to `high` - 1 for every clip, int64 [B], on the device of the features; in training.

        It depends on the trial's seed, the epoch and the clip's row alone: the same in micro-batches and processes.
        """
        import torch

        rows = [] if self.rows is None else self.rows.tolist()
        drawn = [_number(f"draw/{self.seed}/{self.epoch}/{row}") % high for row in rows]
        return torch.tensor(drawn, dtype=torch.int64, device=self.video_features.device)


def cosine_logits(model: DualEncoder, video: Tensor, text: Tensor, several_prompts: bool) -> Tensor:
    """logit_scale * cosine, in fp32, of video features [B, D] and text features [C, D] or [B, C, D]: [B, C].

    `several_prompts`: the text features are means of unit vectors, and not normalised again.
    """
    from torch.nn import functional

    unit = functional.normalize(video.float(), dim=-1)
    direction = text.float() if several_prompts else functional.normalize(text.float(), dim=-1)
    scaled = model.logit_scale.float() * unit
    if direction.ndim == 2:
        return scaled @ direction.T
    logits: Tensor = (direction @ scaled.unsqueeze(-1)).squeeze(-1)
    return logits


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
