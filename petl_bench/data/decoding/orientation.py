"""How stored pictures have to be turned to stand upright: the display matrix of a video, in all eight orientations."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Entries of a display matrix that may pass for 0: a part of its largest one (an angle of one degree).
_NEARLY = 0.02
_ONE = 1 << 16  # the matrix has 16 bits behind the point

_WORDS = {
    (False, False, False): "",
    (True, False, True): "turned by 90 degrees",
    (False, True, True): "turned by 180 degrees",
    (True, True, False): "turned by 270 degrees",
    (False, False, True): "mirrored",
    (True, True, True): "mirrored and turned by 90 degrees",
    (False, True, False): "mirrored and turned by 180 degrees",
    (True, False, False): "mirrored and turned by 270 degrees",
}


@dataclass(frozen=True)
class Orientation:
    """From stored to upright: rows become columns if `transposed`; then the order of rows, of columns is reversed."""

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether it is no turn alone."""
        return self.transposed ^ self.flip_rows ^ self.flip_columns

    @property
    def words(self) -> str:
        """What it does, clockwise; "" for nothing."""
        return _WORDS[self.transposed, self.flip_rows, self.flip_columns]

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """The picture `[H, W, 3]` turned, `[W, H, 3]` if rows become columns."""
        turned = picture.swapaxes(0, 1) if self.transposed else picture
        turned = turned[::-1] if self.flip_rows else turned
        return np.ascontiguousarray(turned[:, ::-1] if self.flip_columns else turned)


#: As it is stored.
UPRIGHT = Orientation()


def of_matrix(matrix: Sequence[float]) -> tuple[Orientation, str]:
    """The orientation that a display matrix asks for, and what it asks for besides, which is not done ("" for nothing).

    The nine values, row by row, are those of ISO 14496-12 (the `matrix` of a track) and of FFmpeg: a point (x, y) is
    shown at (a x + c y, b x + d y), in 16.16 fixed point. Zeros mean no matrix.
    """
    a, b, u, c, d, v = matrix[:6]
    largest = max(map(abs, (a, b, c, d)))
    if largest == 0:
        return UPRIGHT, ""
    straight = max(abs(b), abs(c)) <= _NEARLY * largest and a != 0 and d != 0
    crossed = max(abs(a), abs(d)) <= _NEARLY * largest and b != 0 and c != 0
    if u or v or not (straight or crossed):
        shown = ", ".join(f"{value / _ONE:g}" for value in (a, b, c, d))
        return UPRIGHT, f"its display matrix ({shown}) is no turn by quarters; pictures are as they are stored"
    x, y = (a, d) if straight else (c, b)
    orientation = Orientation(transposed=crossed, flip_rows=y < 0, flip_columns=x < 0)
    scaled = max(abs(abs(x) / _ONE - 1), abs(abs(y) / _ONE - 1)) > _NEARLY
    shown = f"its display matrix stretches pictures by {abs(x) / _ONE:g} x {abs(y) / _ONE:g}, which is not done"
    return orientation, shown if scaled else ""


def of_frame(frame: Any) -> tuple[Orientation, str]:
    """See `of_matrix`, for a frame that PyAV decoded."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return (UPRIGHT, "") if matrix is None else of_matrix(struct.unpack("=9i", bytes(matrix)))
