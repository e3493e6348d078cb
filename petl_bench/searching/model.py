"""The model of a search, which encodes videos and compares them with texts. N videos, V views, M queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petl_bench.api.method import Method
from petl_bench.api.prompts import Prompts
from petl_bench.api.retrieval import retrieval_evaluation
from petl_bench.api.trial import ENGINE_VERSION
from petl_bench.errors import UsageError
from petl_bench.inference.features import no_free_texts
from petl_bench.inference.model import AdaptedModel
from petl_bench.inference.subject import Subject
from petl_bench.training.evaluate import Scorer
from petl_bench.training.use import read_as
from petl_bench.training.video import EncodedBatch, packed, unpacked

#: Videos that are compared with the queries together.
_VIDEOS_PER_PASS = 4096


def refuse_no_search(method: Method) -> None:
    """Raise UsageError if a method does not score free texts, or its features of videos are too large to keep."""
    if fault := no_free_texts(method):
        raise UsageError(f"{fault}: no search with it")
    if large := {"tokens", "pixels"} & set(method.reads):
        raise UsageError(
            f"{method.name} compares texts with the {' and '.join(sorted(large))} of videos, too large for an index: "
            "no search with it"
        )


class SearchModel(AdaptedModel):
    """A model whose features of videos are kept, and compared with texts later."""

    def __init__(self, subject: Subject, device: str) -> None:
        """Load the weights and the adapter. Raises WeightsError or TrialError if that cannot be, and UsageError for a
        method with which there is no search."""
        refuse_no_search(subject.method)
        super().__init__(subject, device)

    @property
    def _reads(self) -> tuple[str, ...]:
        """What is kept of a video's views beside features."""
        return tuple(self.subject.method.reads)

    @property
    def _masked(self) -> int:
        """Frames that are kept with a mask: all, if a video may be padded."""
        return self.model.config.num_frames if self.spec.pads else 0

    @property
    def _keeps_frames(self) -> bool:
        """Whether features of frames are kept, and not those of a whole view."""
        return "frames" in self.subject.method.reads or self.model.features.pools

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether what is kept of a video can have this shape."""
        frames, rest = divmod(shape[1] - self._masked, self.model.config.embed_dim)
        whole = rest == 0 and (frames == 1 or (frames > 1 and self._keeps_frames))
        return whole and shape[0] == self.spec.views * self.spec.crops

    @property
    def notes(self) -> list[str]:
        """What a user should know of the model, in words."""
        if self.subject.method.text_varies != "video":
            return super().notes
        return [
            *super().notes,
            "texts depend on the video: a query goes through the text tower once for every video",
        ]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that its features of a video depend on, besides the video."""
        return {**self.subject.identity, "read": read_as(self.spec), "engine": ENGINE_VERSION}

    def kept(self, paths: Mapping[str, Path], workers: int) -> Iterator[dict[str, np.ndarray | str]]:
        """Encode videos, batch by batch.

        Args:
            paths: The file of each video, by name.
            workers: Processes that decode.

        Yields:
            For each video of a batch what is kept of it, float32 [V, W], or the reason why it cannot be read.
        """
        for batch, unread in self.encoded(paths, workers):
            found: dict[str, np.ndarray | str] = {}
            if batch.clips:
                rows = packed(batch.output, self._masked).float().cpu().unflatten(0, (-1, batch.views)).numpy()
                found.update(zip(batch.clips, rows, strict=True))
            yield {**found, **unread}

    @torch.no_grad()
    def similarities(self, queries: Sequence[str], features: np.ndarray) -> np.ndarray:
        """Of queries and videos, as the evaluation of retrieval has them, divided by the model's scale.

        Args:
            queries: M texts, which are read as they are.
            features: Of `kept`, float32 [N, V, W].

        Returns:
            float32 [M, N], the mean over views.
        """
        method, views = self.subject.method, features.shape[1]
        # The one clip only makes the evaluation whole: whose the texts are plays no part in scores.
        evaluation = retrieval_evaluation("search", {"": queries})
        precision, device = self.subject.options.precision, self.device
        scorer = Scorer(self.model, method, evaluation, Prompts(()), precision, device, (), self.subject.seed)
        parts = []
        for rows in torch.from_numpy(features).split(_VIDEOS_PER_PASS):
            output = unpacked(rows.flatten(0, 1).to(self.device), self.model.config, self._keeps_frames, self._masked)
            names = [""] * len(rows)
            logits = scorer.logits(EncodedBatch(list(range(len(rows))), names, [0] * len(rows), output, views))
            parts.append(logits.unflatten(0, (-1, views)).mean(dim=1))
        similar: np.ndarray = (torch.cat(parts).T / self.model.logit_scale.float()).cpu().numpy()
        return similar
