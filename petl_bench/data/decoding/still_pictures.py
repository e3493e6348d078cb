"""One image file as upright 8-bit RGB, in the range that it had, with a word on what was done for that."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from petl_bench.data.decoding.video_stream import DecodeFailure, short_words

#: What Pillow may take a frame for, whatever the name of its file says.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
_KINDS = "JPEG, PNG, WebP, BMP, TIFF or PPM"
#: A JPEG of some cameras holds a second, smaller copy of the picture; an image of another format is one frame.
_MAY_HOLD_COPIES = ("JPEG", "MPO")
#: The formats whose 32-bit whole numbers are 16-bit grey levels to Pillow.
_SIXTEEN_BITS_AS_INTEGERS = ("PNG", "PPM")
_ORIENTATION = 0x0112  # the tag of EXIF and TIFF
#: Depth in millimetres fills a small part of its 16 bits: beyond a part so small, the picture is nearly black.
_FEW_LEVELS = 40
_AS_EIGHT_BITS = "write the frames as 8-bit PNG, all of the data set scaled alike"


def read_image(file: Path) -> tuple[np.ndarray, str]:
    """One image uint8 `[H, W, 3]`, RGB, upright, and what had to be done for that ("" for nothing).

    The orientation that EXIF asks for is applied, as viewers do. 16-bit grey levels 0 to 65535 become 0 to 255, and so
    do floating-point ones from 0 to 1, alike in every file. Alpha is dropped: the stored colours count, as for OpenCV
    and torchvision. Raises DecodeFailure, naming the file; also for grey levels whose range is not known.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_FORMATS) as image:
            return _upright_rgb(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, DecodeFailure) as error:
        words = f"not a {_KINDS} image" if isinstance(error, UnidentifiedImageError) else short_words(error)
        raise DecodeFailure(f"{file.name}: {words}") from None


def reading_of_image(start: bytes) -> str:
    """What `read_image` does to a JPEG or PNG file that starts so, beyond what was done up to version 0.1; else ""."""
    from PIL import Image

    try:
        with Image.open(BytesIO(start), formats=("JPEG", "PNG")) as image:
            turned = _stored_orientation(image) != 1
            return "; ".join(["upright"] * turned + ["16 bits"] * _has_sixteen_bits(image.mode, image.format))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""  # what cannot be read says so when it is read


def _upright_rgb(image: Any) -> tuple[np.ndarray, str]:
    from PIL import ImageOps

    kind = image.format
    if kind not in _MAY_HOLD_COPIES and getattr(image, "n_frames", 1) > 1:
        raise DecodeFailure(
            f"holds {image.n_frames} pictures, and a frame is one; extract them into files of their own"
        )
    image.load()
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    picture, words = _rgb(ImageOps.exif_transpose(image) if turned else image, kind)
    return picture, "; ".join(filter(None, ("turned upright as EXIF says" if turned else "", words)))


def _stored_orientation(image: Any) -> int:
    """Without decoding, as a PNG image must be for `getexif`; its EXIF data stands before the pixels, as a rule."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    orientation: int = image.getexif().get(_ORIENTATION, 1)
    return orientation


def _rgb(image: Any, kind: str) -> tuple[np.ndarray, str]:
    if _has_sixteen_bits(image.mode, kind):
        levels = (np.asarray(image).astype(np.uint32) + 128) // 257
        words = "16-bit grey levels, 0 to 65535 read as 0 to 255"
        few = f", and none above {_FEW_LEVELS} is there: {_AS_EIGHT_BITS}" if levels.max() <= _FEW_LEVELS else ""
        return _grey(levels), words + few
    if image.mode == "F":
        return _grey(_from_unit_range(np.asarray(image))), "floating-point grey levels, 0 to 1 read as 0 to 255"
    if image.mode == "I":
        raise DecodeFailure(f"its grey levels are 32-bit whole numbers of no known range; {_AS_EIGHT_BITS}")
    words = "transparent pixels show the colour that is stored for them" if _is_transparent(image) else ""
    return np.asarray(image.convert("RGB")), words


def _has_sixteen_bits(mode: str, kind: str | None) -> bool:
    return mode.startswith("I;16") or (mode == "I" and kind in _SIXTEEN_BITS_AS_INTEGERS)


def _from_unit_range(levels: np.ndarray) -> np.ndarray:
    lowest, highest = float(levels.min()), float(levels.max())
    if not (lowest >= 0 and highest <= 1):  # true of NaN as well
        raise DecodeFailure(
            f"its floating-point grey levels go from {lowest:g} to {highest:g}, and only 0 to 1 is a known range; "
            f"{_AS_EIGHT_BITS}"
        )
    rounded: np.ndarray = np.rint(levels * 255)
    return rounded


def _grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


def _is_transparent(image: Any) -> bool:
    return image.mode in ("LA", "RGBA", "PA") and image.getchannel("A").getextrema()[0] < 255
