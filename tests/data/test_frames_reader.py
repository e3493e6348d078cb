"""Folders of numbered images are read as the videos that they were taken from, and say what is wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from petl_bench.data.clip_cache import ClipCache
from petl_bench.data.decoding import read_clip
from petl_bench.data.fingerprints import Fingerprints
from petl_bench.errors import DataError


def picture(number: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.full((height, width, 3), 10 * number, np.uint8)


def folder_of(place: Path, *names: str, height: int = 8) -> Path:
    """Grey pictures; the grey level of `img_00007.png` is 70."""
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = int("".join(character for character in name if character.isdigit()))
        Image.fromarray(picture(number, height)).save(place / name)
    return place


def greys(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean())) for frame in frames]


def test_frames_of_a_video_as_png_are_the_video(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    video = write_video(tmp_path / "clip.mp4", 12)
    frames = tmp_path / "clip"
    frames.mkdir()
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0), start=1):
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(frames / f"img_{number:05d}.png")
    from_video, from_frames = (read_clip(path, lambda count: range(0, count, 3)) for path in (video, frames))
    np.testing.assert_array_equal(from_frames.frames, from_video.frames)
    assert (from_frames.indices, from_frames.num_frames) == (from_video.indices, from_video.num_frames)
    assert (from_frames.decoder, from_frames.fps, from_frames.reason) == ("frames", None, "")


@pytest.mark.parametrize(
    "names",
    [
        ["img_00001.png", "img_00002.png", "img_00003.png"],
        ["image_00001.jpg", "image_00002.jpg", "image_00003.jpg"],
        ["frame_000001.JPG", "frame_000002.JPG", "frame_000003.JPG"],
        ["frame1.jpeg", "frame2.jpeg", "frame3.jpeg"],
        ["00001.jpg", "00002.jpg", "00003.jpg"],
        ["1.jpg", "2.jpg", "3.jpg"],
    ],
)
def test_usual_names(tmp_path: Path, names: list[str]) -> None:
    clip = read_clip(folder_of(tmp_path / "clip", *names), lambda count: [2, 0, 0])
    assert clip.num_frames == 3
    assert greys(clip.frames) == [30, 10, 10]


def test_counting_from_zero_numeric_order_and_wrapping(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clip", *(f"{number}.png" for number in range(11)))
    clip = read_clip(folder, lambda count: [0, 9, 10, 11, 12])
    assert (clip.num_frames, clip.indices) == (11, (0, 9, 10, 0, 1))
    assert greys(clip.frames) == [0, 90, 100, 0, 10]


def test_optical_flow_and_other_files_beside_are_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clip", "img_00001.png", "img_00002.png", "flow_x_00001.png", "x_00001.png")
    (folder / "labels.txt").write_text("")
    (folder / "._img_00003.png").write_text("")
    assert read_clip(folder, range).num_frames == 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    (tmp_path / "clip").mkdir()
    image = Image.fromarray(picture(5)).convert(mode)
    image.save(tmp_path / "clip" / ("1.jpg" if mode == "CMYK" else "1.png"))
    assert read_clip(tmp_path / "clip", range).frames.shape == (1, 8, 12, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["img_1.png", "img_2.png", "img_4.png"], "1 of 4 frames are missing: 3"),
        (["img_3.png", "img_4.png"], "2 of 4 frames are missing: 1 to 2"),
        ([f"{n}.png" for n in range(0, 14, 2)], "6 of 13 frames are missing: 1, 3, 5, 7, 9, ..."),
        (["img_1.png", "img_2.png", "img_002.jpg"], "frame 2 is there twice: img_002.jpg and img_2.png"),
        (["img_1.png", "frame_1.png"], "more than one series of frames: frame_1.png and img_1.png"),
        (["poster.png"], "holds no numbered frames"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_clear_line(tmp_path: Path, names: list[str], message: str) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in names:
        Image.fromarray(picture(0)).save(folder / name)
    with pytest.raises(DataError) as error:
        read_clip(folder, range)
    assert str(error.value).startswith(f"cannot read {folder}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"2\.jpg: not a JPEG or PNG image"),
        (b"<!doctype html>", r"2\.jpg: not a JPEG or PNG image"),
        (b"GIF89a\x01\x00\x01\x00", r"2\.jpg: not a JPEG or PNG image"),
        (None, r"2\.jpg: image file is truncated"),
    ],
)
def test_frame_that_cannot_be_decoded_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    folder = folder_of(tmp_path / "clip", "1.jpg", "2.jpg", "3.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "2.jpg")
    whole = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError, match=message):
        read_clip(folder, range)
    with pytest.raises(DataError, match="cannot read"):
        read_clip(folder, lambda count: [1])
    assert read_clip(folder, lambda count: [0]).num_frames == 3


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clip", "1.png", "2.png")
    folder_of(folder, "3.png", height=16)
    with pytest.raises(DataError, match=r"3\.png is 12 x 16, but 1\.png is 12 x 8"):
        read_clip(folder, range)


def fingerprint(root: Path, cache: Path) -> str:
    found, refused = Fingerprints(root, cache).of(["clip"])
    assert not refused
    return found["clip"].fingerprint


def test_fingerprint_follows_content_and_not_place_or_time(tmp_path: Path) -> None:
    root = tmp_path / "root"
    folder = folder_of(root / "clip", "1.png", "2.png", "3.png")
    first = fingerprint(root, tmp_path / "cache")
    shutil.copytree(root, tmp_path / "elsewhere")
    os.utime(folder / "1.png", (1, 1))
    assert fingerprint(tmp_path / "elsewhere", tmp_path / "cache") == fingerprint(root, tmp_path / "cache") == first


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "first", "last", "all"])
def test_fingerprint_and_cache_key_change_with_the_frames(tmp_path: Path, change: str) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    folder = folder_of(root / "clip", "1.png", "2.png", "3.png")
    keys = ClipCache(tmp_path / "clips")
    before, key = fingerprint(root, cache), keys.key(folder, "auto", 224, "whole")
    assert key == keys.key(folder, "auto", 224, "whole")
    if change == "added":
        folder_of(folder, "4.png")
    elif change == "removed":
        (folder / "2.png").unlink()
    elif change == "renamed":
        for number in (1, 2, 3):
            (folder / f"{number}.png").rename(folder / f"img_{number}.png")
    else:
        # Written in place, as an extraction that is started again does: the folder's own time stays.
        for number in {"first": [1], "last": [3], "all": [1, 2, 3]}[change]:
            file = folder / f"{number}.png"
            Image.fromarray(picture(20 + number)).save(file)
            os.utime(file, (5, 5))
    assert fingerprint(root, cache) != before
    assert keys.key(folder, "auto", 224, "whole") != key


def test_a_folder_is_not_read_again_while_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    folder_of(root / "clip", "1.png", "2.png")
    first = fingerprint(root, tmp_path / "cache")
    monkeypatch.setattr("petl_bench.data.fingerprints.folder_fingerprint", lambda *_: pytest.fail("read again"))
    assert fingerprint(root, tmp_path / "cache") == first
