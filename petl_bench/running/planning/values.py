"""Which values each plugin of a run has: names resolved, `--set` parsed, recipes applied. Without torch.

Values of a trial are settled in this order, the later one winning: defaults, the setting's training values, the data
set's views (multi-view settings) or frames per second (retrieval), the method's recipe for the setting, the backbone's
training values, the method's recipe for both, the command line, what it says for one method (`METHOD.training.FIELD`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from petl_bench.api.backbone import Backbone
from petl_bench.api.composition import parts_of
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.dataset import Dataset
from petl_bench.api.method import Method, hooks_of, trainable_in
from petl_bench.api.options import Options
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import BACKBONES, DATASETS, KINDS, METHODS, SETTINGS, describe
from petl_bench.api.setting import Setting
from petl_bench.api.step import Kind, MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import canonical_json
from petl_bench.api.values import named_folders
from petl_bench.api.values.fields import field_types, refuse_unknown
from petl_bench.api.values.flag_lists import PLUS, TRAINING, part_names
from petl_bench.api.values.resolution import recipe_values, usual_training
from petl_bench.errors import PetlBenchError, PluginError, UsageError, unknown
from petl_bench.running.planning.spec import Spec

_SETTABLE = ("methods", "settings", "datasets", "backbones")


class Overrides:
    """The values of `--set`, for plugins and for folders with a name.

    Raises UsageError for a name, field or value that no plugin has, used or not, and for a folder with the name of a
    plugin.
    """

    def __init__(self, spec: Spec) -> None:
        self._texts, self._of_training = _apart(spec.overrides())
        self._folders = spec.folders()
        self._parsed: dict[tuple[type[Options], str], dict[str, Any]] = {}
        plugins = {name: KINDS[kind] for kind in _SETTABLE for name in KINDS[kind].names()}
        kinds = {TRAINING: "name in --set", **{name: registry.kind for name, registry in plugins.items()}}
        named_folders.refuse_taken(self._folders, kinds)
        for name, values in self._texts.items():
            if name == TRAINING:
                TrainingOptions(**self.of(TrainingOptions, name))
            elif name in self._folders:
                self._refuse_path(name, values)
                self.of(DATASETS.get(named_folders.PLUGIN), name)
            elif name not in plugins and PLUS not in name and name not in METHODS:
                raise unknown(
                    "name in --set",
                    name,
                    [TRAINING, *self._folders, *plugins],
                    "petl-bench list methods (or settings, datasets, backbones)",
                )
            else:
                self.of(plugins.get(name, METHODS).get(name), name)
        for name, values in self._of_training.items():
            if (name in plugins and plugins[name] is not METHODS) or name in {TRAINING, *self._folders}:
                raise UsageError(
                    f"--set {name}.{TRAINING}.{next(iter(values))}: {name} is no method, and is not trained"
                )
            METHODS.get(name)
            TrainingOptions(**self.training_of(name))

    def training_of(self, method: str) -> dict[str, Any]:
        """The training values given for one method alone (`METHOD.training.FIELD`)."""
        return TrainingOptions.parse(self._of_training.get(method, {}), f"{method}.{TRAINING}")

    def _refuse_path(self, name: str, values: Mapping[str, str]) -> None:
        if named_folders.PATH in values:
            raise UsageError(
                f"--set {name}.{named_folders.PATH}={values[named_folders.PATH]}: --datasets says where {name} is, "
                f"in {self._folders[name]}; change it there"
            )

    def of(self, plugin: type[Options], name: str) -> dict[str, Any]:
        """The values given for one plugin, parsed as its fields' types; each text is parsed once."""
        if (plugin, name) not in self._parsed:
            own = name if name in self._folders else ""
            self._parsed[plugin, name] = plugin.parse(self._texts.get(name, {}), own)
        return dict(self._parsed[plugin, name])

    def of_method(self, plugin: type[Method], name: str) -> dict[str, Any]:
        """The values given for a method; for a composition those of its parts, and over these its own."""
        given = {part.name: self.of(part, part.name) for part in parts_of(plugin)}
        of_parts = {f"{part}.{field}": value for part, values in given.items() for field, value in values.items()}
        return of_parts | self.of(plugin, name)

    def build(self, plugin: type[Any], name: str) -> Any:
        """The plugin with the values given for it."""
        return plugin(**self.of(plugin, name))

    def dataset(self, name: str) -> Dataset:
        """The data set of that name, which may be a folder's, with the values given for it.

        A folder has the values of all of them (`folder.FIELD`), and over these its own.
        """
        if name not in self._folders:
            found: Dataset = self.build(DATASETS.get(name), name)
            return found
        plugin: type[Dataset] = DATASETS.get(named_folders.PLUGIN)
        values = self.of(plugin, named_folders.PLUGIN) | self.of(plugin, name)
        return plugin.called(name, **values | {named_folders.PATH: self._folders[name]})

    def unused(self, used: Collection[str]) -> list[str]:
        """One line for each value that has no effect on a run with these plugins and folders."""
        used = {TRAINING, *used, *(part for name in used for part in part_names(name))}
        reached = used | ({named_folders.PLUGIN} if self._folders.keys() & used else set())
        given = [(name, field) for name, values in self._texts.items() for field in values]
        given += [(name, f"{TRAINING}.{field}") for name, values in self._of_training.items() for field in values]
        lines = [
            f"--set {name}.{field} has no effect: {name} is not part of this run"
            for name, field in given
            if name not in reached
        ]
        if named_folders.PLUGIN in reached - used and named_folders.PATH in self._texts.get(named_folders.PLUGIN, {}):
            lines.append(
                f"--set {named_folders.PLUGIN}.{named_folders.PATH} has no effect: --datasets says where each folder is"
            )
        return lines


def _apart(texts: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Values by name and field; and of these the training values of one method, by its name and their fields."""
    own: dict[str, dict[str, str]] = {}
    of_training: dict[str, dict[str, str]] = {}
    for name, values in texts.items():
        for field, text in values.items():
            option = field.removeprefix(f"{TRAINING}.")
            (own if option == field else of_training).setdefault(name, {})[option] = text
    return own, of_training


@dataclass(frozen=True)
class PlannedSetting:
    """A setting with its values."""

    setting: Setting
    version: str
    options: Mapping[str, Any]

    @cached_property
    def identity(self) -> str:
        """The setting's name and values as one text."""
        return canonical_json([self.setting.name, dict(self.options)])


@dataclass(frozen=True)
class PlannedMethod:
    """A method with its values, for a backbone of that configuration. `trains`: whether it has trainable parameters."""

    method: Method
    version: str
    hyper_parameters: Mapping[str, Any]
    config: ViCLIPConfig
    trains: bool

    @property
    def adapts(self) -> bool:
        """Whether training clips change it: something trains, or is made of them before training."""
        return self.trains or "prepare" in hooks_of(type(self.method))

    def trainable(self, task: MethodTask) -> int:
        """Its trainable parameters in a task, by its formula."""
        return _trainable(self.method, self.config, task)


def planned_setting(spec: Spec, overrides: Overrides) -> PlannedSetting:
    """The setting of a spec. Raises UsageError for unknown names and fields, or a source that it does not take."""
    plugin: type[Setting] = SETTINGS.get(spec.setting)
    if plugin.command:
        raise UsageError(f"the setting {spec.setting} is not measured with petl-bench run; type: {plugin.command}")
    if plugin.option_of_run:
        raise UsageError(
            f"the setting {spec.setting} is evaluated after another one: petl-bench run {plugin.option_of_run} "
            "DATASET,... with --setting base2novel, for example"
        )
    values = overrides.of(plugin, spec.setting)
    if spec.source is not None:
        if "source" not in field_types(plugin):
            raise UsageError(f"--source {spec.source}: the setting {spec.setting} trains on the data set it evaluates")
        values["source"] = named_folders.name_of(spec.source)
    setting = plugin(**values)
    return PlannedSetting(setting, plugin_version(plugin), setting.values())


def planned_method(spec: Spec, name: str, overrides: Overrides) -> PlannedMethod:
    """A method of a spec with the values that it has in its setting and on its backbone."""
    plugin: type[Method] = METHODS.get(name)
    if misfit := misfit_of(name, spec):
        raise UsageError(f"{name} {misfit.text}: {misfit.advice}. See: petl-bench show {name}")
    hyper = recipe_values(plugin, spec.setting, spec.backbone_name) | overrides.of_method(plugin, name)
    refuse_unknown(hyper, plugin, f"field in the recipe of {name}", f"petl-bench show {name}")
    method = plugin(**hyper)
    refuse_kind(method, spec.setting, SETTINGS.get(spec.setting).kind, trains=True)
    backbone: Backbone = overrides.build(BACKBONES.get(spec.backbone_name), spec.backbone_name)
    trains = _trainable(method, backbone.model_config) > 0
    return PlannedMethod(method, plugin_version(plugin), method.values(), backbone.model_config, trains)


def training_values(
    spec: Spec, planned: PlannedMethod, setting: Setting, dataset: type[Dataset], overrides: Overrides
) -> dict[str, Any]:
    """The training options of a method in a setting on one data set."""
    method, name = type(planned.method), planned.method.name
    training = usual_training(method, setting, BACKBONES.get(spec.backbone_name), dataset)
    training |= overrides.of(TrainingOptions, TRAINING) | _training_flags(spec) | overrides.training_of(name)
    refuse_unknown(training, TrainingOptions, f"field in the recipe of {name}, training", f"petl-bench show {name}")
    if not planned.trains:
        training["epochs"] = 0  # nothing to train: such a trial must not depend on how others train
    return TrainingOptions(**training).values()


def _trainable(method: Method, config: ViCLIPConfig, task: MethodTask | None = None) -> int:
    """As `trainable_in`; the formula also refuses values that do not fit the backbone."""
    try:
        found = trainable_in(method, config, task)
    except PetlBenchError:
        raise
    except Exception as error:
        raise PluginError(f"the parameter formula of {method.name} fails: {describe(error)}") from error
    if type(found) is not int or found < 0:
        raise PluginError(
            f"{method.name}: expected_trainable(config) returned {found!r}; it must return a whole number"
        )
    return found


class Misfit(NamedTuple):
    """Why a method cannot run in a setting or on a backbone: `text` is read after the method's name."""

    text: str
    advice: str


def misfit_of(name: str, spec: Spec) -> Misfit | None:
    """What in a spec, its setting or its backbone, a method cannot run with; None if it can run."""
    plugin: type[Method] = METHODS.get(name)
    kind = SETTINGS.get(spec.setting).kind
    if plugin.settings is not None and spec.setting not in plugin.settings:
        return _misfit("setting", spec.setting, f"it supports {', '.join(plugin.settings)}")
    if reason := not_for(plugin, kind):
        return _misfit("setting", spec.setting, reason)
    if reason := plugin.hosted_by(BACKBONES.get(spec.backbone_name)):
        return _misfit("backbone", spec.backbone_name, reason, _hosts(plugin))
    return None


def not_for(method: type[Method], kind: Kind) -> str:
    """Why a method has no tasks of a kind, in words; "" if it has."""
    if kind == "retrieval" and method.novel != "text":
        return "it scores the classes that it was trained on; retrieval has no classes"
    return "" if kind in method.tasks else f"it is for {' and '.join(method.tasks)}, not for {kind}"


def refuse_kind(method: Method, setting: str, kind: Kind, trains: bool) -> None:
    """Raise UsageError if a method, with its values, cannot be run in a task of a kind. `trains`: it trains there."""
    if reason := not_for(type(method), kind):
        misfit = _misfit("setting", f"{setting}, {kind}", reason)
        raise UsageError(f"{method.name} {misfit.text}: {misfit.advice}. See: petl-bench show {method.name}")
    if trains and method.description_count and kind == "retrieval":
        raise UsageError(
            f"{method.name} reads descriptions of classes, and the setting {setting!r} trains in retrieval, "
            "without classes: leave it out of --methods, or set its fields so that it reads none. See: "
            f"petl-bench show {method.name}"
        )


def _misfit(what: str, asked: str, reason: str, others: Sequence[str] = ()) -> Misfit:
    which = f" ({', '.join(others)})" if others else ""
    return Misfit(
        f"does not work with the {what} {asked!r} ({reason})",
        f"leave it out of --methods, or choose another {what}{which}",
    )


def _hosts(plugin: type[Method]) -> list[str]:
    """The backbones that host a method, without those that cannot be loaded."""
    broken = BACKBONES.broken()
    return [name for name in BACKBONES.names() if name not in broken and not plugin.hosted_by(BACKBONES.get(name))]


def _training_flags(spec: Spec) -> dict[str, Any]:
    given = {name: getattr(spec, name) for name in ("epochs", "batch_size", "select", "precision")}
    return {name: value for name, value in given.items() if value is not None}
