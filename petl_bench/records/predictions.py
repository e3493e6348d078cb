"""Reading the arrays of a file of predictions, whose sizes are checked before anything is unpacked.

The file is a zip of `.npy` members. What the zip's directory and each array's header say must agree with each other,
with the types that petl-bench writes, and with the numbers of clips and classes in the record. So a file of a few bytes
cannot become gigabytes, and no pickle is ever read.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from petl_bench.system.stored_json import UnusableError

if TYPE_CHECKING:
    import numpy as np

#: Name of an array -> the kinds of its values as numpy calls them, and its dimensions: N clips, C classes, M texts.
_ARRAYS = {
    "clips": ("U", "N"),
    "labels": ("iu", "N"),
    "scores": ("f", "NC"),
    "classes": ("U", "C"),
    "ranks": ("iu", "N"),
    "predicted": ("iu", "N"),
    "groups": ("U", "N"),
    # of retrieval
    "texts": ("U", "M"),
    "owners": ("iu", "M"),
    "text_ranks": ("iu", "M"),
    "found_by_text": ("iu", "M"),
    "clip_ranks": ("iu", "N"),
    "found_by_clip": ("iu", "N"),
    "similarities": ("f", "NM"),
}
#: Bytes of a file.
LARGEST_PREDICTIONS = 1 << 30
#: Letters of one name in a list of names.
LONGEST_NAME = 1 << 14
#: Of all arrays of a file, unpacked; and of one name.
_MOST_BYTES, _NAME_BYTES = 1 << 30, 4 * LONGEST_NAME
_DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)
_DAMAGED += (NotImplementedError, RuntimeError)  # a compression or an encryption that zipfile lacks


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_arrays(content: bytes, wanted: Collection[str], counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that a file of predictions holds.

    `counts`: what the record says of the evaluation ("used" clips, "classes", "texts"), as far as it says something.
    Raises UnusableError if an array cannot be what was written.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: f"{name}.npy" for name in wanted if f"{name}.npy" in archive.namelist()}
            headers = {}
            for name, member in members.items():
                with archive.open(member) as stream:
                    headers[name] = _header(stream)
                    _check(name, headers[name], archive.getinfo(member).file_size - stream.tell())
            _check_together(headers, counts)
            return {name: _values(archive, member) for name, member in members.items()}
    except UnusableError:
        raise
    except _DAMAGED as error:
        raise UnusableError(f"cannot be read: {error}") from error


def _header(stream: IO[bytes]) -> _Header:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        return _Header(*readers[npy.read_magic(stream)](stream))
    except Exception as error:  # numpy reads a header as Python source, and lets pass whatever goes wrong with that
        raise UnusableError(f"damaged: the header of an array cannot be read ({type(error).__name__})") from error


def _check(name: str, header: _Header, bytes_left: int) -> None:
    """Raise UnusableError if an array cannot be what petl-bench writes, or is not as large as its header says."""
    kinds, dimensions = _ARRAYS[name]
    if header.dtype.kind not in kinds or len(header.shape) != len(dimensions):
        raise UnusableError(f"its {name} are of type {header.dtype} in {len(header.shape)} dimensions")
    if header.dtype.kind == "U" and header.dtype.itemsize > _NAME_BYTES:
        raise UnusableError(f"its {name} have room for {header.dtype.itemsize // 4:,} letters each")
    if min(header.shape) < 0 or header.size != bytes_left:
        raise UnusableError(f"its {name} should take {header.size:,} bytes, and take {bytes_left:,}")


def _check_together(headers: Mapping[str, _Header], counts: Mapping[str, int]) -> None:
    """Raise UnusableError if arrays do not fit each other or the record, or are together too large."""
    names = {"N": "clips", "C": "classes", "M": "texts"}
    known = {"N": counts.get("used"), "C": counts.get("classes"), "M": counts.get("texts")}
    for name, header in headers.items():
        for dimension, length in zip(_ARRAYS[name][1], header.shape, strict=True):
            if known[dimension] is None:
                known[dimension] = length
            elif known[dimension] != length:
                what = names[dimension]
                raise UnusableError(f"its {name} are of {length:,} {what}, not of {known[dimension]:,}")
    if (total := sum(header.size for header in headers.values())) > _MOST_BYTES:
        raise UnusableError(f"it would take {total:,} bytes of memory")


def _values(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    import numpy as np

    with archive.open(member) as stream:
        header = _header(stream)
        values = np.frombuffer(stream.read(), dtype=header.dtype)
    return values.reshape(header.shape, order="F" if header.by_columns else "C")
