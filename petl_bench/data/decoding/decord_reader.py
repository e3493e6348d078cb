"""decord as a decoder: fast for sparse frames of ordinary files; its FFmpeg is of 2021 and knows no AV1 decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from petl_bench.data.decoding.shards import ffmpeg_name
from petl_bench.data.decoding.video_stream import DecodeFailure, StreamInfo, found_member, short_words

#: Any frame that decord would replace silently by a neighbour is an error: the smallest ratio above "never complain".
_NO_SUBSTITUTES = 1e-9


#: Containers, as FFmpeg names them, of which it may lose the first frames even when it reads from the start.
_MISCOUNTED = {"mpegts"}


class DecordDecoder:
    """One short-lived, single-threaded reader per file: long-lived ones grow without limit (decord issue 208)."""

    name = "decord"

    def decode(self, path: Path, info: StreamInfo, indices: Sequence[int]) -> tuple[np.ndarray, str]:
        decord = _import_decord()
        if info.container in _MISCOUNTED:
            raise DecodeFailure(f"miscounts the frames of {info.container}; leave --decoder auto, or take pyav")
        name = ffmpeg_name(path, found_member(path))
        try:
            reader = decord.VideoReader(name, num_threads=1, fault_tol=_NO_SUBSTITUTES)
            if len(reader) <= max(indices):
                raise DecodeFailure(f"finds {len(reader)} frames where the file holds {info.num_frames}")
            return _dense(reader, indices) if info.oddity else _sparse(reader, indices), ""
        except decord.DECORDLimitReachedError:
            raise DecodeFailure("would replace frames that it cannot decode by their neighbours") from None
        except (decord.DECORDError, RuntimeError, IndexError, AssertionError, StopIteration) as error:
            raise DecodeFailure(_own_words(error, name, path)) from None


def _sparse(reader: Any, indices: Sequence[int]) -> np.ndarray:
    """Seeking; in ascending order, since decord goes back to a key frame for every step backwards."""
    ascending = sorted(set(indices))
    frames: np.ndarray = reader.get_batch(ascending).asnumpy()
    return frames[[ascending.index(index) for index in indices]]


def _dense(reader: Any, indices: Sequence[int]) -> np.ndarray:
    """Every frame up to the last one wanted, for files in which seeking gives wrong pictures."""
    wanted = set(indices)
    pictures = {}
    for position in range(max(indices) + 1):
        picture = reader.next()
        if position in wanted:
            pictures[position] = picture.asnumpy()
    return np.stack([pictures[index] for index in indices])


def _import_decord() -> Any:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DecodeFailure(f"decord is not usable here ({short_words(error)})") from None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _own_words(error: BaseException, name: str, path: Path) -> str:
    text = str(error)
    if "cannot find video stream" in text:
        return "cannot find video stream (a codec that it does not know, such as AV1)"
    return short_words(text.replace(name, path.name))
