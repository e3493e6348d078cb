"""Reading JSON files that come back: others may have written them, so size, depth, numbers and types are checked.

Readers of records have their own checks, for they read very many (`record_scan`, `record_schema`).
"""

from __future__ import annotations

import functools
import json
import os
import stat
import sys
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from petl_bench.system.texts import clean

#: Most bytes of a file, by what it holds.
SMALL, LARGE = 1 << 20, 1 << 26
#: Numbers of this size and above are no times, counts, seeds or process numbers.
TOO_LARGE = 2**53
_WORDS: dict[Any, str] = {str: "a text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}
_WORDS |= {Mapping: _WORDS[dict], Sequence: _WORDS[list], tuple: _WORDS[list]}


class UnusableError(ValueError):
    """A file that cannot be used; the message is the reason, in a few words, without the file's name."""


@functools.cache
def tell_unusable(path: Path, reason: str) -> None:
    """Name a file that is left out, and why, once in a process; what reads it goes on without it."""
    print(f"not used: {clean(f'{path}: {reason}')}", file=sys.stderr, flush=True)


def read_bytes(path: Path | str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; pipes and devices are not waited for.

    Raises UnusableError, and FileNotFoundError if there is no such file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnusableError("not a file")
            content = file.read(limit + 1)
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


def fields_of(values: Any, kind: type, without: Collection[str] = ()) -> dict[str, Any]:
    """Those of the values that are fields of a dataclass, each of its declared type; fields named `without` are not.

    What the dataclass does not know is left out: a later version may have written it. Raises UnusableError if the
    values are no mapping, a value has another type, or a field without a default is missing.
    """
    if not isinstance(values, dict):
        raise UnusableError(f"damaged: {_WORDS[dict]} expected")
    found = {}
    for name, hint, needed in _declared(kind):
        if name in without:
            continue
        if name in values:
            if not _is(values[name], hint):
                raise UnusableError(f"damaged: {name} is not {_in_words(hint)}")
            found[name] = values[name]
        elif needed:
            raise UnusableError(f"damaged: lacks {name}")
    return found


@functools.cache
def _declared(kind: type) -> list[tuple[str, Any, bool]]:
    """Name and type of every field of a dataclass, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    return [
        (each.name, hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    ]


def _is(value: Any, hint: Any) -> bool:
    """Whether a JSON value has a declared type: int, float, str, bool, None, sequences, mappings, unions of them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, each) for each in arguments)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_is(each, arguments[1]) for each in value.values())
    if origin in (list, tuple, Sequence):
        return isinstance(value, list) and all(_is(each, arguments[0]) for each in value)
    if hint in (int, float):
        return type(value) in (int, hint) and -TOO_LARGE < value < TOO_LARGE
    return value is None if hint is type(None) else type(value) is hint


def _in_words(hint: Any) -> str:
    kinds = [each for each in typing.get_args(hint) or (hint,) if each is not type(None)]
    return _WORDS.get(kinds[0] if _is(None, hint) else typing.get_origin(hint) or hint, "what belongs there")
