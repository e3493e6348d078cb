"""Batches of clips for training and evaluation: deterministic, and never ended by a file that cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from petl_bench.data.clip_preparation import ClipRequest, PreparedClip, Recipe, prepare
from petl_bench.data.worker_pool import WorkerPool
from petl_bench.dataset import Sample
from petl_bench.errors import DataError, TrialError


@dataclass(frozen=True)
class ClipBatch:
    """B clips: frames float32 `[B, T, 3, S, S]` (training) or `[B, V, T, 3, S, S]` (evaluation), labels int64 `[B]`."""

    frames: torch.Tensor
    labels: torch.Tensor
    clips: list[str]


class ClipLoader:
    """Batches of clips from `paths` (clip -> file), prepared by `recipe`.

    Order and draws depend on (seed, epoch, clip) alone, so the batches are the same, bit for bit, for any number of
    `workers`; 0 decodes in this process, more in processes of their own, where a clip that takes longer than
    `timeout_s` seconds, or kills its process, is given up.

    A clip that cannot be read is left out of its batch and of every later epoch; `unreadable` says which and why.
    `remarks` says what is odd about the clips that were read (the decoder that stood in, damage that was concealed).
    Once more than the part `bad_clips_allowed` of `total_clips` (the distinct clips of the trial; without it, those
    requested so far) is unreadable, iteration raises TrialError.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        recipe: Recipe,
        *,
        workers: int = 0,
        timeout_s: float = 60.0,
        bad_clips_allowed: float = 0.01,
        total_clips: int | None = None,
    ) -> None:
        self.paths = paths
        self.recipe = recipe
        self.bad_clips_allowed = bad_clips_allowed
        self.total_clips = total_clips
        self.unreadable: dict[str, str] = {}
        self.remarks: dict[str, str] = {}
        self._requested: set[str] = set()
        self._pool = WorkerPool(recipe, workers, timeout_s) if workers > 0 else None

    def __enter__(self) -> ClipLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. Safe to call again."""
        if self._pool is not None:
            self._pool.close()

    def train_batches(self, samples: Sequence[Sample], epoch: int, batch_size: int) -> Iterator[ClipBatch]:
        """One epoch: every readable clip once, in an order of its own; the last batch may be smaller."""
        order = _permutation(len(samples), self.recipe.seed, epoch)
        return self._batches([self._request(samples[i], epoch) for i in order], batch_size)

    def test_batches(self, samples: Sequence[Sample], batch_size: int) -> Iterator[ClipBatch]:
        """Every readable clip with all its views, in the order of the list; at most `batch_size` views in a batch."""
        views = self.recipe.views * self.recipe.crops
        return self._batches([self._request(sample, None) for sample in samples], max(1, batch_size // views))

    def _request(self, sample: Sample, epoch: int | None) -> ClipRequest:
        return ClipRequest(sample.clip, self.paths[sample.clip], sample.label, epoch)

    def _batches(self, requests: Sequence[ClipRequest], batch_size: int) -> Iterator[ClipBatch]:
        self._requested.update(request.clip for request in requests)
        batch: list[tuple[ClipRequest, PreparedClip]] = []
        for request, outcome in self._outcomes(r for r in requests if r.clip not in self.unreadable):
            if isinstance(outcome, str):
                self._quarantine(request.clip, outcome)
                continue
            if outcome.remark:
                self.remarks[request.clip] = outcome.remark
            batch.append((request, outcome))
            if len(batch) == batch_size:
                yield _collate(batch)
                batch = []
        if batch:
            yield _collate(batch)

    def _outcomes(self, requests: Iterable[ClipRequest]) -> Iterator[tuple[ClipRequest, PreparedClip | str]]:
        """Every request with its clip, or with the reason why there is none, in order."""
        if self._pool is not None:
            yield from self._pool.outcomes(requests)
            return
        for request in requests:
            try:
                outcome: PreparedClip | str = prepare(self.recipe, request)
            except DataError as error:
                outcome = str(error)
            yield request, outcome

    def _quarantine(self, clip: str, reason: str) -> None:
        self.unreadable[clip] = reason
        total = max(self.total_clips or 0, len(self._requested))
        if len(self.unreadable) > self.bad_clips_allowed * total:
            first = "; ".join(f"{clip}: {reason}" for clip, reason in list(self.unreadable.items())[:3])
            raise TrialError(
                f"{len(self.unreadable)} of {total} clips cannot be read, more than the allowed part of "
                f"{self.bad_clips_allowed:g} (--set training.bad_clips_allowed=...). First: {first}"
            )


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    digest = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little")).permutation(count).tolist()


def _collate(batch: Sequence[tuple[ClipRequest, PreparedClip]]) -> ClipBatch:
    return ClipBatch(
        frames=torch.from_numpy(np.stack([clip.frames for _, clip in batch])),
        labels=torch.tensor([request.label for request, _ in batch], dtype=torch.int64),
        clips=[request.clip for request, _ in batch],
    )
