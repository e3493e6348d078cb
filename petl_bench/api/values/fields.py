"""What a declared field may hold: one description checks the values of flags, of TOML files and of JSON files.

The description is the type annotation of the field: int, float, bool, str, Literal, None, sequences, mappings, unions
and dataclasses of these. `Limits` bound numbers and `Form` texts, as `Annotated[int, Limits(minimum=1)]`. `check_of`
compares a value of JSON as it is, `convert` first eases what TOML and Python write otherwise, and `parse` reads a text
of the command line.

msgspec instead would read 10,000 records in 0.1 s of processor time less, of 1.1 s in all, and takes 3 to 14 ms to
import. It does not name the values that a Literal allows, and knows no Literal of floats, so that half of this file
would remain beside it.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

from petl_bench.errors import UsageError, unknown

#: Numbers of this size and above are no times, counts, seeds or process numbers.
TOO_LARGE = 2**53
_LONGEST = 80
_UNIONS = (typing.Union, types.UnionType)
_MAPPINGS, _LISTS = (dict, Mapping), (list, tuple, Sequence)
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_WORDS |= dict.fromkeys(_MAPPINGS, "a mapping") | dict.fromkeys(_LISTS, "a list")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

#: What is wrong with a value, to be put after its name; "" if nothing is.
Check = Callable[[Any], str]
_F = typing.TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Limits:
    """Bounds of a number, inclusive; with `meaning`, an error also says what the number means."""

    minimum: float = -sys.float_info.max
    maximum: float = sys.float_info.max
    meaning: str = ""


@dataclass(frozen=True)
class Form:
    """What a text must match as a whole, and what such a text is called."""

    pattern: str
    words: str


FINITE = Limits()
Count = Annotated[int, Limits(0, TOO_LARGE - 1)]


def _cached(function: _F) -> _F:
    """`functools.cache` for functions of classes, which mypy takes for unhashable if their instances are."""
    return typing.cast(_F, functools.cache(function))


@_cached
def field_types(cls: type) -> dict[str, Any]:
    """The resolved type of every field of a dataclass, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


@_cached
def required_fields(cls: type) -> frozenset[str]:
    """The names of the fields of a dataclass that have no default."""
    return frozenset(each.name for each in fields(cls) if each.default is each.default_factory is MISSING)


def refuse_unknown(names: Iterable[str], cls: type, what: str, see: str) -> None:
    """Raise UsageError, with near names, for a name that is no field of a dataclass; `what` says what it is not."""
    for name in names:
        if name not in field_types(cls):
            raise unknown(what, name, field_types(cls), see)


def parse(kind: Any, text: str, label: str) -> Any:
    """The value of the declared type that a text of the command line stands for. Raises UsageError with `label`."""
    return convert(kind, _read(kind, text), label)


def convert(kind: Any, value: Any, label: str, limits: Limits = FINITE) -> Any:
    """A value of TOML or of code as its declared type: tuples of lists, texts of numbers, exact numbers of texts.

    Raises UsageError, with `label`, for a value that has no such meaning or lies outside the limits.
    """
    eased = _eased(kind, value)
    if fault := check_of(kind, limits)(eased):
        raise UsageError(f"{label}{fault}")
    return eased


def is_optional(kind: Any) -> bool:
    """Whether a type is a union with None."""
    return typing.get_origin(kind) in _UNIONS and type(None) in typing.get_args(kind)


def without_none(kind: Any) -> Any:
    """The first other type of a union with None."""
    return next(each for each in typing.get_args(kind) if each is not type(None))


def _read(kind: Any, text: str) -> Any:
    if is_optional(kind):
        return None if text.lower() in ("none", "") else _read(without_none(kind), text)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_read(arguments[0], part.strip()) for part in text.split(",") if part.strip())
    if origin is Literal:  # its values may be numbers
        return next((each for each in arguments if _said(each) == text), text)
    return _TRUTH.get(text.lower(), text) if kind is bool else text


def _said(value: Any) -> str:
    """A value of a Literal as it stands in flags."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _eased(kind: Any, value: Any) -> Any:
    """The value in the form of its type, if that loses nothing; else the value itself."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _eased(arguments[0], value)
    if is_optional(kind):
        return None if value is None else _eased(without_none(kind), value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_eased(arguments[0], part) for part in value)
    if kind is str and isinstance(value, (str, int, float, os.PathLike)) and not isinstance(value, bool):
        return str(value)
    if kind in (int, float) and not isinstance(value, bool):
        try:
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            return value
        return number if kind is float or isinstance(value, str) or number == value else value
    return value


# Checks


@functools.cache
def check_of(kind: Any, limits: Limits = FINITE) -> Check:
    """The check of JSON values of this type, as they are; it is made once.

    It returns "", or what is wrong with a value: `=x: expected a list`, `.base.used=-1: must be at least 0`, ` lacks
    key`. `limits` bound every number that has none of its own. Fields that a dataclass does not know may be there.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated and isinstance(arguments[1], Limits):
        return check_of(arguments[0], arguments[1])
    if origin is Annotated:
        match = re.compile(arguments[1].pattern).fullmatch
        return _test(lambda value: type(value) is str and match(value), arguments[1].words)
    if origin is Literal:
        words = f"one of {', '.join(map(_said, arguments))}"
        return _test(lambda value: any(value == each and isinstance(value, type(each)) for each in arguments), words)
    if origin in _UNIONS:
        return _union_check([each for each in arguments if each is not type(None)], is_optional(kind), limits)
    if origin in _LISTS:
        return _list_check(check_of(arguments[0], limits))
    if origin in _MAPPINGS and arguments == (str, Any):
        return _test(lambda value: isinstance(value, dict), "a mapping")
    if origin in _MAPPINGS:
        return _mapping_check(*[check_of(each, limits) for each in arguments])
    if is_dataclass(kind):
        return _dataclass_check(typing.cast(type, kind), limits)
    if kind in (int, float):
        return _number_check(kind, limits)
    return lambda value: "" if type(value) is kind or kind is Any else _wrong(value, f"expected {_WORDS.get(kind)}")


def _wrong(value: Any, why: str) -> str:
    text = str(value)
    return f"={text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}: {why}"


def _test(passes: Callable[[Any], Any], words: str) -> Check:
    return lambda value: "" if passes(value) else _wrong(value, f"expected {words}")


def _number_check(kind: type, limits: Limits) -> Check:
    kinds = (int,) if kind is int else (int, float)
    low, high, meaning = limits.minimum, limits.maximum, f" ({limits.meaning})" if limits.meaning else ""

    def check(value: Any) -> str:
        if type(value) not in kinds:
            return _wrong(value, f"expected {_WORDS[kind]}")
        if low <= value <= high:
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            return _wrong(value, "expected a finite number" if value == value else f"not a number{meaning}")
        side, limit = ("least", low) if value < low else ("most", high)
        return _wrong(value, f"must be at {side} {f'{limit:g}' if isinstance(limit, float) else limit}{meaning}")

    return check


def _union_check(kinds: Sequence[Any], optional: bool, limits: Limits) -> Check:
    checks = [check_of(each, limits) for each in kinds]
    words = " or ".join(_WORDS.get(typing.get_origin(each) or each, "another value") for each in kinds)

    def check(value: Any) -> str:
        if value is None and optional:
            return ""
        for each in checks:
            if not (fault := each(value)):
                return ""
        return fault if len(checks) == 1 else _wrong(value, f"expected {words}")

    return check


def _list_check(of_item: Check) -> Check:
    def check(value: Any) -> str:
        if type(value) not in (list, tuple):
            return _wrong(value, "expected a list")
        for place, each in enumerate(value):
            if fault := of_item(each):
                return f"[{place}]{fault}"
        return ""

    return check


def _mapping_check(of_name: Check, of_value: Check) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return _wrong(value, "expected a mapping")
        for name, each in value.items():
            if fault := of_name(name):
                return f" has the name {fault.removeprefix('=')}"
            if fault := of_value(each):
                return f".{name}{fault}"
        return ""

    return check


def _dataclass_check(cls: type, limits: Limits) -> Check:
    checks = [(name, check_of(kind, limits)) for name, kind in field_types(cls).items()]
    needed = required_fields(cls)

    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return _wrong(value, "expected a mapping")
        if not value.keys() >= needed:
            return f" lacks {', '.join(sorted(needed - value.keys()))}"
        for name, each in checks:
            if name in value and (fault := each(value[name])):
                return f".{name}{fault}"
        return ""

    return check
