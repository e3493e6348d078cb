"""The samplers give the published frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from petl_bench.data.loading.sampling import middle_indices, multi_view_indices, single_view_indices, train_indices

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
