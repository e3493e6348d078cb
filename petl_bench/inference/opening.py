"""From a place to a `Subject`: the folder of a trial, an adapter file, a merged file, a released checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from petl_bench.api.method import Method
from petl_bench.api.plugins.identity import code_version, plugin_version
from petl_bench.api.prompts import Prompts
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, Registry
from petl_bench.api.step import MethodTask
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial
from petl_bench.api.values.fields import refuse_unknown
from petl_bench.errors import PetlBenchError, PluginError, StoreError, TrialError, near_names
from petl_bench.inference.header import checked_use, refuse_foreign
from petl_bench.inference.merged import is_merged, merged_subject
from petl_bench.inference.released import released
from petl_bench.inference.subject import PLAIN_PROMPTS, Subject, refuse_changed, weights_of
from petl_bench.records.judge import adapter_fault, how_to_repeat, judge
from petl_bench.records.layout import ADAPTER, RECORD, TRIAL, trial_folder
from petl_bench.records.read import read_predictions
from petl_bench.system.files import sha256_of_file
from petl_bench.system.texts import clean, shortened
from petl_bench.training.checkpoint import adapter_header, task_of
from petl_bench.training.seeding import derived_seed

_T = TypeVar("_T")


def adapted(place: Path, weights: str | None = None) -> Subject:
    """The model of a trial's folder, of an adapter file, of a merged file, which holds the weights itself, or of a
    released checkpoint (.pth, .pt; see released.py).

    A file beside the record of its trial is read as that trial. One that stands alone says in its header how its trial
    reads clips and class names; files of earlier versions do not, and are then used as by default, which is noted. A
    folder that is no trial's, with an adapter file in it, is that file.

    Args:
        place: The folder or the file.
        weights: "auto", a file, or hf:REPO/FILE: where the weights of the backbone are, if they are not found.

    Raises:
        TrialError: The trial is not finished, or its adapter is damaged or was not kept, or a plugin's code changed.
        WeightsError: The weights that it was trained on are not here.
        StoreError: The file is no adapter.
        PluginError: Its method or its backbone is not installed.
        UsageError: A hyper-parameter or an option is none that this version has.
    """
    if place.is_dir():
        alone = not (place / RECORD).exists() and not (place / TRIAL).exists() and (place / ADAPTER).is_file()
        return _of_file(place / ADAPTER, weights) if alone else _of_folder(place, weights)
    if place.suffix in (".pth", ".pt"):
        return released(place, weights)
    return merged_subject(place) if is_merged(place) else _of_file(place, weights)


def _of_folder(folder: Path, weights: str | None) -> Subject:
    if not (folder / RECORD).exists():
        if not (folder / TRIAL).exists():
            raise StoreError(f"{folder}: neither the folder of a trial nor one with an {ADAPTER}")
        raise TrialError(f"trial {folder.name[:8]} is not finished; run its command again, or see petl-bench status")
    record, problem = judge(folder)
    if problem is not None:
        raise TrialError(f"{problem}. {how_to_repeat(folder)}")
    trial = Trial.from_json(record["trial"])
    adapter = _adapter_of(trial_folder(folder.parent.parent, trial.start_from) if trial.start_from else folder)
    task = None if adapter is None else task_of(adapter_header(adapter))
    evaluations = {
        name: tuple(map(str, read_predictions(folder, name)["classes"]))
        for name in record["test_classes"]
        if "@" not in name
    }
    return _of_trial(trial, task, adapter, _prompts_of(trial), evaluations, weights)


def _of_file(file: Path, weights: str | None) -> Subject:
    header = adapter_header(file)
    if (file.parent / RECORD).exists() and file.parent.name == header.get("trial"):
        return _of_folder(file.parent, weights)
    refuse_foreign(file, header)
    if "use" not in header:
        return _of_early_file(file, header, weights)
    use = checked_use(file, header)
    return _of_trial(use.trial, task_of(header), file, use.prompts, use.evaluations, weights)


def _of_trial(
    trial: Trial,
    task: MethodTask | None,
    adapter: Path | None,
    prompts: Prompts,
    evaluations: Mapping[str, tuple[str, ...]],
    weights: str | None,
) -> Subject:
    """`task`: what the adapter was adapted to; None if there is no adapter."""
    plugin, backbone = _plugin(METHODS, trial.method), _plugin(BACKBONES, trial.backbone)
    refuse_changed(plugin, plugin_version(plugin), trial.method_version)
    refuse_changed(backbone, code_version(backbone), trial.backbone_version)
    title = clean(trial.title)
    method: Method = _with(plugin, {**trial.hyper_parameters, **trial.locations.get(trial.method, {})})
    method.bind(task or MethodTask("retrieval" if "retrieval" in method.tasks else method.tasks[0]))
    return Subject(
        title=f"{title} on {trial.backbone}",
        method=method,
        backbone=_with(backbone, trial.backbone_options),
        weights=weights_of(backbone, trial.weights, trial.weights_sha256, weights, f"trial {title}"),
        options=_with(TrainingOptions, trial.training),
        decoder=trial.decoder,
        seed=derived_seed(trial),
        trial_seed=trial.seed,
        adapter=adapter,
        adapter_sha256="" if adapter is None else sha256_of_file(adapter),
        trial=trial,
        prompts=prompts,
        evaluations=evaluations,
    )


def _of_early_file(file: Path, header: Mapping[str, Any], weights: str | None) -> Subject:
    """Of an earlier version: only method, hyper-parameters, backbone and the hash of the weights are known."""
    name, key = header["method"], clean(header.get("trial", ""))[:8]
    backbone = _plugin(BACKBONES, header["backbone"])
    method: Method = _with(_plugin(METHODS, name), header["hyper_parameters"])
    method.bind(task_of(header))
    unknown = (
        f"{file}: its trial {key} is not beside it; clips are read as by default: one view, backbone options unset; "
        f"prompts: {PLAIN_PROMPTS}"
    )
    return Subject(
        title=f"{name} ({key}) on {backbone.name}",
        method=method,
        backbone=backbone(),
        weights=weights_of(backbone, "", header["weights_sha256"], weights, f"adapter {file}"),
        options=TrainingOptions(**backbone.training),
        adapter=file,
        adapter_sha256=sha256_of_file(file),
        notes=(unknown,),
    )


def _plugin(registry: Registry, name: str) -> Any:
    """The method or backbone of an adapter. Raises PluginError, which says what to type, if it is not installed."""
    if name not in registry:
        near = near_names(name, registry.names())
        hint = f" (near names: {', '.join(near)})" if near else ""
        raise PluginError(
            f"the {registry.kind} {shortened(clean(name), 80)!r} of the adapter is not installed here{hint}: install "
            "the package that has it, or name its file with --plugin FILE.py, in Python plugin='FILE.py'"
        )
    return registry.get(name)


def _with(plugin: type[_T], values: Mapping[str, Any]) -> _T:
    """A plugin, or options, with values that come from a file. Raises UsageError for those that it does not have."""
    name = getattr(plugin, "name", "") or plugin.__name__
    refuse_unknown(values, plugin, f"field of {name}", f"petl-bench show {name}")
    return plugin(**values)


def _prompts_of(trial: Trial) -> Prompts:
    """The prompts of the trial's data set; by default if its plugin is not here."""
    try:
        dataset = DATASETS.get(trial.data_plugin)
        prompts: Prompts = dataset.called(
            trial.dataset, **trial.dataset_options, **trial.locations.get(trial.dataset, {})
        ).prompts
    except PetlBenchError:
        return PLAIN_PROMPTS
    return prompts


def _adapter_of(folder: Path) -> Path | None:
    """The adapter in a trial's folder, compared with its record; None if the trial trained nothing."""
    if fault := adapter_fault(folder):
        raise TrialError(f"the adapter cannot be used: {fault}. {how_to_repeat(folder)}")
    adapter = folder / ADAPTER
    return adapter if adapter.is_file() else None
