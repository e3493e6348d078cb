"""Which files are clips, by their names: extensions of videos and images, and the names of numbered frames."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

#: Each of them is written and read by a test. An animation (.gif) is a video; a .webp file is a still image.
VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m1v", ".m2t", ".m2ts", ".m2v"),
        *(".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob"),
        *(".webm", ".wmv"),
    }
)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

#: Text, number, and a closing bracket if there is one: `img_00012.jpg`, `clip01_00012.png`, `frame (12).jpg`.
_NUMBERED = re.compile(r"(.*?(?<![0-9]))([0-9]{1,20})[)\]]?\.([A-Za-z]+)", re.DOTALL)
#: A number from here on is a time (seconds of the epoch, or a part of them), not a count.
FIRST_TIME = 10**9
#: What the usual tools write in front of the number of a frame.
_USUAL_SERIES = re.compile(r"(?:img|image|frame)?[_-]?")
#: Optical flow has files of its own for each direction: `flow_x_00001.jpg`, `x_00001.jpg`, `clip01_flow_y_00001.jpg`.
_FLOW_SERIES = re.compile(r"(?:.*[^a-z])?(?:opt(?:ical)?[ _-]?)?flow[ _-]?[xyuv]?(?:[^a-z].*)?|[xyuv][ _-]?", re.DOTALL)


class FrameName(NamedTuple):
    """The name of a frame's file: its series is the text in front of the number, in lower case."""

    series: str
    number: int

    @property
    def is_usual(self) -> bool:
        """Whether the usual tools name their frames so: `img_`, `image_`, `frame_`, or nothing."""
        return _USUAL_SERIES.fullmatch(self.series) is not None


def frame_name(name: str) -> FrameName | None:
    """What the name of an image says of a frame; None if it has no number, or is a field of optical flow."""
    match = _NUMBERED.fullmatch(name)
    if match is None or f".{match[3].lower()}" not in IMAGE_SUFFIXES:
        return None
    series = match[1].lower()
    return None if _FLOW_SERIES.fullmatch(series) else FrameName(series, int(match[2]))


def frames_among(names: Iterable[str]) -> list[tuple[FrameName, str]]:
    """The frames among the files of a folder, in the order of their numbers, whether they are one series or not.

    If some have a usual name, these alone: what else is numbered (masks, depth, a poster) lies beside them.
    """
    frames = [(found, name) for name in names if (found := frame_name(name)) is not None]
    usual = [frame for frame in frames if frame[0].is_usual]
    return sorted(usual or frames, key=lambda frame: (frame[0].number, frame[1]))


def hold_a_series(images: Iterable[str]) -> bool:
    """Whether the images of a folder, by their names, are the frames of a clip.

    One with a usual name decides. Else there must be two at least, in one series of which half is there: figures and
    photos have numbers too.
    """
    numbers: dict[str, list[int]] = {}
    for found in filter(None, map(frame_name, images)):
        if found.is_usual:
            return True
        numbers.setdefault(found.series, []).append(found.number)
    if len(numbers) != 1:
        return False
    (some,) = numbers.values()
    return len(some) > 1 and (min(some) >= FIRST_TIME or max(some) - min(some) < 2 * len(some))


def clip_stem(path: str) -> str:
    """The name of a clip or file without folders and without a video's extension."""
    return without_video_suffix(path.rpartition("/")[2])


def without_video_suffix(path: str) -> str:
    """The path without its extension if that is a video's; other dots in a name stay."""
    stem, dot, suffix = path.rpartition(".")
    return stem if f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES else path
