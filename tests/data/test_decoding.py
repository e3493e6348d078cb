"""Frames of made-up files: the right ones, from every decoder, or one clear error."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from petl_bench.data.decoding.clips import DecodedClip, read_clip
from petl_bench.errors import DataError, UsageError

HAVE_DECORD = importlib.util.find_spec("decord") is not None
needs_decord = pytest.mark.skipif(not HAVE_DECORD, reason="decord has no wheel for this machine")
DECODERS = [pytest.param("decord", marks=needs_decord), "pyav"]

KINDS = {
    "ordinary": ("mp4", {}),
    "b-frames": ("mp4", {"options": {"g": "12", "bf": "3"}}),
    "open-gop": ("mp4", {"options": {"x264-params": "keyint=10:min-keyint=10:open-gop=1:bframes=3"}}),
    "matroska": ("mkv", {"options": {"g": "10"}}),
    "full-chroma": ("mp4", {"pixel_format": "yuv444p"}),
    "ten-bit": ("mp4", {"pixel_format": "yuv420p10le"}),
    "vp9": ("webm", {"codec": "libvpx-vp9", "options": {"g": "10", "deadline": "realtime", "cpu-used": "8"}}),
    "vp9-odd-width": (
        "webm",
        {"codec": "libvpx-vp9", "width": 95, "options": {"deadline": "realtime", "cpu-used": "8"}},
    ),
    "mpeg4-avi": ("avi", {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}}),
    "mpeg1": ("mpg", {"codec": "mpeg1video", "options": {"g": "12", "b": "4000000"}}),
}
#: The standards of MPEG-1 and MPEG-4 part 2 leave rounding to the decoder: grey levels that two FFmpeg versions may
#: differ.
TOLERANCE = {"mpeg4-avi": 4, "mpeg1": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {kind: write_video(folder / f"{kind}.{ending}", 40, **how) for kind, (ending, how) in KINDS.items()}


def picked(*indices: int) -> Callable[[int], list[int]]:
    return lambda num_frames: list(indices)


@pytest.mark.parametrize("decoder", [*DECODERS, "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_the_one_it_says(
    files: dict[str, Path], kind: str, decoder: str, read_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    clip = read_clip(files[kind], range, decoder)
    assert clip.num_frames == 40
    assert clip.fps == pytest.approx(25)
    assert clip.frames.dtype == np.uint8
    assert read_numbers(clip.frames) == list(clip.indices) == list(range(40))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", KINDS)
def test_scattered_frames_in_any_order_are_those_of_the_whole(files: dict[str, Path], kind: str, decoder: str) -> None:
    whole = read_clip(files[kind], range, decoder).frames
    draws = np.random.default_rng(0)
    for _ in range(6):
        indices = draws.integers(0, 40, 8).tolist()
        assert np.array_equal(read_clip(files[kind], picked(*indices), decoder).frames, whole[indices])


@needs_decord
@pytest.mark.parametrize("kind", KINDS)
def test_the_decoders_agree(files: dict[str, Path], kind: str) -> None:
    one, two = (read_clip(files[kind], range, decoder).frames.astype(int) for decoder in ("decord", "pyav"))
    # Of ten bits, the two scalers interpolate the colour of the last row differently.
    rows = slice(-1) if kind == "ten-bit" else slice(None)
    assert np.abs(one - two)[:, rows].max() <= TOLERANCE.get(kind, 0)
    assert np.abs(one - two).max() <= 4


@needs_decord
def test_frames_of_odd_height_differ_little_between_decoders(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "odd.webm", 5, codec="libvpx-vp9", height=75, width=101)
    one, two = (read_clip(path, range, decoder).frames.astype(int) for decoder in ("decord", "pyav"))
    assert one.shape == (5, 75, 101, 3)
    assert np.abs(one - two).mean() < 1


def test_an_ordinary_file_needs_no_remark(files: dict[str, Path]) -> None:
    clip = read_clip(files["ordinary"], picked(0))
    assert clip.decoder == ("decord" if HAVE_DECORD else "pyav")
    assert bool(clip.reason) is not HAVE_DECORD


def test_a_codec_without_frame_numbers_goes_to_pyav_and_says_so(files: dict[str, Path]) -> None:
    clip = read_clip(files["mpeg1"], picked(3, 30))
    assert clip.decoder == "pyav"
    assert "mpeg1video" in clip.reason


def test_an_index_past_the_end_wraps_round(files: dict[str, Path]) -> None:
    assert read_clip(files["ordinary"], picked(39, 40, 85)).indices == (39, 0, 5)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_very_short_files(tmp_path: Path, write_video: Callable[..., Path], count: int, decoder: str) -> None:
    clip = read_clip(write_video(tmp_path / "short.mp4", count), picked(0, 1, 2, 3, 4, 5, 6, 7), decoder)
    assert clip.num_frames == count
    assert clip.indices == tuple(i % count for i in range(8))
    assert clip.frames.shape == (8, 64, 96, 3)


@pytest.mark.parametrize("decoder", DECODERS)
def test_uneven_times_do_not_move_frame_numbers(
    tmp_path: Path, write_video: Callable[..., Path], decoder: str, read_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    times = (np.cumsum(np.random.default_rng(1).integers(1, 9, 30)) + 40).tolist()
    path = write_video(tmp_path / "uneven.mp4", 30, times=times, options={"g": "8"})
    clip = read_clip(path, picked(29, 3, 17), decoder)
    assert (clip.num_frames, read_numbers(clip.frames)) == (30, [29, 3, 17])


def test_awkward_names(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    for name in ("-starts with a dash, ünïcode #1 [x] & (y)!.mp4", "100%_http:__x.mp4"):
        assert read_clip(write_video(tmp_path / name, 3), range).num_frames == 3


def _no_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for position in range(10):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, 1024 * position, Fraction(1, 16000)
            container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "the folder holds no numbered frames"),
    "pipe": (lambda path: os.mkfifo(path), "not a regular file"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes"),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html><html><body>404</body></html>"), "web page"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)), "Invalid data"),
    "sound": (_no_video, "no video stream"),
    "playlist": (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/x.ts\n#EXT-X-ENDLIST\n"), ""),
}


@pytest.mark.parametrize("decoder", ["auto", *DECODERS])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_video_is_one_clear_line(tmp_path: Path, kind: str, decoder: str) -> None:
    path = tmp_path / "bad.mp4"
    make, words = BAD_FILES[kind]
    make(path)
    with pytest.raises(DataError) as caught:
        read_clip(path, range, decoder)
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert message.isprintable()
    assert len(message) < 400 + len(str(path))


def test_an_unreadable_file_names_every_decoder_that_was_tried(files: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(files["ordinary"].read_bytes())
    # Every length prefix of the stream is wrong, the index is whole.
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = b"\xff" * (data.index(b"moov") - 4 - start)
    path = tmp_path / "hollow.mp4"
    path.write_bytes(data)
    with pytest.raises(DataError, match="pyav: ") as caught:
        read_clip(path, range)
    assert ("decord: " in str(caught.value)) is HAVE_DECORD


def test_a_file_cut_short_says_how_much_is_there(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    path.write_bytes(files["mpeg4-avi"].read_bytes()[: files["mpeg4-avi"].stat().st_size * 8 // 10])
    clip = read_clip(path, picked(0, 5, 10))
    assert 10 < clip.num_frames < 40
    assert clip.decoder == "pyav"
    assert f"the header says 40 frames, the file holds {clip.num_frames}" in clip.reason


def test_random_damage_never_does_more_than_an_error(files: dict[str, Path], tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    outcomes = set()
    for kind in ("b-frames", "vp9", "mpeg4-avi", "mpeg1"):
        original = np.frombuffer(files[kind].read_bytes(), dtype=np.uint8)
        for amount in (1, 10, 200):
            data = original.copy()
            places = draws.integers(0, len(data), amount)
            data[places] ^= draws.integers(1, 256, amount).astype(np.uint8)
            path = tmp_path / f"damaged-{kind}-{amount}{files[kind].suffix}"
            path.write_bytes(data.tobytes())
            outcomes.add(_frames_or_error(path))
    assert outcomes == {"frames", "error"}


def _frames_or_error(path: Path) -> str:
    try:
        clip = read_clip(path, lambda count: [count * i // 8 for i in range(8)])
    except DataError as error:
        assert str(path) in str(error)
        return "error"
    assert len(clip.frames) == 8
    assert all(0 <= index < clip.num_frames for index in clip.indices)
    return "frames"


def test_nothing_is_written_to_the_terminal(
    files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.avi"
    path.write_bytes(files["mpeg4-avi"].read_bytes()[:20_000])
    (tmp_path / "noise.mp4").write_bytes(b"\x00\x01" * 5000)
    for decoder in ("auto", *(["decord"] if HAVE_DECORD else []), "pyav"):
        for file in (path, tmp_path / "noise.mp4", files["ordinary"]):
            try:
                read_clip(file, range, decoder)
            except DataError:
                continue
    assert capfd.readouterr() == ("", "")


def test_an_unknown_decoder_gets_near_names(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="decord"):
        read_clip(files["ordinary"], range, "decrod")


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is not None, reason="torchcodec is installed here")
def test_a_decoder_that_is_not_installed_says_so(files: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="torchcodec is not usable here"):
        read_clip(files["ordinary"], range, "torchcodec")


@pytest.mark.parametrize("decoder", DECODERS)
def test_memory_stays_flat(files: dict[str, Path], decoder: str) -> None:
    def read(times: int) -> int:
        for _ in range(times):
            clip: DecodedClip | None = read_clip(files["b-frames"], picked(1, 20, 38), decoder)
            del clip
        gc.collect()
        return psutil.Process().memory_info().rss

    before = read(30)
    assert read(200) - before < 8 * 2**20
