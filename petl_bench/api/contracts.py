"""What the author of a plugin must write: where it is lacking, or a method gives something else, one line says so.

Classes are looked at when their plugin is asked for (`refuse_incomplete`), what methods return when they are called
(`check_returns`). Those of petl-bench itself have tests for that, and keep their tracebacks.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from petl_bench.errors import PetlBenchError, PluginError, describe


@dataclass(frozen=True)
class Contract:
    """The base class of a kind of plugin, as `module:name`, and what a plugin must define: member -> what to write."""

    base: str
    needed: Mapping[str, str] = field(default_factory=dict)

    def refuse_incomplete(self, kind: str, name: str, plugin: Any) -> None:
        """Raise PluginError if the plugin is no class of this kind, or lacks what its author must write."""
        module, _, base_name = self.base.partition(":")
        base = getattr(importlib.import_module(module), base_name)
        if not (isinstance(plugin, type) and issubclass(plugin, base)):
            raise PluginError(f"the {kind} {name!r} must be a class that derives from {module}.{base_name}")
        if getattr(plugin, "command", ""):  # a setting that has a command of its own, and nothing else
            return
        missing = [text for member, text in self.needed.items() if _is_missing(plugin, base, member)]
        if missing:
            raise PluginError(f"the {kind} {name!r} ({plugin.__name__}) must define {'; and '.join(missing)}")


def _is_missing(plugin: type, base: type, member: str) -> bool:
    return getattr(plugin, member, None) is getattr(base, member, None)


@dataclass(frozen=True)
class Returns:
    """What a method must return, in words, and whether a value is that."""

    words: str
    fits: Callable[[Any], bool]


def instance_of(kind: Any, words: str) -> Returns:
    """One value of a class."""
    return Returns(words, lambda value: isinstance(value, kind))


def list_of(kind: type, words: str) -> Returns:
    """A list whose items are of a class."""
    return Returns(
        words, lambda value: isinstance(value, (list, tuple)) and all(isinstance(each, kind) for each in value)
    )


def check_returns(cls: type, **expected: Returns) -> None:
    """Have those methods that a class of a plugin defines itself say so in one line if they fail or return what they
    must not. Errors for people, and a lack of memory, pass."""
    if cls.__module__.partition(".")[0] == "petl_bench":
        return
    for name, returns in expected.items():
        method = vars(cls).get(name)
        if inspect.isfunction(method):
            setattr(cls, name, _checked(cls, method, returns))


def _checked(cls: type, method: Callable[..., Any], returns: Returns) -> Callable[..., Any]:
    label = f"{cls.__name__}.{method.__name__}()"

    @functools.wraps(method)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        try:
            value = method(*arguments, **named)
        except (PetlBenchError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(f"{label} fails: {describe(error)}") from error
        if not returns.fits(value):
            raise PluginError(f"{label} returned {type(value).__name__}; it must return {returns.words}")
        return value

    return wrapper
