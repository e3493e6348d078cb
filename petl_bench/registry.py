"""One generic registry: entry points (loaded lazily), decorators, and plugin files named with `--plugin`.

A name belongs to one source only: a second one is refused, and the error names both. A plugin that cannot be imported
is reported with its file and line where it is asked for, and does not take the others down.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from petl_bench import plugin_files
from petl_bench.errors import PluginError, UsageError, unknown

T = TypeVar("T")


class Registry:
    """The plugins of one kind, by name. `kind` is singular ("method"); the entry-point group is
    `petl_bench.<plural>`."""

    def __init__(self, kind: str, plural: str) -> None:
        self.kind, self.plural = kind, plural
        self._registered: dict[str, Any] = {}
        self._entries: dict[str, EntryPoint] | None = None

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that registers a plugin under `name`. Raises PluginError where the name is taken."""

        def decorate(plugin: type[T]) -> type[T]:
            self._refuse_clash(name, plugin)
            plugin.name = name  # type: ignore[attr-defined]
            self._registered[name] = plugin
            return plugin

        return decorate

    def names(self) -> list[str]:
        """Every known name, sorted; nothing is imported."""
        return sorted({*self._entry_points(), *self._registered})

    def get(self, name: str) -> Any:
        """The plugin of that name. Raises UsageError for an unknown name and PluginError for a broken plugin."""
        if name in self._registered:
            return self._registered[name]
        entry = self._entry_points().get(name)
        if entry is None:
            raise unknown(self.kind, name, self.names(), f"petl-bench list {self.plural}")
        try:
            plugin = entry.load()
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"{self.kind} {name!r} ({entry.value}) cannot be loaded: {describe(error)}") from error
        if entry.dist is not None:
            _distributions[plugin] = entry.dist
        return self._registered.setdefault(name, plugin)

    def broken(self) -> dict[str, str]:
        """The names that cannot be loaded, each with its reason."""
        reasons = {}
        for name in self.names():
            try:
                self.get(name)
            except PluginError as error:
                reasons[name] = str(error)
        return reasons

    def source(self, name: str) -> str:
        """Where a plugin comes from: the file of its class, or its entry point."""
        plugin = self._registered.get(name)
        return _source_of(plugin) if plugin is not None else self._entry_points()[name].value

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._entries is None:
            found: dict[str, EntryPoint] = {}
            for entry in entry_points(group=f"petl_bench.{self.plural}"):
                other = found.setdefault(entry.name, entry)
                if other.value != entry.value:
                    raise PluginError(
                        f"two installed plugins claim the {self.kind} name {entry.name!r}: {other.value} and "
                        f"{entry.value}. Uninstall one of them."
                    )
            self._entries = found
        return self._entries

    def _refuse_clash(self, name: str, plugin: type) -> None:
        known = self._registered.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (plugin.__module__, plugin.__qualname__):
            raise PluginError(f"the {self.kind} name {name!r} is taken: {_source_of(known)} and {_source_of(plugin)}")
        entry = self._entry_points().get(name)
        if entry is not None and entry.value != f"{plugin.__module__}:{plugin.__qualname__}":
            raise PluginError(f"the {self.kind} name {name!r} is taken: {entry.value} and {_source_of(plugin)}")


METHODS = Registry("method", "methods")
SETTINGS = Registry("setting", "settings")
DATASETS = Registry("data set", "datasets")
BACKBONES = Registry("backbone", "backbones")
TABLES = Registry("table", "tables")
LAUNCHERS = Registry("launcher", "launchers")

KINDS = {registry.plural: registry for registry in (METHODS, SETTINGS, DATASETS, BACKBONES, TABLES, LAUNCHERS)}

#: Plugins that came through an entry point, and the distribution that has it.
_distributions: dict[Any, Distribution] = {}

register_method = METHODS.register
register_setting = SETTINGS.register
register_dataset = DATASETS.register
register_backbone = BACKBONES.register
register_table = TABLES.register
register_launcher = LAUNCHERS.register


def distribution_of(plugin: type) -> Distribution | None:
    """The installed distribution that brought a plugin; None for one from a plugin file or a script."""
    return _distributions.get(plugin)


def load_plugin_file(path: str | Path) -> list[tuple[Registry, str]]:
    """Import a plugin file (only ever one that the user named); returns what it registered.

    Raises UsageError where there is no such file and PluginError, with file and line, where it fails.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such file")
    module_name = f"{plugin_files.PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        _import_file(module_name, path)
    return [
        (registry, name)
        for registry in KINDS.values()
        for name, plugin in registry._registered.items()
        if plugin.__module__ == module_name
    ]


def _import_file(module_name: str, path: Path) -> None:
    if path.suffix != ".py":
        raise UsageError(f"--plugin {path}: expected a Python file (*.py)")
    try:
        plugin_files.load(module_name, path)
    except PluginError as error:
        raise PluginError(f"plugin {path}: {error}") from error
    except Exception as error:
        raise PluginError(f"plugin {path} cannot be loaded: {describe(error, within=path)}") from error


def describe(error: BaseException, within: Path | None = None) -> str:
    """An error in one line with the file and line it came from (the deepest one inside `within`, where given)."""
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    inside = [f for f in frames if within is None or Path(f.filename) == within] or frames
    where = f" ({inside[-1].filename}, line {inside[-1].lineno})" if inside else ""
    return f"{type(error).__name__}: {error}{where}"


def _source_of(plugin: type) -> str:
    try:
        return f"{inspect.getfile(plugin)}:{plugin.__qualname__}"
    except TypeError:
        return f"{plugin.__module__}:{plugin.__qualname__}"
