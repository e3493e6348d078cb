"""Videos made on the spot, whose every frame says which one it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WriteVideo = Callable[..., Path]


def numbered_frame(index: int, height: int, width: int) -> np.ndarray:
    """A picture whose 4 x 4 grid of black and white cells spells `index` in binary, on a coloured gradient."""
    rows, columns = np.mgrid[0:height, 0:width]
    cell = (rows * 4 // height) * 4 + columns * 4 // width
    bright = (index >> cell) & 1
    picture = np.stack([bright * 170 + 40, bright * 150 + 40 + columns % 20, bright * 160 + 30 + rows % 30], axis=-1)
    return picture.astype(np.uint8)


def numbers_of(frames: np.ndarray) -> list[int]:
    """The inverse of `numbered_frame`, for frames [T, H, W, 3] of any size."""
    height, width = frames.shape[1:3]
    numbers = []
    for frame in frames.mean(axis=-1):
        cells = [
            frame[r * height // 4 : (r + 1) * height // 4, c * width // 4 : (c + 1) * width // 4].mean()
            for r in range(4)
            for c in range(4)
        ]
        numbers.append(sum(1 << cell for cell, level in enumerate(cells) if level > 120))
    return numbers


def _write_video(
    path: Path,
    count: int,
    *,
    height: int = 64,
    width: int = 96,
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", format=container, options=container_options or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(index, height, width), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """`write_video(path, count, codec=..., options=...)`: frame i of the file spells i (see `numbers_of`)."""
    return _write_video


@pytest.fixture(scope="session")
def read_numbers() -> Callable[[np.ndarray], list[int]]:
    """Which frames these are."""
    return numbers_of
