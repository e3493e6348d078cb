"""Which frames of a video a clip is made of: the samplers of X-CLIP and ViFi-CLIP, and ViCLIP's.

Every function takes the number of frames of the video, N, and the number of frames of a clip, T, and returns T
indices in `range(N)`; short videos repeat frames. `candidates` says which frames of a file are chosen from, if those
are not all.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from petl_bench.data.decoding.clips import FrameTimes
from petl_bench.errors import DataError

#: Start and end of a clip that is a part of its file, in seconds from the first frame.
Span = tuple[float, float]
#: What time stamps are rounded by: Matroska's are whole milliseconds.
_ROUNDING_S = 1e-3


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


def spread_indices(num_frames: int, count: int, *, repeat: bool) -> list[int]:
    """`count` frames from the first to the last one, int(i (N - 1) / (T - 1)) (CLIP4Clip's slice_framepos 2).

    Of fewer than `count` frames each one once, and so less than `count` indices; with `repeat` some of them several
    times.
    """
    if num_frames <= count and not repeat:
        return list(range(num_frames))
    return [int(pick) for pick in np.linspace(0, num_frames - 1, count, dtype=int)]


def candidates(times: FrameTimes, span: Span | None, rate: float | None) -> list[int]:
    """The frames that a clip is chosen from: of its span, start included and end excluded; None: of the whole file.

    With a `rate`, in frames per second, the frame that is shown at k / rate seconds from the start, k = 0, 1, ..., for
    as long as the clip lasts. At a constant whole number of frames per second these are CLIP4Clip's frames, which
    takes the frame k * int(fps); it also reads one frame more at the end of a span.

    A folder of frames has no times: its frames count as those taken at `rate`.

    Raises:
        DataError: The span lies behind the end of the file, or is one of a folder of frames without `rate`.
    """
    seconds = times.seconds
    if seconds is None:
        if rate is None:
            raise DataError(
                "the clip is a part of a folder of frames, which has no times: set training.frames_per_second to the "
                "rate that they were taken at"
            )
        seconds = np.arange(times.count) / rate
    length = seconds[-1] + _last_frame_s(seconds, times.fps or rate)
    start, end = span or (0.0, length)
    if start > 0 and start >= length:
        raise DataError(f"the clip begins at {start:g} s, and the file ends at {length:.2f} s")
    end = min(end, length)
    if rate is None:
        moments = seconds[(seconds >= start - _ROUNDING_S) & (seconds < end - _ROUNDING_S)]
        moments = moments if len(moments) else np.array([start])
    else:
        moments = start + np.arange(max(1, np.ceil((end - start) * rate - _ROUNDING_S))) / rate
    return _shown_at(seconds, moments)


def _shown_at(seconds: np.ndarray, moments: np.ndarray) -> list[int]:
    """The frame that is shown at each moment: the last one that begins before it, or then."""
    found = np.searchsorted(seconds, moments + _ROUNDING_S, side="right") - 1
    return [int(index) for index in np.clip(found, 0, len(seconds) - 1)]


def _last_frame_s(seconds: np.ndarray, fps: float | None) -> float:
    """How long the last frame is shown: as long as the others on average."""
    if len(seconds) > 1:
        return float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    return 1 / fps if fps else 0.0


def _chunk_positions(num_frames: int, count: int, position: float) -> list[int]:
    return [int((i + position) * num_frames / count) for i in range(count)]
