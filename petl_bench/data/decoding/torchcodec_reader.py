"""torchcodec as a decoder, if the user has installed it (`--decoder torchcodec`); never chosen by `auto`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from petl_bench.data.decoding.shards import ffmpeg_name
from petl_bench.data.decoding.video_stream import DecodeFailure, StreamInfo, found_member, short_words


class TorchCodecDecoder:
    """Frames by exact seeking, on one FFmpeg thread."""

    name = "torchcodec"

    def decode(self, path: Path, info: StreamInfo, indices: Sequence[int]) -> tuple[np.ndarray, str]:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:
            raise DecodeFailure(f"torchcodec is not usable here ({short_words(error)})") from None
        name = ffmpeg_name(path, found_member(path))
        try:
            reader = VideoDecoder(name, num_ffmpeg_threads=1, dimension_order="NHWC", seek_mode="exact")
            return reader.get_frames_at(list(indices)).data.numpy(), ""
        except (RuntimeError, ValueError, IndexError) as error:
            raise DecodeFailure(short_words(str(error).replace(name, path.name))) from None
