"""Frames that are in memory in the place of a file: what decord, torchvision or one's own code has decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from petl_bench.data.decoding.clips import ByTime, Choose, DecodedClip, FrameTimes, read_clip
from petl_bench.errors import UsageError


@dataclass(frozen=True)
class GivenFrames:
    """Reads frames that are in memory, uint8 [T, H, W, 3] by their path; and every other path as a file.

    Frames in memory have no times: at a rate (`training.frames_per_second`) they count as taken at it, as those of a
    folder of frames do.
    """

    frames: Mapping[Path, np.ndarray]

    def __call__(self, path: Path, choose: Choose | ByTime, decoder: str) -> DecodedClip:
        """As `read_clip`."""
        if path not in self.frames:
            return read_clip(path, choose, decoder)
        given = self.frames[path]
        count = len(given)
        chosen = choose.choose(FrameTimes(count, None, None)) if isinstance(choose, ByTime) else choose(count)
        indices = tuple(int(index) % count for index in chosen)
        return DecodedClip(given[list(indices)], indices, count, None, "given", "")


def checked_frames(frames: Any) -> np.ndarray:
    """Decoded frames as an array. Raises UsageError for anything but uint8 [T, H, W, 3]."""
    array = frames.detach().cpu().numpy() if isinstance(frames, torch.Tensor) else frames
    shape = list(array.shape)
    if array.dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3 and min(shape) > 0:
        return np.ascontiguousarray(array)
    hint = "; frames.permute(0, 2, 3, 1) gives it" if len(shape) == 4 and shape[1] == 3 else ""
    raise UsageError(
        f"frames {array.dtype} {shape}: expected the frames of one video as they were decoded, uint8 [T, H, W, 3], RGB"
        + hint
    )
