"""Declared options: how a plugin says which fields a user may set.

A class that derives from `Options` is a keyword-only dataclass whose fields are made with `hyper`; each field has a
type, a default, a meaning, and limits. Fields are checked when the class is declared: a type must be one that a command
line can say and a record can hold (KINDS), and the default must be of it. Values are validated on construction, and
parsed from `--set NAME.FIELD=VALUE`.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any, Literal, dataclass_transform

from petl_bench.api.values.fields import Limits, convert, field_types, is_optional, parse, refuse_unknown, without_none
from petl_bench.errors import PluginError, UsageError

#: The types that a field may have, in words.
KINDS = "int, float, bool, str, Literal[...] of such values, tuple[one of these, ...], or one of these | None"
_SIMPLE = (int, float, bool, str)
#: Letters of a name for readers.
LONGEST_DISPLAY = 40


def hyper(
    default: Any,
    meaning: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    location: bool = False,
    later: bool = False,
    rate: bool = False,
) -> Any:
    """Declare a field: its default, what it means, its limits (inclusive) and its unit.

    `location`: the field only says where files lie. It does not enter a trial's key; what the files hold must, by its
    hash. `later`: the plugin has records from before this field was declared. While it has its default it enters
    neither the key of a trial nor its record, so that those records stay what they are. `rate`: of a method, a field
    that changes which learning rate is good, as a factor of it or of what is trained does. With another value than that
    of a recipe (without one, its default), the recipe's learning rate does not count as tuned.
    """
    metadata = {
        "meaning": meaning,
        "minimum": minimum,
        "maximum": maximum,
        "unit": unit,
        "location": location,
        "later": later,
        "rate": rate,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(kw_only_default=True, field_specifiers=(hyper,))
class Options:
    """Base of everything with settable fields. Subclasses become keyword-only dataclasses by themselves."""

    name: typing.ClassVar[str] = ""
    #: The name for readers of tables and figures, as papers write it: "HMDB-51" for hmdb51. A subclass does not inherit
    #: it: another plugin is something else.
    display: typing.ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        try:
            dataclasses.dataclass(kw_only=True)(cls)
        except (TypeError, ValueError) as error:  # a field without a type, or a default that all instances would share
            raise PluginError(f"{cls.__name__}: {error}. Write NAME: TYPE = hyper(DEFAULT, MEANING)") from error
        _check_init(cls)
        _check_declaration(cls)
        cls.display = vars(cls).get("display", "")
        _check_display(cls)

    def __post_init__(self) -> None:
        kinds = field_types(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            label = f"{self._label()}.{field.name}"
            setattr(self, field.name, convert(kinds[field.name], getattr(self, field.name), label, _limits(field)))

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
        label, kinds = name or cls.name or cls.__name__, field_types(cls)
        refuse_unknown(texts, cls, f"field of {label}", f"petl-bench show {cls.name or label}")
        return {field: parse(kinds[field], text, f"{label}.{field}") for field, text in texts.items()}

    def _label(self) -> str:
        return self.name or type(self).__name__


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def text_of(value: Any) -> str:
    """A value of a field as `--set` takes it: the inverse of `Options.parse`."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(text_of, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# What a class declares


def _check_init(cls: type[Options]) -> None:
    """Raise PluginError if a class has an `__init__` of its own that does not take the options that it declares."""
    if "__init__" not in vars(cls):
        return
    taken = inspect.signature(cls).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken):
        return
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    declared = fields & vars(cls).get("__annotations__", {}).keys()
    lost = declared - {parameter.name for parameter in taken}
    if lost:
        raise PluginError(
            f"{cls.__name__}.__init__ does not take the options {', '.join(sorted(lost))}: leave it out, for each "
            "NAME: TYPE = pb.hyper(DEFAULT, MEANING) is an argument by itself"
        )


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
            convert(kind, field.default, label, _limits(field))
        except UsageError as error:
            raise PluginError(f"the default of {error}") from error


def _check_display(cls: type[Options]) -> None:
    """Raise PluginError for a name for readers that no cell of a table can show."""
    shown = cls.display
    if not isinstance(shown, str) or not shown.isprintable() or shown != shown.strip() or len(shown) > LONGEST_DISPLAY:
        raise PluginError(
            f"{cls.__name__}.display = {shown!r:.60}: the name for readers must be a text in one line, without spaces "
            f"around it, of up to {LONGEST_DISPLAY} letters"
        )


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
    if is_optional(kind):
        return len(arguments) == 2 and _can_be_said(without_none(kind))
    if typing.get_origin(kind) is tuple:
        return len(arguments) == 2 and arguments[1] is ... and _is_simple(arguments[0])
    return _is_simple(kind)


def _is_simple(kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return {type(value) for value in typing.get_args(kind)} <= set(_SIMPLE)
    return kind in _SIMPLE


def _written(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _limits(field: dataclasses.Field[Any]) -> Limits:
    """The limits that `hyper` gave to a field; each number in its value must keep them."""
    given = {name: field.metadata.get(name) for name in ("minimum", "maximum", "meaning")}
    return Limits(**{name: value for name, value in given.items() if value is not None})
