"""Folders of numbered images as clips: `img_00001.jpg` and the like, as ActionCLIP, Text4Vis and mmaction2 make them.

A folder's frames are its images called `<number>`, `img_<number>`, `image_<number>` or `frame_<number>` (with `_`, `-`
or nothing between); if there are none, those with any other text before the number, or with brackets around it.
Optical flow beside them is left alone. They count from 0 or from 1, in one series without gaps, or are numbered by
times, which follow each other as they may; index i of the clip is the i-th frame of the series.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from petl_bench.data.decoding.file_types import FIRST_TIME, FrameName, frames_among
from petl_bench.data.decoding.shards import opened
from petl_bench.data.decoding.still_pictures import read_image, reading_of_image
from petl_bench.data.decoding.video_stream import DecodeFailure

#: Missing numbers that a message spells out.
_SHOWN_GAPS = 5
#: If frames are numbered by times, a longer gap than so many usual ones is worth a remark.
_LONG_GAP = 1.5


@dataclass(frozen=True)
class FrameFiles:
    """The frames of a folder: name i is frame i; and any anomaly ("" for none)."""

    names: tuple[str, ...]
    remark: str


def list_frames(folder: Path) -> FrameFiles:
    """The files of a folder's frames. Raises DecodeFailure if they are not one series."""
    try:
        found = _frames(folder)
    except OSError as error:
        raise DecodeFailure(error.strerror or str(error)) from None
    series: dict[str, dict[int, str]] = {}
    for frame, name in found:
        frames = series.setdefault(frame.series, {})
        if frame.number in frames:
            raise DecodeFailure(f"frame {frame.number} is there twice: {frames[frame.number]} and {name}")
        frames[frame.number] = name
    if not series:
        raise DecodeFailure(
            "the folder holds no numbered frames (img_00001.jpg, clip01_00001.png, frame (1).jpg, 00001.webp, ...; "
            "optical flow is not read)"
        )
    if len(series) > 1:
        first, second, *_ = (next(iter(frames.values())) for frames in series.values())
        raise DecodeFailure(f"the folder holds more than one series of frames: {first} and {second}")
    (frames,) = series.values()
    if len(frames) == 1 and not found[0][0].is_usual:
        raise DecodeFailure(f"one numbered picture is no series of frames: {found[0][1]}")
    remark = _uneven_times(list(frames)) if min(frames) >= FIRST_TIME else ""
    if min(frames) < FIRST_TIME:
        _refuse_gaps(frames)
    return FrameFiles(tuple(name for _, name in found), remark)


def read_frames(folder: Path, names: Sequence[str]) -> tuple[np.ndarray, str]:
    """Frames of `folder` by file name, uint8 `[T, H, W, 3]`, RGB, upright; and what was done to them ("" for nothing).

    Raises DecodeFailure, naming the frame that cannot be decoded or is of another size.
    """
    read = {name: read_image(folder / name) for name in sorted(set(names))}
    pictures = {name: picture for name, (picture, _) in read.items()}
    first = min(pictures)
    for name, picture in pictures.items():
        if picture.shape != pictures[first].shape:
            raise DecodeFailure(f"{name} is {_size(picture)}, but {first} is {_size(pictures[first])}")
    words = sorted({words for _, words in read.values() if words})
    return np.stack([pictures[name] for name in names]), "; ".join(words)


def folder_stamp(folder: Path) -> list[int]:
    """Changes with the number of frames, and when the folder, its first or its last frame is written again.

    A frame in the middle that is overwritten in place goes unseen: asking after every frame takes too long on network
    file systems. Raises OSError.
    """
    names = [name for _, name in _frames(folder)]
    stamp = [len(names), folder.stat().st_mtime_ns]
    for name in (*names[:1], *names[-1:]):
        status = (folder / name).stat()
        stamp += [status.st_size, status.st_mtime_ns]
    return stamp


def folder_fingerprint(folder: Path, end_bytes: int) -> tuple[int, str]:
    """Bytes of all frames, and a hash of their count, names, sizes, and the ends of the first and of the last one.

    `end_bytes` are read at each end. What is read otherwise than up to version 0.1 has another hash than then, as far
    as the first and the last frame tell. Raises OSError.
    """
    names = [name for _, name in _frames(folder)]
    sizes = {name: (folder / name).stat().st_size for name in names}
    digest = hashlib.sha256(f"frames {len(names)}\n".encode())
    for name in names:
        digest.update(f"{name} {sizes[name]}\n".encode())
    for name in dict.fromkeys((*names[:1], *names[-1:])):
        ends = content_ends(folder / name, sizes[name], end_bytes)
        digest.update(ends)
        digest.update(reading_of_image(ends[:end_bytes]).encode())
    return sum(sizes.values()), digest.hexdigest()


def content_ends(file: Path | str, size: int, end_bytes: int) -> bytes:
    """The first and the last `end_bytes` of a file or member of `size` bytes, no byte twice. Raises OSError."""
    with opened(file) as stream:
        start = stream.read(end_bytes)
        if size <= end_bytes:
            return start
        stream.seek(max(end_bytes, size - end_bytes))
        return start + stream.read(end_bytes)


def _frames(folder: Path) -> list[tuple[FrameName, str]]:
    """The frames in a folder by their number, whether they are one series or not. Raises OSError."""
    return frames_among(os.listdir(folder))  # noqa: PTH208 - names, and fast


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


def _uneven_times(times: Sequence[int]) -> str:
    """Frames numbered by times may have gaps of any length: a long one may be lost frames; nothing else shows it."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    usual = median(gaps) if gaps else 0
    late = sum(gap > _LONG_GAP * usual for gap in gaps)
    return f"numbered by times, and {late} of {len(gaps)} steps are longer than usual: lost frames?" if late else ""


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
