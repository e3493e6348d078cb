"""The model of a search, which encodes videos and compares them with texts. N videos, V views, M queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petl_bench.api.dataset import Sample
from petl_bench.api.prompts import Prompts
from petl_bench.api.retrieval import retrieval_evaluation
from petl_bench.api.trial import ENGINE_VERSION
from petl_bench.data.loading.batches import ClipLoader
from petl_bench.models.create import create_model
from petl_bench.models.dual_encoder import DualEncoder
from petl_bench.models.tokenizer import text_of, token_lengths, tokenize
from petl_bench.searching.subject import Subject
from petl_bench.training.checkpoint import load_adapter
from petl_bench.training.clip_spec import evaluated_clips
from petl_bench.training.device import resolve_device
from petl_bench.training.distributed import Seat
from petl_bench.training.evaluate import Scorer
from petl_bench.training.hooks import calling
from petl_bench.training.state import load_state
from petl_bench.training.video import EncodedBatch, encode, packed, unpacked

#: Videos that are compared with the queries together.
_VIDEOS_PER_PASS = 4096
#: Fields of a `ClipSpec` that decide nothing in evaluation.
_NO_NUMBER = ("augmentation", "train_views", "cache", "read")


class SearchModel:
    """A subject with its weights, in evaluation mode. What it computes equals what its trial's evaluation computes."""

    def __init__(self, subject: Subject, device: str) -> None:
        """Load the weights and the adapter. Raises WeightsError or TrialError if that cannot be."""
        self.subject = subject
        self.device = resolve_device(device, Seat())
        self.model = _loaded(subject).to(self.device).eval()
        self.spec = evaluated_clips(
            self.model, subject.backbone, subject.options, seed=subject.seed, decoder=subject.decoder
        )

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
        subject = self.subject
        backbone = subject.backbone
        notes = [*subject.notes, *self.model.weights_notes]
        notes += backbone.assumptions(subject.weights.label, subject.weights.sha256)
        if backbone.demonstration_of and subject.weights.label == "packaged":
            name, made_for = type(backbone).name, backbone.demonstration_of
            notes.append(f"{name} was made to demonstrate on {made_for}: how it ranks other videos means little")
        if subject.method.text_varies == "video":
            notes.append("texts depend on the video: a query goes through the text tower once for every video")
        return notes

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that its features of a video depend on, besides the video."""
        read = {name: value for name, value in vars(self.spec).items() if name not in _NO_NUMBER}
        return {**self.subject.identity, "read": read, "engine": ENGINE_VERSION}

    def encoded(self, paths: Mapping[str, Path], workers: int) -> Iterator[dict[str, np.ndarray | str]]:
        """Encode videos, batch by batch.

        Args:
            paths: The file of each video, by name.
            workers: Processes that decode.

        Yields:
            For each video of a batch what is kept of it, float32 [V, W], or the reason why it cannot be read.
        """
        size, names = self.subject.options.eval_batch_size, sorted(paths)
        with ClipLoader(paths, self.spec, workers=workers, bad_clips_allowed=1.0) as loader:
            of_batch = max(1, size // (self.spec.views * self.spec.crops))
            outputs = encode(
                self.model,
                loader.test_batches([Sample(name, 0) for name in names], size),
                to_input=loader.to_input,
                batch_size=size,
                precision=self.subject.options.precision,
                device=self.device,
                reads=self.subject.method.reads,
            )
            for start, batch in zip(range(0, len(names), of_batch), outputs, strict=True):
                found: dict[str, np.ndarray | str] = {}
                if batch.clips:
                    rows = packed(batch.output, self._masked).float().cpu().unflatten(0, (-1, batch.views)).numpy()
                    found.update(zip(batch.clips, rows, strict=True))
                unread = [name for name in names[start : start + of_batch] if name not in found]
                yield {**found, **{name: _without_path(loader.unreadable[name], paths[name]) for name in unread}}

    @torch.no_grad()
    def similarities(self, queries: Sequence[str], features: np.ndarray) -> np.ndarray:
        """Of queries and videos, as the evaluation of retrieval has them, divided by the model's scale.

        Args:
            queries: M texts, which are read as they are.
            features: Of `encoded`, float32 [N, V, W].

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

    def read_of(self, query: str) -> str | None:
        """What is read of a query that is longer than the model's context; None if it is read whole."""
        context = self.model.config.context_length
        if token_lengths([query])[0] <= context:
            return None
        return text_of(tokenize(query, context)[0, 1:-1].tolist())


def _loaded(subject: Subject) -> DualEncoder:
    model = create_model(type(subject.backbone).name, weights=subject.weights.path, **subject.backbone.config_changes())
    with calling(subject.method, "attach(model)"):
        subject.method.attach(model)
    if subject.adapter is not None:
        header, tensors = load_adapter(subject.adapter)
        load_state(model, subject.method, {"tensors": tensors, "extra": header["extra_state"]})
    return model


def _without_path(reason: str, path: Path) -> str:
    return reason.removeprefix(f"cannot read {path}: ").replace(f" {path} ", " ")
