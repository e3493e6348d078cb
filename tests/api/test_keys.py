"""Keys stay what they are: records of today are found tomorrow, whatever fields came since.

Should a key in tests/goldens/keys.json change: a new field is declared with `later=True` (a field of Trial with
`_later`), which leaves today's keys as they are. Where results themselves change, raise the `version` of the plugin or
`trial.ENGINE_VERSION`, and write the file anew with PETL_BENCH_WRITE_GOLDENS=1.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import row_labels
from petl_bench.api import trial as trial_module
from petl_bench.api.options import Options, hyper
from petl_bench.api.registry import DATASETS, METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import Trial, key_of
from petl_bench.records.read import read_record
from petl_bench.running.planning.spec import Spec
from petl_bench.running.planning.values import Overrides, planned_method, planned_setting, training_values

GOLDENS = Path(__file__).parents[1] / "goldens"
KEYS = GOLDENS / "keys.json"
RECORDS = GOLDENS / "records_of_2026"
METHOD_NAMES = ("zero_shot", "full_finetune", "lora", "adaptformer", "vision_adapter", "text_adapter", "msta")
WRITE = "PETL_BENCH_WRITE_GOLDENS"
#: The learning rates that these recipes for `viclip-tiny` in base2novel had when keys were frozen: what a recipe says
#: today is not what is tested here.
FROZEN_RATES = {"lora": 3e-3, "adaptformer": 2e-3, "msta": 2e-3, "lora+text_adapter": 3e-3}


def trial_of(method: str, setting: str = "base2novel", *, shots: int | None = None, **given: Any) -> Trial:
    """The trial of a plain command on `motion`, with files and weights that are the same on every machine."""
    if setting == "base2novel" and "backbone" not in given and method in FROZEN_RATES:
        rate = f"{method}.training.learning_rate={FROZEN_RATES[method]}"
        given["set"] = (*given.get("set", ()), rate)
    spec = Spec(methods=(method,), setting=setting, **given)
    overrides = Overrides(spec)
    chosen, planned = planned_setting(spec, overrides), planned_method(spec, method, overrides)
    dataset = overrides.build(DATASETS.get("motion"), "motion")
    return Trial(
        method=method,
        method_version=planned.version,
        hyper_parameters=planned.hyper_parameters,
        setting=setting,
        setting_version=chosen.version,
        setting_options=chosen.options,
        dataset="motion",
        dataset_version=str(dataset.version),
        dataset_options=dataset.values(),
        manifest_sha256="a" * 64,
        split="1",
        shots=shots,
        seed=spec.seeds[0],
        backbone=spec.backbone_name,
        weights="packaged",
        weights_sha256="b" * 64,
        training=training_values(spec, planned, chosen.setting, type(dataset), overrides),
        decoder=spec.decoder,
    )


def trials() -> Iterator[tuple[str, Trial]]:
    shots = {"base2novel": 16, "few_shot": 2}
    for setting in ("base2novel", "few_shot", "fully_supervised", "zero_shot_transfer"):
        for method in METHOD_NAMES:
            yield f"{method}, {setting}", trial_of(method, setting, shots=shots.get(setting))
    for name, given in {
        "seed 3": {"seeds": (3,)},
        "4 shots": {"shots": 4},
        "rank 4": {"set": ("lora.rank=4",)},
        "targets": {"set": ("lora.targets=q,fc",)},
        "one epoch": {"epochs": 1},
        "bf16": {"precision": "bf16"},
        "pyav": {"decoder": "pyav"},
        "best on test": {"select": "best-on-test"},
        "views": {"set": ("training.views=4", "training.crops=3")},
        "two processes": {"set": ("training.processes=2", "training.threads=1")},
        "published views": {"set": ("base2novel.views=published",)},
        "data set": {"set": ("motion.shift=0.5",)},
        "viclip-b16": {"backbone": "viclip-b16"},
    }.items():
        yield f"lora, {name}", trial_of("lora", **{"shots": 16, **given})
    adapted = dataclasses.replace(trial_of("msta", "zero_shot_transfer"), part="target-novel")
    yield "msta, target", dataclasses.replace(adapted, start_from="c" * 64, source_sha256="d" * 64)
    for composition in ("lora+text_adapter", "text_adapter+lora"):
        yield f"{composition}, base2novel", trial_of(composition, shots=16)
    yield "msta, descriptions", dataclasses.replace(trial_of("msta", shots=16), descriptions_sha256="e" * 64)


def test_todays_keys_do_not_change() -> None:
    found = {name: trial.key for name, trial in trials()}
    assert len(set(found.values())) == len(found)
    if os.environ.get(WRITE):
        KEYS.write_text(json.dumps(found, indent=1) + "\n")
    frozen = json.loads(KEYS.read_text())
    changed = {name for name in frozen.keys() | found.keys() if frozen.get(name) != found.get(name)}
    assert changed == set(), __doc__


def test_fields_of_a_trial_that_came_later_are_marked() -> None:
    (record,) = RECORDS.glob("trials/*/record.json")
    first = json.loads(record.read_text())["trial"].keys()
    for field in fields(Trial):
        if field.name not in first:
            assert field.metadata.get("later"), f"Trial.{field.name} changes every key: make it with _later(default)"


def test_a_later_field_of_a_trial_enters_only_where_it_is_set() -> None:
    trial = trial_of("lora", shots=16)
    assert "backbone_version" not in trial.stored()
    assert key_of({name: value for name, value in asdict(trial).items() if name != "backbone_version"}) == trial.key
    other = dataclasses.replace(trial, backbone_version="1+abc")
    assert other.stored()["backbone_version"] == "1+abc"
    assert other.key != trial.key
    assert Trial.from_json(trial.stored()) == trial
    assert Trial.from_json(other.stored()).key == key_of(other.stored()) == other.key


# Records of the present form


@pytest.fixture
def old_runs(tmp_path: Path) -> Path:
    """A record of lora as petl-bench 0.1.0 of November 2026 wrote it."""
    return Path(shutil.copytree(RECORDS, tmp_path / "runs"))


def test_a_record_of_today_is_read_and_keeps_its_key(old_runs: Path) -> None:
    (folder,) = (old_runs / "trials").iterdir()
    record = read_record(folder)
    assert record["key"] == folder.name == Trial.from_json(record["trial"]).key
    frame = pb.load_records(old_runs)
    assert set(frame["trial"]) == {folder.name}
    assert set(frame["backbone_version"]) == {""}


def add_later_field(monkeypatch: pytest.MonkeyPatch, plugin: type[Options]) -> None:
    """`plugin` with a field `later_field` that it did not have when records were made."""
    field = hyper(1.5, "came later", later=True)
    namespace = {"__annotations__": {"later_field": float}, "later_field": field, "__module__": __name__}
    base = type(plugin)(plugin.__name__, (plugin,), {**namespace, "__doc__": plugin.__doc__})
    for registry in (METHODS, SETTINGS, DATASETS):
        if plugin.name in registry.names() and registry.get(plugin.name) is plugin:
            monkeypatch.setitem(registry._registered, plugin.name, base)
    monkeypatch.setattr(base, "__module__", plugin.__module__)


def test_a_trial_with_a_later_field_at_its_default_is_done_already(
    old_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = read_record(next((old_runs / "trials").iterdir()))["trial"]
    for plugin in (METHODS.get("lora"), SETTINGS.get("base2novel"), DATASETS.get("motion")):
        add_later_field(monkeypatch, plugin)

    def key(*chosen: str) -> str:
        trial = trial_of("lora", shots=16, set=chosen)
        fixed = {name: stored[name] for name in ("manifest_sha256", "weights_sha256")}
        return dataclasses.replace(trial, **fixed).key

    assert key() == key_of(stored), "today's record is that of the plain command, at the rate of then"
    assert key("lora.later_field=1.5", "base2novel.later_field=1.5", "motion.later_field=1.5") == key_of(stored)
    changed = {key(f"{name}.later_field=2") for name in ("lora", "base2novel", "motion")}
    assert len(changed) == 3 and key_of(stored) not in changed


def test_a_row_with_a_later_field_stands_beside_that_of_old_records(old_runs: Path) -> None:
    path = next((old_runs / "trials").glob("*/record.json"))
    record = json.loads(path.read_text())
    new = {**record["trial"], "hyper_parameters": {**record["trial"]["hyper_parameters"], "later_field": 2.0}}
    for trial in (new, {**record["trial"], "seed": 1}, {**record["trial"], "backbone_version": "1+abc", "seed": 2}):
        key = key_of(trial)
        folder = old_runs / "trials" / key
        shutil.copytree(path.parent, folder)
        (folder / "record.json").write_text(json.dumps({**record, "key": key, "trial": trial}))
    comparison = compare(pb.load_records(old_runs), "base2novel", ("base_top1", "novel_top1", "harmonic_mean"))
    labels = row_labels(comparison.configurations)
    seeds = {labels[row]: comparison.seeds(row, comparison.cases[0]) for row in comparison.configurations}
    assert seeds == {"lora": {0, 1}, "lora (later_field=2.0)": {0}, "lora (backbone version=1+abc)": {2}}


def test_later_fields_of_training_options(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(TrainingOptions):
        dropped: float = hyper(0.0, "came later", minimum=0.0, later=True)

    assert Later().values() == Later(dropped=0.0).values() == TrainingOptions().values()
    assert Later(**Later.parse({"dropped": "0"})).values() == TrainingOptions().values()
    assert Later(dropped=0.5).values() == {**TrainingOptions().values(), "dropped": 0.5}
    assert Later().all_values()["dropped"] == 0.0


def test_the_version_of_the_engine_is_part_of_every_key() -> None:
    trial = trial_of("lora", shots=16)
    assert trial.engine_version == trial_module.ENGINE_VERSION == 4
    assert dataclasses.replace(trial, engine_version=5).key != trial.key
