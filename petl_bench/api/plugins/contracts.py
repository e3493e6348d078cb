"""What the author of a plugin must write: if something is missing, or returns something else, one line says so.

The base class of a kind declares it: `@member` marks a method with what it must return, and whether every plugin must
define it. Classes are examined when their plugin is asked for (`refuse_incomplete`), return values when the method is
called (`check_returns`). The plugins of petl-bench itself have tests for return values, and keep their tracebacks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from petl_bench.errors import PetlBenchError, PluginError, describe

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Returns:
    """What a method must return, in words, and a test of a value."""

    words: str
    fits: Callable[[Any], bool]


def instance_of(kind: Any, words: str) -> Returns:
    """One value of a class."""
    return Returns(words, lambda value: isinstance(value, kind))


def list_of(kind: type, words: str) -> Returns:
    """A list or tuple whose items are of a class."""
    return Returns(
        words, lambda value: isinstance(value, (list, tuple)) and all(isinstance(each, kind) for each in value)
    )


def member(returns: Returns | None = None, *, required: bool = False) -> Callable[[F], F]:
    """Declare a method of a base class.

    Args:
        returns: what an override must return; None if that is not checked here.
        required: every plugin must define it; the base class's own body is then never used.
    """

    def declare(method: F) -> F:
        declared: Any = _missing(method, returns) if required else method
        declared.returns, declared.required = returns, required
        return declared  # type: ignore[no-any-return]

    return declare


def what_to_write(method: Callable[..., Any], returns: Returns | None) -> str:
    """A method as its author writes it, e.g. `task(self, annotations, case), which returns pb.Task`."""
    signature = f"{method.__name__}({', '.join(inspect.signature(method).parameters)})"
    return f"{signature}, which returns {returns.words}" if returns else signature


def _missing(method: Callable[..., Any], returns: Returns | None) -> Callable[..., NoReturn]:
    @functools.wraps(method)
    def refuse(self: Any, *_arguments: Any, **_named: Any) -> NoReturn:
        raise PluginError(f"{type(self).__name__} must define {what_to_write(method, returns)}")

    return refuse


def refuse_incomplete(base: type, kind: str, name: str, plugin: Any, config: str = "") -> None:
    """Raise PluginError if a plugin is no class of its kind, or lacks what its author must write.

    Args:
        base: the base class of the kind.
        kind: the kind in words, e.g. "data set".
        name: the name that the plugin is registered under.
        plugin: what was registered.
        config: how the author writes the class attribute `config`, for kinds that need one.
    """
    if not (isinstance(plugin, type) and issubclass(plugin, base)):
        raise PluginError(
            f"the {kind} {name!r} must be a class that derives from pb.{base.__name__} ({base.__module__})"
        )
    if getattr(plugin, "command", ""):  # a setting that has a command of its own, and nothing else
        return
    missing = [
        what_to_write(method, method.returns)
        for member_name, method in vars(base).items()
        if getattr(method, "required", False) and getattr(plugin, member_name) is method
    ]
    if config and getattr(plugin, "config", None) is None:
        missing.append(config)
    if missing:
        raise PluginError(f"the {kind} {name!r} ({plugin.__name__}) must define {'; and '.join(missing)}")


def check_returns(cls: type) -> None:
    """Wrap the methods that a plugin's class defines itself and whose base class declares what they return: if one
    fails or returns something else, it says so in one line. Errors for people, and a lack of memory, pass unchanged."""
    if cls.__module__.partition(".")[0] == "petl_bench":
        return
    for name, method in list(vars(cls).items()):
        declared = next((vars(base)[name] for base in cls.__mro__[:0:-1] if name in vars(base)), None)
        returns = getattr(declared, "returns", None)
        if returns is not None and inspect.isfunction(method):
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
