"""The command that plans the trials that some values describe, or the reason why no command does.

The values are the fields of `petl_bench.api.trial.Trial`, as a record has them. Everything that a command line can
settle is said; what lies elsewhere on each machine is a word for the user to replace.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from petl_bench.api.backbone import Backbone, found_weights
from petl_bench.api.config import ViCLIPConfig
from petl_bench.api.dataset import Annotations
from petl_bench.api.method import Method, trainable_in
from petl_bench.api.options import Options, text_of
from petl_bench.api.plugins.files import file_to_load
from petl_bench.api.plugins.identity import code_version, plugin_version
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS, Registry, describe
from petl_bench.api.setting import Case, Setting
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import ENGINE_VERSION
from petl_bench.api.values.fields import field_types
from petl_bench.api.values.flag_lists import join_list, part_names
from petl_bench.api.values.named_folders import PATH, PLUGIN
from petl_bench.api.values.resolution import recipe_values, usual_training
from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.system.commands import run_command
from petl_bench.system.files import sha256_of_file
from petl_bench.system.texts import is_shown

#: What the user has to put in the place of these: records do not say where files lie on this machine.
_DIR, _FILE = "DIR", "FILE.py"
#: The setting of what `petl-bench cost` records (`petl_bench.costs.recording.SETTING`), which `run` cannot make.
_MEASURED = "cost"
_TRAINING = "training"
#: Of each kind of plugin: the field of a trial with its name, its registry, the field with its values, its version.
_KINDS = (
    ("method", METHODS, "hyper_parameters", plugin_version),
    ("setting", SETTINGS, "setting_options", plugin_version),
    ("dataset", DATASETS, "dataset_options", plugin_version),
    ("backbone", BACKBONES, "backbone_options", code_version),
)
_NOT_SHOWN = "it has names with characters that are not shown"


def commands_of(
    trials: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    everything: bool = True,
) -> list[str]:
    """The commands for the trials of some records; one for all seeds.

    `sources`: by their keys, the trials whose adapters others start from. With `everything`, each value is spelled out;
    else those are left out that a run of this petl-bench has without being told. A trial that no command makes again
    has a line in their place that begins with "#" and says why.
    """
    commands: list[str] = []
    seeds: dict[tuple[str, ...], list[int]] = {}
    for trial in trials:
        if not _is_all_shown(trial):
            commands.append(f"# no command makes this again: {_NOT_SHOWN}")
        elif trial["setting"] == _MEASURED:
            commands.append(shlex.join(["petl-bench", "cost", *_cost_flags(trial)]))
        elif reason := obstacle(trial):
            commands.append(f"# no command makes this again: {reason}")
        else:
            source = (sources or {}).get(trial.get("start_from") or "")
            flags = (
                *model_flags(trial),
                *_case_flags(trial),
                *set_flags(trial, _of_source(source), everything=everything),
            )
            seeds.setdefault(tuple(flags), []).append(trial["seed"])
    for flags, found in seeds.items():
        commands.append(run_command([*flags, "--seeds", join_list(sorted(found))]))
    return list(dict.fromkeys(commands))


def _of_source(source: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values of the data set that an adapter was trained on, "data set.field" -> value."""
    if source is None:
        return {}
    name = source["dataset"]
    values = {**source["dataset_options"], **source.get("locations", {}).get(name, {})}
    return {f"{name}.{field}": value for field, value in values.items() if value is not None}


def _case_flags(trial: Mapping[str, Any]) -> Iterator[str]:
    if trial["split"]:
        yield from ("--splits", trial["split"])
    if trial["shots"]:
        yield from ("--shots", str(trial["shots"]))


def _cost_flags(trial: Mapping[str, Any]) -> Iterator[str]:
    options = trial["setting_options"]
    yield from ("--methods", trial["method"], "--backbone", trial["backbone"])
    yield from ("--batch-sizes", str(options["batch_size"]), "--precision", options["precision"])
    yield from ("--classes", str(options["classes"]))
    for plugin, values in ((trial["method"], trial["hyper_parameters"]), *trial.get("locations", {}).items()):
        for name, value in values.items():
            if value is not None:
                yield from ("--set", f"{plugin}.{name}={text_of(value)}")


# Flags


def model_flags(trial: Mapping[str, Any], methods: Sequence[str] = ()) -> list[str]:
    """The flags of methods (by default the trial's), setting, data set, files, backbone, weights and decoder."""
    folders = _folders(trial)
    dataset = f"{trial['dataset']}={folders[trial['dataset']]}" if trial["dataset"] in folders else trial["dataset"]
    flags = ["--methods", ",".join(methods or [trial["method"]]), "--setting", trial["setting"]]
    flags += ["--datasets", join_list([dataset])]
    for name in folders.keys() - {trial["dataset"]}:
        flags += ["--source", f"{name}={folders[name]}"]
    flags += [*_places(trial), "--backbone", trial["backbone"], *_weights_flags(trial)]
    return flags + ([] if trial["decoder"] == "auto" else ["--decoder", trial["decoder"]])


def set_flags(trial: Mapping[str, Any], others: Mapping[str, Any], *, everything: bool) -> list[str]:
    """The `--set` flags of a trial, and of `others` ("plugin.field" -> value), each field once.

    Unless `everything` is wanted, a value that a run has without being told is left out.
    """
    values: dict[str, Any] = {}
    for name, found in _values(trial, everything):
        values |= {f"{name}.{field}": value for field, value in found.items()}
    values |= others
    folders = _folders(trial)
    for name in folders:  # --datasets and --source say where they are
        values.pop(f"{name}.{PATH}", None)
    if folders.keys() - {trial["dataset"]}:
        values.pop(f"{trial['setting']}.source", None)
    return [text for name, value in values.items() for text in ("--set", f"{name}={text_of(value)}")]


def _folders(trial: Mapping[str, Any]) -> dict[str, str]:
    """Name -> DIR of the trial's data set and its source, as far as these are folders with a name.

    Such a source is the only place that a trial names besides its method's and its data set's.
    """
    places = trial.get("locations", {})
    names = [trial["dataset"]] if trial.get("dataset_plugin") else []
    names += [name for name in places if name not in (trial["method"], trial["dataset"])]
    return {name: places.get(name, {}).get(PATH) or _DIR for name in names}


def _data_plugin(trial: Mapping[str, Any]) -> str:
    return str(trial.get("dataset_plugin") or trial["dataset"])


def _places(trial: Mapping[str, Any]) -> Iterator[str]:
    """`--data-root DIR` for a data set that needs it; `--plugin` with the files that plugins come from, or FILE.py."""
    data = [_data_plugin(trial), *_source_dataset(trial)]
    if any(plugin.needs_root for name in data if (plugin := _known(DATASETS, name)) is not None):
        yield from ("--data-root", _DIR)
    files: dict[str, None] = {}
    plugins = [(METHODS, each) for each in part_names(trial["method"])]
    plugins += [(SETTINGS, trial["setting"]), (BACKBONES, trial["backbone"]), *((DATASETS, each) for each in data)]
    for registry, name in plugins:
        plugin = _known(registry, name)
        file = None if plugin is None else file_to_load(plugin.__module__)
        if name not in registry:
            files[_FILE] = None
        elif file is not None:
            files[str(file)] = None
    for each in files:
        yield from ("--plugin", each)


def _weights_flags(trial: Mapping[str, Any]) -> list[str]:
    label = trial["weights"]
    if label == "packaged" or _is_found(trial):
        return []
    if label == "random" or label.startswith("hf:") or _has_content(Path(label), trial):
        return ["--weights", label]
    return ["--weights", f"{_DIR}/{label}"]


def weights_note(trial: Mapping[str, Any]) -> str:
    """Which file the word for the weights stands for; "" if the command has none."""
    flags = _weights_flags(trial)
    if not flags or not flags[1].startswith(f"{_DIR}/") or not trial.get("weights_sha256"):
        return ""
    return f"{flags[1]} is the file with the sha256 {trial['weights_sha256'][:12]}..."


def _is_found(trial: Mapping[str, Any]) -> bool:
    """Whether the weights are those that a run takes by itself."""
    *_, backbone = _plugins(trial)
    if backbone is None or backbone.packaged_weights() is not None:
        return False
    path = found_weights(backbone)
    return path is not None and path.name == trial["weights"] and _has_content(path, trial)


def _has_content(path: Path, trial: Mapping[str, Any]) -> bool:
    return path.is_file() and sha256_of_file(path) == trial.get("weights_sha256")


def _values(trial: Mapping[str, Any], everything: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The values to say of method, setting, data set, backbone and training, and the places of files that are known."""
    usual = {} if everything else _usual_values(trial)
    for name, plugin, recorded in _recorded_values(trial):
        values = dict(recorded) if plugin is None else plugin(**recorded).all_values()  # with later fields
        known = usual.get(name, {})
        yield name, {field: value for field, value in values.items() if field not in known or known[field] != value}
    for name, places in trial.get("locations", {}).items():
        yield name, {field: value for field, value in places.items() if value is not None}


def _recorded_values(trial: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """The name that `--set` takes, the class (None if it is not known here) and the values of all that has fields."""
    for (kind, _, field, _), plugin in zip(_KINDS, _plugins(trial), strict=True):
        yield trial[kind], plugin, trial.get(field, {})
    yield _TRAINING, TrainingOptions, trial["training"]


def _usual_values(trial: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a run has without being told, by plugin, as far as the plugins are known here."""
    method, setting, dataset, backbone = plugins = _plugins(trial)
    known = [(trial[kind], plugin) for (kind, *_), plugin in zip(_KINDS, plugins, strict=True) if plugin is not None]
    found: dict[str, dict[str, Any]] = {name: plugin().all_values() for name, plugin in known}
    if method is not None:
        found[trial["method"]] = method(**recipe_values(method, trial["setting"], trial["backbone"])).all_values()
    if None not in plugins:
        training = usual_training(method, setting(**trial["setting_options"]), backbone, dataset)
        if not _trains(method(**trial["hyper_parameters"]), _config_of(backbone, trial)):
            training["epochs"] = 0
        found[_TRAINING] = TrainingOptions(**training).all_values()
    return found


def _trains(method: Method, config: ViCLIPConfig) -> bool:
    """Whether anything trains. A method that another distribution decides is not asked: it would be imported here."""
    return bool(method.decided_by) or trainable_in(method, config) > 0


def _config_of(backbone: type[Backbone], trial: Mapping[str, Any]) -> ViCLIPConfig:
    return backbone(**trial.get("backbone_options", {})).model_config


def _plugins(trial: Mapping[str, Any]) -> list[Any]:
    """Method, setting, data set and backbone of a trial; None for one that is not known here."""
    names = [_data_plugin(trial) if kind == "dataset" else trial[kind] for kind, *_ in _KINDS]
    return [_known(registry, name) for (_, registry, *_), name in zip(_KINDS, names, strict=True)]


def _known(registry: Registry, name: str) -> Any:
    """A plugin; None if it is not installed, or not loaded, or a composition whose parts do not go together here."""
    try:
        return registry.get(name) if name in registry else None
    except PetlBenchError:
        return None


# Why no command plans a trial


def obstacle(trial: Mapping[str, Any]) -> str:
    """Why no command plans a trial with these values, in words; "" if one does. Absent versions say nothing."""
    try:
        return next(chain(_of_a_tuning(trial), _obstacles(trial), _of_an_option(trial), _of_a_source(trial)), "")
    except PetlBenchError as error:
        return str(error)


def obstacles(trial: Mapping[str, Any]) -> list[str]:
    """Every reason why no command plans a trial with these values for itself or for those that start from it.

    Of a measurement, which `run` does not plan, only versions and weights are compared.
    """
    measured = trial["setting"] == _MEASURED
    reasons = chain(_other_code(trial), _other_weights(trial)) if measured else _obstacles(trial)
    found: list[str] = []
    try:
        for reason in reasons:
            found.append(reason)
    except PetlBenchError as error:
        found.append(str(error))
    return found


def _is_all_shown(value: Any) -> bool:
    """Whether a command with these texts is what it looks like."""
    if isinstance(value, Mapping):
        return _is_all_shown([*value.keys(), *value.values()])
    if isinstance(value, (list, tuple)):
        return all(map(_is_all_shown, value))
    return not isinstance(value, str) or is_shown(value)


def _other_code(trial: Mapping[str, Any]) -> Iterator[str]:
    if trial.get("engine_version", ENGINE_VERSION) != ENGINE_VERSION:
        yield f"its engine version is {trial['engine_version']}, that of this petl-bench is {ENGINE_VERSION}"
    yield from _other_versions(trial)


def _obstacles(trial: Mapping[str, Any]) -> Iterator[str]:
    if not _is_all_shown(trial):
        yield _NOT_SHOWN
    yield from _other_code(trial)
    for name, plugin, values in _recorded_values(trial):
        yield from _not_settable(name, plugin, values)
    yield from _other_weights(trial)
    yield from _does_not_fit(trial)


def _of_an_option(trial: Mapping[str, Any]) -> Iterator[str]:
    setting = _known(SETTINGS, trial["setting"])
    if setting is not None and setting.option_of_run:
        yield f"the run that adapts makes it too, with {setting.option_of_run} {trial['dataset']}"


def _of_a_source(trial: Mapping[str, Any]) -> Iterator[str]:
    if not _is_planned(trial):
        yield "its adapter is made by the commands of the trials that start from it"


def _of_a_tuning(trial: Mapping[str, Any]) -> Iterator[str]:
    if trial.get("tuning"):
        yield "it is of a tuning, on training clips alone: petl-bench tune makes such trials"


def _other_versions(trial: Mapping[str, Any]) -> Iterator[str]:
    for (kind, _, _, version_of), plugin in zip(_KINDS, _plugins(trial), strict=True):
        recorded = trial.get(f"{kind}_version")
        if plugin is None or recorded is None or version_of(plugin) == recorded:
            continue
        name = _data_plugin(trial) if kind == "dataset" else trial[kind]
        here, there = version_of(plugin).partition("+")[0], recorded.partition("+")[0]
        if here == there or kind == "backbone":
            yield f"the code of {name} here is not the one that it was made with"
        else:
            yield f"{name} was version {there} then, and is version {here} here"


def _not_settable(name: str, plugin: type[Options] | None, values: Mapping[str, Any]) -> Iterator[str]:
    """What `--set` cannot say of the values of one plugin."""
    if plugin is None:
        return
    strange = sorted(values.keys() - field_types(plugin).keys())
    if strange:
        yield f"{name} has no field {strange[0]} here"
        return
    planned = plugin(**values).values()
    for field in sorted(planned.keys() - values.keys()):
        yield f"{name} had no field {field} then"
    for field, value in values.items():
        if planned.get(field, value) != value:
            yield f"{name}.{field}={text_of(value)} is {text_of(planned[field])} here"
        elif not _can_be_said(plugin, field, value):
            yield f"--set cannot say the value of {name}.{field}"


def _can_be_said(plugin: type[Options], field: str, value: Any) -> bool:
    try:
        said = plugin.parse({field: text_of(value).strip()})[field]
    except UsageError:
        return False
    return json.dumps(said) == json.dumps(value)  # a tuple is written as the list that a record holds


def _other_weights(trial: Mapping[str, Any]) -> Iterator[str]:
    (*_, backbone), sha256 = _plugins(trial), trial.get("weights_sha256")
    if trial["weights"] != "packaged" or backbone is None or sha256 is None:
        return
    packaged = backbone.packaged_weights()
    if packaged is None or sha256_of_file(packaged) != sha256:
        yield f"the weights that ship with {trial['backbone']} are others than then"


def _does_not_fit(trial: Mapping[str, Any]) -> Iterator[str]:
    method, *_, backbone = _plugins(trial)
    if method is None or backbone is None:
        return
    try:
        _trains(method(**trial["hyper_parameters"]), _config_of(backbone, trial))
    except Exception as error:  # whatever a plugin raises, its trials cannot be planned
        yield f"{trial['method']} does not fit {trial['backbone']}: {describe(error)}"


def _is_planned(trial: Mapping[str, Any]) -> bool:
    """Whether the setting has the trial's case on its data set, or one that starts from it."""
    _, setting, dataset, _ = _plugins(trial)
    if setting is None or dataset is None or not trial.get("part"):
        return True
    return _case(trial) in _cases(setting(**trial["setting_options"]), trial)


def _case(trial: Mapping[str, Any]) -> Case:
    return Case(str(trial["split"]), trial["shots"] or None, trial["seed"], trial["part"])


def _cases(setting: Setting, trial: Mapping[str, Any]) -> Iterator[Case]:
    splits = dict.fromkeys([int(trial["split"])] if str(trial["split"]).isdecimal() else [1], ())
    lists = Annotations(classes=(), train=splits, test=splits, dataset=trial["dataset"])
    chosen = [trial["split"]] if trial["split"] else None
    for case in setting.cases(lists, [trial["seed"]], chosen, [trial["shots"]] if trial["shots"] else None):
        yield case
        source = setting.source_case(case) if setting.source_dataset == trial["dataset"] else None
        if source is not None:
            yield source


def _source_dataset(trial: Mapping[str, Any]) -> list[str]:
    """The plugin of the data set that methods are adapted on, if the trial's setting has one."""
    setting = _known(SETTINGS, trial["setting"])
    source = None if setting is None else setting(**trial["setting_options"]).source_dataset
    if source is None:
        return []
    return [_data_plugin(trial) if source == trial["dataset"] else PLUGIN if source in _folders(trial) else source]
