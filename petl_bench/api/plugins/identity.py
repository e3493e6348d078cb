"""Which code a plugin is, as a text that enters the keys of trials, and whether it is still that code.

A plugin of petl-bench itself is known by the version that it declares. One from a plugin file, or from a script, is
that version and the hash of its code (files.py); one that another distribution installs is the version, that
distribution's name and version, and the hash of its files of code.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from importlib.metadata import Distribution
from importlib.metadata import version as distribution_version
from pathlib import Path

from petl_bench.api.composition import parts_of
from petl_bench.api.plugins import files as plugin_files
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS, distribution_of
from petl_bench.api.trial import Trial
from petl_bench.errors import TrialError

_INSTALLED_AS = "petl-bench"


def plugin_version(plugin: type) -> str:
    """Version and code of a plugin, as it was loaded; of a composition, those of its parts with their names."""
    if parts := parts_of(plugin):
        return ", ".join(f"{part.name} {plugin_version(part)}" for part in parts)
    version = str(getattr(plugin, "version", 1))
    code = _loaded.get(plugin)
    if code is None:
        code = _loaded[plugin] = _code_as_loaded(plugin)
    others = [f"{name} {distribution_version(name)}" for name in getattr(plugin, "decided_by", ())]
    return "+".join(filter(None, (version, code, *others)))


def code_version(plugin: type) -> str:
    """What enters keys of a plugin that declares no version, a backbone: "" for one of petl-bench itself."""
    version = plugin_version(plugin)
    return version if "+" in version else ""


def refuse_changed_plugins(trial: Trial) -> None:
    """Raise TrialError if a plugin of the trial is not the code that it was planned with.

    Both the code that this process has loaded and the code on disk must be that of the plan.
    """
    planned = (
        (METHODS.get(trial.method), trial.method_version, plugin_version),
        (SETTINGS.get(trial.setting), trial.setting_version, plugin_version),
        (DATASETS.get(trial.data_plugin), trial.dataset_version, plugin_version),
        (BACKBONES.get(trial.backbone), trial.backbone_version, code_version),
    )
    for plugin, version, version_of in planned:
        changed = _changed_file(plugin)
        if changed or version_of(plugin) != version:
            raise TrialError(
                f"{changed or _words(plugin)} changed since this trial was planned; run the command again to plan anew"
            )


_loaded: dict[type, str] = {}


def _code_as_loaded(plugin: type) -> str:
    if plugin.__module__.partition(".")[0] == "petl_bench":
        return ""
    distribution = distribution_of(plugin)
    if distribution is not None:
        return "" if _is_own(distribution) else _code_of_distribution(plugin, distribution)
    code = plugin_files.loaded_code(plugin.__module__)
    return "" if code is None else plugin_files.hash_of(code)


def _changed_file(plugin: type) -> str:
    """The files of a plugin's code that are not on disk as they were loaded; "" if all are."""
    if parts := parts_of(plugin):
        return ", ".join(filter(None, map(_changed_file, parts)))
    plugin_version(plugin)  # the first call takes what is on disk for what was loaded
    loaded = _loaded[plugin]
    if not loaded:
        return ""
    distribution = distribution_of(plugin)
    if distribution is not None:
        return "" if _code_of_distribution(plugin, distribution) == loaded else distribution.name
    before = plugin_files.loaded_code(plugin.__module__)
    assert before is not None, "a plugin without a file has no code"
    return ", ".join(map(str, plugin_files.changed(before, plugin_files.code_of(before[plugin_files.ITSELF].file))))


def _words(plugin: type) -> str:
    return f"the plugin {getattr(plugin, 'name', '') or plugin.__name__}"


def _is_own(distribution: Distribution) -> bool:
    return distribution.name.lower().replace("_", "-") == _INSTALLED_AS


def _code_of_distribution(plugin: type, distribution: Distribution) -> str:
    """Name and version of a distribution, and one hash of its code: the files that it lists, and those of the plugin's
    package, which an editable installation does not list."""
    files = {str(file): Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
    found = {name: path for name, path in files.items() if path.suffix in plugin_files.CODE_SUFFIXES and path.is_file()}
    found |= dict(_files_of_package(plugin.__module__.partition(".")[0]))
    by_place = {path.resolve(): name for name, path in found.items()}
    total = hashlib.sha256()
    for path, name in sorted(by_place.items(), key=lambda item: item[1]):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"{distribution.name} {distribution.version} {total.hexdigest()}"


def _files_of_package(name: str) -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    for folder in map(Path, spec.submodule_search_locations or ()):
        for path in plugin_files.code_files_below(folder):
            yield f"{name}/{path.relative_to(folder).as_posix()}", path
    if spec.origin is not None and not spec.submodule_search_locations:
        yield Path(spec.origin).name, Path(spec.origin)
