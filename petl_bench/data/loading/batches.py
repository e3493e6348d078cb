"""Batches of clips for training and evaluation: deterministic, and never ended by a file that cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from petl_bench.api.dataset import Sample
from petl_bench.data.loading.clip_preparation import ClipRequest, ClipSpec, PreparedClip, prepare
from petl_bench.data.loading.sampling import Span
from petl_bench.data.loading.transforms import to_input
from petl_bench.data.loading.worker_pool import WorkerPool
from petl_bench.errors import DataError, TrialError

#: Clips that cannot be read, with the reason; and clips that were read with a remark.
Findings = tuple[dict[str, str], dict[str, str]]


@dataclass(frozen=True)
class ClipBatch:
    """B clips that could be read, of a batch of `planned` clips over all processes of the trial.

    Training: frames float32 `[B, T, 3, S, S]`, normalised. Evaluation: uint8 `[B, V, T, 3, S, S]`, for
    `ClipLoader.to_input`. Labels int64 `[B]`; `rows` are the clips' places in the list that was asked for. `mask` says
    which frames are real, and not padding: bool `[B, T]`, in evaluation `[B, V, T]`; None if all are.
    """

    frames: torch.Tensor
    labels: torch.Tensor
    clips: list[str]
    rows: list[int]
    planned: int
    mask: torch.Tensor | None = None


class ClipLoader:
    """Batches of clips, prepared as a `ClipSpec` says.

    Order and draws depend on (seed, epoch, clip) alone, so the batches are the same, bit for bit, for any number of
    workers.

    Batches are cut before anything is read. A clip that cannot be read is left out of its batch, which is then
    smaller, and is not tried again; so no batch depends on when a clip was found to be bad. `unreadable` maps such
    clips to the reason. `remarks` names the anomalies of clips that were read (the decoder that stood in, damage that
    was concealed).

    Args:
        paths: Absolute path of each clip.
        spec: How clips become tensors.
        workers: 0 decodes in this process, more in processes of their own.
        timeout_s: Seconds after which a clip is given up, in processes of their own.
        bad_clips_allowed: If more than this part of `total_clips` was requested and cannot be read, iteration raises
            TrialError.
        total_clips: The distinct clips of the trial; default: those requested so far.
        unreadable: Clips that are known to be unreadable, with the reason; they are never opened.
        spans: Start and end of the clips that are a part of their file, in seconds.
        shard: (r, n) in the r-th of n processes that share every batch: this one gets its rows r, r + n, ...
        pin: Put batches into page-locked memory, from which they get to a GPU faster.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        spec: ClipSpec,
        *,
        workers: int = 0,
        timeout_s: float = 60.0,
        bad_clips_allowed: float = 0.01,
        total_clips: int | None = None,
        unreadable: Mapping[str, str] | None = None,
        spans: Mapping[str, Span] | None = None,
        shard: tuple[int, int] = (0, 1),
        pin: bool = False,
    ) -> None:
        self.paths = paths
        self.spec = spec
        self.bad_clips_allowed = bad_clips_allowed
        self.total_clips = total_clips
        self.unreadable: dict[str, str] = dict(unreadable or {})
        self.remarks: dict[str, str] = {}
        self._requested: set[str] = set()
        self._spans = spans or {}
        self._shard = shard
        self._pin = pin
        self._pool = WorkerPool(spec, workers, timeout_s) if workers > 0 else None

    def __enter__(self) -> ClipLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. Safe to call again."""
        if self._pool is not None:
            self._pool.close()

    def train_batches(
        self, samples: Sequence[Sample], epoch: int, batch_size: int, *, start: int = 0
    ) -> Iterator[ClipBatch]:
        """One epoch from its batch `start` on: batch k holds rows k * `batch_size` to (k + 1) * `batch_size` of an
        order of its own.

        The last batch may be smaller. Every batch comes, also one of which no clip could be read (here): it is empty.
        Clips of the batches before `start` are not opened.
        """
        return self._batches(samples, epoch, self.train_cuts(len(samples), epoch, batch_size)[start:])

    def train_cuts(self, count: int, epoch: int, batch_size: int) -> list[tuple[list[int], int]]:
        """The batches of an epoch over `count` clips: the rows that this process gets, and how many all have."""
        order = _permutation(count, self.spec.seed, epoch)
        rank, processes = self._shard
        cuts = [order[first : first + batch_size] for first in range(0, count, batch_size)]
        return [(cut[rank::processes], len(cut)) for cut in cuts]

    def fixed_batches(self, samples: Sequence[Sample], batch_size: int, *, start: int = 0) -> Iterator[ClipBatch]:
        """Every readable training clip once, in the order of the list, as every epoch sees it with fixed views.

        From batch `start` on, see `train_batches`. Of several processes, each gets every n-th clip of the list, and
        all get as many batches.
        """
        return self._in_order(samples, 0, batch_size, start)

    def augmented_batches(self, samples: Sequence[Sample], epoch: int, batch_size: int) -> Iterator[ClipBatch]:
        """As `fixed_batches`, with frames and augmentation drawn as in this epoch of training."""
        return self._in_order(samples, epoch, batch_size, 0)

    def test_batches(self, samples: Sequence[Sample], batch_size: int, *, start: int = 0) -> Iterator[ClipBatch]:
        """Every readable clip with all its views, in the order of the list; at most `batch_size` views in a batch, but
        at least one clip. From batch `start` on, and over several processes, as `fixed_batches`."""
        return self._in_order(samples, None, max(1, batch_size // (self.spec.views * self.spec.crops)), start)

    def to_input(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames uint8 of an evaluation batch as the model reads them: float32, normalised, on their own device."""
        return to_input(frames, self.spec.mean, self.spec.std)

    def findings(self) -> Findings:
        """What was found out about the clips that were asked for, for `learn`."""
        unreadable = {clip: reason for clip, reason in self.unreadable.items() if clip in self._requested}
        return unreadable, dict(self.remarks)

    def learn(self, unreadable: Mapping[str, str], remarks: Mapping[str, str]) -> None:
        """Take in what other processes of the trial, or an earlier attempt at it, found out about clips, which counts
        as if they had been asked for here. Raises TrialError as iteration does.
        """
        self._requested.update(unreadable)
        self.unreadable.update(unreadable)
        self.remarks.update(remarks)
        self._refuse_too_many()

    def _in_order(self, samples: Sequence[Sample], epoch: int | None, size: int, start: int) -> Iterator[ClipBatch]:
        rank, processes = self._shard
        rows = range(rank, len(samples), processes)
        # As many batches as the first process has, which has most: all of them may meet after each.
        most = len(range(0, len(samples), processes))
        cuts = [rows[first : first + size] for first in range(0, most, size)]
        return self._batches(samples, epoch, [(cut, len(cut)) for cut in cuts[start:]])

    def _batches(
        self, samples: Sequence[Sample], epoch: int | None, cuts: Sequence[tuple[Sequence[int], int]]
    ) -> Iterator[ClipBatch]:
        """The batches of `cuts`: for each, the rows of this process, and how many rows all processes have."""
        self._requested.update(sample.clip for sample in samples)
        self._refuse_too_many()
        if self.spec.cache is not None:
            self.spec.cache.look()
        outcomes = self._outcomes(self._request(samples[row], epoch) for rows, _ in cuts for row in rows)
        for rows, planned in cuts:
            read = self._readable(zip(rows, islice(outcomes, len(rows)), strict=True))
            yield _collate(read, len(rows), planned, self._pin)

    def _readable(
        self, outcomes: Iterable[tuple[int, tuple[ClipRequest, PreparedClip | str]]]
    ) -> Iterator[tuple[int, ClipRequest, PreparedClip]]:
        for row, (request, outcome) in outcomes:
            if isinstance(outcome, str):
                self._quarantine(request.clip, outcome)
                continue
            if outcome.remark:
                self.remarks[request.clip] = outcome.remark
            yield row, request, outcome

    def _request(self, sample: Sample, epoch: int | None) -> ClipRequest:
        return ClipRequest(sample.clip, self.paths[sample.clip], sample.label, epoch, self._spans.get(sample.clip))

    def _outcomes(self, requests: Iterable[ClipRequest]) -> Iterator[tuple[ClipRequest, PreparedClip | str]]:
        """Every request with its clip, or with the reason why there is none, in order."""
        if self._pool is not None:
            yield from self._pool.outcomes(requests, self.unreadable)
            return
        for request in requests:
            yield request, self.unreadable.get(request.clip) or self._prepared(request)

    def _prepared(self, request: ClipRequest) -> PreparedClip | str:
        try:
            return prepare(self.spec, request)
        except DataError as error:
            return str(error)

    def _quarantine(self, clip: str, reason: str) -> None:
        if clip not in self.unreadable:
            self.unreadable[clip] = reason
            self._refuse_too_many()

    def _refuse_too_many(self) -> None:
        total = max(self.total_clips or 0, len(self._requested))
        bad = {clip: reason for clip, reason in self.unreadable.items() if clip in self._requested}
        if len(bad) > self.bad_clips_allowed * total:
            first = "; ".join(f"{clip}: {reason}" for clip, reason in list(bad.items())[:3])
            raise TrialError(
                f"{len(bad)} of {total} clips cannot be read, more than the allowed part of "
                f"{self.bad_clips_allowed:g} (--set training.bad_clips_allowed=...). First: {first}"
            )


def _permutation(count: int, seed: int, epoch: int) -> list[int]:
    digest = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()
    order: list[int] = np.random.default_rng(int.from_bytes(digest[:8], "little")).permutation(count).tolist()
    return order


def _collate(read: Iterable[tuple[int, ClipRequest, PreparedClip]], room: int, planned: int, pin: bool) -> ClipBatch:
    """A batch of at most `room` clips; each is copied as it comes, for its frames are valid until the next one."""
    batch = torch.empty(0)
    rows: list[int] = []
    requests: list[ClipRequest] = []
    real: list[int] = []
    for row, request, prepared in read:
        clip = torch.from_numpy(prepared.frames)
        if not rows:
            batch = torch.empty(room, *clip.shape, dtype=clip.dtype, pin_memory=pin)
        batch[len(rows)] = clip
        rows.append(row)
        requests.append(request)
        real.append(prepared.real)
    return ClipBatch(
        frames=batch[: len(rows)],
        labels=torch.tensor([request.label for request in requests], dtype=torch.int64),
        clips=[request.clip for request in requests],
        rows=rows,
        planned=planned,
        mask=_mask(real, batch),
    )


def _mask(real: list[int], frames: torch.Tensor) -> torch.Tensor | None:
    """Which frames are real, for clips with the first `real` ones, bool `[B, T]` or `[B, V, T]`; None if all are."""
    count = frames.shape[-4] if real else 0
    if all(each == count for each in real):
        return None
    mask = torch.arange(count) < torch.tensor(real)[:, None]
    return mask if frames.ndim == 5 else mask[:, None].expand(-1, frames.shape[1], -1)
