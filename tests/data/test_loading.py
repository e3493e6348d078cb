"""The loader: the same batches however they are read, and no file that can end or hang a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petl_bench.data.clip_cache import ClipCache
from petl_bench.data.clip_preparation import WHOLE_CLIP_FRAMES, Recipe
from petl_bench.data.decoding import Choose, DecodedClip, read_clip
from petl_bench.data.loading import ClipBatch, ClipLoader
from petl_bench.dataset import Augmentation, Sample
from petl_bench.errors import TrialError

RECIPE = Recipe(num_frames=4, size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), seed=7)
LENGTHS = [3, 4, 9, 20, 30, 12, WHOLE_CLIP_FRAMES + 10]

Videos = tuple[dict[str, Path], list[Sample]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Videos:
    folder = tmp_path_factory.mktemp("clips")
    paths = {}
    for number, length in enumerate(LENGTHS):
        name = f"clip {number}.mp4"
        paths[name] = write_video(folder / name, length, height=48 + 8 * number, options={"g": "10"})
    return paths, [Sample(clip, label % 3) for label, clip in enumerate(paths)]


def epochs(loader: ClipLoader, samples: list[Sample], batch_size: int = 3) -> list[ClipBatch]:
    return [
        *loader.train_batches(samples, 0, batch_size),
        *loader.train_batches(samples, 1, batch_size),
        *loader.test_batches(samples, batch_size),
    ]


def equal(one: list[ClipBatch], two: list[ClipBatch]) -> bool:
    return len(one) == len(two) and all(
        a.clips == b.clips and torch.equal(a.frames, b.frames) and torch.equal(a.labels, b.labels)
        for a, b in zip(one, two, strict=True)
    )


def clips_of(batches: Iterator[ClipBatch]) -> list[str]:
    return [clip for batch in batches for clip in batch.clips]


def test_an_epoch_has_every_clip_once_and_keeps_the_last_small_batch(videos: Videos) -> None:
    paths, samples = videos
    batches = list(ClipLoader(paths, RECIPE).train_batches(samples, 0, 3))
    assert [batch.frames.shape for batch in batches] == [(3, 4, 3, 32, 32), (3, 4, 3, 32, 32), (1, 4, 3, 32, 32)]
    assert sorted(clips_of(iter(batches))) == sorted(paths)
    labels = {sample.clip: sample.label for sample in samples}
    assert all(batch.labels.tolist() == [labels[clip] for clip in batch.clips] for batch in batches)
    assert batches[0].labels.dtype == torch.int64


def test_order_and_draws_follow_the_seed_and_the_epoch(videos: Videos) -> None:
    paths, samples = videos
    loader = ClipLoader(paths, RECIPE)
    first, second = (list(loader.train_batches(samples, epoch, 7)) for epoch in (0, 1))
    assert equal(first, list(ClipLoader(paths, RECIPE).train_batches(samples, 0, 7)))
    assert first[0].clips != second[0].clips
    other = list(ClipLoader(paths, replace(RECIPE, seed=8)).train_batches(samples, 0, 7))
    assert first[0].clips != other[0].clips
    of_first, of_second = (batch[0].frames[batch[0].clips.index("clip 3.mp4")] for batch in (first, second))
    assert not torch.equal(of_first, of_second)


def test_the_draw_of_a_clip_does_not_depend_on_the_others(videos: Videos) -> None:
    paths, samples = videos
    loader = ClipLoader(paths, RECIPE)
    (alone,) = loader.train_batches([samples[4]], 0, 1)
    (together,) = loader.train_batches(samples, 0, 7)
    assert torch.equal(alone.frames[0], together.frames[together.clips.index(samples[4].clip)])


@pytest.mark.parametrize(("views", "crops"), [(1, 1), (3, 1), (2, 3)])
def test_evaluation_scores_every_clip_in_order_with_all_views(videos: Videos, views: int, crops: int) -> None:
    paths, samples = videos
    loader = ClipLoader(paths, replace(RECIPE, views=views, crops=crops))
    batches = list(loader.test_batches(samples, 4))
    assert clips_of(iter(batches)) == [sample.clip for sample in samples]
    assert all(batch.frames.shape[1:] == (views * crops, 4, 3, 32, 32) for batch in batches)
    assert all(len(batch.clips) <= max(1, 4 // (views * crops)) for batch in batches)


def test_views_are_crop_major(videos: Videos) -> None:
    paths, samples = videos
    sample = [samples[3]]
    (several,) = ClipLoader(paths, replace(RECIPE, views=2, crops=3)).test_batches(sample, 8)
    (one_crop,) = ClipLoader(paths, replace(RECIPE, views=1, crops=3)).test_batches(sample, 8)
    assert several.frames.shape[1] == 6
    # The first two views are two times of the left crop; 20 frames in 4 chunks: 1/4, 3/4 against 1/2 of each chunk.
    assert not torch.equal(several.frames[0, 0], several.frames[0, 1])
    near = [(one_crop.frames[0, crop] - several.frames[0, 2 * crop]).abs().mean() for crop in range(3)]
    assert max(near) < 2


@pytest.mark.slow
def test_the_number_of_workers_and_the_cache_change_nothing(videos: Videos, tmp_path: Path) -> None:
    paths, samples = videos
    expected = epochs(ClipLoader(paths, RECIPE), samples)
    cached = replace(RECIPE, cache=ClipCache(tmp_path / "cache"))
    with ClipLoader(paths, cached, workers=2) as loader:
        assert equal(epochs(loader, samples), expected)
        assert equal(epochs(loader, samples), expected)
        assert loader.unreadable == {}


def test_a_cache_changes_nothing_but_what_is_read(videos: Videos, tmp_path: Path) -> None:
    paths, samples = videos
    expected = epochs(ClipLoader(paths, RECIPE), samples)
    for memory_bytes in (0, 2**28):
        cached = replace(RECIPE, cache=ClipCache(tmp_path / "cache", memory_bytes=memory_bytes))
        assert equal(epochs(ClipLoader(paths, cached), samples), expected)
    reads: list[str] = []

    def counted(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        reads.append(path.name)
        return read_clip(path, choose, decoder)

    warm = replace(RECIPE, cache=ClipCache(tmp_path / "cache"), read=counted)
    assert equal(epochs(ClipLoader(paths, warm), samples), expected)
    # Training draws of a long clip differ every time: only these are decoded again.
    assert reads == ["clip 6.mp4"] * 2


def test_an_augmentation_reaches_the_clip(videos: Videos) -> None:
    paths, samples = videos
    grey = replace(RECIPE, augmentation=Augmentation(jitter=0.0, grey=1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    (batch,) = ClipLoader(paths, grey).train_batches(samples, 0, 7)
    assert torch.equal(batch.frames[:, :, 0], batch.frames[:, :, 2])


def with_bad_clip(videos: Videos, tmp_path: Path) -> Videos:
    paths, samples = videos
    bad = tmp_path / "bad.mp4"
    bad.write_text("<html>not found</html>")
    return {**paths, "bad": bad}, [*samples[:3], Sample("bad", 0), *samples[3:]]


def test_a_bad_clip_is_left_out_named_and_not_read_again(videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    loader = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    batches = list(loader.train_batches(samples, 0, 3))
    assert [len(batch.clips) for batch in batches] == [3, 3, 1]
    assert "bad" not in clips_of(iter(batches))
    assert list(loader.unreadable) == ["bad"]
    assert "web page" in loader.unreadable["bad"]
    paths["bad"].unlink()
    assert len(clips_of(loader.test_batches(samples, 3))) == len(samples) - 1
    assert "web page" in loader.unreadable["bad"]


def test_batches_do_not_depend_on_when_a_bad_clip_was_found(videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    once = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    list(once.train_batches(samples, 0, 3))
    fresh = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    assert equal(list(once.train_batches(samples, 1, 3)), list(fresh.train_batches(samples, 1, 3)))


def test_too_many_bad_clips_end_the_trial_with_counts_and_reasons(videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    with pytest.raises(TrialError, match=r"1 of 8 clips .*bad: .*web page"):
        list(ClipLoader(paths, RECIPE, bad_clips_allowed=0.1).train_batches(samples, 0, 3))
    assert list(ClipLoader(paths, RECIPE, bad_clips_allowed=0.1, total_clips=10).train_batches(samples, 0, 3))


def test_what_is_odd_about_a_clip_is_remarked_even_from_the_cache(
    videos: Videos, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video(tmp_path / "odd.mpg", 10, codec="mpeg1video")
    recipe = replace(RECIPE, cache=ClipCache(tmp_path / "cache", memory_bytes=0))
    for _ in range(2):
        loader = ClipLoader({"odd": path}, recipe)
        list(loader.test_batches([Sample("odd", 0)], 1))
        assert "mpeg1video" in loader.remarks["odd"]


HOSTILE_READER = """
import os, signal, time
from petl_bench.data.decoding import read_clip

def read(path, choose, decoder):
    if path.name == "clip 1.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "clip 2.mp4":
        time.sleep(3600)
    return read_clip(path, choose, decoder)
"""


@pytest.mark.slow
def test_a_dead_and_a_hung_worker_cost_one_clip_each(
    videos: Videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, samples = videos
    (tmp_path / "hostile_reader.py").write_text(HOSTILE_READER)
    monkeypatch.syspath_prepend(tmp_path)
    import hostile_reader

    expected = ClipLoader(paths, RECIPE).test_batches([s for s in samples if s.clip[5] not in "12"], 3)
    recipe = replace(RECIPE, read=hostile_reader.read)
    with ClipLoader(paths, recipe, workers=2, timeout_s=3.0, bad_clips_allowed=0.5) as loader:
        assert equal(list(loader.test_batches(samples, 3)), list(expected))
        assert set(loader.unreadable) == {"clip 1.mp4", "clip 2.mp4"}
        assert "worker process died" in loader.unreadable["clip 1.mp4"]
        assert "gave up after 3 s" in loader.unreadable["clip 2.mp4"]
        assert str(paths["clip 2.mp4"]) in loader.unreadable["clip 2.mp4"]
        assert len(clips_of(loader.train_batches(samples, 0, 3))) == len(samples) - 2


def test_frames_are_those_that_sampling_asks_for(
    videos: Videos, read_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    paths, _ = videos
    plain = replace(RECIPE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), size=64, crops=3, views=2)
    (batch,) = ClipLoader({"a": paths["clip 4.mp4"]}, plain).test_batches([Sample("a", 0)], 8)
    # 30 frames in 4 chunks of 7.5; the middle crop of an 80 x 96 frame shows all cells.
    frames = (batch.frames[0, 4].permute(0, 2, 3, 1) * 255).numpy()
    assert read_numbers(frames) == [int((i + 0.25) * 7.5) for i in range(4)]
