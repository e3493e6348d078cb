"""Which files are clips, by their names: extensions of videos and images, and the names of numbered frames."""

from __future__ import annotations

import re

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
#: The name of a frame in a folder of frames: its series ("img_", "frame_", "") and its number.
FRAME_NAME = re.compile(r"((?:img|image|frame)?[_-]?)([0-9]{1,9})\.(?:jpe?g|png)", re.IGNORECASE)


def frame_number(name: str) -> int | None:
    """The number in the name of a frame's file (`img_00012.jpg`: 12); None if the name is not a frame's."""
    match = FRAME_NAME.fullmatch(name)
    return int(match[2]) if match else None


def without_video_suffix(path: str) -> str:
    """The path without its extension if that is a video's; other dots in a name stay."""
    stem, dot, suffix = path.rpartition(".")
    return stem if f"{dot}{suffix.lower()}" in VIDEO_SUFFIXES else path
