"""The samplers give the published frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.data.decoding.clips import FrameTimes
from petl_bench.data.loading.sampling import (
    candidates,
    middle_indices,
    multi_view_indices,
    single_view_indices,
    spread_indices,
    train_indices,
)
from petl_bench.errors import DataError

GOLDEN = json.loads((Path(__file__).parent.parent / "goldens" / "frame_sampling.json").read_text())
frames = st.integers(1, 2000)
counts = st.integers(1, 32)


class LegacyDraws:
    """The generator that the published code draws from, under the name of the present one."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def integers(self, high: int, *, size: int) -> Any:
        return self._state.randint(high, size=size)


def _cases(name: str) -> list[tuple[int, int, list[int]]]:
    return [(*map(int, key.split("_")[:2]), indices) for key, indices in GOLDEN[name].items()]  # type: ignore[misc]


def test_one_view_takes_the_published_frames() -> None:
    for num_frames, count, expected in _cases("xclip_vifi_test_mode"):
        assert single_view_indices(num_frames, count) == expected


def test_viclip_middle_takes_the_published_frames() -> None:
    for num_frames, count, expected in _cases("viclip_middle"):
        assert middle_indices(num_frames, count) == expected


def test_training_takes_the_published_frames_for_the_published_draws() -> None:
    for num_frames, count, expected in _cases("xclip_vifi_train_mode_seeded_numpy"):
        assert train_indices(num_frames, count, LegacyDraws(0)) == expected


def test_random_views_are_the_published_ones() -> None:
    views = multi_view_indices(100, 8, 4, LegacyDraws(0))
    assert [index for view in views for index in view] == GOLDEN["xclip_vifi_multiview4_seed0_100_8"]


@given(frames, counts, st.integers(1, 10), st.integers(0, 2**32))
def test_every_index_is_in_the_video_and_in_order(num_frames: int, count: int, views: int, seed: int) -> None:
    for indices in [*multi_view_indices(num_frames, count, views), middle_indices(num_frames, count)]:
        assert len(indices) == count
        assert indices == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < num_frames
    drawn = train_indices(num_frames, count, np.random.default_rng(seed))
    assert len(drawn) == count
    assert all(0 <= index < num_frames for index in drawn)


@given(frames, counts)
def test_one_of_several_views_is_the_single_view(num_frames: int, count: int) -> None:
    assert multi_view_indices(num_frames, count, 1) == [single_view_indices(num_frames, count)]


def test_several_views_sample_a_long_video_evenly_and_the_same_every_time() -> None:
    views = multi_view_indices(96, 8, 4)
    assert sorted(index for view in views for index in view) == list(range(1, 96, 3))
    assert views == multi_view_indices(96, 8, 4)


@given(st.integers(8, 2000), st.integers(0, 2**32))
def test_a_training_draw_takes_one_frame_of_each_chunk(num_frames: int, seed: int) -> None:
    chunk = num_frames // 8
    drawn = train_indices(num_frames, 8, np.random.default_rng(seed))
    assert [index // chunk for index in drawn] == list(range(8))


def even(count: int, fps: float) -> FrameTimes:
    return FrameTimes(count, np.arange(count) / fps, fps)


@given(fps=st.integers(1, 120), count=st.integers(1, 3000))
def test_one_frame_per_second_is_that_of_clip4clip(fps: int, count: int) -> None:
    assert candidates(even(count, fps), None, 1.0) == list(range(0, count, fps))


def test_frames_of_a_rate_go_by_time_whatever_the_rate_of_the_file() -> None:
    assert candidates(even(90, 29.97), None, 1.0) == [0, 29, 59, 89]
    assert candidates(even(10, 2.0), None, 1.0) == [0, 2, 4, 6, 8]
    assert candidates(even(10, 2.0), None, 4.0) == [place // 2 for place in range(20)], "a frame is shown for 0.5 s"
    late = FrameTimes(4, np.array([0.0, 0.1, 2.5, 2.6]), 1.2)
    assert candidates(late, None, 1.0) == [0, 1, 1, 3], "the frame that is shown at 2 s began at 0.1 s"


def test_a_span_is_its_part_of_the_file_in_both_ways() -> None:
    times = even(100, 10.0)
    assert candidates(times, (2.0, 5.0), None) == list(range(20, 50)), "start included, end excluded"
    assert candidates(times, (2.0, 5.0), 1.0) == [20, 30, 40]
    assert candidates(times, (8.5, 30.0), 1.0) == [85, 95], "the file's end is the clip's"
    assert candidates(times, (2.04, 2.06), None) == [20], "shorter than a frame: the one that is shown then"
    with pytest.raises(DataError, match=r"begins at 10 s, and the file ends at 10\.00 s"):
        candidates(times, (10.0, 12.0), 1.0)


def test_a_single_frame_is_a_clip_whether_its_rate_is_known_or_not() -> None:
    for fps in (25.0, None):
        assert candidates(FrameTimes(1, np.zeros(1), fps), None, 1.0) == [0]
        assert candidates(FrameTimes(1, np.zeros(1), fps), (0.0, 5.0), None) == [0]


def test_a_folder_of_frames_counts_as_taken_at_the_rate() -> None:
    folder = FrameTimes(6, None, None)
    assert candidates(folder, None, 1.0) == list(range(6))
    assert candidates(folder, (2.0, 4.0), 1.0) == [2, 3]
    assert candidates(folder, (0.5, 2.0), 2.0) == [1, 2, 3]
    with pytest.raises(DataError, match=r"a folder of frames, which has no times: set training\.frames_per_second"):
        candidates(folder, (2.0, 4.0), None)


@given(frames, counts)
def test_frames_are_spread_as_clip4clip_does(num_frames: int, count: int) -> None:
    repeated = spread_indices(num_frames, count, repeat=True)
    assert repeated == [int(place) for place in np.linspace(0, num_frames - 1, num=count, dtype=int)]
    padded = spread_indices(num_frames, count, repeat=False)
    assert padded == (list(range(num_frames)) if num_frames <= count else repeated)
