"""Frames that workers leave in shared memory: the same as through a pipe, never elsewhere, and nothing stays behind."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import pytest
import torch

from petl_bench.api.dataset import Sample
from petl_bench.data.loading.batches import ClipBatch, ClipLoader
from petl_bench.data.loading.clip_preparation import ClipSpec
from petl_bench.data.loading.shared_frames import SharedFrames, Slot, Written, write

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no anonymous files")

RECIPE = ClipSpec(num_frames=4, size=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), seed=3)


def frames(seed: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (2, 3, 8, 8)).astype(dtype)


@pytest.fixture
def memory() -> SharedFrames:
    return SharedFrames(3 * frames(0).nbytes)


def _write_there(slot: Slot, seed: int, dtype: str) -> Written | None:
    return write(frames(seed, dtype), slot)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Another process."""
    with multiprocessing.get_context("spawn").Pool(1) as started:
        yield started


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_what_another_process_writes_is_read_here(memory: SharedFrames, pool: Pool, dtype: str) -> None:
    slots = memory.slots(frames(0).nbytes, 10)
    assert len(slots) == 3
    written = pool.starmap(_write_there, [(slot, seed, dtype) for seed, slot in enumerate(slots)])
    for seed, (slot, one) in enumerate(zip(slots, written, strict=True)):
        assert one is not None
        assert memory.read(slot, one).dtype == dtype
        assert np.array_equal(memory.read(slot, one), frames(seed, dtype))


def test_frames_that_are_too_large_are_not_written(memory: SharedFrames) -> None:
    first, second = memory.slots(frames(0).nbytes // 2, 2)
    assert write(frames(0), first) is None
    assert not memory.read(second, Written((10,), "uint8")).any()


def test_nothing_is_written_to_a_file_that_only_has_the_same_name(memory: SharedFrames, tmp_path: Path) -> None:
    (slot,) = memory.slots(frames(0).nbytes, 1)
    (tmp_path / "other").write_bytes(b"\0" * slot.size)
    number = int(slot.path.rsplit("/", 1)[1])
    memory.close()
    other = os.open(tmp_path / "other", os.O_RDWR)
    if other != number:  # the number of the closed file is free again
        os.dup2(other, number)
        os.close(other)
    try:
        assert write(frames(0), slot) is None
        assert not any((tmp_path / "other").read_bytes())
    finally:
        os.close(number)


@pytest.fixture
def clips(tmp_path: Path, write_video: Callable[..., Path]) -> dict[str, Path]:
    return {str(count): write_video(tmp_path / f"{count}.mp4", count) for count in (5, 9, 14, 20)}


def batches_of(loader: ClipLoader, clips: dict[str, Path], epoch: int | None) -> list[ClipBatch]:
    samples = [Sample(clip, 0) for clip in clips]
    return list(loader.test_batches(samples, 2) if epoch is None else loader.train_batches(samples, epoch, 2))


def equal(one: list[ClipBatch], two: list[ClipBatch]) -> bool:
    return all(a.clips == b.clips and torch.equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_batches_are_the_same_with_and_without_shared_memory(
    clips: dict[str, Path], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.delattr(os, "memfd_create")
    with ClipLoader(clips, RECIPE, workers=2) as loader:
        for epoch in (0, None, 1):
            assert equal(batches_of(loader, clips, epoch), batches_of(ClipLoader(clips, RECIPE), clips, epoch))


@pytest.mark.slow
def test_passes_that_are_left_early_or_run_side_by_side_disturb_no_other_one(clips: dict[str, Path]) -> None:
    samples = [Sample(clip, 0) for clip in clips] * 10
    alone = ClipLoader(clips, replace(RECIPE, seed=4))
    with ClipLoader(clips, replace(RECIPE, seed=4), workers=2) as loader:
        for _ in range(3):
            next(loader.train_batches(samples, 0, 2))  # left with clips on their way
        pairs = zip(loader.train_batches(samples, 1, 2), loader.train_batches(samples, 2, 2), strict=True)
        one, two = zip(*pairs, strict=True)
        assert equal(list(one), list(alone.train_batches(samples, 1, 2)))
        assert equal(list(two), list(alone.train_batches(samples, 2, 2)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_closed_loader_leaves_no_file_open(clips: dict[str, Path]) -> None:
    def shared_files() -> int:
        links = list(Path("/proc/self/fd").iterdir())
        return sum("petl-bench frames" in str(link.readlink()) for link in links if link.is_symlink())

    before = shared_files()
    loader = ClipLoader(clips, RECIPE, workers=1)
    next(loader.train_batches([Sample(clip, 0) for clip in clips], 0, 1))
    batches_of(loader, clips, 1)
    assert shared_files() > before
    loader.close()
    assert shared_files() == before
