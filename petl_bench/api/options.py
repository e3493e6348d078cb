"""Declared options: how a plugin says which fields a user may set.

A class that derives from `Options` is a keyword-only dataclass whose fields are made with `hyper`; each field has a
type, a default, a meaning, and limits. Fields are checked when the class is declared: a type must be one that a command
line can say and a record can hold (KINDS), and the default must be of it. Values are validated on construction, and
parsed from `--set NAME.FIELD=VALUE`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, dataclass_transform

from petl_bench.errors import PluginError, UsageError, unknown

#: The types that a field may have, in words.
KINDS = "int, float, bool, str, Literal[...] of such values, tuple[one of these, ...], or one of these | None"
_SIMPLE = (int, float, bool, str)


def hyper(
    default: Any,
    meaning: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    location: bool = False,
    later: bool = False,
) -> Any:
    """Declare a field: its default, what it means, its limits (inclusive) and its unit.

    `location`: the field only says where files lie. It does not enter a trial's key; what the files hold must, by its
    hash. `later`: the plugin has records from before this field was declared. While it has its default it enters
    neither the key of a trial nor its record, so that those records stay what they are.
    """
    metadata = {
        "meaning": meaning,
        "minimum": minimum,
        "maximum": maximum,
        "unit": unit,
        "location": location,
        "later": later,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(kw_only_default=True, field_specifiers=(hyper,))
class Options:
    """Base of everything with settable fields. Subclasses become keyword-only dataclasses by themselves."""

    name: typing.ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        try:
            dataclasses.dataclass(kw_only=True)(cls)
        except (TypeError, ValueError) as error:  # a field without a type, or a default that all instances would share
            raise PluginError(f"{cls.__name__}: {error}. Write NAME: TYPE = hyper(DEFAULT, MEANING)") from error
        _check_declaration(cls)

    def __post_init__(self) -> None:
        hints = field_types(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _coerce(hints[field.name], getattr(self, field.name), f"{self._label()}.{field.name}")
            _check_limits(value, field, self._label())
            setattr(self, field.name, value)

    def values(self) -> dict[str, Any]:
        """The fields that decide results, and their values, as plain JSON types; no `later` field at its default."""
        return self._values(location=False)

    def all_values(self) -> dict[str, Any]:
        """Every field that decides results, and its value as plain JSON, at its default or not."""
        return self._values(location=False, unchanged_later=True)

    def locations(self) -> dict[str, Any]:
        """The fields that say where files lie, and their values."""
        return self._values(location=True)

    def _values(self, location: bool, unchanged_later: bool = False) -> dict[str, Any]:
        values = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _plain(getattr(self, field.name))
            unchanged = field.metadata.get("later", False) and value == _plain(field.default)
            if field.metadata.get("location", False) == location and (unchanged_later or not unchanged):
                values[field.name] = value
        return values

    @classmethod
    def parse(cls, texts: Mapping[str, str], name: str = "") -> dict[str, Any]:
        """Turn texts such as `{"bottleneck_dim": "256"}` into values of the fields' types.

        Raises UsageError for an unknown field (with near names) or a text that is not of the field's type; it says
        `name`, if that is not the plugin's own.
        """
        label = name or cls.name or cls.__name__
        hints = field_types(cls)
        for field in texts:
            if field not in hints:
                raise unknown(f"field of {label}", field, hints, f"petl-bench show {cls.name or label}")
        return {field: _parse(hints[field], text, f"{label}.{field}") for field, text in texts.items()}

    def _label(self) -> str:
        return self.name or type(self).__name__


def field_types(cls: type) -> dict[str, Any]:
    """The resolved type of every declared field of an Options class, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


# What a class declares


def _check_declaration(cls: type[Options]) -> None:
    """Raise PluginError for a field of this class whose type or default cannot be; those of its bases were checked."""
    annotated = vars(cls).get("__annotations__", {})
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = field.name
        if name not in annotated and name in vars(cls):
            raise PluginError(f"{cls.__name__}.{name}: say its type too: {name}: TYPE = hyper(DEFAULT, MEANING)")
        if name not in annotated:
            continue
        label = f"{cls.__name__}.{name}"
        kind = _declared_type(cls, field.type, label)
        if not _can_be_said(kind):
            raise PluginError(f"{label}: a field cannot be of type {_written(field.type)}; it may be {KINDS}")
        if field.default is dataclasses.MISSING:
            raise PluginError(f"{label} has no default; write {name}: {_written(field.type)} = hyper(DEFAULT, MEANING)")
        try:
            _check_limits(_coerce(kind, field.default, label), field, cls.__name__)
        except UsageError as error:
            raise PluginError(f"the default of {error}") from error


def _declared_type(cls: type, kind: Any, label: str) -> Any:
    """The type of a field, of which a class may hold the text alone (`from __future__ import annotations`)."""
    if not isinstance(kind, str):
        return kind
    module = sys.modules.get(cls.__module__)
    try:
        return eval(kind, vars(module) if module else {}, dict(vars(cls)))
    except NameError as error:
        raise PluginError(f"{label}: {error}; import what its type needs at the top of its file") from error
    except Exception as error:  # whatever the text of an annotation may raise
        raise PluginError(f"{label}: its type {kind} cannot be read: {error}") from error


def _can_be_said(kind: Any) -> bool:
    arguments = typing.get_args(kind)
    if _is_optional(kind):
        return len(arguments) == 2 and _can_be_said(_not_none(kind)) and not _is_optional(_not_none(kind))
    if typing.get_origin(kind) is tuple:
        return len(arguments) == 2 and arguments[1] is ... and _is_simple(arguments[0])
    return _is_simple(kind)


def _is_simple(kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return {type(value) for value in typing.get_args(kind)} <= set(_SIMPLE)
    return kind in _SIMPLE


def _written(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


# Values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parse(kind: Any, text: str, label: str) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise UsageError(f"{label}={text}: expected true or false")
        return words[text.lower()]
    if _is_optional(kind):
        return None if text.lower() in ("none", "") else _parse(_not_none(kind), text, label)
    if typing.get_origin(kind) is tuple:
        return tuple(_parse(typing.get_args(kind)[0], part.strip(), label) for part in text.split(",") if part.strip())
    if typing.get_origin(kind) is Literal:  # its values may be numbers
        return _coerce(kind, next((one for one in typing.get_args(kind) if str(one) == text), text), label)
    return _coerce(kind, text, label)


def _coerce(kind: Any, value: Any, label: str) -> Any:
    """The value as the declared type; a text is read as a number only if that is exact."""
    if _is_optional(kind):
        return None if value is None else _coerce(_not_none(kind), value, label)
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if not any(value == one and isinstance(value, type(one)) for one in allowed):
            raise UsageError(f"{label}={value}: expected one of {', '.join(map(str, allowed))}")
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (tuple, list)):
            raise UsageError(f"{label}={value}: expected a list")
        return tuple(_coerce(typing.get_args(kind)[0], part, label) for part in value)
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{label}={value}: expected true or false")
        return value
    if kind is str:
        if not isinstance(value, (str, int, float, os.PathLike)):
            raise UsageError(f"{label}={value}: expected a text")
        return str(value)
    return _number(kind, value, label)


def _number(kind: type[int] | type[float], value: Any, label: str) -> int | float:
    """A finite number; a whole one is never cut from another."""
    if isinstance(value, bool):
        raise UsageError(f"{label}={value}: expected {kind.__name__}")
    try:
        converted = kind(value)
        exact = kind is float or isinstance(value, str) or converted == value
        finite = math.isfinite(converted)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{label}={value}: expected {kind.__name__}") from None
    if not exact:
        raise UsageError(f"{label}={value}: expected a whole number")
    if not finite and converted == converted:  # what is no number at all is said with the field's meaning
        raise UsageError(f"{label}={value}: expected a finite number")
    return converted


def _check_limits(value: Any, field: dataclasses.Field[Any], label: str) -> None:
    if isinstance(value, (str, bool, tuple)) or value is None:
        return
    lowest, highest = field.metadata.get("minimum"), field.metadata.get("maximum")
    meaning = field.metadata.get("meaning", "")
    if value != value:
        raise UsageError(f"{label}.{field.name}: not a number ({meaning})")
    if lowest is not None and value < lowest:
        raise UsageError(f"{label}.{field.name}={value}: must be at least {lowest} ({meaning})")
    if highest is not None and value > highest:
        raise UsageError(f"{label}.{field.name}={value}: must be at most {highest} ({meaning})")


def _is_optional(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType) and type(None) in typing.get_args(kind)


def _not_none(kind: Any) -> Any:
    return next(arg for arg in typing.get_args(kind) if arg is not type(None))


def text_of(value: Any) -> str:
    """A value of a field as `--set` takes it."""
    if isinstance(value, list):
        return ",".join(map(text_of, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
