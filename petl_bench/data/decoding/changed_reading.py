"""Which video files are read otherwise than up to version 0.1, recognised by a few bytes: their fingerprints differ.

Fingerprints enter the keys of trials, so that numbers from other pictures get other keys. All other files keep theirs.
frames_reader.py does the same for folders of frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from petl_bench.data.decoding.orientation import UPRIGHT, Orientation, of_matrix
from petl_bench.data.decoding.shards import opened

#: What an ISO base media file (MP4, MOV, 3GP) may begin with.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
#: Boxes that are looked at in one box; a header has a handful.
_MOST_BOXES = 100
#: FourCC of the codecs whose frames were sought by decord in AVI as well, in lower case.
_SOUGHT_IN_AVI = (b"h264", b"x264", b"avc1", b"hevc", b"h265", b"x265", b"hev1", b"hvc1", b"vp80", b"vp90", b"av01")
_FLV_PICTURE, _FLV_H264 = 9, 7
_TS_SYNC, _TS_PACKET, _M2TS_PACKET = 0x47, 188, 192
_QUARTERS = (UPRIGHT, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True))
#: Where the matrix stands in a box of version 0; in one of version 1, three times have four bytes more each.
_MOVIE_MATRIX, _TRACK_MATRIX, _WIDER_TIMES = 36, 40, 12


def reading_of_video(path: str, start: bytes) -> str:
    """What is done with the file's pictures that was not done before; "" for nothing. `start` are its first bytes.

    Mirrored pictures are turned; frames of MPEG transport streams, and of H.264 and newer codecs in AVI and FLV, are
    counted from the start instead of sought. Raises OSError.
    """
    if start[4:8] in _FIRST_BOXES:
        with opened(path) as file:
            turned = any(of_matrix(matrix)[0] != _turn_of_before(matrix) for matrix in _display_matrices(file))
        return "upright" if turned else ""
    counted = _is_transport_stream(start) or _is_avi_of_new_codec(start) or _is_flv_of_new_codec(start)
    return "in order" if counted else ""


def _is_transport_stream(start: bytes) -> bool:
    return any(
        len(start) > first + step and start[first] == start[first + step] == _TS_SYNC
        for first, step in ((0, _TS_PACKET), (4, _M2TS_PACKET))
    )


def _is_avi_of_new_codec(start: bytes) -> bool:
    """AVI whose stream of pictures ("vids", then the FourCC of its codec) is of a codec younger than AVI."""
    at = start.find(b"vids")
    return start[:4] == b"RIFF" and at > 0 and start[at + 4 : at + 8].lower() in _SOUGHT_IN_AVI


def _is_flv_of_new_codec(start: bytes) -> bool:
    """FLV whose first picture is H.264 (codec 7) or of the extended header, not one of Flash's own codecs."""
    if start[:3] != b"FLV":
        return False
    tag = int.from_bytes(start[5:9]) + 4  # tags follow the header, each behind the size of the one before
    for _ in range(_MOST_BOXES):
        head = start[tag : tag + 12]
        if len(head) < 12:
            return False
        if head[0] == _FLV_PICTURE:
            return head[11] & 0x0F == _FLV_H264 or head[11] >= 0x80
        tag += 11 + int.from_bytes(head[1:4]) + 4
    return False


def _turn_of_before(matrix: Sequence[float]) -> Orientation:
    """The nearest quarter turn to FFmpeg's one angle of a matrix, mirrored or not."""
    a, b, _, c, d = matrix[:5]
    columns = math.hypot(a, c), math.hypot(b, d)
    if 0 in columns:
        return UPRIGHT
    return _QUARTERS[round(math.atan2(b / columns[1], a / columns[0]) / (math.pi / 2)) % 4]


# The header of an ISO base media file (ISO 14496-12). Sizes in it are not trusted: whatever they say, little is read.


def _display_matrices(file: BinaryIO) -> Iterator[tuple[float, ...]]:
    """The matrix of every track with a picture, times that of the movie: nine values, 16.16 fixed point."""
    size = file.seek(0, 2)
    movie = next((span for kind, *span in _boxes(file, 0, size) if kind == b"moov"), (0, 0))
    of_movie = None
    for kind, first, last in _boxes(file, *movie):
        if kind == b"mvhd":
            of_movie = _matrix(file, first, _MOVIE_MATRIX)
        elif kind == b"trak":
            of_track = _track_matrix(file, first, last)
            if of_track is not None:
                yield of_track if of_movie is None else _product(of_track, of_movie)


def _track_matrix(file: BinaryIO, first: int, last: int) -> tuple[int, ...] | None:
    """The matrix of a track; None for one without width and height, such as sound."""
    heads = (begin for kind, begin, _ in _boxes(file, first, last) if kind == b"tkhd")
    head = next(heads, None)
    found = None if head is None else _matrix(file, head, _TRACK_MATRIX)
    return found if found is not None and any(found[9:]) else None


def _boxes(file: BinaryIO, first: int, last: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of every box between two places of the file, and where its content begins and ends."""
    for _ in range(_MOST_BOXES):
        file.seek(first)
        head = file.read(16)
        if len(head) < 8 or first + 8 > last:
            return
        size, kind, header = int.from_bytes(head[:4]), head[4:8], 8
        if size == 1:
            size, header = int.from_bytes(head[8:16]), 16
        end = first + size if size else last
        if end < first + header or end > last:
            return
        yield kind, first + header, end
        first = end


def _matrix(file: BinaryIO, first: int, at: int) -> tuple[int, ...] | None:
    """Eleven whole numbers: the matrix, and what follows it (width and height in a track)."""
    file.seek(first)
    content = file.read(100)
    at += _WIDER_TIMES if content[:1] == b"\x01" else 0
    return struct.unpack(">11i", content[at : at + 44]) if len(content) >= at + 44 else None


def _product(track: Sequence[int], movie: Sequence[int]) -> tuple[float, ...]:
    """Of two 3 x 3 matrices in fixed point, 16 bits behind the point and 30 in the last column."""
    points = (1 << 16, 1 << 16, 1 << 30)
    return tuple(
        sum(track[3 * row + i] * movie[3 * i + column] / points[i] for i in range(3))
        for row in range(3)
        for column in range(3)
    )
