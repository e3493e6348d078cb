"""The cost table: one device, precision and batch per group; ranks the right way round; quotes beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import METHODS, TABLES
from petl_bench.api.table import Cell, RowGroup, Table
from petl_bench.api.trial import Trial, TrialResult
from petl_bench.costs import recording
from petl_bench.records.write import write_record
from petl_bench.render import FORMATS, render
from petl_bench.tables.layout import apply
from petl_bench.tables.layout_choices import TableLayout

from .synthetic_records import make_result, make_trial

REFERENCES = {"frozen": "zero_shot", "full": "full_finetune"}
TIMES = {
    "zero_shot": (None, 100.0),
    "msta": (40.0, 70.0),
    "lora": (30.0, 80.0),
    "adaptformer": (20.0, 90.0),
    "full_finetune": (60.0, 99.0),
}


def write(
    runs: Path, method: str, marks: tuple[str, ...] = (), metrics: dict[str, float] | None = None, **conditions: Any
) -> None:
    """A cost record as `petl-bench cost` leaves it."""
    hyper = conditions.pop("hyper", {})
    values: dict[str, Any] = {
        "backbone": "viclip-b16", "device": "A100", "threads": 8, "precision": "bf16", "batch": 32, "classes": 26,
        "merged": False, "weights": "random", "weights_sha256": "random", "setting_version": "1", **conditions,
    }  # fmt: skip
    trial = recording.trial_of(METHODS.get(method)(**hyper), "1", references=REFERENCES, **values)
    step, throughput = TIMES[method]
    found = {
        "batch_size": 32,
        "rounds": 5,
        "trainable_params": 1000.0,
        "trainable_percent": 1.0,
        "total_params": 2000.0,
        "throughput_videos_per_s": throughput,
        "throughput_vs_frozen": throughput / 100,
        "throughput_vs_frozen_low": throughput / 101,
        "throughput_vs_frozen_high": throughput / 99,
    }
    if step is not None:
        found |= {"train_step_ms": step, "train_step_ms_p10": step - 1, "train_step_ms_p90": step + 1}
    recording.record(
        runs, trial, metrics={**found, **(metrics or {})}, absent={}, rounds=[], trainable_params=1000,
        backbone_params=2000, environment={"device": values["device"]}, seconds=1.0, notes=[], marks=marks,
    )  # fmt: skip


def write_other(runs: Path, trial: Trial, result: TrialResult) -> None:
    folder = runs / "trials" / trial.key
    folder.mkdir(parents=True)
    write_record(folder, trial, result)


def table_of(runs: Path, *, published: bool = False) -> Table:
    source = TABLES.get("cost")()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published() if published else None))
    return table


def cell(table: Table, group: RowGroup, row: str, column: str) -> Cell:
    index = [f"{each.group} {each.label}" for each in table.columns].index(column)
    return next(each for each in group.rows if each.label == row).cells[index]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for method in TIMES:
        write(tmp_path, method)
    return tmp_path


def test_fewer_milliseconds_are_better_and_more_videos_are(runs: Path) -> None:
    table = table_of(runs)
    (group,) = table.groups
    assert cell(table, group, "adaptformer", "Train step ms").rank == "best"
    assert cell(table, group, "lora", "Train step ms").rank == "second"
    assert cell(table, group, "adaptformer", "Inference videos/s").rank == "best"
    assert cell(table, group, "zero_shot", "Inference videos/s").rank == ""


def test_a_layout_ranks_as_the_table_does_and_never_its_references(runs: Path) -> None:
    table = table_of(runs)
    assert apply(table, TableLayout()) == table
    few = apply(table, TableLayout(rows=("full_finetune", "lora"), columns=("Train step ms",)))
    assert [row.cells[0].rank for row in few.groups[0].rows] == ["", ""]


def test_what_was_measured_under_other_conditions_stands_in_another_group(runs: Path) -> None:
    for changed in ({"device": "H100"}, {"precision": "fp32"}, {"batch": 1}, {"batch": "largest"}, {"classes": 400}):
        write(runs, "lora", **changed)
    titles = [group.title for group in table_of(runs).groups]
    assert len(set(titles)) == 6
    assert "Run here: ViCLIP-B/16, batch 32, bf16, on A100, 8 CPU threads, 26 classes, protocol 1" in titles


def test_a_busy_device_makes_times_doubtful_and_not_sizes(tmp_path: Path) -> None:
    for method in ("lora", "adaptformer"):
        write(tmp_path, method, marks=("busy-device",), metrics={"adapter_mb": 1.0 if method == "lora" else 2.0})
    table = table_of(tmp_path)
    (group,) = table.groups
    assert cell(table, group, "adaptformer", "Train step ms").marks == ("busy-device",)
    assert cell(table, group, "adaptformer", "Train step ms").rank == ""
    assert cell(table, group, "lora", "Adapter MB").rank == "best"
    assert "B: others used the device" in render(table, "terminal")


def test_what_is_not_measured_is_absent_with_a_reason(runs: Path) -> None:
    table = table_of(runs)
    missing = cell(table, table.groups[0], "zero_shot", "Train step ms")
    assert missing.value is None and missing.origin == "absent" and "notes of the record" in missing.source


def test_the_memory_of_a_step_stands_beside_that_of_full_fine_tuning(tmp_path: Path) -> None:
    for method, memory in (("lora", 25.0), ("adaptformer", 50.0), ("full_finetune", 100.0)):
        write(tmp_path, method, marks=("busy-device",), metrics={"peak_memory_mib": memory})
    write(tmp_path, "lora", merged=True)
    table = table_of(tmp_path)
    (group,) = table.groups
    found = {row.label: cell(table, group, row.label, "Memory MiB / full") for row in group.rows}
    assert {name: (each.value, each.rank, each.marks) for name, each in found.items()} == {
        "lora": (0.25, "best", ()),
        "adaptformer": (0.5, "second", ()),
        "full_finetune": (1.0, "", ()),
        "lora merged": (None, "", ()),
    }
    assert len(found["lora"].trials) == 2 and len(found["full_finetune"].trials) == 1


def test_a_ratio_of_memory_needs_one_record_of_full_fine_tuning(tmp_path: Path) -> None:
    write(tmp_path, "lora", metrics={"peak_memory_mib": 25.0})
    write(tmp_path, "full_finetune", metrics={"peak_memory_mib": 100.0}, precision="fp32")
    write(tmp_path, "full_finetune")
    table = table_of(tmp_path)
    (group,) = [each for each in table.groups if "bf16" in each.title]
    absent = cell(table, group, "lora", "Memory MiB / full")
    assert (absent.value, absent.source) == (None, "no record of Full fine-tuning under these conditions")
    write(tmp_path, "full_finetune", metrics={"peak_memory_mib": 100.0}, hyper={"token_embedding": True})
    write(tmp_path, "full_finetune", metrics={"peak_memory_mib": 90.0}, hyper={"temperature": False})
    table = table_of(tmp_path)
    (group,) = [each for each in table.groups if "bf16" in each.title]
    source = cell(table, group, "lora", "Memory MiB / full").source
    assert source == "2 records of Full fine-tuning under these conditions"


def test_rows_of_one_method_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "lora")
    write(tmp_path, "lora", hyper={"rank": 16}, metrics={"trainable_params": 2000.0})
    write(tmp_path, "lora", merged=True)
    (group,) = table_of(tmp_path).groups
    assert [row.label for row in group.rows] == ["lora (rank=8)", "lora merged", "lora (rank=16)"]
    assert [row.display for row in group.rows] == ["LoRA (rank 8)", "LoRA merged", "LoRA (rank 16)"]
    assert [dict(row.facts)["merged"] for row in group.rows] == ["no", "yes", "no"]


def test_every_number_names_its_record_and_ratios_have_intervals(runs: Path) -> None:
    table = table_of(runs)
    ratio = cell(table, table.groups[0], "lora", "Inference / frozen")
    assert ratio.interval == (80 / 101, 80 / 99)
    assert len(ratio.trials) == 1 and (runs / "trials" / ratio.trials[0] / "record.json").is_file()


def test_the_paper_is_quoted_on_its_own_device(runs: Path) -> None:
    table = table_of(runs, published=True)
    quoted = table.groups[-1]
    assert "A100-80G" in quoted.title
    assert cell(table, quoted, "MSTA + L_CC", "Train step ms").value == 510
    assert cell(table, quoted, "ViCLIP", "Inference videos/s").value == 69.3
    assert cell(table, quoted, "MSTA + L_CC", "Zero-shot K600 top-1").value == 74.5
    assert all(each.rank == "" for row in quoted.rows for each in row.cells)


def test_zero_shot_accuracy_on_k600_stands_beside_the_same_method(runs: Path) -> None:
    hyper = METHODS.get("lora")().values()
    for split, accuracy in (("1", 70.0), ("2", 72.0)):
        trial = make_trial(
            "lora",
            setting="zero_shot_transfer",
            dataset="k600",
            split=split,
            part="target",
            backbone="viclip-b16",
            hyper_parameters=hyper,
            setting_options={"source": "k400"},
        )
        result = make_result(60.0, 60.0, trainable=1000)
        result.metrics = {"top1": accuracy}
        write_other(runs, trial, result)
    table = table_of(runs)
    found = cell(table, table.groups[0], "lora", "Zero-shot K600 top-1")
    assert (found.value, found.n) == (71.0, 2)
    assert cell(table, table.groups[0], "adaptformer", "Zero-shot K600 top-1").origin == "absent"


@pytest.mark.parametrize(
    ("places", "mark"),
    [([("1", 0), ("2", 0)], "partial-seeds"), ([("1", 0), ("1", 1), ("1", 2), ("1", 3)], "partial-splits")],
)
def test_an_accuracy_of_fewer_splits_or_seeds_is_marked_and_not_the_best(
    runs: Path, places: list[tuple[str, int]], mark: str
) -> None:
    complete = [(split, seed) for split in ("1", "2") for seed in (0, 1)]
    some = [("lora", 70.0, complete), ("adaptformer", 71.0, complete), ("msta", 90.0, places)]
    for method, accuracy, of_method in some:
        for split, seed in of_method:
            given = {"setting": "zero_shot_transfer", "dataset": "k600", "part": "target", "backbone": "viclip-b16"}
            trial = make_trial(method, seed, split=split, hyper_parameters=METHODS.get(method)().values(), **given)
            result = make_result(60.0, 60.0, trainable=1000)
            result.metrics = {"top1": accuracy}
            write_other(runs, trial, result)
    table = table_of(runs)
    found = {method: cell(table, table.groups[0], method, "Zero-shot K600 top-1") for method, *_ in some}
    assert {method: (each.marks, each.rank) for method, each in found.items()} == {
        "lora": ((), "second"),
        "adaptformer": ((), "best"),
        "msta": ((mark,), ""),
    }


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_shows_it(runs: Path, output_format: str) -> None:
    name = "adaptformer" if output_format in ("csv", "tidy", "json") else "AdaptFormer"
    assert name in render(table_of(runs, published=True), output_format)


def test_without_a_record_the_command_is_named(tmp_path: Path) -> None:
    trial = make_trial()
    write_other(tmp_path, trial, make_result(60.0, 60.0, trainable=1))
    with pytest.raises(pb.UsageError, match="petl-bench cost --methods"):
        table_of(tmp_path)
