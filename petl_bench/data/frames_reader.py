"""Folders of numbered images as clips: `img_00001.jpg` and the like, as ActionCLIP, Text4Vis and mmaction2 make them.

A folder's frames are its JPEG and PNG files called `<number>`, `img_<number>`, `image_<number>` or `frame_<number>`
(with `_`, `-` or nothing between; optical flow beside them is left alone). They count from 0 or from 1, in one series
without gaps; index i of the clip is the i-th frame of the series.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petl_bench.data.file_types import FRAME_NAME, frame_number
from petl_bench.data.video_stream import DecodeFailure, short_words

#: Missing numbers that a message spells out.
_SHOWN_GAPS = 5


def list_frames(folder: Path) -> tuple[str, ...]:
    """The files of a folder's frames: name i is frame i. Raises DecodeFailure where they are not one series."""
    try:
        names = _frame_files(folder)
    except OSError as error:
        raise DecodeFailure(error.strerror or str(error)) from None
    series: dict[str, dict[int, str]] = {}
    for match in filter(None, map(FRAME_NAME.fullmatch, names)):
        frames, number = series.setdefault(match[1].lower(), {}), int(match[2])
        if number in frames:
            raise DecodeFailure(f"frame {number} is there twice: {frames[number]} and {match[0]}")
        frames[number] = match[0]
    if not series:
        raise DecodeFailure("the folder holds no numbered frames (img_00001.jpg, frame_00001.png, 00001.jpg, ...)")
    if len(series) > 1:
        first, second, *_ = (next(iter(frames.values())) for frames in series.values())
        raise DecodeFailure(f"the folder holds more than one series of frames: {first} and {second}")
    (frames,) = series.values()
    _refuse_gaps(frames)
    return tuple(names)


def read_frames(folder: Path, names: Sequence[str]) -> np.ndarray:
    """Frames of `folder` by file name, uint8 `[T, H, W, 3]`, RGB.

    Raises DecodeFailure, naming the frame that cannot be decoded or is of another size.
    """
    pictures = {name: read_image(folder / name) for name in sorted(set(names))}
    first = min(pictures)
    for name, picture in pictures.items():
        if picture.shape != pictures[first].shape:
            raise DecodeFailure(f"{name} is {_size(picture)}, but {first} is {_size(pictures[first])}")
    return np.stack([pictures[name] for name in names])


def read_image(file: Path) -> np.ndarray:
    """One image uint8 `[H, W, 3]`, RGB, as it is stored. Raises DecodeFailure, naming the file."""
    from PIL import Image

    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        words = "not a JPEG or PNG image" if isinstance(error, Image.UnidentifiedImageError) else short_words(error)
        raise DecodeFailure(f"{file.name}: {words}") from None


def folder_stamp(folder: Path) -> list[int]:
    """Changes with the number of frames, and when the folder, its first or its last frame is written again.

    A frame in the middle that is overwritten in place goes unseen: asking after every frame takes too long on network
    file systems. Raises OSError.
    """
    names = _frame_files(folder)
    stamp = [len(names), folder.stat().st_mtime_ns]
    for name in (*names[:1], *names[-1:]):
        status = (folder / name).stat()
        stamp += [status.st_size, status.st_mtime_ns]
    return stamp


def folder_fingerprint(folder: Path, end_bytes: int) -> tuple[int, str]:
    """Bytes of all frames, and a hash of their count, names, sizes, and the ends of the first and of the last one.

    `end_bytes` are read at each end. Raises OSError.
    """
    names = _frame_files(folder)
    sizes = {name: (folder / name).stat().st_size for name in names}
    digest = hashlib.sha256(f"frames {len(names)}\n".encode())
    for name in names:
        digest.update(f"{name} {sizes[name]}\n".encode())
    for name in dict.fromkeys((*names[:1], *names[-1:])):
        digest.update(content_ends(folder / name, sizes[name], end_bytes))
    return sum(sizes.values()), digest.hexdigest()


def content_ends(file: Path | str, size: int, end_bytes: int) -> bytes:
    """The first and the last `end_bytes` of a file of `size` bytes, no byte twice. Raises OSError."""
    with open(file, "rb") as stream:  # noqa: PTH123 - called for hundreds of thousands of files
        start = stream.read(end_bytes)
        if size <= end_bytes:
            return start
        stream.seek(max(end_bytes, size - end_bytes))
        return start + stream.read(end_bytes)


def _frame_files(folder: Path) -> list[str]:
    """The names of the frames in a folder by their number, whether they are one series or not. Raises OSError."""
    numbered = ((frame_number(name), name) for name in os.listdir(folder))  # noqa: PTH208 - names, and fast
    return [name for _, name in sorted((number, name) for number, name in numbered if number is not None)]


def _refuse_gaps(frames: dict[int, str]) -> None:
    start = 0 if 0 in frames else 1
    missing, expected = [], start
    for number in sorted(frames):
        if number > expected:
            missing.append(str(expected) if number == expected + 1 else f"{expected} to {number - 1}")
        expected = number + 1
    if missing:
        count = expected - start - len(frames)
        shown = ", ".join(missing[:_SHOWN_GAPS]) + (", ..." if len(missing) > _SHOWN_GAPS else "")
        raise DecodeFailure(
            f"{count} of {expected - start} frames are missing: {shown}. Extract the folder's frames again"
        )


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
