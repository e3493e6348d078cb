"""Declared options: how a plugin says which fields a user may set.

A class that derives from `Options` is a keyword-only dataclass whose fields are made with `hyper`; each field has a
type, a default, a meaning, and limits. Values are validated on construction, and parsed from `--set NAME.FIELD=VALUE`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, dataclass_transform

from petl_bench.errors import UsageError, unknown


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
        dataclasses.dataclass(kw_only=True)(cls)

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
    """The value as the declared type; a text is read as a number only where that is exact."""
    if _is_optional(kind):
        return None if value is None else _coerce(_not_none(kind), value, label)
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise UsageError(f"{label}={value}: expected one of {', '.join(map(str, allowed))}")
        return value
    if typing.get_origin(kind) is tuple:
        return tuple(_coerce(typing.get_args(kind)[0], part, label) for part in value)
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{label}={value}: expected true or false")
        return value
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        raise UsageError(f"{label}={value}: expected {kind.__name__}") from None
    if kind is int and float(value) != converted:
        raise UsageError(f"{label}={value}: expected a whole number")
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
