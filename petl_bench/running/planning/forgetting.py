"""`--forgetting`: which trials evaluate adapted models on other data sets, beside the frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from petl_bench.api.method import Method
from petl_bench.api.plugins.identity import plugin_version
from petl_bench.api.registry import SETTINGS
from petl_bench.api.setting import Setting
from petl_bench.api.step import Kind
from petl_bench.api.values.named_folders import name_of
from petl_bench.errors import UsageError
from petl_bench.running.planning.plan_data import PlannedDataset
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.values import Overrides, PlannedSetting, not_for

#: The setting of these trials.
FORGETTING = "forgetting"
#: Training options that belong to the data set that is evaluated, and not to the training.
_OF_DATA_SET = ("views", "crops", "frames_per_second")


def spec_elsewhere(spec: Spec) -> Spec:
    """The spec of the trials on the other data sets."""
    return replace(spec, setting=FORGETTING, datasets=spec.forgetting, forgetting=())


def planned_elsewhere(overrides: Overrides) -> PlannedSetting:
    """The setting of these trials with its values."""
    plugin: type[Setting] = SETTINGS.get(FORGETTING)
    setting = plugin(**overrides.of(plugin, FORGETTING))
    return PlannedSetting(setting, plugin_version(plugin), setting.values())


def refuse_misuse(spec: Spec, setting: Setting) -> None:
    """Raise UsageError if forgetting cannot be evaluated after a setting, or on one of the data sets asked for."""
    if setting.source_dataset is not None:
        raise UsageError(
            f"--forgetting: the setting {setting.name} evaluates on other data sets itself; name them in --datasets"
        )
    trained = set(map(name_of, spec.datasets))
    for name in map(name_of, spec.forgetting):
        if name in trained:
            raise UsageError(f"--forgetting {name}: the run trains on it; name data sets that are not in --datasets")


def refuse_same_folder(trained: PlannedDataset, other: PlannedDataset) -> None:
    """Raise UsageError if two data sets of other names are one folder of one's own."""
    if trained.plugin and other.plugin and trained.manifest.root == other.manifest.root:
        raise UsageError(
            f"--forgetting {other.dataset.name}: the run trains on this folder, as {trained.dataset.name}; name another"
        )


def reason_against(method: Method, kind: Kind) -> str:
    """Why a method cannot be evaluated on another data set, in words; "" if it can."""
    if method.novel == "none":
        return "it scores the classes that it was trained on alone"
    return not_for(type(method), kind)


def training_on(trained: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The training options of an adapted model on another data set: `trained`, with those of the data set."""
    own = {name: value for name, value in trained.items() if name not in _OF_DATA_SET}
    return own | {name: data[name] for name in _OF_DATA_SET if name in data}
