"""The commands under tables plan the very trials that are missing, whatever enters their keys."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.analysis.from_records import compare
from petl_bench.api import trial as trial_module
from petl_bench.api.dataset import Dataset
from petl_bench.api.launcher import Job
from petl_bench.api.options import Options
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import TrialResult
from petl_bench.api.values.fields import field_types
from petl_bench.benchmarks.datasets.motion import Motion
from petl_bench.cli.run import command as run
from petl_bench.data.found import known_manifests
from petl_bench.data.found.manifest import Manifest
from petl_bench.errors import PetlBenchError
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.running.planning import plan_data
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec, read_spec
from petl_bench.system.cache import cache_folder
from petl_bench.tables.commands import commands, is_command

pytestmark = pytest.mark.slow

ADAPTED = ("full_finetune", "lora", "lora+text_adapter", "adaptformer", "vision_adapter", "text_adapter", "msta")
SETTING_NAMES = ("base2novel", "few_shot", "fully_supervised", "zero_shot_transfer")
#: Fields of which a method allows one value only.
FIXED = {"vision_adapter": ("consistency_weight",)}
METRICS = {"base2novel": ("base_top1", "novel_top1", "harmonic_mean")}
PARTS = {"zero_shot_transfer": "target"}


@pytest.fixture(scope="module", autouse=True)
def _one_motion() -> Iterator[None]:
    """The embedded data set is rendered, and its clips found, once for all its values: plans read no frame of it."""
    known: list[Manifest] = []

    def new_manifest(dataset: Dataset, root: Path, cache: Path) -> Manifest:
        if dataset.name != "motion":
            return known_manifests.new_manifest(dataset, root, cache)
        if not known:
            known.append(known_manifests.new_manifest(dataset, root, cache))
        return known[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Motion, "root", lambda self, data_root: Motion().render(cache_folder()))
        patch.setattr(plan_data, "new_manifest", new_manifest)
        yield


def spec_of(line: str, **places: str) -> Spec:
    """What the command line makes of a printed command; `places` are the words that the user has to replace."""
    for word, place in places.items():
        line = line.replace(word, shlex.quote(place))
    flags = dict(run.make_context("run", shlex.split(line)[2:]).params)
    for name in ("dry_run", "detach"):
        flags.pop(name)
    return read_spec(flags, flags.pop("spec"))


def keep(runs: Path, jobs: Sequence[Job], trainable: dict[str, int], *, created: str = "2026-01-02T03:04:05") -> None:
    """Records of these trials, as runs would leave them but for what evaluations hold."""
    for job in jobs:
        metrics = METRICS.get(job.trial.setting, ("top1", "top5"))
        if job.trial.part.startswith("source"):
            metrics = ("source_top1",)
        result = TrialResult(
            metrics=dict.fromkeys(metrics, 50.0),
            evaluations={},
            trainable_params=trainable[job.trial.key],
            backbone_params=1000,
            train_clips={"expected": 0, "missing": 0, "unreadable": 0, "used": 0},
            train_unreadable={},
            history=[],
            durations_s={"total": 1.0},
            environment={},
            notes=[],
            marks=[],
        )
        folder = trial_folder(runs, job.trial.key)
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, job.trial, result, created=created)


def lines_for(runs: Path, setting: str) -> list[str]:
    metrics = METRICS.get(setting, ("top1", "top5"))
    return commands(compare(pb.load_records(runs), setting, metrics, PARTS.get(setting, "")))


def check_filled(runs: Path, planned: Plan, missing: Callable[[Job], bool], **places: str) -> list[str]:
    """Leave out some trials of a plan; the printed commands must plan those, and nothing else that is not there."""
    present = [job for job in planned.jobs if not missing(job)]
    keys = {job.trial.key for job in planned.jobs}
    wanted = keys - {job.trial.key for job in present}
    keep(runs, present, dict(planned.trainable))
    lines = lines_for(runs, planned.spec.setting)
    assert [line for line in lines if not is_command(line)] == []
    found = {job.trial.key for line in lines for job in plan(spec_of(line, **places)).jobs}
    assert found - keys == set(), f"other trials than those that are missing: {lines}"
    assert wanted - found == set(), f"not planned: {lines}"
    again = found & {job.trial.key for job in present if not job.trial.part.startswith("source")}
    assert again == set(), f"planned again though they are there: {lines}"
    return lines


def victim(method: str, **also: Any) -> Callable[[Job], bool]:
    """The last seed of one method."""

    def is_one(job: Job) -> bool:
        trial = job.trial
        same = all(getattr(trial, name) == value for name, value in also.items())
        return trial.method == method and trial.seed == 1 and not trial.part.startswith("source") and same

    return is_one


def others(method: str) -> tuple[str, ...]:
    """Two complete rows besides the one that lacks something."""
    return ("zero_shot", "lora" if method != "lora" else "msta")


def test_the_case_that_was_found(tmp_path: Path) -> None:
    spec = Spec(methods=("zero_shot", "msta", "lora"), seeds=(0, 1), set=("lora.rank=4",), epochs=1)
    (line,) = check_filled(tmp_path, plan(spec), victim("lora"))
    assert "--set lora.rank=4 --set training.epochs=1" in line
    assert "alpha" not in line, "what a run has by itself is not said"


# One option after the other


def candidates(kind: Any, default: Any) -> Iterator[Any]:
    """Values of a field's type that are not its default."""
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        yield from (option for option in options if option != default)
    elif typing.get_origin(kind) is tuple:
        yield from (value for value in (default[:1], default + default[:1], ("out",)) if value != default)
    elif kind is bool:
        yield not default
    elif kind in (int, float):
        numbers = (2, 1, 3) if kind is int else (2.0, 0.5, default / 2)
        yield from (number for number in numbers if number != default)
    elif kind is str:
        yield from (name for name in ("motion, twice", "motion", "folder", "a photo of {}.") if name != default)
    elif options:
        yield from ([None] if default is not None else [])
        yield from candidates(options[0], options[0]())


def texts_of(plugin: type[Options], name: str) -> Iterator[tuple[str, list[str]]]:
    """Every field of a plugin that enters keys, with `--set` texts of values that are not its default."""
    for field in dataclasses.fields(plugin):
        if not field.metadata.get("location"):
            values = candidates(field_types(plugin)[field.name], field.default)
            texts = [f"{name}.{field.name}={_text(value)}" for value in values]
            if texts or typing.get_origin(field_types(plugin)[field.name]) is not typing.Literal:
                yield field.name, texts  # a choice of one value cannot be set


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def first_that_plans(texts: list[str], **values: Any) -> Plan:
    for text in texts:
        try:
            return plan(Spec(seeds=(0, 1), set=(text,), **values))
        except PetlBenchError:
            continue
    raise AssertionError(f"none of {texts} can be planned")


@pytest.mark.parametrize("method", ADAPTED)
def test_every_field_of_a_method_is_filled(method: str, tmp_path: Path) -> None:
    fields = [each for each in texts_of(METHODS.get(method), method) if each[0] not in FIXED.get(method, ())]
    assert fields
    for field, texts in fields:
        planned = first_that_plans(texts, methods=(*others(method), method))
        check_filled(tmp_path / field, planned, victim(method))


def test_every_training_option_is_filled(tmp_path: Path) -> None:
    fields = list(texts_of(TrainingOptions, "training"))
    assert len(fields) > 20
    for field, texts in fields:
        planned = first_that_plans(texts, methods=("zero_shot", "msta", "lora"))
        check_filled(tmp_path / field, planned, victim("lora"))


@pytest.mark.parametrize("setting", SETTING_NAMES)
def test_every_field_of_a_setting_and_of_a_data_set_is_filled(setting: str, tmp_path: Path) -> None:
    fields = [*texts_of(SETTINGS.get(setting), setting), *texts_of(DATASETS.get("motion"), "motion")]
    for field, texts in fields:
        if field in ("source", "source_task", "task_of_targets"):
            continue  # another data set: see below; another kind of task: see tests/retrieval/test_transfer_table.py
        planned = first_that_plans(texts, methods=("zero_shot", "msta", "lora"), setting=setting)
        check_filled(tmp_path / field, planned, victim("lora"))


# Many together


@st.composite
def specs(draw: Any) -> Spec:
    setting = draw(st.sampled_from(SETTING_NAMES))
    method = draw(st.sampled_from(ADAPTED))
    training = {
        "learning_rate": st.sampled_from(["0.01", "3e-05"]),
        "micro_batch_size": st.sampled_from(["4", "none"]),
        "clip_grad_norm": st.sampled_from(["1.0", "none"]),
        "eval_batch_size": st.sampled_from(["7", "32"]),
        "views": st.sampled_from(["1", "2"]),
        "crops": st.sampled_from(["1", "3"]),
        "view_sampling": st.sampled_from(["uniform", "random"]),
        "train_views": st.sampled_from(["augmented", "fixed"]),
        "compile": st.sampled_from(["true", "false"]),
        "processes": st.sampled_from(["1", "2"]),
        "threads": st.sampled_from(["none", "1"]),
        "bad_clips_allowed": st.sampled_from(["0.01", "0.5"]),
    }
    given_values = draw(st.fixed_dictionaries({}, optional=training))
    shots = draw(st.sampled_from([None, (2,), (2, 4)])) if setting in ("base2novel", "few_shot") else None
    variants = draw(st.sampled_from([(), (("lora.rank=2",), ("lora.rank=3", "training.epochs=2"))]))
    return Spec(
        methods=(*others(method), method),
        setting=setting,
        seeds=(0, 1),
        shots=shots,
        set=tuple(f"training.{name}={value}" for name, value in given_values.items()),
        variants=variants,
        epochs=None if variants else draw(st.sampled_from([None, 0, 1, 10])),
        batch_size=draw(st.sampled_from([None, 8])),
        select=draw(st.sampled_from([None, "last", "val", "best-on-test"])),
        precision=draw(st.sampled_from([None, "fp32", "bf16"])),
        decoder=draw(st.sampled_from(["auto", "pyav"])),
        weights=draw(st.sampled_from(["auto", "random"])),
    )


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(spec=specs(), data=st.data())
def test_whatever_is_missing_is_filled(spec: Spec, data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    planned = plan(spec)
    last = [job.trial for job in planned.jobs if job.trial.method == spec.methods[-1]][-1]
    row = {"hyper_parameters": last.hyper_parameters, "training": last.training}
    places = [job for job in planned.jobs if victim(spec.methods[-1], **row)(job)]
    left_out = data.draw(st.lists(st.sampled_from(places), min_size=1, unique_by=lambda job: job.trial.key))
    gone = {job.trial.key for job in left_out}
    check_filled(tmp_path_factory.mktemp("runs"), planned, lambda job: job.trial.key in gone)


# Data sets, splits and plugins of one's own


def own_folder(root: Path) -> Path:
    """A folder with a sub-folder of clips for each of four classes; the clips are never opened."""
    for name in ("bow", "jump", "turn", "wave"):
        (root / name).mkdir(parents=True)
        for number in range(8):
            (root / name / f"{name}_{number}.mp4").write_bytes(f"{name} {number}".encode())
    return root


def test_a_data_set_of_ones_own_is_filled(tmp_path: Path) -> None:
    chosen = (f"folder.path={own_folder(tmp_path / 'my clips')}", "folder.test_fraction=0.25", "folder.split_seed=7")
    data = ("folder", "motion")
    spec = Spec(methods=("zero_shot", "msta", "lora"), datasets=data, seeds=(0, 1), set=chosen, shots=(2,))
    (line,) = check_filled(tmp_path / "runs", plan(spec), victim("lora", dataset="folder"))
    assert "folder.split_seed=7" in line


@pytest.mark.parametrize("source", ["motion", "folder"])
def test_a_source_of_its_own_is_filled(source: str, tmp_path: Path) -> None:
    target = "folder" if source == "motion" else "motion"
    chosen = (f"folder.path={own_folder(tmp_path / 'clips')}", "folder.split_seed=3", "motion.shift=0.5")
    spec = Spec(
        methods=("zero_shot", "msta", "lora"),
        setting="zero_shot_transfer",
        datasets=(target,),
        source=source,
        seeds=(0, 1),
        set=chosen,
    )
    check_filled(tmp_path / "runs", plan(spec), victim("lora"))


def test_folders_with_names_are_filled(tmp_path: Path) -> None:
    kitchen, street = own_folder(tmp_path / 'a "big", old kitchen=1'), own_folder(tmp_path / "street")
    (street / "bow" / "bow_0.mp4").write_bytes(b"the two differ")
    spec = Spec(
        methods=("zero_shot", "msta", "lora"),
        datasets=(f"kitchen={kitchen}", f"street={street}", "motion"),
        seeds=(0, 1),
        shots=(2,),
        set=("folder.split_seed=7", "kitchen.test_fraction=0.25", "street.split_seed=1"),
    )
    (line,) = check_filled(tmp_path / "runs", plan(spec), victim("lora", dataset="kitchen"))
    assert "street" not in line
    assert "--set kitchen.test_fraction=0.25 --set kitchen.split_seed=7" in line


@pytest.mark.parametrize("target", ["motion", "street", "kitchen"])
def test_a_source_with_a_name_is_filled(target: str, tmp_path: Path) -> None:
    places = {name: own_folder(tmp_path / f"{name}, clips") for name in ("kitchen", "street")}
    dataset = f"{target}={places[target]}" if target in places else target
    chosen = ("kitchen.split_seed=3", "street.test_fraction=0.5" if target == "street" else "motion.shift=0.5")
    spec = Spec(
        methods=("zero_shot", "msta", "lora"),
        setting="zero_shot_transfer",
        datasets=(dataset,),
        source=f"kitchen={places['kitchen']}",
        seeds=(0, 1),
        set=chosen,
    )
    check_filled(tmp_path / "runs", plan(spec), victim("lora"))


def test_a_plugin_files_methods_settings_and_data_are_filled(toy_here: Any, tmp_path: Path) -> None:
    spec = Spec(
        methods=("waiting", "other"),
        setting="toy_setting",
        datasets=("toys",),
        backbone="toy_net",
        weights="random",
        data_root=str(toy_here.data),
        plugin=(str(toy_here.plugin),),
        seeds=(0, 1, 2),
        shots=(3, 5),
        set=("waiting.steps=4", "toys.colour=dark blue", "training.learning_rate=0.1"),
    )
    lines = check_filled(tmp_path, plan(spec), victim("other", shots=5), DIR=str(toy_here.data))
    assert all(f"--plugin {toy_here.plugin}" in line for line in lines)


def test_splits_and_shots_are_filled_where_they_lack(toy_here: Any, tmp_path: Path) -> None:
    spec = Spec(
        methods=("waiting", "other"),
        setting="toy_transfer",
        datasets=("toys",),
        backbone="toy_net",
        weights="random",
        data_root=str(toy_here.data),
        plugin=(str(toy_here.plugin),),
        seeds=(0, 1),
    )
    planned = plan(spec)
    PARTS["toy_transfer"] = "target"
    check_filled(tmp_path, planned, victim("other", split="2"), DIR=str(toy_here.data))


# What no command can fill


def remarks(runs: Path, jobs: Sequence[Job], planned: Plan, **changed: Any) -> list[str]:
    """The lines for lora without its last seed, in records whose trials differ from what can be planned here."""
    present = [job for job in jobs if not victim("lora")(job)]
    trials = [dataclasses.replace(job.trial, **changed) for job in present]
    made = [Job(trial=trial, places=job.places) for trial, job in zip(trials, present, strict=True)]
    trainable = {job.trial.key: planned.trainable[old.trial.key] for job, old in zip(made, present, strict=True)}
    keep(runs, made, trainable)
    return lines_for(runs, planned.spec.setting)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"engine_version": trial_module.ENGINE_VERSION - 1}, "its engine version is 3, that of this petl-bench is 4"),
        ({"setting_version": "0"}, "base2novel was version 0 then, and is version 1 here"),
        ({"dataset_version": "0"}, "motion was version 0 then"),
        ({"weights_sha256": "0" * 64}, "the weights that ship with viclip-tiny are others than then"),
        ({"setting_options": {}}, "base2novel had no field views then"),
        ({"setting_options": {"views": "single", "more": 1}}, "base2novel has no field more here"),
    ],
)
def test_what_no_command_makes_again_is_said(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    planned = plan(Spec(methods=("zero_shot", "msta", "lora"), seeds=(0, 1)))
    (line,) = remarks(tmp_path, planned.jobs, planned, **changed)
    assert line.startswith("# no command makes lora on motion split 1 16-shot, seeds 1: ")
    assert reason in line


def test_runs_on_files_that_have_changed_since_are_left_as_they_are(tmp_path: Path) -> None:
    planned = plan(Spec(methods=("zero_shot", "msta", "lora"), seeds=(0, 1)))
    remarks(tmp_path, planned.jobs, planned, manifest_sha256="1" * 64)
    present = [job for job in planned.jobs if not victim("lora")(job)]
    keep(tmp_path, present, dict(planned.trainable), created="2026-02-02T00:00:00")
    command, remark = lines_for(tmp_path, "base2novel")
    assert {job.trial.key for job in plan(spec_of(command)).jobs} == {
        job.trial.key for job in planned.jobs if victim("lora")(job)
    }
    assert "the files of motion have changed since (files=11111111 then)" in remark


def test_weights_that_are_known_by_name_are_a_word_to_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(BACKBONES.get("viclip-tiny").packaged_weights().read_bytes())
    spec = Spec(methods=("zero_shot", "msta", "lora"), seeds=(0, 1), weights=str(weights))
    planned = plan(spec)
    keep(tmp_path / "runs", [job for job in planned.jobs if not victim("lora")(job)], dict(planned.trainable))
    command, note = lines_for(tmp_path / "runs", "base2novel")
    assert "--weights DIR/mine.safetensors" in command
    assert note.startswith("# DIR/mine.safetensors is the file with the sha256 ")
    found = {job.trial.key for job in plan(spec_of(command, DIR=str(tmp_path))).jobs}
    assert found == {job.trial.key for job in planned.jobs if victim("lora")(job)}
    monkeypatch.chdir(tmp_path)
    assert "--weights mine.safetensors" in lines_for(tmp_path / "runs", "base2novel")[0], "it lies here"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    spec=specs(),
    words=st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip), max_size=2),
)
def test_the_command_that_status_prints_asks_for_the_same_run(spec: Spec, words: list[str]) -> None:
    texts = tuple(f"folder.path={word}" for word in words)
    data = tuple(f"own_{number}={word.strip()}" for number, word in enumerate(words))
    asked = dataclasses.replace(
        spec,
        datasets=("ucf101", *data),
        set=(*spec.set, *texts),
        splits=("1", "2"),
        data_root="my data",
        source="motion",
    )
    assert spec_of(asked.command()) == asked
