"""Reading chosen frames of a video file or a folder of frames: one call, several decoders, one clear error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from petl_bench.data.decoding.decord_reader import DecordDecoder
from petl_bench.data.decoding.frames_reader import list_frames, read_frames
from petl_bench.data.decoding.pyav_reader import PyAVDecoder
from petl_bench.data.decoding.torchcodec_reader import TorchCodecDecoder
from petl_bench.data.decoding.video_stream import DecodeFailure, Decoder, FewerFrames, StreamInfo, inspect_stream
from petl_bench.errors import DataError, unknown

DecoderName = Literal["auto", "decord", "pyav", "torchcodec"]

#: Given the number of frames of a file, the indices to decode (any order, repeats allowed).
Choose = Callable[[int], Sequence[int]]


@dataclass(frozen=True)
class FrameTimes:
    """When the N frames of a file are shown: `seconds` float64 `[N]`, ascending, from the first frame on.

    By the file's time stamps, or by its mean rate if it has not one for each frame; None for a folder of frames, which
    has no times. `fps` is the mean rate, if it is known.
    """

    count: int
    seconds: np.ndarray | None
    fps: float | None


@dataclass(frozen=True)
class ByTime:
    """A choice that reads when frames are shown. What `choose` raises, a DataError, has no path: it is put in front."""

    choose: Callable[[FrameTimes], Sequence[int]]


DECODERS: dict[str, Decoder] = {
    decoder.name: decoder for decoder in (DecordDecoder(), PyAVDecoder(), TorchCodecDecoder())
}

#: Eight frames of UCF-101's and HMDB-51's AVI files take PyAV two thirds of the time that decord takes, or less; with
#: other codecs, both take about as long.
_FASTER_WITH_PYAV = {"mpeg4"}

#: What `DecodedClip.decoder` says of a folder of frames.
FRAMES = "frames"


@dataclass(frozen=True)
class DecodedClip:
    """Frames of one file, or of one folder of frames.

    `frames` uint8 `[T, H, W, 3]`, upright RGB; `indices` says which frame of the file each one is; `num_frames` is the
    number of frames that the file really has; `decoder` is the one that was used, and `reason` why, if it is not the
    ordinary one, and what is wrong with the file ("" for nothing).
    """

    frames: np.ndarray
    indices: tuple[int, ...]
    num_frames: int
    fps: float | None
    decoder: str
    reason: str


def read_clip(path: Path | str, choose: Choose | ByTime, decoder: str = "auto") -> DecodedClip:
    """Decode the frames that `choose` picks from a video file or a folder of numbered images (see frames_reader.py).

    Args:
        path: The file, or the folder, for which `decoder` plays no part.
        choose: Given the number of frames, the indices to decode; an index past the end wraps round (modulo, as in the
            published loaders). It is called again if the file has fewer frames than its packets promise, and so must
            depend on the number alone. `ByTime` gets the times of the frames too.
        decoder: "auto" takes decord, or PyAV if that is faster (MPEG-4 Part 2) or decord fails or cannot be trusted
            with this file; either of them stands in for the other.

    Returns:
        Frames uint8 `[T, H, W, 3]`, and how they were read.

    Raises:
        DataError: The right frames cannot be decoded; the message has the file and the words of every decoder.
        UsageError: The decoder is unknown.
    """
    if decoder != "auto" and decoder not in DECODERS:
        raise unknown("decoder", decoder, ["auto", *DECODERS], "petl-bench doctor")
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, choose)
    try:
        info = inspect_stream(path)
    except DecodeFailure as failure:
        raise DataError(f"cannot read {path}: {failure}") from None
    order, remarks = _order(decoder, info)
    failures: list[str] = []
    for name in order:
        try:
            return _read(path, info, choose, DECODERS[name], "; ".join(remarks + failures))
        except DecodeFailure as failure:
            failures.append(f"{name}: {failure}")
    raise DataError(f"cannot decode {path} ({info.codec}): {'; '.join(failures)}")


def _read_folder(path: Path, choose: Choose | ByTime) -> DecodedClip:
    try:
        files = list_frames(path)
        names = files.names
        indices = _chosen(path, choose, len(names), None)
        frames, words = read_frames(path, [names[index] for index in indices])
    except DecodeFailure as failure:
        raise DataError(f"cannot read {path}: {failure}") from None
    return DecodedClip(frames, indices, len(names), None, FRAMES, "; ".join(filter(None, (files.remark, words))))


def _chosen(path: Path, choose: Choose | ByTime, count: int, info: StreamInfo | None) -> tuple[int, ...]:
    """The indices to decode, of a file of `count` frames; `info` is None for a folder of frames."""
    if not isinstance(choose, ByTime):
        return tuple(int(index) % count for index in choose(count))
    times = FrameTimes(count, None, None) if info is None else FrameTimes(count, info.seconds(count), info.fps)
    try:
        if info is not None and times.seconds is None:
            raise DataError("the file says neither when its frames are shown nor how many there are in a second")
        return tuple(map(int, choose.choose(times)))
    except DataError as error:
        raise DataError(f"cannot read {path}: {error}") from None


def _order(decoder: str, info: StreamInfo) -> tuple[list[str], list[str]]:
    """The decoders to try, and the anomalies of the file."""
    remarks = [*([info.oddity] if info.oddity else []), *info.notes]
    if info.needs_pyav(decoder):
        return ["pyav"], remarks
    if decoder != "auto":
        return [decoder], remarks
    if info.oddity:
        return ["pyav"], remarks
    return (["pyav", "decord"] if info.codec in _FASTER_WITH_PYAV else ["decord", "pyav"]), remarks


def _read(path: Path, info: StreamInfo, choose: Choose | ByTime, decoder: Decoder, reason: str) -> DecodedClip:
    num_frames = info.num_frames
    remarks = [reason] if reason else []
    while True:
        indices = _chosen(path, choose, num_frames, info)
        try:
            frames, note = decoder.decode(path, info, indices)
        except FewerFrames as failure:
            if not 0 < failure.num_frames < num_frames:
                raise
            remarks.append(f"{failure} of {num_frames} in the file")
            num_frames = failure.num_frames
            continue
        remarks += [note] if note else []
        return DecodedClip(frames, indices, num_frames, info.fps, decoder.name, "; ".join(remarks))
