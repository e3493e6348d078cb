"""The table of the retrieval targets of a transfer, in `run`, `report` and `compare`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.api.registry import METHODS, SETTINGS
from petl_bench.cli import cli
from petl_bench.cli.run import _tables
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.running.planning.plan import plan
from petl_bench.running.planning.spec import Spec
from tests.reports.synthetic_records import make_evaluation, make_trial, result_of
from tests.reports.tables import cell_of, figure_of, headers_of, notes_of, points_of, table_of
from tests.retrieval.conftest import PLUGIN
from tests.retrieval.test_records_of_retrieval import SEEDS, SKILL, drawn

RETRIEVAL = {"task_of_targets": "retrieval"}
BY_CAPTIONS = {"source_task": "retrieval", **RETRIEVAL}


def write(
    runs: Path, method: str, seed: int, part: str, evaluation: Any, metrics: dict[str, float], **values: Any
) -> str:
    """Write the record of an adaptation or of a target, and return its key."""
    given = {"setting": "zero_shot_transfer", "hyper_parameters": {}, "shots": None, "part": part, **values}
    trial = make_trial(method, seed, **given)
    folder = trial_folder(runs, trial.key)
    folder.mkdir(parents=True)
    name = {"": "test", "source": "source"}.get(part, "target")
    trainable = 0 if method == "zero_shot" else 1000
    write_record(folder, trial, result_of(metrics, {name: evaluation}, trainable=trainable))
    return trial.key


def transferred(runs: Path, method: str, seed: int, part: str = "retrieval", **options: str) -> str:
    """Write the record of a target of retrieval, and that of the adaptation that it starts from."""
    shared: dict[str, Any] = {"setting_options": {"source": "k400", **(options or RETRIEVAL)}}
    values: dict[str, Any] = {"dataset": "captioned_motion", "captions_sha256": "c" * 64, **shared}
    if method != "zero_shot":
        top1 = {"source_top1": 75.0}
        start = write(runs, method, seed, "source", make_evaluation(75.0), top1, dataset="k400", **shared)
        values |= {"start_from": start, "source_sha256": "f" * 64}
    evaluation = drawn(SKILL[method], seed)
    return write(runs, method, seed, part, evaluation, dict(evaluation.accuracies), **values)


def classified(runs: Path) -> None:
    """Write the record of a target of classification."""
    options = {"setting_options": {"source": "k400"}}
    metrics = {"top1": 50.0, "top5": 100.0}
    write(runs, "zero_shot", 0, "target", make_evaluation(50.0), metrics, dataset="ucf101", **options)


@pytest.fixture
def runs(plugin: Path, tmp_path: Path) -> Path:
    """Two methods under three seeds, on a target of retrieval."""
    for method in SKILL:
        for seed in range(SEEDS):
            transferred(tmp_path / "runs", method, seed)
    return tmp_path / "runs"


def asked(*arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it says."""
    done = CliRunner().invoke(cli, [*arguments, "--plugin", str(PLUGIN)])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_targets_of_retrieval_have_their_numbers_and_adaptations_are_no_rows(runs: Path) -> None:
    table = table_of(runs, "zero_shot_retrieval")
    labels = ["R@1", "R@5", "R@10", "Sum", "MdR", "MnR"]
    directions = ("captioned_motion T2V", "captioned_motion V2T")
    assert [header for header in headers_of(table) if header[1] != "Clips"] == [
        (direction, label) for direction in directions for label in labels
    ]
    records = pb.load_records(runs)
    own = records[(records["method"] == "lora") & (records["metric"] == "t2v_mean_rank")]["value"]
    assert cell_of(table, "lora", "captioned_motion T2V", "MnR").value == pytest.approx(own.mean())
    assert table.title == "Zero-shot transfer from K-400: retrieval, recalls in percent, and ranks"
    assert "Adapted on K-400, once per method and seed; no target clip was trained on." in table.footers
    points = points_of(figure_of(runs, "zero_shot_retrieval"))
    assert {label.partition(" ")[0] for label in points} == set(map(METHODS.display, SKILL))


def test_halves_of_one_data_set_are_told_and_each_kind_of_source_has_its_columns(plugin: Path, tmp_path: Path) -> None:
    transferred(tmp_path, "lora", 0, "retrieval-novel")
    transferred(tmp_path, "lora", 0, "retrieval-novel", **BY_CAPTIONS)
    table = table_of(tmp_path, "zero_shot_retrieval")
    assert "evaluated on the novel half alone." in notes_of(table)
    cases = {group.removesuffix(" T2V") for group, label in headers_of(table) if group.endswith(" T2V")}
    assert cases == {"captioned_motion", "captioned_motion (source_task=retrieval)"}


def test_compare_finds_the_difference_on_the_targets(runs: Path) -> None:
    status, said = asked("compare", "lora", "zero_shot", "--runs", str(runs))
    assert status == 0 and "LoRA against Zero-shot, zero_shot_retrieval" in said
    assert re.search(r"captioned_motion T2V R@1: .* a real difference", said)
    assert "LoRA is better than Zero-shot on: captioned_motion T2V R@1" in said


def test_a_table_without_such_records_names_the_one_that_has_them(runs: Path, tmp_path: Path) -> None:
    status, said = asked("report", "--runs", str(runs), "--table", "zero_shot")
    expected = "the table zero_shot shows none of the zero_shot_transfer records here. These do: "
    assert status == 1 and f"{expected}petl-bench report --table zero_shot_retrieval" in said
    classified(tmp_path / "classified")
    status, said = asked("report", "--runs", str(tmp_path / "classified"), "--table", "zero_shot_retrieval")
    assert status == 1 and "zero_shot_transfer records here. These do: petl-bench report --table zero_shot" in said
    classified(runs)
    for table in ("zero_shot", "zero_shot_retrieval"):
        status, said = asked("report", "--runs", str(runs), "--table", table, "--format", "json")
        assert status == 0 and json.loads(said[: said.rindex("}") + 1])["name"] == table


def test_without_a_record_of_the_setting_it_says_how_to_make_some(tmp_path: Path) -> None:
    metrics = {"top1": 50.0, "top5": 100.0}
    write(tmp_path, "lora", 0, "", make_evaluation(50.0), metrics, setting="fully_supervised")
    status, said = asked("report", "--runs", str(tmp_path), "--table", "zero_shot_retrieval")
    command = "petl-bench run --methods zero_shot,lora --setting zero_shot_transfer"
    assert status == 1
    assert f"Make some: {command} --set zero_shot_transfer.task_of_targets=retrieval" in said


def spec_of(*values: str) -> Spec:
    given = tuple(f"zero_shot_transfer.{value}" for value in values)
    return Spec(methods=("lora",), setting="zero_shot_transfer", seeds=(0,), device="cpu", set=given)


def test_a_run_shows_the_tables_of_its_targets() -> None:
    by_classes, by_captions = plan(spec_of()), plan(spec_of("task_of_targets=retrieval"))
    assert _tables(by_classes) == ["zero_shot"]
    assert _tables(by_captions) == ["zero_shot_retrieval"]
    assert _tables(replace(by_classes, jobs=by_classes.jobs + by_captions.jobs)) == ["zero_shot", "zero_shot_retrieval"]
    assert SETTINGS.get("few_shot")().table_of(pb.Case("1", 4, 0)) == "few_shot"


def test_a_run_ends_with_its_table(plugin: Path, tmp_path: Path) -> None:
    status, said = asked(
        "run", "--setting", "zero_shot_transfer", "--methods", "zero_shot", "--datasets", "captioned_motion",
        "--seeds", "0", "--set", "zero_shot_transfer.task_of_targets=retrieval", "--device", "cpu",
        "--output", str(tmp_path / "runs"),
    )  # fmt: skip
    assert status == 0, said
    assert "Zero-shot transfer from Motion: retrieval" in said and "MnR" in said
    assert re.search(r"table: +petl-bench report .*--table zero_shot_retrieval$", said, re.MULTILINE)
    assert "no table" not in said
