"""Pictures of videos stand upright and unmirrored, whatever their display matrix says, and from every decoder."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from petl_bench.data.decoding.clips import read_clip
from petl_bench.data.found.fingerprints import END_BYTES, Fingerprints
from petl_bench.data.found.scanning import examine

HAVE_DECORD = importlib.util.find_spec("decord") is not None
DECODERS = ["auto", "pyav", *(["decord"] if HAVE_DECORD else [])]
#: a, b, c, d of a matrix: (x, y) is shown at (a x + c y, b x + d y).
TURNS = {
    "as it is": (1, 0, 0, 1),
    "turned by 90 degrees": (0, 1, -1, 0),
    "turned by 180 degrees": (-1, 0, 0, -1),
    "turned by 270 degrees": (0, -1, 1, 0),
}
MIRRORED = {
    "mirrored": (-1, 0, 0, 1),
    "mirrored and turned by 90 degrees": (0, -1, -1, 0),
    "mirrored and turned by 180 degrees": (1, 0, 0, -1),
    "mirrored and turned by 270 degrees": (0, 1, 1, 0),
}
ORIENTATIONS = TURNS | MIRRORED
#: Where the matrix stands behind the name of a box.
TRACK, MOVIE = (b"tkhd", 44), (b"mvhd", 40)


def with_matrix(path: Path, abcd: tuple[float, ...], box: tuple[bytes, int] = TRACK) -> Path:
    """The file with the matrix of its first track (or of the movie) overwritten."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (round(value * 65536) for value in abcd)
    struct.pack_into(">9i", data, data.index(box[0]) + box[1], a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def stored(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def shown(picture: np.ndarray, abcd: tuple[int, ...]) -> np.ndarray:
    """Every pixel taken to the place that the matrix says."""
    a, b, c, d = abcd
    rows, columns = np.indices(picture.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    result = np.zeros((np.ptp(y) + 1, np.ptp(x) + 1, 3), np.uint8)
    result[y - y.min(), x - x.min()] = picture
    return result


def fingerprint(path: Path) -> str:
    found, refused = Fingerprints(path.parent, path.parent / "cache").of([path.name])
    assert not refused
    return found[path.name].fingerprint


def fingerprint_of_before(path: Path) -> str:
    data = path.read_bytes()
    ends = data if len(data) <= 2 * END_BYTES else data[:END_BYTES] + data[-END_BYTES:]
    return hashlib.sha256(str(len(data)).encode() + ends).hexdigest()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_all_eight_orientations_are_turned_upright(
    tmp_path: Path, write_video: Callable[..., Path], name: str, decoder: str
) -> None:
    path = with_matrix(write_video(tmp_path / "clip.mp4", 12, options={"g": "4"}), ORIENTATIONS[name])
    clip = read_clip(path, lambda count: [7, 0], decoder)
    np.testing.assert_array_equal(clip.frames[1], shown(stored(path), ORIENTATIONS[name]))
    assert clip.frames[0].shape == clip.frames[1].shape
    # decord turns, and does not mirror.
    assert clip.decoder == ("pyav" if name in MIRRORED or decoder == "pyav" or not HAVE_DECORD else "decord")
    assert (f"{name} (metadata)" in clip.reason) is (name in MIRRORED)


@pytest.mark.parametrize("ending", ["mp4", "mov", "3gp", "f4v"])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
def test_only_what_is_read_otherwise_than_before_gets_another_fingerprint(
    tmp_path: Path, ending: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"clip.{ending}"
    with av.open(str(path), "w", format=ending, options=options) as container:
        sound = container.add_stream("aac", rate=16000)  # a track without a picture comes first
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(sound.encode(silence))
        noise = np.random.default_rng(0)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (480, 640, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    assert path.stat().st_size > 2 * END_BYTES
    whole = path.read_bytes()
    place = whole.index(b"tkhd", whole.index(b"tkhd") + 4)  # of the second track
    for name, abcd in ORIENTATIONS.items():
        matrix = struct.pack(">9i", *(65536 * value for value in (*abcd[:2], 0, *abcd[2:], 0, 0, 0)), 1 << 30)
        path.write_bytes(whole[: place + 44] + matrix + whole[place + 80 :])
        assert (fingerprint(path) != fingerprint_of_before(path)) is (name in MIRRORED), name


def test_the_movies_own_matrix_counts(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = with_matrix(write_video(tmp_path / "clip.mp4", 2), TURNS["turned by 90 degrees"])
    picture = stored(path)
    with_matrix(path, MIRRORED["mirrored"], MOVIE)
    expected = shown(shown(picture, TURNS["turned by 90 degrees"]), MIRRORED["mirrored"])
    np.testing.assert_array_equal(read_clip(path, lambda count: [0]).frames[0], expected)
    assert fingerprint(path) != fingerprint_of_before(path)


@pytest.mark.parametrize(
    ("abcd", "words"),
    [
        ((0.7071, 0.7071, -0.7071, 0.7071), "no turn by quarters"),
        ((1, 0.5, 0, 1), "no turn by quarters"),
        ((1, 0, 0, 0), "no turn by quarters"),
        ((2, 0, 0, 1), "stretches pictures by 2 x 1"),
        ((0, 0, 0, 0), ""),
        ((0.9999, 0.01, -0.01, 0.9999), ""),
    ],
)
@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_no_orientation_is_said_and_not_guessed(
    tmp_path: Path, write_video: Callable[..., Path], abcd: tuple[float, ...], words: str, decoder: str
) -> None:
    path = with_matrix(write_video(tmp_path / "clip.mp4", 2), abcd)
    clip = read_clip(path, lambda count: [0], decoder)
    np.testing.assert_array_equal(clip.frames[0], stored(path))
    assert words in clip.reason
    assert bool(words) is ("display matrix" in clip.reason)


def test_a_scan_says_how_pictures_are_turned(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video(tmp_path / "clip.mp4", 2)
    assert "turned by 90 degrees (metadata)" in examine(with_matrix(path, TURNS["turned by 90 degrees"])).remarks
    remarks = examine(with_matrix(path, MIRRORED["mirrored"])).remarks
    assert [words for words in remarks if "mirrored" in words] == ["mirrored (metadata)"]


def test_a_damaged_header_costs_nothing_but_an_answer(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = with_matrix(write_video(tmp_path / "clip.mp4", 2), MIRRORED["mirrored"])
    whole, draws = path.read_bytes(), np.random.default_rng(0)
    moov = whole.index(b"moov") - 4
    for case in range(100):
        data = bytearray(whole)
        for place in draws.integers(moov, len(data), 1 + case % 5):
            data[place] = draws.choice([0, 1, 255, draws.integers(256)])
        path.write_bytes(bytes(data[: draws.integers(moov, len(data))]) if case % 3 == 0 else data)
        assert len(fingerprint(path)) == 64


def test_a_mirrored_file_says_so_whatever_else_is_odd_about_it(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    open_groups = {"x264-params": "keyint=10:min-keyint=10:open-gop=1:bframes=3"}
    path = with_matrix(write_video(tmp_path / "clip.mp4", 40, options=open_groups), MIRRORED["mirrored"])
    assert read_clip(path, lambda count: [0]).reason == "open groups of pictures; mirrored (metadata)"
