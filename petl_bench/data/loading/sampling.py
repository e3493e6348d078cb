"""Which frames of a video a clip is made of: the samplers of X-CLIP and ViFi-CLIP, and ViCLIP's.

Every function takes the number of frames of the video, N, and the number of frames of a clip, T, and returns T
indices in `range(N)`; short videos repeat frames.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def train_indices(num_frames: int, count: int, generator: np.random.Generator) -> list[int]:
    """One random frame in each of `count` equal chunks (X-CLIP and ViFi-CLIP, training).

    Chunks are floor(N / T) frames long, as published, so the last N mod T frames are never drawn. Videos with fewer
    than T frames are spread evenly without a draw: round(i * N / T), modulo N.
    """
    chunk = num_frames // count
    if chunk > 0:
        picks = np.arange(count) * chunk + generator.integers(chunk, size=count)
    else:
        picks = np.around(np.arange(count) * (num_frames / count)).astype(int) % num_frames
    return [int(pick) for pick in picks]


def single_view_indices(num_frames: int, count: int) -> list[int]:
    """The centre of each of `count` equal chunks, int((i + 1/2) * N / T) (X-CLIP and ViFi-CLIP, testing)."""
    return _chunk_positions(num_frames, count, 0.5)


def multi_view_indices(
    num_frames: int, count: int, views: int, generator: np.random.Generator | None = None
) -> list[list[int]]:
    """The indices of several temporal views of one video.

    By default deterministic: view v of V takes the frame at (v + 1/2) / V of each chunk, int((i + (v + 1/2) / V) * N
    / T), so that the views together sample the video evenly and one view is `single_view_indices`. With a
    `generator`, the published way: each view is a random training draw, so that the score changes from one evaluation
    to the next.
    """
    if generator is not None:
        return [train_indices(num_frames, count, generator) for _ in range(views)]
    return [_chunk_positions(num_frames, count, (view + 0.5) / views) for view in range(views)]


def middle_indices(num_frames: int, count: int) -> list[int]:
    """The middle frame of each of `count` segments (ViCLIP, testing); shorter videos repeat their last frame."""
    edges = np.linspace(0, num_frames, min(num_frames, count) + 1).astype(int).tolist()
    picks = [(start + end - 1) // 2 for start, end in pairwise(edges)]
    return picks + picks[-1:] * (count - len(picks))


def _chunk_positions(num_frames: int, count: int, position: float) -> list[int]:
    return [int((i + position) * num_frames / count) for i in range(count)]
