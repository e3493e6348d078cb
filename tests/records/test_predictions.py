"""Files of predictions that cannot be what was written: refused before anything is unpacked."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest

from petl_bench.records.outcomes import outcome_of
from petl_bench.records.predictions import read_arrays
from petl_bench.system.stored_json import UnusableError

ARRAYS: dict[str, Any] = {
    "clips": np.array(["a", "b"]),
    "labels": np.array([0, 1]),
    "scores": np.eye(2, dtype=np.float32),
    "classes": np.array(["x", "y"]),
    "ranks": np.array([1, 1], dtype=np.int32),
    "predicted": np.array([0, 1], dtype=np.int32),
}
COUNTS = {"used": 2, "classes": 2}


def file_of(**changed: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**ARRAYS, **changed})
    return buffer.getvalue()


def with_member(name: str, header: str, data: bytes = b"") -> bytes:
    """A file of which one array has this header."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file_of())) as whole, zipfile.ZipFile(buffer, "w") as archive:
        for each in whole.namelist():
            if each != f"{name}.npy":
                archive.writestr(each, whole.read(each))
        text = header.encode().ljust(117) + b"\n"
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
    return buffer.getvalue()


def described(shape: object, kind: str = "'<i8'") -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


def test_a_sound_file_is_read() -> None:
    found = read_arrays(file_of(), ARRAYS, COUNTS)
    assert all(
        np.array_equal(found[name], values) and found[name].dtype == values.dtype for name, values in ARRAYS.items()
    )
    by_columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    read = read_arrays(file_of(scores=by_columns), ("scores",), {})["scores"]
    assert np.array_equal(read, by_columns)
    assert outcome_of(file_of(**{name: values[:0] for name, values in ARRAYS.items() if name != "classes"}), {})


#: 80 MB of zeros in as many kB.
BOMB = np.zeros(10**7, dtype=np.int64)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: file_of(labels=BOMB), "of 10,000,000 clips, not of 2"),
        (lambda: file_of(clips=np.array(["a", "b"], dtype="U20000")), "room for 20,000 letters each"),
        (lambda: with_member("labels", described((2**40,))), "should take 8,796,093,022,208 bytes, and take 0"),
        (lambda: with_member("labels", described((10**400,))), "should take|cannot be read"),
        (lambda: with_member("labels", described((-2,))), "should take -16 bytes"),
        (lambda: with_member("labels", described((2,), "'|O'"), b"0" * 16), "of type object"),
        (lambda: with_member("labels", "(" * 5_000), "the header of an array cannot be read"),
        (lambda: with_member("labels", "__import__('os').system('x')"), "the header of an array cannot be read"),
        (lambda: file_of(classes=np.array(["x", "y", "z"])), "of 3 classes, not of 2"),
        (lambda: file_of(scores=np.zeros((2, 5), dtype=np.float32)), "of 5 classes, not of 2"),
        (lambda: file_of()[:-40], "cannot be read"),
        (lambda: b"", "cannot be read"),
    ],
)
def test_what_cannot_be_what_was_written_is_refused_without_memory(content: Any, says: str) -> None:
    file = content()
    tracemalloc.start()
    try:
        with pytest.raises(UnusableError, match=says):
            read_arrays(file, ARRAYS, COUNTS)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("changed", [{"labels": np.array([0, 2])}, {"predicted": np.array([-1, 0])}])
def test_numbers_that_are_no_classes_give_no_outcome(changed: dict[str, Any]) -> None:
    assert outcome_of(file_of(), {})
    with pytest.raises(UnusableError, match="classes"):
        outcome_of(file_of(**changed), {})
