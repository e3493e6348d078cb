"""Decoding: eight scattered frames of a ten-second clip, a training clip from file to tensor, memory over 2,000 clips.

Run: python -m pytest benchmarks/perf/test_bench_decoding.py
"""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import torch
from torchvision.transforms.v2 import functional

from benchmarks.perf.interleaved import measure
from petl_bench.api.dataset import Augmentation
from petl_bench.data.decoding.clips import ByTime, Choose, DecodedClip, read_clip
from petl_bench.data.loading import transforms
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.data.loading.clip_preparation import ClipRequest, ClipSpec, prepare
from petl_bench.data.loading.sampling import single_view_indices
from petl_bench.data.loading.worker_pool import WorkerPool

DECODERS = ["decord", "pyav"] if importlib.util.find_spec("decord") else ["pyav"]
RECIPE = ClipSpec(num_frames=8, size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MIB = 2**20
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
UCF101 = sorted(Path(os.environ.get("PETL_BENCH_REAL_DATA", "nowhere")).glob("ucf101_six/**/*.avi"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of 340 x 256 H.264, 25 frames a second, a key frame every 2 seconds, like a resized Kinetics clip."""
    return _write(tmp_path_factory.mktemp("clips") / "clip.mp4", 250, 256, 340)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of 32 x 32, like the embedded data set."""
    return _write(tmp_path_factory.mktemp("clips") / "tiny.mp4", 8, 32, 32)


def _write(path: Path, count: int, height: int, width: int) -> Path:
    rows, columns = np.mgrid[0:height, 0:width]
    texture = np.random.default_rng(0).integers(0, 60, (height, width))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "50"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            wave = 128 + 60 * np.sin((rows + columns + 4 * index) / 30)
            picture = np.stack([wave, np.roll(wave, index, 0), texture + 80], axis=-1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("decoder", DECODERS)
def test_eight_frames_of_ten_seconds(benchmark: Any, clip: Path, decoder: str) -> None:
    result = benchmark(read_clip, clip, lambda count: single_view_indices(count, 8), decoder)
    assert result.frames.shape == (8, 256, 340, 3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_tiny_clip(benchmark: Any, tiny: Path, decoder: str) -> None:
    assert benchmark(read_clip, tiny, range, decoder).frames.shape == (8, 32, 32, 3)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_a_training_clip_from_file_to_tensor(benchmark: Any, clip: Path, jitter: float) -> None:
    torch.set_num_threads(1)
    recipe = replace(RECIPE, augmentation=Augmentation(jitter=jitter))
    assert benchmark(prepare, recipe, ClipRequest("clip", clip, 0, epoch=0)).frames.shape == (8, 3, 224, 224)


def test_the_augmentation_of_a_training_clip_with_another_hue(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With colour jitter in every clip, and with torchvision's turn of hues in the place of ours."""
    torch.set_num_threads(1)
    frames = np.random.default_rng(0).integers(0, 256, (8, 256, 340, 3), dtype=np.uint8)
    jitter = Augmentation(jitter=1.0, grey=0.0)

    def augment(hue: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        monkeypatch.setattr(transforms, "_shift_hue", hue)
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            transforms.train_transform(frames, jitter, 224, RECIPE.mean, RECIPE.std, generator)

    ours = transforms._shift_hue
    measure(benchmark, {"ours": partial(augment, ours), "torchvision's hue": partial(augment, functional.adjust_hue)})


@pytest.mark.parametrize("memory_bytes", [0, 256 * MIB])
def test_a_test_clip_from_the_cache(benchmark: Any, clip: Path, tmp_path: Path, memory_bytes: int) -> None:
    torch.set_num_threads(1)
    recipe = replace(RECIPE, cache=ClipCache(tmp_path, memory_bytes=memory_bytes))
    assert benchmark(prepare, recipe, ClipRequest("clip", clip, 0)).frames.shape == (1, 8, 3, 224, 224)


@pytest.mark.skipif(not UCF101, reason="PETL_BENCH_REAL_DATA names no folder with ucf101_six")
def test_frames_of_ucf101_clips_from_the_cache_and_from_their_files(benchmark: Any, tmp_path: Path) -> None:
    """The eight frames of an evaluation, from the cache on disk and from the AVI. To reach: 10 times faster."""
    cache = ClipCache(tmp_path)
    for path in UCF101[:12]:
        prepare(replace(RECIPE, cache=cache), ClipRequest(path.name, path, 0))
    entries = [file.stem for file in tmp_path.glob("*/*")]
    assert len(entries) == 12

    def from_cache() -> None:
        assert all(cache.get(entry, remember=False) is not None for entry in entries)

    def from_files() -> None:
        for path in UCF101[:12]:
            read_clip(path, lambda count: single_view_indices(count, 8), "auto")

    measure(benchmark, {"cache": from_cache, "files": from_files})


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_of_clips_in_a_tar_shard_and_in_files(
    benchmark: Any, clip: Path, tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eight frames of an evaluation, of twenty clips. To reach: as fast, within 5 %."""
    monkeypatch.setenv("PETL_BENCH_CACHE", str(tmp_path / "cache"))
    files = [tmp_path / f"{number}.mp4" for number in range(20)]
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for file in files:
            shutil.copy(clip, file)
            shard.add(file, file.name)
    members = [tmp_path / "shard.tar" / file.name for file in files]

    def read(paths: list[Path]) -> None:
        for path in paths:
            read_clip(path, lambda count: single_view_indices(count, 8), decoder)

    measure(benchmark, {"shard": partial(read, members), "files": partial(read, files)})


def prepared_already(path: Path, choose: Choose | ByTime, decoder: str) -> DecodedClip:
    """Frames that cost nothing, so that what is left is their way to the process that trains."""
    return DecodedClip(FRAMES, tuple(range(8)), 8, 25.0, "pyav", "")


@pytest.mark.parametrize("epoch", [0, None], ids=["training", "evaluation"])
def test_what_a_clip_from_a_worker_costs_the_process_that_trains(
    benchmark: Any, epoch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through shared memory, and through a pipe; 4.8 MB for training, 1.2 MB for evaluation."""
    requests = [ClipRequest("clip", Path("clip"), 0, epoch=epoch)] * 200
    pools = {}
    for name in ("shared memory", "pipe"):
        pools[name] = WorkerPool(replace(RECIPE, read=prepared_already), workers=1, timeout_s=60.0)
        with monkeypatch.context() as patch:
            if name == "pipe":
                patch.setattr(WorkerPool, "_memory", lambda pool: None)
            assert len(list(pools[name].outcomes(requests[:8], {}))) == 8

    def receive(name: str) -> None:
        with monkeypatch.context() as patch:
            if name == "pipe":
                patch.setattr(WorkerPool, "_memory", lambda pool: None)
            assert all(not isinstance(clip, str) and clip.frames.size for _, clip in pools[name].outcomes(requests, {}))

    measure(benchmark, {name: partial(receive, name) for name in pools}, rounds=3)
    for pool in pools.values():
        pool.close()


def test_a_tiny_training_clip_from_memory(benchmark: Any, tiny: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = replace(RECIPE, size=32, cache=ClipCache(tmp_path))
    assert benchmark(prepare, recipe, ClipRequest("tiny", tiny, 0, epoch=0)).frames.shape == (8, 3, 32, 32)


@pytest.mark.parametrize("decoder", DECODERS)
def test_memory_stays_flat_over_2000_clips(benchmark: Any, clip: Path, decoder: str) -> None:
    """Growth in MiB from clip 100 to clip 2,000, in `extra_info` of the benchmark's record."""
    memory: list[float] = []

    def read_many() -> None:
        for number in range(2000):
            read_clip(clip, lambda count: [0, 40, 80], decoder)
            if number in (100, 500, 1000, 1999):
                gc.collect()
                memory.append(psutil.Process().memory_info().rss / MIB)

    benchmark.pedantic(read_many, rounds=1, iterations=1)
    benchmark.extra_info["rss_mib_at_100_500_1000_2000"] = [round(level, 1) for level in memory]
    assert memory[-1] - memory[0] < 20
