"""What a video file holds, found out by reading its packets without decoding them, and the protocol of a decoder."""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from petl_bench.data.decoding.orientation import UPRIGHT, Orientation, of_frame
from petl_bench.data.decoding.shards import Member, ffmpeg_name, member_at, opened

#: MPEG-4 "not coded" placeholders, left behind if an encoder packed two frames into one packet, are this small
#: (bytes).
_PLACEHOLDER_BYTES = 12

#: Codecs in which decord was found to give the right picture for every frame number (AV1 is here to be tried and
#: reported).
_SEEKABLE_CODECS = {"h264", "hevc", "vp8", "vp9", "mpeg4", "av1", "libdav1d", "libaom-av1"}
#: Containers, as FFmpeg names them, in which it was found so. In others, such as MPEG transport streams, MXF and FLV,
#: it gives neighbours of the frames asked for, as soon as there are B-frames.
_SEEKABLE_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
#: AVI stores no times: there it was found so with this codec, and is as wrong with the others.
_SEEKABLE_IN_AVI = {"mpeg4"}

#: Grey levels of more than 8 bit, whose range decord takes for the full one whatever the file says.
_DEEP_GREY = re.compile(r"gray(?:9|1[0246])(?:le|be)")
#: Transfer characteristics of high dynamic range (ISO 23091-2), whose pictures look flat and dark when read as others.
_HIGH_RANGE = {16: "PQ", 18: "HLG"}


class DecodeFailure(Exception):  # noqa: N818 - an answer between the parts of this package, never shown as it is
    """One decoder could not read one file; the text is its own words, cut to one short line."""


class FewerFrames(DecodeFailure):
    """The file ends before the number of frames that its packets promised."""

    def __init__(self, num_frames: int) -> None:
        super().__init__(f"only {num_frames} frames can be decoded")
        self.num_frames = num_frames


@dataclass(frozen=True)
class StreamInfo:
    """The best video stream of a file.

    `packets` counts the packets that carry a picture to show, `num_frames` the frames that a decoder is expected to
    make of them; `declared` is the header's own count (0 if it has none), `discarded` the pictures that the
    container asks not to show. `open_groups`: some key frame is followed by pictures that are shown before it (open
    groups of pictures). `fps` is None if the file does not say. `orientation` is how pictures are turned to stand
    upright, `stretched` what their display matrix asks for besides ("" for nothing), `high_range` the transfer curve of
    high dynamic range ("" for an ordinary one), which is not undone. `pixel_format` is FFmpeg's name. `stamps` are the
    time stamps of the packets that `packets` counts, in the file's order and in units of `time_base` seconds.
    """

    codec: str
    num_frames: int
    packets: int
    declared: int
    discarded: int
    open_groups: bool
    fps: float | None
    container: str
    orientation: Orientation
    stretched: str
    high_range: str
    pixel_format: str
    stamps: tuple[int | None, ...] = field(default=(), repr=False)
    time_base: float = 0.0

    def seconds(self, num_frames: int) -> np.ndarray | None:
        """When each of the first `num_frames` frames is shown, in seconds from the first one: float64 `[N]`.

        By time stamps; by the mean rate if there is not one for each frame, in ascending order. None if the file does
        not say its rate either.
        """
        if num_frames <= len(self.stamps) == self.num_frames and None not in self.stamps:
            shown = sorted(stamp for stamp in self.stamps if stamp is not None)[:num_frames]
            if all(earlier < later for earlier, later in pairwise(shown)):
                return (np.array(shown, dtype=np.float64) - shown[0]) * self.time_base
        if num_frames == 1:
            return np.zeros(1)
        return None if self.fps is None else np.arange(num_frames) / self.fps

    @property
    def notes(self) -> list[str]:
        """Anomalies of the pictures themselves, independent of seeking."""
        deep_grey = f"grey levels of more than 8 bit ({self.pixel_format})" if self._is_deep_grey else ""
        mirrored = f"{self.orientation.words} (metadata)" if self.orientation.mirrored else ""
        high_range = f"high dynamic range ({self.high_range}), not mapped" if self.high_range else ""
        return [words for words in (deep_grey, mirrored, self.stretched, high_range) if words]

    def needs_pyav(self, decoder: str) -> bool:
        """Whether PyAV must read the file, whatever decoder was asked for: others would give other pictures.

        decord turns by quarters and does not mirror; whether torchcodec turns depends on its version.
        """
        if decoder == "torchcodec" and self.orientation != UPRIGHT:
            return True
        return self.orientation.mirrored or bool(self.stretched) or self._is_deep_grey

    @property
    def oddity(self) -> str:
        """Why seeking by frame number cannot be trusted in this file; empty for an ordinary file.

        decord gives wrong pictures without a word in such files (seen on every packed DivX file of HMDB-51, and
        wherever it jumps to a key frame of an open group).
        """
        if self.num_frames != self.packets:
            return f"{self.packets} packets hold {self.num_frames} frames (packed B-frames)"
        if self.discarded:
            return f"{self.discarded} frames are marked as not to be shown"
        if self.open_groups:
            return "open groups of pictures"
        if self.declared and self.declared != self.packets:
            return f"the header says {self.declared} frames, the file holds {self.packets}"
        if self.codec not in _SEEKABLE_CODECS:
            return f"{self.codec} is not sought by frame number"
        if self.container not in _SEEKABLE_CONTAINERS and not self._is_seekable_avi:
            return f"{self.codec} in {self.container} is not sought by frame number"
        return ""

    @property
    def _is_deep_grey(self) -> bool:
        return _DEEP_GREY.fullmatch(self.pixel_format) is not None

    @property
    def _is_seekable_avi(self) -> bool:
        return self.container == "avi" and self.codec in _SEEKABLE_IN_AVI


class Decoder(Protocol):
    """Reads chosen frames of one file with a reader that lives for that file only, on one thread."""

    name: str

    def decode(self, path: Path, info: StreamInfo, indices: Sequence[int]) -> tuple[np.ndarray, str]:
        """Frames uint8 `[T, H, W, 3]`, upright RGB, in the order of `indices`, and a note about damage ("" for none).

        Raises DecodeFailure, or FewerFrames if an index lies past the real end.
        """
        ...


def short_words(error: BaseException | str, limit: int = 200) -> str:
    """A library's message as one printable line without time stamps, source paths or binary dumps."""
    text = str(error) or type(error).__name__
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+?:\d+: ", "", text)
    text = re.sub(r"\[Errno [^\]]*\] ", "", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_file(path: Path) -> None:
    """Raise DecodeFailure if `path` cannot be a video: missing, not a regular file, empty, or a web page."""
    if _size(path) == 0:
        raise DecodeFailure("the file is empty (0 bytes)")
    try:
        with opened(path) as file:
            start = file.read(64).lstrip().lower()
    except OSError as error:
        raise DecodeFailure(error.strerror or str(error)) from None
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DecodeFailure("the file is a web page, not a video (a download that failed?)")


def _size(path: Path) -> int:
    """The bytes of a regular file, or of a member of a shard. Raises DecodeFailure if it is neither."""
    member = found_member(path)
    if member is not None:
        return member.size
    try:
        status = path.stat()
    except OSError as error:
        raise DecodeFailure(error.strerror or str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise DecodeFailure("not a regular file")
    return status.st_size


def found_member(path: Path) -> Member | None:
    """`member_at` a path. Raises DecodeFailure if there is none in the shard that the path names."""
    try:
        return member_at(path)
    except OSError as error:
        raise DecodeFailure(error.strerror or str(error)) from None


def open_container(path: Path) -> Any:
    """An open PyAV container with its messages kept off stderr. Raises DecodeFailure."""
    import av

    av.logging.set_level(av.logging.PANIC)
    member = found_member(path)
    # A playlist that calls itself a video must not send FFmpeg elsewhere, hence no other protocols.
    protocols = "file" if member is None else "file,subfile"
    name = ffmpeg_name(path.absolute(), member)
    try:
        return av.open(name, metadata_errors="replace", options={"protocol_whitelist": protocols})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeFailure(short_words(str(error).replace(f": '{name}'", ""))) from None


def best_video_stream(container: Any) -> Any:
    """The stream that FFmpeg calls the best one, decoded on one thread. Raises DecodeFailure if there is none."""
    stream = container.streams.best("video")
    if stream is None:
        raise DecodeFailure("the file has no video stream")
    stream.thread_count = 1
    return stream


def inspect_stream(path: Path) -> StreamInfo:
    """Read the packets of `path`, and decode the first frame: about three milliseconds for a short clip.

    Raises DecodeFailure.
    """
    check_file(path)
    with open_container(path) as container:
        stream = best_video_stream(container)
        codec, declared = stream.codec_context.name, stream.frames
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else None
        packets, (orientation, stretched) = _read_packets(container, stream)
        time_base = float(stream.time_base or 0)
        name, curve, pixels = container.format.name, stream.codec_context.color_trc, stream.codec_context.pix_fmt
    shown = sum(not packet.discard for packet in packets)
    placeholders = any(packet.size <= _PLACEHOLDER_BYTES for packet in packets)
    num_frames = _count_frames(path) if codec == "mpeg4" and placeholders else shown
    if num_frames == 0:
        raise DecodeFailure("the file has a header but no frames")
    return StreamInfo(
        codec=codec,
        num_frames=num_frames,
        packets=shown,
        declared=declared,
        discarded=len(packets) - shown,
        open_groups=_has_open_groups(packets),
        fps=fps,
        container=name,
        orientation=orientation,
        stretched=stretched,
        high_range=_HIGH_RANGE.get(curve, ""),
        pixel_format=pixels or "",
        stamps=tuple(packet.pts for packet in packets if not packet.discard),
        time_base=time_base,
    )


class _Packet(NamedTuple):
    size: int
    pts: int | None
    key: bool
    discard: bool


def _read_packets(container: Any, stream: Any) -> tuple[list[_Packet], tuple[Orientation, str]]:
    """All packets, and what the first frame says of how pictures are turned (see `of_matrix`)."""
    import av

    packets: list[_Packet] = []
    turned = None
    try:
        for packet in container.demux(stream):
            if packet.size > 0:
                packets.append(_Packet(packet.size, packet.pts, packet.is_keyframe, packet.is_discard))
            turned = turned or _turned(packet)
    except (av.FFmpegError, ValueError):
        pass  # a damaged tail: what came before it counts, and decoding says the rest
    return packets, turned or (UPRIGHT, "")


def _turned(packet: Any) -> tuple[Orientation, str] | None:
    """What the first frame that comes out with this packet says; None if none comes, or the packet is damaged."""
    import av

    try:
        return next((of_frame(frame) for frame in packet.decode()), None)
    except (av.FFmpegError, ValueError, MemoryError):
        return None


def _has_open_groups(packets: Sequence[_Packet]) -> bool:
    """Whether a picture that follows a key frame in the file is shown before it."""
    key_time: int | None = None
    for packet in packets:
        if packet.key:
            key_time = packet.pts
        elif key_time is not None and packet.pts is not None and packet.pts < key_time:
            return True
    return False


def _count_frames(path: Path) -> int:
    """How many frames come out of a packed MPEG-4 stream: its packets do not say, only decoding does."""
    import av

    count = 0
    with open_container(path) as container:
        try:
            for _ in container.decode(best_video_stream(container)):
                count += 1
        except (av.FFmpegError, ValueError):
            pass  # as above
    return count
