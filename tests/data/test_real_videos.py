"""Every real and every odd file gives the right frames or one clear error."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from petl_bench.data.decoding.clips import ByTime, read_clip
from petl_bench.data.loading.sampling import candidates
from petl_bench.errors import DataError

HAVE_DECORD = importlib.util.find_spec("decord") is not None


class Frames(NamedTuple):
    """What `auto` reads: number of frames, height, width, decoder, and words of the reason."""

    count: int
    height: int
    width: int
    decoder: str = "decord"
    words: str = ""


ODD: dict[str, Frames | str] = {
    "abseiling_15frames.mp4": Frames(15, 256, 454),
    "abseiling_1frames.mp4": Frames(1, 256, 454),
    "abseiling_2fps.mp4": Frames(10, 256, 454),
    "abseiling_2frames.mp4": Frames(2, 256, 454),
    "abseiling_5frames.mp4": Frames(5, 256, 454),
    "abseiling_7frames.mp4": Frames(7, 256, 454),
    "abseiling_8frames.mp4": Frames(8, 256, 454),
    "abseiling_hevc.mp4": Frames(40, 256, 454),
    "abseiling_odd_227x171_yuv444p.mp4": Frames(40, 171, 227),
    "abseiling_portrait_tall_64x480.mp4": Frames(40, 480, 64),
    "abseiling_tiny_34x18.mp4": Frames(40, 18, 34),
    "abseiling_vfr_90frames.mp4": Frames(90, 256, 454),
    "abseiling_vp9.webm": Frames(40, 256, 454),
    "audio_only.mp4": "no video stream",
    "av1_video.mkv": Frames(125, 360, 640, "pyav", "decord: cannot find video stream"),
    "bitflipped_mid_v_Basketball_g01_c01.avi": Frames(133, 240, 320, "pyav", "damaged, concealed by the decoder"),
    "corrupted.mp4": "after 28 of 50 frames",
    "discard_first_keyframe.mp4": Frames(25, 64, 64, "pyav", "5 frames are marked as not to be shown"),
    "h264_10bits.mp4": Frames(30, 200, 200),
    "html_error_page.mp4": "web page",
    "name with spaces and ünïcode, comma.mp4": Frames(20, 256, 454),
    "nasa_13013_rotated.mp4": Frames(17, 480, 270),
    "sine_stereo_mp2.mpg": Frames(100, 128, 128, "pyav", "mpeg1video"),
    "test_non_zero_start.mp4": Frames(12, 112, 200),
    "testsrc2_odd_height_and_width_vp9.mp4": Frames(25, 241, 321),
    "truncated2_headeronly_v_Basketball_g01_c01.avi": "no frames",
    "truncated60_R6llTwEh07w.mp4": "moov atom not found",
    "truncated60_abseiling_k400.mp4": "moov atom not found",
    "truncated60_again.mkv": Frames(40, 480, 640),
    "truncated60_v_Basketball_g01_c01.avi": Frames(85, 240, 320, "pyav", "the header says 141 frames"),
    "unordered.mov": Frames(4, 50, 50),
    "video_180.mov": Frames(3, 320, 568),
    "video_270.mov": Frames(3, 568, 320),
    "video_90.mov": Frames(3, 568, 320),
    "zero_bytes.mp4": "0 bytes",
}
REAL = {
    "166766.mp4": Frames(49, 240, 427),
    "6arrowswithin30seconds_shoot_bow_f_nm_np1_fr_med_3.avi": Frames(81, 240, 320, "pyav", "packed B-frames"),
    "Golf_Tips_-_Hit_The_Driver_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi": Frames(
        89, 240, 320, "pyav", "packed B-frames"
    ),
    "KOREAN_TEA_CEREMONY_-_Simple_Demo_pour_u_nm_np1_fr_med_0.avi": Frames(430, 240, 320, "pyav", "packed B-frames"),
    "viclip_example1.mp4": Frames(40, 480, 640, "pyav"),
    "video7500.mp4": Frames(50, 224, 298),
}
FILES = {f"odd_videos/{name}": what for name, what in ODD.items()} | {
    f"real_clips/{name}": what for name, what in REAL.items()
}
READABLE = {name: what for name, what in FILES.items() if isinstance(what, Frames)}
#: Mean difference between the decoders in grey levels, where it is not exactly zero, with what makes the difference.
DIFFERENT = {
    "odd_videos/bitflipped_mid_v_Basketball_g01_c01.avi": 0.01,  # concealment
    "odd_videos/truncated60_v_Basketball_g01_c01.avi": 0.01,  # concealment
    "odd_videos/h264_10bits.mp4": 0.01,  # chroma of the last row
    "odd_videos/testsrc2_odd_height_and_width_vp9.mp4": 0.6,  # chroma siting of odd frame sizes
}


def test_the_table_names_every_file(real_data: Path) -> None:
    assert {f"odd_videos/{path.name}" for path in (real_data / "odd_videos").iterdir()} | {
        f"real_clips/{path.name}" for path in (real_data / "real_clips").iterdir()
    } == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_its_frames_or_one_error(real_data: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path, expected = real_data / name, FILES[name]
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected) as caught:
            read_clip(path, range)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 600 + len(str(path))
    else:
        clip = read_clip(path, range)
        assert clip.frames.shape == (expected.count, expected.height, expected.width, 3)
        assert clip.num_frames == expected.count
        assert clip.decoder == (expected.decoder if HAVE_DECORD else "pyav")
        assert expected.words in clip.reason
        assert bool(clip.reason) is (bool(expected.words) or not HAVE_DECORD)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not HAVE_DECORD, reason="decord has no wheel for this machine")
@pytest.mark.parametrize("name", [name for name in READABLE if "av1" not in name])
def test_the_decoders_agree(real_data: Path, name: str) -> None:
    one, two = (read_clip(real_data / name, range, decoder) for decoder in ("decord", "pyav"))
    assert (one.num_frames, one.fps) == (two.num_frames, two.fps)
    difference = np.abs(one.frames.astype(np.int16) - two.frames)
    assert difference.mean() <= DIFFERENT.get(name, 0.0)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("name", READABLE)
def test_scattered_frames_are_those_of_the_whole(real_data: Path, name: str, decoder: str) -> None:
    if decoder == "decord" and ("av1" in name or not HAVE_DECORD):
        pytest.skip("decord cannot read it here")
    whole = read_clip(real_data / name, range, decoder).frames
    draws = np.random.default_rng(0)
    for _ in range(2):
        indices = draws.integers(0, len(whole), 8).tolist()
        picked = read_clip(real_data / name, lambda count, indices=indices: indices, decoder)
        assert np.array_equal(picked.frames, whole[indices])


@pytest.mark.parametrize(
    ("name", "quarter_turns"),
    [("video_90.mov", 3), ("video_180.mov", 2), ("video_270.mov", 1), ("nasa_13013_rotated.mp4", 1)],
)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_pictures_stand_upright(real_data: Path, name: str, quarter_turns: int, decoder: str) -> None:
    if decoder == "decord" and not HAVE_DECORD:
        pytest.skip("decord has no wheel for this machine")
    path = real_data / "odd_videos" / name
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    upright = np.rot90(stored, quarter_turns)
    assert np.array_equal(read_clip(path, lambda count: [0], decoder).frames[0], upright)


def test_ucf101_clips_read_alike_in_any_order(real_data: Path) -> None:
    """XviD with B-frames and without: decord's seeking is right here; `auto` takes PyAV, which is faster."""
    if not HAVE_DECORD:
        pytest.skip("decord has no wheel for this machine")
    paths = sorted((real_data / "ucf101_six").rglob("*.avi"))
    assert len(paths) == 48
    draws = np.random.default_rng(0)
    for path in paths:
        indices = draws.integers(0, 2**20, 4).tolist()
        one, two = (read_clip(path, lambda count, picks=indices: picks, decoder) for decoder in ("auto", "decord"))
        assert one.decoder == "pyav"
        assert one.indices == two.indices
        assert np.abs(one.frames.astype(np.int16) - two.frames).mean() < 0.01


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("abseiling_2fps.mp4", 1.0, [0, 2, 4, 6, 8]),
        ("abseiling_1frames.mp4", 1.0, [0]),
        ("abseiling_2frames.mp4", 25.0, [0, 1]),
        ("sine_stereo_mp2.mpg", 1.0, [0, 25, 50, 75]),
        ("test_non_zero_start.mp4", 10.0, [0, 3, 6, 9]),
    ],
)
def test_frames_of_a_rate_are_found_by_time(real_data: Path, name: str, rate: float, expected: list[int]) -> None:
    path = real_data / "odd_videos" / name
    clip = read_clip(path, ByTime(lambda times: candidates(times, None, rate)))
    assert list(clip.indices) == expected
    assert np.array_equal(clip.frames, read_clip(path, lambda count: expected).frames)


def test_at_a_variable_rate_time_stamps_count(real_data: Path) -> None:
    path = real_data / "odd_videos" / "abseiling_vfr_90frames.mp4"
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert stream.time_base is not None
        seconds = [float(frame.pts * stream.time_base) for frame in container.decode(stream) if frame.pts is not None]
    expected = [max(i for i, shown in enumerate(seconds) if shown - seconds[0] <= k + 1e-6) for k in range(13)]
    clip = read_clip(path, ByTime(lambda times: candidates(times, None, 1.0)))
    assert list(clip.indices) == [*expected, 89][: len(clip.indices)]
    assert len(clip.indices) in (13, 14)
    assert expected != [int(k * len(seconds) / seconds[-1]) for k in range(13)], "the mean rate gives other frames"
