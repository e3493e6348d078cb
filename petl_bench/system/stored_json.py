"""Reading JSON files that come back: others may have written them, so size, depth and numbers are checked."""

from __future__ import annotations

import functools
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from petl_bench.system.texts import clean

#: Most bytes of a file, by what it holds.
SMALL, LARGE = 1 << 20, 1 << 26


class UnusableError(ValueError):
    """A file that cannot be used; the message is the reason, in a few words, without the file's name."""


@functools.cache
def tell_unusable(path: Path, reason: str) -> None:
    """Name a file that is left out, and why, once in a process; what reads it goes on without it."""
    print(f"not used: {clean(f'{path}: {reason}')}", file=sys.stderr, flush=True)


def read_bytes(path: Path | str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; pipes and devices are not waited for.

    Raises UnusableError, and FileNotFoundError if there is no such file or folder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnusableError("not a file")
            content = file.read(limit + 1)
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableError(f"cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise UnusableError(f"larger than {limit:,} bytes, which no file of petl-bench is in this place")
    return content


def read_json(path: Path, limit: int = SMALL) -> Any:
    """The value in a JSON file; every number is finite. Raises as `read_bytes`."""
    return parsed(read_bytes(path, limit))


def parsed(content: bytes) -> Any:
    """The value of a JSON text in which every number is finite. Raises UnusableError.

    Python reads NaN and Infinity, which are not JSON, and makes infinity of 1e999; neither is a number of ours.
    """
    try:
        values = json.loads(content, parse_constant=_refuse)
        json.dumps(values, allow_nan=False)  # in C, many times as fast as looking at every value
    except RecursionError as error:
        raise UnusableError("damaged: nested too deeply") from error
    except ValueError as error:
        raise UnusableError(f"damaged: {error}") from error
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number")
