"""One generic registry: entry points (loaded lazily), decorators, and plugin files named with `--plugin`.

A name belongs to one source only: a second one is refused, and the error names both. A plugin that cannot be imported
is reported with its file and line where it is asked for, and does not take the others down.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Sequence
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from petl_bench.api.family import Family
from petl_bench.api.method import Method
from petl_bench.api.plugins import files as plugin_files
from petl_bench.api.plugins.contracts import refuse_incomplete
from petl_bench.api.values.fields import refuse_unknown
from petl_bench.api.values.flag_lists import PLUS, part_names
from petl_bench.errors import PetlBenchError, PluginError, UsageError, near_names, unknown
from petl_bench.errors import describe as describe

T = TypeVar("T")

#: What a name may be: it stands in flags, in lists with commas, in `NAME.FIELD=VALUE`, and in names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")
_NAME_IN_WORDS = "up to 64 letters of A to Z, a to z, 0 to 9, _, - and :, the first one a letter or a digit"
#: Names with a meaning of their own in `--set` and `--methods`.
_RESERVED = frozenset(("training", "all"))


class Registry:
    """The plugins of one kind, by name.

    Args:
        kind: the kind in words, e.g. "data set".
        plural: its name in commands, e.g. "datasets"; the entry-point group is `petl_bench.<plural>`.
        base: the class that every plugin derives from, as `module:class`; "": any class will do.
        config: how an author writes the class attribute `config`, for kinds that need one.
        composed: several plugins can be one, `a+b` (see `petl_bench.api.composition`).
        with_families: a plugin can be the member of a family, `FAMILY:MEMBER` (see `petl_bench.api.family`).
    """

    def __init__(
        self,
        kind: str,
        plural: str,
        base: str = "",
        config: str = "",
        composed: bool = False,
        with_families: bool = False,
    ) -> None:
        self.kind, self.plural = kind, plural
        self._base, self._config, self._composed = base, config, composed
        self._with_families = with_families
        self._complete: dict[str, Any] = {}
        self._registered: dict[str, Any] = {}
        self._entries: dict[str, EntryPoint] | None = None
        self._family_entries: dict[str, EntryPoint] | None = None
        self._families: dict[str, Family] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that registers a plugin under `name`. Raises PluginError if that is no name, or is taken."""
        self.refuse_name(name)

        def decorate(plugin: type[T]) -> type[T]:
            self._refuse_clash(name, plugin)
            plugin.name = name  # type: ignore[attr-defined]
            self._registered[name] = plugin
            return plugin

        return decorate

    def names(self) -> list[str]:
        """Every registered name, sorted, without the members of families; nothing is imported."""
        return sorted({*self._entry_points(), *self._registered})

    def __contains__(self, name: str) -> bool:
        """Whether a name is registered, or all parts of a composition are; nothing is imported.

        Of `FAMILY:MEMBER` only the family is looked up.
        """
        names = part_names(name) if self._composed else [name]
        return all(
            each in self._registered or each in self._entry_points() or self._family_of(each) is not None
            for each in names
        )

    def get(self, name: str) -> Any:
        """The plugin of that name, or the composition of several, `a+b`.

        Raises UsageError for an unknown name or parts that do not go together, and PluginError for a broken plugin.
        """
        if self._composed and PLUS in name:
            from petl_bench.api.composition import compose  # here, because `list` and `show` seldom need it

            return compose(name, self.get)
        if name in self._registered:
            return self._whole(name, self._registered[name])
        entry = self._entry_points().get(name)
        if entry is None and (of_family := self._family_of(name)) is not None:
            return self._member(name, *of_family)
        if entry is None:
            raise self.unknown(name)
        self.refuse_name(name)
        plugin = self._loaded(name, entry)
        if entry.dist is not None:
            _distributions[plugin] = entry.dist
        return self._whole(name, plugin)

    # Families

    def families(self) -> list[str]:
        """The names of the families, sorted; nothing is imported."""
        if self._family_entries is None:
            group = f"petl_bench.{self.plural.removesuffix('s')}_families"
            found = entry_points(group=group) if self._with_families else ()
            self._family_entries = {entry.name: entry for entry in found}
        return sorted(self._family_entries)

    def family(self, name: str) -> Family:
        """The family of that name. Raises PluginError if it cannot be loaded."""
        if name not in self._families:
            self.families()
            assert self._family_entries is not None
            entry = self._family_entries[name]
            try:
                self._families[name] = entry.load()()
            except Exception as error:
                raise PluginError(f"the family {name!r} ({entry.value}) cannot be loaded: {describe(error)}") from error
        return self._families[name]

    def _family_of(self, name: str) -> tuple[str, str] | None:
        """The family that `FAMILY:MEMBER` names, and the member; None for any other name."""
        family, colon, member = name.partition(":")
        return (family, member) if colon and family in self.families() else None

    def _member(self, name: str, family: str, member: str) -> Any:
        plugin = self.family(family).make(member)
        entry = (self._family_entries or {})[family]
        if entry.dist is not None:
            _distributions[plugin] = entry.dist
        return self._whole(name, plugin)

    def display(self, name: str) -> str:
        """The name for readers of what is registered so: its class's `display`.

        The registered name if the plugin has none, or cannot be loaded here.
        """
        return getattr(self._loadable(name), "display", "") or name

    def latex(self, name: str) -> Sequence[tuple[str, str]]:
        """Parts of the name for readers of a method, and how LaTeX writes them; none if it cannot be loaded here."""
        found: Sequence[tuple[str, str]] = getattr(self._loadable(name), "latex", ())
        return found

    def _loadable(self, name: str) -> Any:
        """The plugin of that name; None if there is none here. What is unknown is not searched for near names."""
        try:
            return self.get(name) if name in self else None
        except PetlBenchError:
            return None

    def unknown(self, name: str) -> UsageError:
        """An error for an unknown name, with near ones, members of families included."""
        if name in self.families():
            family = self.family(name)
            return UsageError(
                f"{name} is a family of {self.plural}: write {name}:{family.member}, e.g. {family.example}. See: "
                f"petl-bench show {name}"
            )
        known = [*self.names(), *self.members_near(name), *self.families()]
        return unknown(self.kind, name, known, f"petl-bench list {self.plural}", self.members_called(name))

    def members_near(self, name: str) -> list[str]:
        """`FAMILY:MEMBER` with the nearest family of that name in the place of an unknown one."""
        family, colon, member = name.partition(":")
        return [f"{each}:{member}" for each in near_names(family, self.families())[:1] if colon]

    def members_called(self, name: str) -> list[str]:
        """The members of families that have this name in capitals or small letters: `peft:LOHA` for `loha`."""
        found = []
        for family in self.families():
            with contextlib.suppress(PluginError):  # not installed
                members = self.family(family).members()
                found += [f"{family}:{each}" for each in members if each.lower() == name.lower()]
        return found

    def _loaded(self, name: str, entry: EntryPoint) -> Any:
        """What an entry point means: a class, or a module that registers one of this name when it is imported."""
        try:
            loaded = entry.load()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.kind} {name!r} ({entry.value}) cannot be loaded: {describe(error)}") from error
        if isinstance(loaded, types.ModuleType) and name not in self._registered:
            raise PluginError(
                f"the entry point {name} = {entry.value} is a module that registers no {self.kind} of that name: write "
                f'@pb.register_{self.plural.removesuffix("s")}("{name}") above its class, or give {entry.value}:CLASS'
            )
        plugin = self._registered.setdefault(name, loaded)
        if not getattr(plugin, "name", None):
            plugin.name = name
        return plugin

    def _whole(self, name: str, plugin: Any) -> Any:
        """The plugin. Raises PluginError if it lacks what its author must write."""
        if self._base and self._complete.get(name) is not plugin:
            refuse_incomplete(self.base_class(), self.kind, name, plugin, self._config)
            self._complete[name] = plugin
        return plugin

    def base_class(self) -> type:
        """The class that every plugin of this kind derives from."""
        module, _, name = self._base.partition(":")
        base: type = getattr(importlib.import_module(module), name)
        return base

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
        """Where a plugin comes from: the file of its class, or its entry point; of a composition, of every part."""
        if self._composed and PLUS in name:
            return ", ".join(map(self.source, part_names(name)))
        plugin = self._registered.get(name)
        if plugin is None and self._family_of(name) is not None:
            plugin = self.get(name)
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

    def refuse_name(self, name: Any) -> None:
        """Raise PluginError for what cannot be the name of a plugin."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{name!r} cannot be the name of a {self.kind}: {_NAME_IN_WORDS}")
        if name in _RESERVED:
            raise PluginError(f"{name!r} cannot be the name of a {self.kind}: it means something else in flags")
        family = name.partition(":")[0]
        if family in self.families():
            raise PluginError(f"the {self.kind} name {name!r} is taken: it belongs to the family {family}")

    def _refuse_clash(self, name: str, plugin: type) -> None:
        known = self._registered.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (plugin.__module__, plugin.__qualname__):
            raise PluginError(f"the {self.kind} name {name!r} is taken: {_source_of(known)} and {_source_of(plugin)}")
        entry = self._entry_points().get(name)
        if entry is not None and not _brings(entry, plugin):
            raise PluginError(f"the {self.kind} name {name!r} is taken: {entry.value} and {_source_of(plugin)}")


METHODS = Registry("method", "methods", "petl_bench.api.method:Method", composed=True, with_families=True)
SETTINGS = Registry("setting", "settings", "petl_bench.api.setting:Setting")
DATASETS = Registry("data set", "datasets", "petl_bench.api.dataset:Dataset")
BACKBONES = Registry(
    "backbone", "backbones", "petl_bench.api.backbone:Backbone", "config = pb.ViCLIPConfig(...), its sizes"
)
TABLES = Registry("table", "tables", "petl_bench.api.table:TableSource")
LAUNCHERS = Registry("launcher", "launchers", "petl_bench.api.launcher:Launcher")
TRACKERS = Registry("tracker", "trackers", "petl_bench.api.tracker:Tracker")

KINDS = {each.plural: each for each in (METHODS, SETTINGS, DATASETS, BACKBONES, TABLES, LAUNCHERS, TRACKERS)}

#: Plugins that came through an entry point, and the distribution that has it.
_distributions: dict[Any, Distribution] = {}

register_method = METHODS.register
register_setting = SETTINGS.register
register_dataset = DATASETS.register
register_backbone = BACKBONES.register
register_table = TABLES.register
register_launcher = LAUNCHERS.register
register_tracker = TRACKERS.register


def distribution_of(plugin: type) -> Distribution | None:
    """The installed distribution that brought a plugin; None for one from a plugin file or a script."""
    return _distributions.get(plugin)


def load_plugin_file(path: str | Path) -> list[tuple[Registry, str]]:
    """Import a plugin file (only ever one that the user named); returns what it registered.

    Raises UsageError if there is no such file and PluginError, with file and line, if it fails.
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
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {path} cannot be loaded: {describe(error, within=path)}") from error


def named(name: str) -> list[tuple[Registry, str]]:
    """The plugins that a name means, one for each kind that has it; `KIND:NAME` means that of one kind.

    Raises UsageError for an unknown name, with near ones.
    """
    kind, _, plain = name.partition(":") if ":" in name else ("", "", name)
    if kind in KINDS:
        KINDS[kind].get(plain)
        return [(KINDS[kind], plain)]
    if PLUS in name:
        METHODS.get(name)
        return [(METHODS, name)]
    found = [(registry, name) for registry in KINDS.values() if name in registry]
    if not found and kind:
        for registry in KINDS.values():
            if registry.members_near(name) and not near_names(kind, KINDS):
                raise registry.unknown(name)
        raise unknown("kind", kind, KINDS, "petl-bench list --help")
    if not found:
        everything = {known for registry in KINDS.values() for known in registry.names()}
        raise unknown(
            "plugin",
            name,
            everything,
            "petl-bench list methods (or settings, datasets, backbones, tables, launchers, trackers)",
            [member for registry in KINDS.values() for member in registry.members_called(name)],
        )
    return found


def _brings(entry: EntryPoint, plugin: type) -> bool:
    """Whether a class is what an entry point names: the class itself, or one of the module or package named."""
    module, _, attribute = entry.value.partition(":")
    if attribute:
        return entry.value == f"{plugin.__module__}:{plugin.__qualname__}"
    return plugin.__module__ == module or plugin.__module__.startswith(f"{module}.")


def _source_of(plugin: type) -> str:
    try:
        return f"{inspect.getfile(plugin)}:{plugin.__qualname__}"
    except TypeError:
        return f"{plugin.__module__}:{plugin.__qualname__}"


def create_method(name: str, **hyper_parameters: Any) -> Method:
    """A method with the given hyper-parameters, the rest at their defaults.

    Raises UsageError for an unknown name or field, or a value outside its limits.
    """
    method = METHODS.get(name)
    refuse_unknown(hyper_parameters, method, f"field of {name}", f"petl-bench show {name}")
    created: Method = method(**hyper_parameters)
    return created
