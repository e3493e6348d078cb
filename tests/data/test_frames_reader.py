"""Folders of numbered images are read as the videos that they were taken from, and say what is wrong with them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from petl_bench.data.decoding.clips import read_clip
from petl_bench.data.found.fingerprints import END_BYTES, Fingerprints
from petl_bench.data.found.scanning import examine
from petl_bench.data.found.tree import walk
from petl_bench.data.loading.clip_cache import ClipCache
from petl_bench.errors import DataError


def picture(number: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.full((height, width, 3), 10 * number, np.uint8)


def folder_of(place: Path, *names: str, height: int = 8) -> Path:
    """Grey pictures; the grey level of `img_00007.png` is 70."""
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        number = int("".join(character for character in name if character.isdigit()) or 0)
        Image.fromarray(picture(number % 25, height)).save(place / name)
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
        ["1.webp", "2.webp", "3.webp"],
        ["img_1.bmp", "img_2.BMP", "img_3.bmp"],
        ["frame-0001.tif", "frame-0002.tiff", "frame-0003.TIF"],
        ["1.ppm", "2.ppm", "3.ppm"],
        ["img_1.png", "img_2.bmp", "img_3.webp"],
        ["walk_00001.png", "walk_00002.png", "walk_00003.png"],
        ["flower1.png", "flower2.png", "flower3.png"],
        ["frame (1).png", "frame (2).png", "frame (3).png"],
        ["frame[1].png", "frame[2].png", "frame[3].png"],
        ["img_1.png", "img_2.png", "img_3.png", "depth_1.png", "cover.png", "flow_y_2.jpg", "img_1 (1).png"],
    ],
)
def test_usual_names(tmp_path: Path, names: list[str]) -> None:
    folder_of(tmp_path / "clip", *names)
    assert walk(tmp_path).files == ("clip",)
    clip = read_clip(tmp_path / "clip", lambda count: [2, 0, 0])
    assert clip.num_frames == 3
    assert np.allclose(greys(clip.frames), [30, 10, 10], atol=1)
    assert clip.reason == ""


def test_a_prefix_with_digits_is_no_number(tmp_path: Path) -> None:
    names = [f"clip01_{number:05d}.png" for number in range(3)]
    for number, name in enumerate(names):
        (tmp_path / "clip").mkdir(exist_ok=True)
        Image.fromarray(picture(number)).save(tmp_path / "clip" / name)
    assert greys(read_clip(tmp_path / "clip", range).frames) == [0, 10, 20]


def test_times_as_numbers_are_put_in_order_and_late_ones_are_said(tmp_path: Path) -> None:
    times = [1612345678901 + step for step in (0, 40, 80, 121, 160, 400, 440)]
    folder = tmp_path / "clip"
    folder.mkdir()
    for number, time in enumerate(times):
        Image.fromarray(picture(number)).save(folder / f"{time}.png")
    assert walk(tmp_path).files == ("clip",)
    clip = read_clip(folder, range)
    assert greys(clip.frames) == [0, 10, 20, 30, 40, 50, 60]
    assert clip.reason == "numbered by times, and 1 of 6 steps are longer than usual: lost frames?"
    for time in times[5:]:
        (folder / f"{time}.png").unlink()
    assert read_clip(folder, range).reason == ""


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


@pytest.mark.parametrize(
    ("mode", "name", "level"),
    [
        ("L", "1.png", 50),
        ("P", "1.png", 50),
        ("RGBA", "1.png", 50),
        ("LA", "1.png", 50),
        ("CMYK", "1.jpg", 50),
        ("CMYK", "1.tif", 50),
        ("1", "1.png", 255),
        ("1", "1.tif", 255),
    ],
)
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str, name: str, level: int) -> None:
    (tmp_path / "clip").mkdir()
    Image.fromarray(picture(level // 10 if level < 255 else 25)).convert(mode, dither=0).save(tmp_path / "clip" / name)
    clip = read_clip(tmp_path / "clip", range)
    assert clip.frames.shape == (1, 8, 12, 3)
    assert np.abs(clip.frames.astype(int) - level).max() <= 1
    assert clip.reason == ""


RAMP = np.linspace(0, 65535, 96).round().astype(np.uint16).reshape(8, 12)


@pytest.mark.parametrize(
    ("name", "levels", "said"),
    [
        ("1.png", RAMP, "16-bit grey levels, 0 to 65535 read as 0 to 255"),
        ("1.tif", RAMP, "16-bit grey levels, 0 to 65535 read as 0 to 255"),
        ("1.pgm", RAMP, "16-bit grey levels, 0 to 65535 read as 0 to 255"),
        ("1.png", RAMP // 64 * 16, "16-bit grey levels, 0 to 65535 read as 0 to 255"),
        (
            "1.png",
            RAMP // 16,
            "16-bit grey levels, 0 to 65535 read as 0 to 255, and none above 40 is there: write the "
            "frames as 8-bit PNG, all of the data set scaled alike",
        ),
        ("1.tif", (RAMP / 65535).astype(np.float32), "floating-point grey levels, 0 to 1 read as 0 to 255"),
    ],
)
def test_grey_levels_beyond_eight_bits_keep_their_range(
    tmp_path: Path, name: str, levels: np.ndarray, said: str
) -> None:
    (tmp_path / "clip").mkdir()
    Image.fromarray(levels).save(tmp_path / "clip" / name)
    clip = read_clip(tmp_path / "clip", range)
    expected = np.rint(levels / (65535 if levels.dtype == np.uint16 else 1) * 255)
    assert np.abs(clip.frames[0] - expected[:, :, None]).max() <= 1
    assert len(np.unique(clip.frames)) == len(np.unique(expected))
    assert clip.reason == said
    assert examine(tmp_path / "clip").remarks == (said,)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (np.float32([[0, 2.5]]), "go from 0 to 2.5, and only 0 to 1 is a known range; write the frames as 8-bit PNG"),
        (np.float32([[-1, 0]]), "go from -1 to 0"),
        (np.float32([[0, np.nan]]), "go from nan to nan"),
        (np.int32([[0, 70000]]), "32-bit whole numbers of no known range; write the frames as 8-bit PNG"),
    ],
)
def test_grey_levels_of_no_known_range_are_refused(tmp_path: Path, levels: np.ndarray, message: str) -> None:
    (tmp_path / "clip").mkdir()
    Image.fromarray(levels).save(tmp_path / "clip" / "1.tif")
    with pytest.raises(DataError, match=rf"1\.tif: its .*{message}"):
        read_clip(tmp_path / "clip", range)


def test_transparent_pixels_show_their_stored_colour_and_are_said(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    Image.fromarray(np.full((8, 12, 4), (10, 20, 30, 0), np.uint8)).save(tmp_path / "clip" / "1.png")
    clip = read_clip(tmp_path / "clip", range)
    assert clip.frames[0, 0, 0].tolist() == [10, 20, 30]
    assert clip.reason == "transparent pixels show the colour that is stored for them"


@pytest.mark.parametrize("name", ["1.jpg", "1.png", "1.webp", "1.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_are_turned_as_exif_says(tmp_path: Path, name: str, orientation: int) -> None:
    """Which edges of what is shown the stored row 0 and column 0 are (EXIF 2.3, 4.6.4, tag 274)."""
    edges = ["top left", "top right", "bottom right", "bottom left", "left top", "right top", "right bottom"]
    row, column = [*edges, "left bottom"][orientation - 1].split()
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :, 0], stored[16:, :, 0] = 60, 120
    stored[:, :24, 1], stored[:, 24:, 1] = 80, 200
    exif = Image.Exif()
    exif[274] = orientation
    (tmp_path / "clip").mkdir()
    lossless = {"lossless": True} if name.endswith("webp") else {"quality": 100} if name.endswith("jpg") else {}
    Image.fromarray(stored).save(tmp_path / "clip" / name, exif=exif, **lossless)
    turned = stored if orientation <= 4 else stored.swapaxes(0, 1)
    turned = turned[::-1] if "bottom" in (row, column) else turned
    turned = turned[:, ::-1] if "right" in (row, column) else turned
    clip = read_clip(tmp_path / "clip", range)
    assert clip.frames[0].shape == turned.shape
    assert np.abs(clip.frames[0].astype(int) - turned).mean() < 3
    assert clip.reason == ("" if orientation == 1 or name == "1.tif" else "turned upright as EXIF says")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["img_1.png", "img_2.png", "img_4.png"], "1 of 4 frames are missing: 3"),
        (["img_3.png", "img_4.png"], "2 of 4 frames are missing: 1 to 2"),
        ([f"{n}.png" for n in range(0, 14, 2)], "6 of 13 frames are missing: 1, 3, 5, 7, 9, ..."),
        (["img_1.png", "img_2.png", "img_002.jpg"], "frame 2 is there twice: img_002.jpg and img_2.png"),
        (["img_1.png", "img_1.webp"], "frame 1 is there twice: img_1.png and img_1.webp"),
        (["img_1.png", "frame_1.png"], "more than one series of frames: frame_1.png and img_1.png"),
        (["a_1.png", "a_2.png", "b_1.png", "b_2.png"], "more than one series of frames: a_1.png and b_1.png"),
        (["IMG_2041.JPG", "IMG_2042.JPG", "IMG_2050.JPG"], "2047 of 2050 frames are missing: 1 to 2040, 2043 to 2049"),
        (["DSC_2041.JPG", "DSC_2042.JPG"], "2040 of 2042 frames are missing: 1 to 2040"),
        (["poster1.png"], "one numbered picture is no series of frames: poster1.png"),
        (["poster.png"], "holds no numbered frames"),
        (["flow_x_1.png", "flow_y_1.png"], "holds no numbered frames"),
        (["x_1.png", "y_1.png", "clip01_flow_x_00001.jpg", "flowx1.png"], "holds no numbered frames"),
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
        (b"", r"2\.jpg: not a JPEG, PNG, WebP, BMP, TIFF or PPM image"),
        (b"<!doctype html>", r"2\.jpg: not a JPEG, PNG, WebP, BMP, TIFF or PPM image"),
        (b"GIF89a\x01\x00\x01\x00", r"2\.jpg: not a JPEG, PNG, WebP, BMP, TIFF or PPM image"),
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


@pytest.mark.parametrize("name", ["1.tif", "1.webp", "1.png"])
def test_a_file_of_several_pictures_is_no_frame(tmp_path: Path, name: str) -> None:
    (tmp_path / "clip").mkdir()
    first, *others = (Image.fromarray(picture(number)) for number in range(3))
    first.save(tmp_path / "clip" / name, save_all=True, append_images=others)
    with pytest.raises(DataError, match="holds 3 pictures, and a frame is one"):
        read_clip(tmp_path / "clip", range)


@pytest.mark.parametrize(
    ("files", "clips"),
    [
        (["a/flow_x_1.png", "a/flow_y_1.png", "a/flow_x_2.png"], ()),
        (["a/fig1.png"], ()),
        (["a/DSC_0003.JPG", "a/DSC_0090.JPG"], ()),
        (["a/cat_1.png", "a/dog_1.png", "a/dog_2.png"], ()),
        (["a/scene_1.png", "a/scene_2.png", "a/scene_4.png"], ("a",)),  # it is named when it is read
        (["a/img_1.png", "a/preview.gif"], ("a",)),
        (["a/1.gif", "a/1.png", "a/2.gif", "a/2.png"], ("a/1.gif", "a/2.gif")),
    ],
)
def test_which_folders_of_images_are_clips(tmp_path: Path, files: list[str], clips: tuple[str, ...]) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert walk(tmp_path).files == clips


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
    monkeypatch.setattr("petl_bench.data.found.fingerprints.folder_fingerprint", lambda *_: pytest.fail("read again"))
    assert fingerprint(root, tmp_path / "cache") == first


def fingerprint_of_before(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    contents = {name: (folder / name).read_bytes() for name in names}
    assert all(len(content) < END_BYTES for content in contents.values())
    text = f"frames {len(names)}\n" + "".join(f"{name} {len(contents[name])}\n" for name in names)
    ends = b"".join(contents[name] for name in dict.fromkeys((names[0], names[-1])))
    return hashlib.sha256(text.encode() + ends).hexdigest()


@pytest.mark.parametrize(
    ("name", "levels", "orientation", "changed"),
    [
        ("1.png", picture(1), None, False),
        ("1.jpg", picture(1), None, False),
        ("1.jpg", picture(1), 1, False),
        ("1.jpg", picture(1), 6, True),
        ("1.png", picture(1), 2, True),
        ("1.png", RAMP, None, True),
        ("1.png", np.zeros((8, 12, 4), np.uint8), None, False),
    ],
)
def test_only_frames_that_are_read_otherwise_get_another_fingerprint_than_before(
    tmp_path: Path, name: str, levels: np.ndarray, orientation: int | None, changed: bool
) -> None:
    folder = tmp_path / "root" / "clip"
    folder.mkdir(parents=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    for each in (name, name.replace("1", "2"), name.replace("1", "3")):
        Image.fromarray(levels).save(folder / each, exif=exif)
    assert (fingerprint(tmp_path / "root", tmp_path / "cache") != fingerprint_of_before(folder)) is changed
