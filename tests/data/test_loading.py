"""The loader: the same batches however they are read, and no file that can end or hang a run."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from petl_bench.api.dataset import Augmentation, Sample
from petl_bench.data.decoding.clips import ByTime, Choose, DecodedClip, read_clip
from petl_bench.data.loading import worker_pool
from petl_bench.data.loading.batches import ClipBatch, ClipLoader
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.data.loading.clip_preparation import WHOLE_CLIP_FRAMES, ClipSpec
from petl_bench.data.loading.sampling import multi_view_indices, single_view_indices
from petl_bench.errors import TrialError

RECIPE = ClipSpec(num_frames=4, size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), seed=7)
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
    one, first = (batch.frames[0].float() for batch in (one_crop, several))
    assert max((one[crop] - first[2 * crop]).abs().mean() for crop in range(3)) < 100


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
    assert sorted(len(batch.clips) for batch in batches) == [2, 2, 3]
    assert [batch.planned for batch in batches] == [3, 3, 2]
    assert "bad" not in clips_of(iter(batches))
    assert list(loader.unreadable) == ["bad"]
    assert "web page" in loader.unreadable["bad"]
    paths["bad"].unlink()
    assert len(clips_of(loader.test_batches(samples, 3))) == len(samples) - 1
    assert "web page" in loader.unreadable["bad"]


def test_batches_do_not_depend_on_when_a_bad_clip_was_found(videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    once = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    first = list(once.train_batches(samples, 0, 3))
    fresh = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    assert equal(list(once.train_batches(samples, 1, 3)), list(fresh.train_batches(samples, 1, 3)))
    known = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2, unreadable={"bad": "quarantined"})
    assert equal(list(known.train_batches(samples, 0, 3)), first)
    assert equal(list(known.test_batches(samples, 3)), list(once.test_batches(samples, 3)))
    assert known.unreadable == {"bad": "quarantined"}


def test_a_bad_clip_moves_no_other_clip_into_another_batch(videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    holes = list(ClipLoader(paths, RECIPE, bad_clips_allowed=0.2).train_batches(samples, 0, 3))
    paths = {**paths, "bad": paths["clip 0.mp4"]}
    whole = list(ClipLoader(paths, RECIPE).train_batches(samples, 0, 3))
    assert [batch.clips for batch in holes] == [[clip for clip in batch.clips if clip != "bad"] for batch in whole]


def test_a_batch_without_a_readable_clip_comes_empty(videos: Videos) -> None:
    paths, samples = videos
    known = {sample.clip: "known to be bad" for sample in samples}
    loader = ClipLoader(paths, RECIPE, bad_clips_allowed=1.0, unreadable=known)
    assert [(batch.clips, batch.planned) for batch in loader.train_batches(samples, 0, 3)] == [
        ([], 3),
        ([], 3),
        ([], 1),
    ]
    assert [batch.clips for batch in loader.test_batches(samples, 3)] == [[], [], []]


def test_clips_known_to_be_bad_are_never_opened_and_count_where_they_are_asked_for(videos: Videos) -> None:
    paths, samples = videos
    read: list[str] = []

    def reading(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        read.append(path.name)
        return read_clip(path, choose, decoder)

    known = {"clip 1.mp4": "quarantined"}
    loader = ClipLoader(paths, replace(RECIPE, read=reading), total_clips=7, unreadable=known)
    assert len(clips_of(loader.test_batches(samples[2:], 3))) == 5
    with pytest.raises(TrialError, match=r"1 of 7 clips cannot be read.*clip 1\.mp4: quarantined"):
        list(loader.test_batches(samples, 3))
    assert "clip 1.mp4" not in read


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_processes_share_every_batch_and_every_evaluation(processes: int, videos: Videos, tmp_path: Path) -> None:
    paths, samples = with_bad_clip(videos, tmp_path)
    alone = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    together = [ClipLoader(paths, RECIPE, bad_clips_allowed=0.2, shard=(rank, processes)) for rank in range(processes)]
    shared = [list(loader.train_batches(samples, 0, 4)) for loader in together]
    for batch, *parts in zip(alone.train_batches(samples, 0, 4), *shared, strict=True):
        assert {part.planned for part in parts} == {batch.planned}
        clips = {clip: frames for part in parts for clip, frames in zip(part.clips, part.frames, strict=True)}
        assert set(clips) == set(batch.clips)
        assert all(torch.equal(clips[clip], frames) for clip, frames in zip(batch.clips, batch.frames, strict=True))
    rows = [row for loader in together for batch in loader.test_batches(samples, 2) for row in batch.rows]
    assert sorted(rows) == [0, 1, 2, 4, 5, 6, 7]


def test_what_other_processes_found_counts_too(videos: Videos) -> None:
    paths, samples = videos
    loader = ClipLoader(paths, RECIPE, bad_clips_allowed=0.2)
    list(loader.test_batches(samples, 3))
    loader.learn({"clip 0.mp4": "bad"}, {"clip 1.mp4": "odd"})
    assert loader.remarks["clip 1.mp4"] == "odd"
    with pytest.raises(TrialError, match="2 of 7 clips cannot be read"):
        loader.learn({"clip 2.mp4": "bad"}, {})


@pytest.mark.parametrize("views", [1, 6])
def test_several_views_are_cut_from_one_reading(views: int, videos: Videos, tmp_path: Path) -> None:
    paths, samples = videos
    reads: list[str] = []

    def counted(path: Path, choose: Choose, decoder: str) -> DecodedClip:
        reads.append(path.name)
        return read_clip(path, choose, decoder)

    for cache in (None, ClipCache(tmp_path / "cache")):
        reads.clear()
        recipe = replace(RECIPE, views=views, crops=3, read=counted, cache=cache)
        assert len(clips_of(ClipLoader(paths, recipe).test_batches(samples, 4))) == len(samples)
        assert sorted(reads) == sorted(paths)


def test_evaluation_keeps_no_frames_in_memory(videos: Videos, tmp_path: Path) -> None:
    paths, samples = videos
    cache = ClipCache(tmp_path / "cache")
    for _ in range(2):
        list(ClipLoader(paths, replace(RECIPE, cache=cache, views=2)).test_batches(samples, 4))
        assert cache._memory_used == 0


def test_drawn_views_are_the_published_draw_and_the_same_every_time(
    videos: Videos, tmp_path: Path, read_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    paths, _ = videos
    long = {"a": paths["clip 6.mp4"], "b": paths["clip 6.mp4"]}  # 74 frames, too many to be cached whole
    drawn = replace(RECIPE, size=64, crops=3, views=2, view_sampling="random", cache=ClipCache(tmp_path / "cache"))

    def indices(recipe: ClipSpec, clip: str) -> list[list[int]]:
        (batch,) = ClipLoader(long, recipe).test_batches([Sample(clip, 0)], 8)
        # Crop-major: the middle crop, which shows every cell, comes last.
        return [read_numbers(view.permute(0, 2, 3, 1).numpy()) for view in batch.frames[0, -recipe.views :]]

    first = indices(drawn, "a")
    assert all([index // (74 // 4) for index in view] == [0, 1, 2, 3] for view in first)
    assert first[0] != first[1]
    assert indices(drawn, "a") == first
    assert indices(replace(drawn, cache=None), "a") == first
    assert indices(drawn, "b") != first
    assert indices(replace(drawn, seed=8), "a") != first
    even = replace(drawn, view_sampling="uniform")
    assert indices(even, "a") == multi_view_indices(74, 4, 2)
    assert indices(replace(drawn, views=1), "a") == [single_view_indices(74, 4)]


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
from petl_bench.data.decoding.clips import read_clip

def read(path, choose, decoder):
    if path.name == "clip 1.mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "clip 2.mp4":
        time.sleep(3600)
    return read_clip(path, choose, decoder)
"""


DIES_ONCE = """
import os, signal
from petl_bench.data.decoding.clips import read_clip

def read(path, choose, decoder):
    if path.name == "clip 1.mp4":
        try:
            (path.parent / "died").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return read_clip(path, choose, decoder)
"""


SLOW_TO_SHOW = """
from petl_bench.data.decoding.clips import read_clip

def read(path, choose, decoder):
    with open(path.parent / "read.txt", "a") as file:
        file.write("x")
    return read_clip(path, choose, decoder)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("clips_that_fit", "ahead"), [(3, 3), (1000, 8)])
def test_how_far_the_workers_read_ahead_is_bounded_in_bytes(
    clips_that_fit: int,
    ahead: int,
    tmp_path: Path,
    write_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slow_to_show.py").write_text(SLOW_TO_SHOW)
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_show

    recipe = replace(RECIPE, read=slow_to_show.read, views=5, crops=3)
    monkeypatch.setattr(worker_pool, "_AHEAD_BYTES", clips_that_fit * 15 * 4 * 3 * 32 * 32)
    path = write_video(tmp_path / "clip.mp4", 12)
    with ClipLoader({str(i): path for i in range(20)}, recipe, workers=2) as loader:
        batches = loader.test_batches([Sample(str(i), 0) for i in range(20)], 1)
        next(batches)
        deadline = time.monotonic() + 20
        while len((tmp_path / "read.txt").read_text()) < 1 + ahead and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # long enough for more clips, if more were on their way
        assert len((tmp_path / "read.txt").read_text()) == 1 + ahead
        assert len(list(batches)) == 19


@pytest.mark.drill
@pytest.mark.ci
def test_a_dead_and_a_hung_worker_cost_one_clip_each(
    videos: Videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, samples = videos
    (tmp_path / "hostile_reader.py").write_text(HOSTILE_READER)
    monkeypatch.syspath_prepend(tmp_path)
    import hostile_reader

    expected = ClipLoader(paths, RECIPE).test_batches([s for s in samples if s.clip[5] not in "12"], 1)
    recipe = replace(RECIPE, read=hostile_reader.read)
    with ClipLoader(paths, recipe, workers=2, timeout_s=3.0, bad_clips_allowed=0.5) as loader:
        read = [batch for batch in loader.test_batches(samples, 1) if batch.clips]
        assert equal(read, list(expected))
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
    frames = batch.frames[0, 4].permute(0, 2, 3, 1).numpy()
    assert read_numbers(frames) == [int((i + 0.25) * 7.5) for i in range(4)]


@pytest.mark.drill
@pytest.mark.ci
def test_a_process_that_dies_once_at_work_or_idle_costs_no_clip(
    videos: Videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, samples = videos
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    monkeypatch.syspath_prepend(tmp_path)
    import dies_once

    expected = list(ClipLoader(paths, RECIPE).test_batches(samples, 1))
    with ClipLoader(paths, replace(RECIPE, read=dies_once.read), workers=2) as loader:
        assert equal(list(loader.test_batches(samples, 1)), expected)
        assert loader.unreadable == {}
        for process in multiprocessing.active_children():
            if process.name == "pebble_pool_worker":
                process.kill()
                process.join()
        assert equal(list(loader.test_batches(samples, 1)), expected)
        assert loader.unreadable == {}
    assert not [each for each in multiprocessing.active_children() if each.name == "pebble_pool_worker"]


@pytest.mark.drill
@pytest.mark.ci
def test_processes_that_are_ended_while_they_start_say_nothing(
    videos: Videos, capfd: pytest.CaptureFixture[str]
) -> None:
    paths, samples = videos
    for _ in range(5):
        with ClipLoader(paths, RECIPE, workers=4) as loader:
            next(loader.test_batches(samples, 1))
    assert capfd.readouterr().err == ""


def timed(**changes: Any) -> ClipSpec:
    """12 frames of 25 per second: clips have 3 to 74 frames."""
    return replace(RECIPE, **{"num_frames": 12, "frames_per_second": 25.0, "pads": True, **changes})


@pytest.mark.parametrize("workers", [0, 2])
def test_short_clips_are_padded_and_masked_however_they_are_read(videos: Videos, workers: int, tmp_path: Path) -> None:
    paths, samples = videos
    real = torch.tensor([min(length, 12) for length in LENGTHS])
    expected = torch.arange(12) < real[:, None]
    cache = ClipCache(tmp_path / "cache")
    with ClipLoader(paths, timed(), workers=workers) as loader, ClipLoader(paths, timed(cache=cache)) as cached:
        for _ in range(2):  # the second time from the cache
            for one in (loader, cached):
                (test,) = one.test_batches(samples, 100)
                (train,) = one.fixed_batches(samples, 100)
                assert test.frames.shape == (7, 1, 12, 3, 32, 32) and train.frames.shape == (7, 12, 3, 32, 32)
                assert test.mask is not None and torch.equal(test.mask, expected[:, None])
                assert train.mask is not None and torch.equal(train.mask, expected)
                assert not test.frames[~test.mask].any() and not train.frames[~train.mask].any()
                assert train.frames[train.mask].any(dim=(1, 2, 3)).all()
        assert equal(epochs(loader, samples), epochs(cached, samples))


def test_a_batch_of_whole_clips_has_no_mask(videos: Videos) -> None:
    paths, samples = videos
    long = [sample for sample, length in zip(samples, LENGTHS, strict=True) if length >= 12]
    (batch,) = ClipLoader(paths, timed()).test_batches(long, 100)
    assert batch.mask is None
    assert all(each.mask is None for each in epochs(ClipLoader(paths, RECIPE), samples)), "nothing is padded"


def test_what_does_not_read_masks_repeats_frames(videos: Videos, read_numbers: Callable[..., list[int]]) -> None:
    paths, samples = videos
    (batch,) = ClipLoader(paths, timed(size=64, pads=False, eval_resize="squash")).test_batches(samples[:1], 1)
    assert batch.mask is None
    assert read_numbers(batch.frames[0, 0].permute(0, 2, 3, 1).numpy()) == np.linspace(0, 2, 12, dtype=int).tolist()


def test_frames_at_a_rate_are_the_same_in_every_epoch_and_kept(
    videos: Videos, tmp_path: Path, read_numbers: Callable[..., list[int]]
) -> None:
    paths, samples = videos
    opened: list[Path] = []

    def counted(path: Path, choose: Choose | ByTime, decoder: str) -> DecodedClip:
        opened.append(path)
        return read_clip(path, choose, decoder)

    none = Augmentation(crop_scale=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)
    spec = timed(size=64, augmentation=none, cache=ClipCache(tmp_path / "cache"), read=counted)
    loader, last = ClipLoader(paths, spec), samples[-1:]
    for epoch in range(2):
        (batch,) = loader.train_batches(last, epoch, 1)
        pixels = batch.frames[0] * torch.tensor(spec.std).view(3, 1, 1) + torch.tensor(spec.mean).view(3, 1, 1)
        numbers = read_numbers(255 * pixels.permute(0, 2, 3, 1).numpy())
        assert numbers == np.linspace(0, LENGTHS[-1] - 1, 12, dtype=int).tolist()
    (batch,) = loader.test_batches(last, 1)
    assert len(opened) == 1, "evaluation takes the frames that training kept"
    (other,) = ClipLoader(paths, replace(spec, frames_per_second=5.0)).test_batches(last, 1)
    assert len(opened) == 2 and not torch.equal(other.frames, batch.frames), "another rate is another choice"


@pytest.mark.parametrize("rate", [None, 5.0])
def test_a_span_is_all_that_is_read_of_its_file(
    videos: Videos, tmp_path: Path, rate: float | None, read_numbers: Callable[..., list[int]]
) -> None:
    paths, samples = videos
    spec = replace(RECIPE, size=64, frames_per_second=rate, cache=ClipCache(tmp_path / "cache"))
    last = samples[-1:]
    for span in ((0.4, 1.2), (1.2, 2.0)):  # at 25 frames per second; twice, so that nothing is taken from the cache
        loader = ClipLoader(paths, spec, spans={last[0].clip: span})
        (batch,) = loader.test_batches(last, 1)
        numbers = read_numbers(batch.frames[0, 0].permute(0, 2, 3, 1).numpy())
        first = round(25 * span[0])
        assert numbers == [first + place for place in ([2, 7, 12, 17] if rate is None else [0, 5, 10, 15])]
        for epoch in range(3):
            (train,) = loader.train_batches(last, epoch, 1)
            assert train.frames.shape == (1, 4, 3, 64, 64)
    loader = ClipLoader(paths, spec, spans={last[0].clip: (9.0, 12.0)}, bad_clips_allowed=1.0)
    (batch,) = loader.test_batches(last, 1)
    assert not batch.clips
    assert f"cannot read {paths[last[0].clip]}: the clip begins at 9 s" in loader.unreadable[last[0].clip]
