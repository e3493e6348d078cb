"""Every kind of file that counts as a video is found by its name and gives its frames, each the one it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from petl_bench.data.decoding.clips import read_clip
from petl_bench.data.decoding.file_types import VIDEO_SUFFIXES
from petl_bench.data.found.fingerprints import Fingerprints
from petl_bench.data.found.tree import walk
from petl_bench.errors import DataError
from tests.data.test_orientation import fingerprint_of_before

HAVE_DECORD = importlib.util.find_spec("decord") is not None

#: Groups of ten pictures with B-frames, whose seeking goes wrong first.
H264 = {"codec": "libx264", "options": {"g": "10", "bf": "2"}}
HEVC = {"codec": "libx265", "options": {"x265-params": "keyint=10:open-gop=0:log-level=none"}}
MPEG2 = {"codec": "mpeg2video", "options": {"g": "10", "b": "4000000"}}
MPEG4 = {"codec": "mpeg4", "options": {"g": "10", "qscale": "2"}}
VP8 = {"codec": "libvpx", "options": {"g": "10", "b": "4000000"}}
MPEG1 = {"codec": "mpeg1video", "options": {"b": "4000000"}}
FLV1 = {"codec": "flv", "options": {"qscale": "2"}}
M2TS = {**H264, "container_options": {"mpegts_m2ts_mode": "1"}}

#: Extension, FFmpeg's name of the container, how it is written.
FILES: list[tuple[str, str, dict[str, Any]]] = [
    ("3g2", "3g2", H264),
    ("3gp", "3gp", H264),
    ("3gp", "3gp", {"codec": "h263", "height": 96, "width": 128, "options": {"qscale": "2"}}),
    ("asf", "asf", {"codec": "wmv2", "options": {"qscale": "2"}}),
    ("avi", "avi", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    ("avi", "avi", H264),
    ("divx", "avi", MPEG4),
    ("dv", "dv", {"codec": "dvvideo", "height": 576, "width": 720, "pixel_format": "yuv420p"}),
    ("f4v", "f4v", H264),
    ("flv", "flv", FLV1),
    ("flv", "flv", H264),
    ("gif", "gif", {"codec": "gif", "pixel_format": "rgb8"}),
    ("m1v", "mpeg1video", MPEG1),
    ("m2t", "mpegts", MPEG2),
    ("m2ts", "mpegts", M2TS),
    ("m2v", "mpeg2video", MPEG2),
    ("m4v", "mp4", H264),
    ("m4v", "m4v", MPEG4),
    ("mkv", "matroska", HEVC),
    ("mkv", "matroska", {"codec": "ffv1"}),
    ("mov", "mov", H264),
    ("mp4", "mp4", HEVC),
    ("mpe", "mpeg", MPEG1),
    ("mpeg", "mpeg", MPEG2),
    ("mpg", "mpeg", MPEG2),
    ("mts", "mpegts", H264),
    ("mxf", "mxf", MPEG2),
    ("mxf", "mxf", H264),
    ("ogv", "ogv", VP8),
    ("qt", "mov", H264),
    ("ts", "mpegts", H264),
    ("ts", "mpegts", HEVC),
    ("vob", "vob", MPEG2),
    ("webm", "webm", VP8),
    ("wmv", "asf", {"codec": "wmv1", "options": {"qscale": "2"}}),
]
each_file = pytest.mark.parametrize(
    ("ending", "container", "how"), FILES, ids=lambda value: str(value) if len(value) < 9 else ""
)


def test_the_table_names_every_extension() -> None:
    assert {f".{ending}" for ending, *_ in FILES} == VIDEO_SUFFIXES


@each_file
def test_a_video_is_found_and_read(
    tmp_path: Path,
    write_video: Callable[..., Path],
    read_numbers: Callable[[np.ndarray], list[int]],
    ending: str,
    container: str,
    how: dict[str, Any],
) -> None:
    count = 12 if ending == "dv" else 40  # of large frames
    path = write_video(tmp_path / f"clip.{ending.upper()}", count, container=container, **how)
    assert walk(tmp_path).files == (path.name,)
    clip = read_clip(path, range)
    assert clip.num_frames == count
    assert read_numbers(clip.frames) == list(range(count))
    assert read_numbers(read_clip(path, lambda count: [count - 1]).frames) == [count - 1]
    draws = np.random.default_rng(0)
    for _ in range(4):
        indices = draws.integers(0, count, 8).tolist()
        assert read_numbers(read_clip(path, lambda _, picks=indices: picks).frames) == indices


def test_frames_of_a_gif_are_whole_pictures_however_little_each_one_stores(tmp_path: Path) -> None:
    """Every frame after the first holds a changed corner, and is shown for another time."""
    from PIL import Image

    pictures = [Image.new("RGB", (32, 16), (200, 0, 0)) for _ in range(4)]
    for index, picture in enumerate(pictures):
        picture.paste((0, 0, 250), (0, 0, 8 * index, 8))
    path = tmp_path / "clip.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40, 400, 100, 1000], disposal=1)
    clip = read_clip(path, range)
    assert clip.num_frames == 4
    for frame, picture in zip(clip.frames, pictures, strict=True):
        assert np.abs(frame.astype(int) - np.asarray(picture)).max() <= 8


@pytest.mark.parametrize(
    ("pixel_format", "levels"),
    [("gray16le", 65535), ("gray10le", 1023), ("yuv420p10le", None), ("yuv420p12le", None), ("gbrp16le", 65535)],
)
def test_more_than_eight_bits_keep_their_range(tmp_path: Path, pixel_format: str, levels: int | None) -> None:
    path = tmp_path / "clip.mkv"
    ramp = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8)[None, :, None], (16, 1, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 16, pixel_format
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="rgb24")))
        container.mux(stream.encode(None))
    for decoder in ("pyav", *(["decord"] if HAVE_DECORD and levels is None else [])):
        frame = read_clip(path, range, decoder).frames[0].astype(int)
        assert np.abs(frame[4] - ramp[4]).max() <= 3, decoder


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("libx265", "gray10le"), ("libx265", "yuv420p12le"), ("libx264", "yuv420p10le")]
)
@pytest.mark.parametrize("decoder", ["auto", "pyav", *(["decord"] if HAVE_DECORD else [])])
def test_limited_and_full_range_are_told_apart(
    tmp_path: Path, codec: str, pixel_format: str, color_range: int, decoder: str
) -> None:
    path = tmp_path / "clip.mp4"
    ramp = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8)[None, :, None], (64, 1, 3))
    with av.open(str(path), "w") as container:
        # Without B-frames: now and then x265 gives a lone picture a decoding time after its presentation time.
        quiet = {"crf": "4", "x265-params": "bframes=0:log-level=none"}
        stream = container.add_stream(codec, rate=25, options=quiet)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixel_format
        stream.codec_context.color_range = color_range
        frame = av.VideoFrame.from_ndarray(ramp, format="rgb24")
        frame = frame.reformat(format=pixel_format, dst_color_range=color_range)
        frame.color_range = color_range
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frame = read_clip(path, range, decoder).frames[0].astype(int)
    assert np.abs(frame[20] - ramp[20]).max() <= 4


@pytest.mark.parametrize(("curve", "words"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", "")])
def test_high_dynamic_range_is_said(tmp_path: Path, write_video: Callable[..., Path], curve: str, words: str) -> None:
    path = write_video(tmp_path / "clip.mp4", 2, options={"x264-params": f"transfer={curve}"})
    reason = read_clip(path, range).reason
    assert (f"high dynamic range ({words})" in reason) is bool(words)


@pytest.mark.parametrize(
    ("ending", "container", "how", "changed"),
    [
        ("ts", "mpegts", H264, True),
        ("ts", "mpegts", HEVC, True),
        ("m2ts", "mpegts", M2TS, True),
        ("avi", "avi", H264, True),
        ("avi", "avi", MPEG4, False),
        ("mkv", "matroska", HEVC, False),
        ("mp4", "mp4", H264, False),
        ("flv", "flv", H264, True),
        ("flv", "flv", FLV1, False),
        ("mpg", "mpeg", MPEG2, False),
        ("webm", "webm", VP8, False),
    ],
)
def test_files_whose_frames_were_sought_wrongly_get_another_fingerprint_than_before(
    tmp_path: Path, write_video: Callable[..., Path], ending: str, container: str, how: dict[str, Any], changed: bool
) -> None:
    path = write_video(tmp_path / f"clip.{ending}", 12, container=container, **how)
    found, _ = Fingerprints(tmp_path, tmp_path / "cache").of([path.name])
    assert (found[path.name].fingerprint != fingerprint_of_before(path)) is changed


@pytest.mark.skipif(not HAVE_DECORD, reason="decord has no wheel for this machine")
@each_file
def test_decord_gives_the_frames_asked_for_or_refuses(
    tmp_path: Path,
    write_video: Callable[..., Path],
    read_numbers: Callable[[np.ndarray], list[int]],
    ending: str,
    container: str,
    how: dict[str, Any],
) -> None:
    path = write_video(tmp_path / f"clip.{ending}", 12, container=container, **how)
    for picks in ([11, 3, 7], [9, 10, 0]):
        try:
            assert read_numbers(read_clip(path, lambda _, picks=picks: picks, "decord").frames) == picks
        except DataError as error:
            assert "decord: " in str(error)
