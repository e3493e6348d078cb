"""`run --forgetting`: which trials it plans, what they evaluate, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

import petl_bench as pb
import petl_bench.benchmarks.datasets.motion as motion
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.records.layout import ADAPTER, RECORD
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.running.planning.plan import Plan, plan
from petl_bench.running.planning.spec import Spec, read_spec
from tests.commands import petl_bench

#: Classes of the folder that is never trained on, as the drawn data set calls them.
CLASSES = ("growing", "falling", "swinging")
ASKED = ("--setting", "few_shot", "--shots", "2", "--methods", "zero_shot,lora,linear_probe", "--seeds", "0,1")
TRAINED = ("--epochs", "3", "--set", "training.learning_rate=0.02", "--workers", "1", "--device", "cpu")


@dataclass
class World:
    """A folder with two data sets besides the drawn one: `mine` has classes, `told` has captions alone."""

    folder: Path
    cache: Path

    @property
    def others(self) -> str:
        """Both, as the command takes them."""
        return f"mine={self.folder / 'mine'},told={self.folder / 'told'}"

    def run(self, runs: Path, *arguments: str) -> CompletedProcess[str]:
        """The usual command into a folder of runs."""
        return petl_bench("run", *ASKED, *TRAINED, "--output", runs, *arguments)

    def plan(self, **changes: Any) -> Plan:
        """The plan of a like command."""
        values: dict[str, Any] = {"methods": ("lora",), "setting": "few_shot", "shots": (2,), "seeds": (0, 1)}
        return plan(Spec(output=str(self.folder / "planned"), **{**values, **changes}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The data sets; `motion` has few clips."""
    folder, cache = tmp_path_factory.mktemp("forgetting"), tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "CLIPS", {"train": 4, "test": 2})
        patch.setenv("PETL_BENCH_CACHE", str(cache))
        found = plan(Spec(methods=("zero_shot",), seeds=(0,)))
        (root,) = {path for path in cache.glob("motion-*") if path.is_dir()}
        assert found.jobs
        told = {}
        for label in CLASSES:
            for number, clip in enumerate(sorted((root / label).glob("*.mp4"))[:6]):
                (folder / "mine" / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(clip, folder / "mine" / label)
                (folder / "told").mkdir(exist_ok=True)
                shutil.copy(clip, folder / "told" / f"{label}_{number}.mp4")
                told[f"{label}_{number}"] = [f"number {number} is {label}", f"{label} for the {number}. time"]
        (folder / "told" / "captions.json").write_text(json.dumps(told))
        yield World(folder, cache)


@pytest.fixture(scope="module")
def done(world: World) -> tuple[Path, CompletedProcess[str]]:
    """A run of it, and what the command printed; no adapter was asked to be kept."""
    runs = world.folder / "runs"
    ended = world.run(runs, "--forgetting", world.others, "--keep-adapters", "none")
    assert ended.returncode == 0, ended.stderr
    return runs, ended


def trials_of(runs: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in (runs / "trials").glob(f"*/{RECORD}")}


# Plans


def test_keys_of_the_trials_that_adapt_do_not_change(world: World) -> None:
    alone = {job.trial.key for job in world.plan(methods=("zero_shot", "lora")).jobs}
    jobs = world.plan(methods=("zero_shot", "lora"), forgetting=tuple(world.others.split(","))).jobs
    assert {job.trial.key for job in jobs if job.trial.setting == "few_shot"} == alone
    started = [job.trial for job in jobs if job.trial.start_from]
    assert {trial.start_from for trial in started} == {
        job.trial.key for job in jobs if (job.trial.method, job.trial.setting) == ("lora", "few_shot")
    }
    frozen = [job.trial for job in jobs if job.trial.setting == "forgetting" and not job.trial.start_from]
    assert sorted((trial.method, trial.dataset, trial.seed) for trial in frozen) == [
        ("zero_shot", dataset, seed) for dataset in ("mine", "told") for seed in (0, 1)
    ]
    assert {trial.dataset: trial.part for trial in started} == {"mine": "forgetting", "told": "forgetting-captions"}


def test_a_saved_plan_without_forgetting_keeps_its_name() -> None:
    names = Spec(methods=("lora",)).identity
    assert names != Spec(methods=("lora",), forgetting=("ucf101",)).identity
    assert names[:16] == "80f367a2a717eff6"


def test_the_adapted_model_is_evaluated_with_the_views_of_the_other_data_set(world: World) -> None:
    jobs = world.plan(
        methods=("lora",), forgetting=(world.others.split(",")[0],), set=("training.learning_rate=0.02",), epochs=7
    ).jobs
    main, frozen, started = (job.trial for job in jobs[:3])
    assert (main.setting, frozen.method, started.start_from) == ("few_shot", "zero_shot", main.key)
    own = {name: started.training[name] for name in ("epochs", "learning_rate", "views", "crops")}
    assert own == {"epochs": 7, "learning_rate": 0.02, "views": 1, "crops": 1}
    assert started.training["views"] == frozen.training["views"]


def test_its_trials_are_shared_by_numbers_of_shots(world: World) -> None:
    jobs = world.plan(shots=(1, 2), forgetting=(world.others.split(",")[0],), seeds=(0,)).jobs
    counts = [(job.trial.method, bool(job.trial.start_from)) for job in jobs if job.trial.setting == "forgetting"]
    assert sorted(counts) == [("lora", True), ("lora", True), ("zero_shot", False)]


def test_a_file_may_ask_for_it(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    for text in ('"ucf101, hmdb51"', '["ucf101", "hmdb51"]'):
        file.write_text(f'methods = "lora"\nforgetting = {text}\n')
        spec = read_spec({}, file)
        assert spec.forgetting == ("ucf101", "hmdb51")
        assert "--forgetting ucf101,hmdb51" in spec.command()


def test_an_unpublished_rehearsal_counts_its_trials() -> None:
    ended = petl_bench("run", "--methods", "lora", "--seeds", "0", "--forgetting", "ucf101,hmdb51", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "5 trials, 0 done, 5 to run" in ended.stdout
    assert ended.stdout.count("adapter of another") == 2


# Runs


def test_every_adapted_model_is_evaluated_beside_the_frozen_backbone(
    done: tuple[Path, CompletedProcess[str]],
) -> None:
    runs, ended = done
    note = "--forgetting mine: linear_probe is left out: it scores the classes that it was trained on alone"
    assert note in ended.stderr and note.replace("mine", "told") in ended.stderr
    assert "Few-shot recognition" in ended.stdout and "Forgetting: zero-shot accuracy" in ended.stdout
    records = pb.load_records(runs)
    own = records[records["setting"] == "forgetting"].drop_duplicates("trial")
    found = sorted(zip(own["dataset"], own["method"], own["seed"], strict=True))
    assert found == [(name, method, seed) for name in ("mine", "told") for method in ("lora", "zero_shot")
                     for seed in (0, 1)]  # fmt: skip
    kept = {path.parent.name for path in (runs / "trials").glob(f"*/{ADAPTER}")}
    assert kept == set(), "once nothing more starts from them, adapters go as --keep-adapters says"


def test_the_numbers_are_those_of_an_evaluation_by_hand(
    done: tuple[Path, CompletedProcess[str]], world: World, tmp_path: Path
) -> None:
    runs = tmp_path / "kept"
    ended = world.run(runs, "--forgetting", world.others.split(",")[0], "--methods", "lora", "--seeds", "0")
    assert ended.returncode == 0, ended.stderr
    trials = trials_of(runs)
    (started,) = (key for key, record in trials.items() if record["trial"]["start_from"])
    (frozen,) = (key for key, record in trials.items() if record["trial"]["method"] == "zero_shot")
    origin = trials[started]["trial"]["start_from"]
    outcomes = StoredOutcomes([runs])
    for key, model in ((started, pb.load_adapter(runs / "trials" / origin)), (frozen, None)):
        outcome = outcomes.of(key, "test")
        assert outcome is not None
        files = [world.folder / "mine" / clip for clip in outcome.clips]
        if model is None:
            plain = pb.load_adapter(runs / "trials" / origin)
            frames = torch.stack([plain.preprocess(file) for file in files])
            encoder = pb.create_model("viclip-tiny").eval()
            with torch.no_grad():
                video = torch.nn.functional.normalize(encoder.encode_video(frames), dim=-1)
                prompts = pb.tokenize([f"a video of {name}." for name in outcome.classes], context_length=32)
                text = torch.nn.functional.normalize(encoder.encode_text(prompts), dim=-1)
            predicted = (video @ text.T).argmax(dim=1)
        else:
            predicted = torch.as_tensor(model.predict(files, classes=list(outcome.classes))).argmax(dim=1)
        assert predicted.tolist() == outcome.predicted.tolist()
        by_hand = 100 * float((predicted == torch.as_tensor(outcome.labels)).float().mean())
        assert trials[key]["metrics"]["top1"] == pytest.approx(by_hand)


def test_the_table_is_the_difference_of_the_records(done: tuple[Path, CompletedProcess[str]]) -> None:
    runs, _ = done
    records = pb.load_records(runs)
    table = TABLES.get("forgetting")().build(Evidence(records, outcomes=StoredOutcomes([runs])))
    (row,) = (row for group in table.groups for row in group.rows)
    means = []
    for dataset, metric in (("mine", "top1"), ("told", "t2v_r1")):
        own = records[(records["dataset"] == dataset) & (records["metric"] == metric)].groupby("method")["value"].mean()
        place = next(i for i, each in enumerate(table.columns) if (each.group, each.label) == (dataset, "Difference"))
        assert row.cells[place].value == pytest.approx(own["lora"] - own["zero_shot"])
        means.append(row.cells[place].value)
    beside = TABLES.get("few_shot")().build(Evidence(records, outcomes=StoredOutcomes([runs])))
    shown = {row.label: row.cells[-1] for group in beside.groups for row in group.rows}
    assert shown["lora"].value == pytest.approx(sum(means) / 2)
    assert shown["zero_shot"].value == 0.0
    assert (shown["linear_probe"].value, shown["linear_probe"].source) == (None, "not evaluated on other data sets")


def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(
    done: tuple[Path, CompletedProcess[str]], world: World, tmp_path: Path
) -> None:
    """As if it had been killed before one evaluation was recorded: the adapter is gone, and is made again."""
    before = trials_of(done[0])
    runs = tmp_path / "runs"
    shutil.copytree(done[0], runs)
    key = next(key for key, record in before.items() if record["trial"]["start_from"])
    (runs / "trials" / key / RECORD).unlink()
    ended = world.run(runs, "--forgetting", world.others, "--keep-adapters", "none")
    assert ended.returncode == 0, ended.stderr
    assert "2 to run" in ended.stderr
    after = trials_of(runs)
    assert {name: record["metrics"] for name, record in after.items()} == {
        name: record["metrics"] for name, record in before.items()
    }
    assert "0 to run" in world.run(runs, "--forgetting", world.others, "--keep-adapters", "none").stderr


def test_an_adapter_of_captions_is_evaluated_on_classes(world: World, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    arguments = ("--setting", "retrieval", "--datasets", f"told={world.folder / 'told'}", "--methods", "lora")
    ended = petl_bench(
        "run", *arguments, "--seeds", "0", *TRAINED, "--output", runs,
        "--forgetting", f"mine={world.folder / 'mine'}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    table = TABLES.get("retrieval")().build(Evidence(pb.load_records(runs)))
    assert (table.columns[-1].group, table.columns[-1].label) == ("Forgetting", "told")


# Refusals


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--setting", "forgetting"), "the setting forgetting is evaluated after another one: petl-bench run --forg"),
        (("--forgetting", "motion"), "--forgetting motion: the run trains on it; name data sets that are not in --dat"),
        (("--forgetting", "ufc101"), "unknown data set 'ufc101'; did you mean"),
        (("--forgetting", "a="), "--forgetting a=: which folder? Say a=DIR"),
        (("--forgetting", "motion=x"), "motion=DIR: 'motion' is a data set already; give the folder another name"),
        (("--setting", "zero_shot_transfer", "--forgetting", "hmdb51"), "--forgetting: the setting zero_shot_transfer"),
        (("--setting", "cost", "--forgetting", "hmdb51"), "the setting cost is not measured with petl-bench run"),
        (("--forgetting", "hmdb51"), "hmdb51 is not part of petl-bench: say where its files are with --data-root DIR"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(arguments: tuple[str, ...], says: str, world: World) -> None:
    ended = petl_bench("run", "--methods", "lora", "--output", world.folder / "refused", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert says in ended.stderr
    assert not (world.folder / "refused").exists()


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("mine", "retrieval", "mine has classes and no captions: --forgetting needs captions of its clips; a folder"),
        ("told", "classification", "told has captions and no classes: change the fields in petl-bench show forgetting"),
    ],
)
def test_what_a_data_set_lacks_is_said_in_words_of_the_option(name: str, task: str, says: str, world: World) -> None:
    with pytest.raises(pb.UsageError, match=says):
        world.plan(forgetting=(f"{name}={world.folder / name}",), set=(f"forgetting.task_of_targets={task}",))


def test_a_tuning_refuses_before_it_starts_what_its_final_run_would_refuse(world: World) -> None:
    given = ("--methods", "lora", "--trials", "2", "--forgetting", "motion", "--output", world.folder / "refused")
    ended = petl_bench("tune", *given)
    assert ended.returncode == 2
    assert ended.stderr == (
        "petl-bench: --forgetting motion: the run trains on it; name data sets that are not in --datasets\n"
    )
    assert not (world.folder / "refused").exists()


def test_one_folder_under_two_names_is_refused(world: World) -> None:
    with pytest.raises(pb.UsageError, match="--forgetting b: the run trains on this folder, as a; name another"):
        world.plan(datasets=(f"a={world.folder / 'mine'}",), forgetting=(f"b={world.folder / 'mine'}",))


def test_without_a_method_that_adapts_nothing_is_forgotten(world: World) -> None:
    found = world.plan(methods=("zero_shot",), forgetting=(world.others.split(",")[0],))
    assert "--forgetting has no effect: none of the methods is adapted" in found.warnings
    assert {job.trial.setting for job in found.jobs} == {"few_shot"}
