from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, headers_of, marks_besides, notes_of, rows_of, table_of

from petl_bench.errors import UsageError

Store = Any


def test_mean_and_spread_are_over_splits_of_the_mean_over_seeds(transfer: Store, runs: Path) -> None:
    values = {"1": (50.0, 52.0), "2": (60.0, 61.0), "3": (40.0, 40.5)}
    for split, of_seeds in values.items():
        for seed, top1 in enumerate(of_seeds):
            transfer(top1, seed=seed, split=split)
    means = [statistics.fmean(of_seeds) for of_seeds in values.values()]
    table = table_of(runs, "zero_shot")
    cell = cell_of(table, "msta", "ucf101", "Top-1")
    assert cell.value == pytest.approx(statistics.fmean(means))
    assert cell.std == pytest.approx(statistics.stdev(means))
    assert cell.n == 3
    assert "over the splits of UCF-101 (3), of each split's mean over seeds 0, 1 of the adaptation" in notes_of(table)


def test_one_split_shows_the_spread_over_seeds_and_says_so(transfer: Store, runs: Path) -> None:
    transfer(50.0, seed=0)
    transfer(52.0, seed=1)
    table = table_of(runs, "zero_shot")
    cell = cell_of(table, "msta", "ucf101", "Top-1")
    assert (cell.value, cell.std, cell.n, marks_besides(cell)) == (51.0, pytest.approx(2**0.5), 2, ())
    assert table.footers[0] == (
        "One split only, UCF-101: mean ± sample standard deviation over seeds 0, 1 of the adaptation."
    )


def test_a_single_run_has_no_spread_and_says_so(transfer: Store, runs: Path) -> None:
    transfer(50.0)
    table = table_of(runs, "zero_shot")
    assert cell_of(table, "msta", "ucf101", "Top-1").std is None
    assert table.footers[0] == "One split only, UCF-101: a single run, without spread: seed 0 of the adaptation."


def test_adaptations_are_no_rows_and_no_numbers(transfer: Store, runs: Path) -> None:
    transfer(50.0)
    table = table_of(runs, "zero_shot")
    assert headers_of(table) == [("ucf101", "Top-1")]
    assert table.title == "Zero-shot transfer from K-400: top-1 accuracy in percent"
    assert any(note.startswith("Adapted on K-400") for note in table.footers)


def test_a_missing_split_is_marked_told_and_not_ranked(zero_shot_example: Path) -> None:
    table = table_of(zero_shot_example, "zero_shot")
    cell = cell_of(table, "msta", "ucf101", "Top-1")
    assert (cell.value, cell.n, cell.rank, marks_besides(cell)) == (77.75, 2, "", ("partial-splits",))
    assert cell_of(table, "lora", "ucf101", "Top-1").rank == "", "nothing else in its family is complete"
    assert "UCF-101: 2 of 3 splits (1, 2) [MSTA]." in table.footers
    complete = cell_of(table, "msta", "hmdb51", "Top-1")
    assert (complete.n, marks_besides(complete)) == (3, ())


def test_a_row_left_with_one_split_says_that_its_spread_is_over_seeds(transfer: Store, runs: Path) -> None:
    for split in ("1", "2"):
        transfer(50.0, "lora", split=split)
        transfer(51.0, "zero_shot", split=split)
    transfer(50.0, "msta", 0, split="2")
    notes = table_of(runs, "zero_shot").footers
    assert "UCF-101: 1 of 2 splits (2), ± over seeds [MSTA]." in notes


def test_the_clips_that_the_adaptation_lacked_are_marked_at_the_target(zero_shot_example: Path) -> None:
    table = table_of(zero_shot_example, "zero_shot")
    cell = cell_of(table, "lora", "hmdb51", "Top-1")
    assert (cell.rank, marks_besides(cell)) == ("", ("incomplete-coverage",))
    assert "training: 31 of 32 clips used [LoRA]" in notes_of(table)


def test_marks_of_the_adaptation_stay_with_the_number(transfer: Store, runs: Path) -> None:
    transfer(50.0, source_values={"marks": ["best-on-test", "incomplete-coverage"]})
    cell = cell_of(table_of(runs, "zero_shot"), "msta", "ucf101", "Top-1")
    assert marks_besides(cell) == ("best-on-test",)


def test_descriptions_of_the_adaptation_tell_rows_apart(transfer: Store, runs: Path) -> None:
    transfer(50.0, source_values={"descriptions_sha256": "1" * 64})
    transfer(60.0, source_values={"descriptions_sha256": "2" * 64})
    assert set(rows_of(table_of(runs, "zero_shot"))) == {"msta (descriptions=11111111)", "msta (descriptions=22222222)"}


def test_adaptations_that_are_not_here_are_told(transfer: Store, runs: Path) -> None:
    transfer(50.0, adaptation=False)
    transfer(50.0, "lora")
    assert "their training clips are unknown: MSTA." in notes_of(table_of(runs, "zero_shot"))


def test_other_source_files_are_not_ranked_together_and_zero_shot_needs_none(transfer: Store, runs: Path) -> None:
    transfer(40.0, "zero_shot")
    transfer(50.0, "lora")
    transfer(51.0, "msta")
    transfer(60.0, "full_finetune", source_sha256="1" * 64)
    table = table_of(runs, "zero_shot")
    assert [(group.heading, [row.label for row in group.rows]) for group in table.groups] == [
        ("Run here: ViCLIP-Tiny, packaged weights, zero-shot", ["zero_shot"]),
        ("Run here: ViCLIP-Tiny, packaged weights, parameter-efficient", ["lora", "msta"]),
        (
            "Run here: ViCLIP-Tiny, packaged weights, source files 11111111, full fine-tuning",
            ["full_finetune"],
        ),
    ]
    assert cell_of(table, "msta", "ucf101", "Top-1").rank == "best"


def test_two_sources_are_two_columns_of_one_row(transfer: Store, runs: Path) -> None:
    transfer(50.0, source="k400", source_sha256="1" * 64)
    transfer(60.0, source="motion", source_sha256="2" * 64)
    table = table_of(runs, "zero_shot", published=True)
    assert cell_of(table, "msta", "ucf101 (source=k400)", "Top-1").value == 50.0
    assert cell_of(table, "msta", "ucf101 (source=motion)", "Top-1").value == 60.0
    assert table.title.startswith("Zero-shot transfer from K-400, Motion")
    assert cell_of(table, "MSTA (8 frames)", "ucf101 (source=k400)", "Top-1").value == 77.8
    assert cell_of(table, "MSTA (8 frames)", "ucf101 (source=motion)", "Top-1").origin == "absent"


def test_halves_of_one_data_set_are_told(transfer: Store, runs: Path) -> None:
    halves = {"source": "motion", "dataset": "motion", "part": "target-novel"}
    transfer(50.0, **halves, source_values={"part": "source-base"})
    notes = notes_of(table_of(runs, "zero_shot"))
    assert "Motion: source and target in one; adapted on the base half of the classes" in notes


def test_table_4_is_quoted_with_its_spread_and_frames_where_k400_is_the_source(zero_shot_example: Path) -> None:
    table = table_of(zero_shot_example, "zero_shot", published=True)
    quoted = cell_of(table, "MSTA + L_CC (8 frames)", "hmdb51", "Top-1")
    assert (quoted.value, quoted.std, quoted.origin, quoted.rank) == (55.8, 0.8, "quoted", "")
    assert cell_of(table, "A5 (8 / 32 frames)", "k600", "Top-1").value == 55.8
    assert cell_of(table, "JigsawNet (16 frames)", "k600", "Top-1").origin == "absent"
    assert sum(row.marks == ("quoted",) for row in rows_of(table).values()) == 14


def test_nothing_is_quoted_for_another_source(transfer: Store, runs: Path) -> None:
    transfer(50.0, source="motion")
    assert len(table_of(runs, "zero_shot", published=True).groups) == 1


def test_clips_of_all_splits_are_added(transfer: Store, runs: Path) -> None:
    transfer(50.0, split="1")
    transfer(50.0, split="2", unreadable=["bad.mp4"])
    assert cell_of(table_of(runs, "zero_shot"), "msta", "ucf101", "Clips").value == "15/16"


def test_commands_carry_source_and_splits(transfer: Store, runs: Path) -> None:
    where = {"locations": {"folder": {"path": "/data/mine"}}, "dataset_options": {"base_classes": "a,b"}}
    given = {"source": "folder", "as_planned": True}
    for split in ("1", "2", "3"):
        transfer(50.0, "lora", split=split, source_values=where, **given)
        transfer(40.0, "zero_shot", split=split, **given)
    transfer(51.0, "msta", split="1", source_values=where, **given)
    (line,) = table_of(runs, "zero_shot").commands
    assert line.startswith(
        "petl-bench run --methods msta --setting zero_shot_transfer --datasets ucf101 --data-root DIR "
        "--backbone viclip-tiny --seeds 0 --splits 2,3 --set zero_shot_transfer.source=folder "
    )
    assert "--set folder.base_classes=a,b" in line
    assert line.endswith("--set folder.path=/data/mine")


def test_without_targets_a_command_is_named(keep: Store, runs: Path) -> None:
    keep({"source_top1": 70.0}, setting="zero_shot_transfer", part="source", dataset="k400", shots=None)
    with pytest.raises(UsageError, match="--setting zero_shot_transfer"):
        table_of(runs, "zero_shot")
