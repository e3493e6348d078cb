"""Several folders of one's own in one run, each with a name: what reaches which, what enters keys, what is shown."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.launcher import Job
from petl_bench.api.registry import TABLES
from petl_bench.api.trial import Trial
from petl_bench.cli.data import command as data_command
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from tests.running.test_fill_commands import keep, own_folder
from tests.running.test_fill_commands import spec_of as spec_of_line
from tests.running.test_plan import spec_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two folders of the same content."""
    monkeypatch.chdir(tmp_path)
    for name in ("k", "s"):
        own_folder(tmp_path / name)
    return tmp_path


def few_shot(*datasets: str, **changes: Any) -> tuple[Job, ...]:
    values: dict[str, Any] = {"methods": ("zero_shot",), "setting": "few_shot", "shots": (2,), "seeds": (0,)}
    return plan(Spec(datasets=datasets, **{**values, **changes})).jobs


def trials(*datasets: str, **changes: Any) -> dict[str, Trial]:
    return {job.trial.dataset: job.trial for job in few_shot(*datasets, **changes)}


def test_each_name_is_a_data_set_of_its_own() -> None:
    found = trials("kitchen=k", "motion", "street=s")
    assert list(found) == ["kitchen", "motion", "street"]
    kitchen, street = found["kitchen"], found["street"]
    assert kitchen.manifest_sha256 == street.manifest_sha256, "the files are the same"
    assert kitchen.key != street.key, "and yet the two are never taken for one"
    assert (kitchen.data_plugin, found["motion"].data_plugin) == ("folder", "motion")
    assert kitchen.locations["kitchen"]["path"] == "k"
    assert "kitchen split 1" in kitchen.title
    assert Trial.from_json(json.loads(json.dumps(kitchen.stored()))).key == kitchen.key


def test_where_a_folder_lies_is_not_part_of_the_key(here: Path) -> None:
    before = trials("kitchen=k")["kitchen"].key
    shutil.move(here / "k", here / "moved")
    assert trials("kitchen=moved")["kitchen"].key == before
    assert trials(f"kitchen={here / 'moved'}")["kitchen"].key == before
    assert trials("kitchen=moved", data_root=str(here))["kitchen"].key == before


def test_folders_lie_below_the_home_or_the_data_root(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = trials("kitchen=k")["kitchen"].key
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir(here / "s")
    assert trials("kitchen=~/k")["kitchen"].key == key
    assert trials("kitchen=k", data_root=str(here))["kitchen"].key == key


def test_the_form_without_a_name_is_what_it_was() -> None:
    trial = trials("folder", set=("folder.path=k",))["folder"]
    assert "dataset_plugin" not in trial.stored()
    assert trial.data_plugin == "folder"


def test_a_folders_own_value_wins_over_that_of_all_folders() -> None:
    chosen = ("kitchen.test_fraction=0.25", "folder.test_fraction=0.5", "folder.split_seed=3")
    found = trials("kitchen=k", "street=s", set=chosen)
    assert found["kitchen"].dataset_options["test_fraction"] == 0.25
    assert found["street"].dataset_options["test_fraction"] == 0.5
    assert {trial.dataset_options["split_seed"] for trial in found.values()} == {3}


def test_what_reaches_no_folder_is_told() -> None:
    chosen = ("folder.path=k", "folder.split_seed=1")
    spec = Spec(methods=("zero_shot",), datasets=("kitchen=k",), set=chosen)
    assert plan(spec).warnings == ("--set folder.path has no effect: --datasets says where each folder is",)
    with_both = Spec(methods=("zero_shot",), datasets=("kitchen=s", "folder"), set=chosen)
    assert plan(with_both).warnings == ()


def test_two_names_for_one_folder_are_told(here: Path) -> None:
    spec = Spec(methods=("zero_shot",), datasets=("kitchen=k", "street=./k"), seeds=(0,))
    assert plan(spec).warnings == (f"kitchen and street are one folder, {here / 'k'}",)


@pytest.mark.parametrize(
    ("changes", "source"),
    [({"source": "kitchen=k"}, "kitchen"), ({"source": "kitchen"}, "kitchen"), ({"source": "lake=s"}, "lake")],
)
def test_a_source_may_be_a_folder(changes: dict[str, Any], source: str) -> None:
    asked = {"methods": ("lora",), "setting": "zero_shot_transfer", "shots": None, **changes}
    first, *_ = jobs = few_shot("kitchen=k", "motion", **asked)
    assert (first.trial.dataset, first.trial.data_plugin) == (source, "folder")
    assert {job.trial.setting_options["source"] for job in jobs} == {source}
    parts = [(job.trial.dataset, job.trial.part) for job in jobs]
    assert ("kitchen", "target-novel" if source == "kitchen" else "target") in parts


def test_tables_show_the_names(here: Path) -> None:
    spec = Spec(
        methods=("lora", "msta"), setting="few_shot", shots=(2,), seeds=(0, 1), datasets=("kitchen=k", "street=s")
    )
    planned = plan(spec)
    missing = next(job for job in planned.jobs if (job.trial.method, job.trial.dataset) == ("lora", "street"))
    keep(here / "runs", [job for job in planned.jobs if job is not missing], dict(planned.trainable))
    table = TABLES.get("few_shot")().build(Evidence(pb.load_records("runs")))
    assert [column.group for column in table.columns if column.label == "K=2"] == ["kitchen", "street"]
    (command,) = table.commands
    assert "--datasets street=s " in command
    assert [job.trial.key for job in plan(spec_of_line(command)).jobs] == [missing.trial.key]


def test_a_run_records_the_names_and_runs_nothing_twice(toy: Any) -> None:
    own_folder(toy.folder / "my, street")
    flags = ["--methods", "waiting", "--seeds", "0-1", "--datasets", 'kitchen=k,"street=my, street"']
    for _ in range(2):
        result = toy.run(*flags)
        assert result.returncode == 0, result.stderr
        assert len(toy.executions()) == 4
    records = pb.load_records(toy.runs)
    assert set(zip(records["dataset"], records["dataset_plugin"], strict=True)) == {
        ("kitchen", "folder"),
        ("street", "folder"),
    }
    shutil.rmtree(next((toy.runs / "trials").iterdir()))
    status = toy.command("status", "--runs", str(toy.runs))
    (line,) = [line for line in status.stdout.splitlines() if "petl-bench run" in line]
    pasted = toy.command(*shlex.split(line[line.index("petl-bench run") :])[1:])
    assert pasted.returncode == 0, pasted.stderr
    assert len(toy.executions()) == 5


def test_a_plan_in_the_toy_world_knows_its_folder(toy_here: Any, here: Path) -> None:
    (job,) = plan(spec_of(toy_here, datasets=("kitchen=k",), data_root=None)).jobs
    assert (job.trial.dataset, job.trial.dataset_plugin) == ("kitchen", "folder")


@pytest.mark.parametrize("command", ["status", "index"])
def test_data_commands_take_a_name(command: str) -> None:
    chosen = ["--set", "folder.split_seed=3", "--set", "kitchen.test_fraction=0.25", "--json"]
    result = CliRunner().invoke(data_command, [command, "kitchen=k", *chosen])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["dataset"], report["clips"]["found"]) == ("kitchen", 32)
    assert {row["name"]: row["expected"] for row in report["lists"]} == {"train 1": 24, "test 1": 8}


def test_the_next_data_command_can_be_pasted() -> None:
    said = CliRunner().invoke(data_command, ["status", "kitchen=k"]).stdout
    assert "petl-bench data scan kitchen=k (with the same options)" in said
