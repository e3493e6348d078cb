"""PyAV as a decoder: reads every codec that FFmpeg reads (AV1 included) and reports damaged frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from petl_bench.data.decoding.orientation import of_frame
from petl_bench.data.decoding.video_stream import (
    DecodeFailure,
    FewerFrames,
    StreamInfo,
    best_video_stream,
    open_container,
    short_words,
)


class PyAVDecoder:
    """Decodes from the first frame to the last one wanted, and converts only the wanted ones."""

    name = "pyav"

    def decode(self, path: Path, info: StreamInfo, indices: Sequence[int]) -> tuple[np.ndarray, str]:
        import av

        wanted, last = set(indices), max(indices)
        pictures: dict[int, np.ndarray] = {}
        damaged: list[int] = []
        count = 0
        with open_container(path) as container:
            try:
                to_rgb = _Converter()
                for frame in container.decode(best_video_stream(container)):
                    if count in wanted:
                        pictures[count] = to_rgb(frame)
                        damaged += [count] if frame.is_corrupt else []
                    count += 1
                    if count > last:
                        break
            except (av.FFmpegError, ValueError, MemoryError) as error:
                raise DecodeFailure(f"after {count} of {info.num_frames} frames: {short_words(error)}") from None
        if count <= last:
            raise FewerFrames(count)
        if len({picture.shape for picture in pictures.values()}) > 1:
            raise DecodeFailure("the frame size changes within the file")
        note = f"damaged, concealed by the decoder: frames {', '.join(map(str, damaged[:8]))}" if damaged else ""
        return np.stack([pictures[index] for index in indices]), note


class _Converter:
    """To upright RGB, by the conversion that decord's FFmpeg makes.

    8-bit frames of even height agree with PyAV's default. If chroma rows are interpolated (10 bit, odd height), the
    newer FFmpeg of PyAV sites chroma differently, hence the scale filter: it gives decord's very numbers on 10-bit
    H.264 but for the last row, and 0.5 grey levels off on average on 4:2:0 frames of odd height and width (measured).
    """

    def __init__(self) -> None:
        self._graph: Any = None

    def __call__(self, frame: Any) -> np.ndarray:
        picture = self._filtered(frame) if _interpolates_chroma_rows(frame) else frame.to_ndarray(format="rgb24")
        orientation, _ = of_frame(frame)
        return orientation.upright(picture)

    def _filtered(self, frame: Any) -> np.ndarray:
        if self._graph is None:
            self._graph = _scale_graph(frame)
        self._graph.push(frame)
        picture: np.ndarray = self._graph.pull().to_ndarray()
        return picture


def _interpolates_chroma_rows(frame: Any) -> bool:
    if frame.format.chroma_height(2) == 2 or len(frame.format.components) < 3:
        return False
    return bool(frame.height % 2 == 1 or frame.format.components[0].bits > 8)


def _scale_graph(frame: Any) -> Any:
    import av.filter

    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("scale", "iw:ih:flags=bilinear:in_v_chr_pos=256"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    for left, right in pairwise(steps):
        left.link_to(right)
    graph.configure()
    return graph
