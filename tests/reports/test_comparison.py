"""What is one row, one case and one run of a seed; and the commands that fill what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, headers_of, notes_of, rows_of, table_of

Store = Any


@pytest.mark.parametrize("option", [{"processes": 2}, {"threads": 4}, {"bad_clips_allowed": 0.5}])
def test_what_changes_no_number_sets_no_row_apart(store: Store, runs: Path, option: dict[str, Any]) -> None:
    store(80.0, 45.0, seed=0)
    store(90.0, 45.0, seed=1, training=option)
    cell = cell_of(table_of(runs, "base2novel"), "msta", "motion", "Base")
    assert (cell.value, cell.n) == (85.0, 2)


def test_a_seed_that_was_run_in_several_ways_counts_once_and_is_told(store: Store, runs: Path) -> None:
    store(70.0, 45.0, seed=0, training={"processes": 2, "threads": 1})
    store(80.0, 45.0, seed=0, training={"threads": 3})
    store(79.0, 45.5, seed=0, training={"threads": 2})
    store(90.0, 45.0, seed=1)
    table = table_of(runs, "base2novel")
    cell = cell_of(table, "msta", "motion", "Base")
    assert (cell.value, cell.n) == (84.5, 2)
    assert "MSTA on Motion (difference up to 10)" in notes_of(table)
    assert "fewest processes and threads counts" in notes_of(table)


def test_nothing_is_said_of_repetitions_where_there_are_none(example: Path) -> None:
    assert "fewest processes" not in notes_of(table_of(example, "base2novel"))


def test_rows_of_one_method_stand_in_the_order_of_their_values(store: Store, runs: Path) -> None:
    for rate in (0.0003, 3e-05, 0.01, 1e-4):
        store(80.0, 45.0, training={"learning_rate": rate})
    assert list(rows_of(table_of(runs, "base2novel"))) == [
        f"msta (training.learning_rate={rate})" for rate in ("3e-05", "0.0001", "0.0003", "0.01")
    ]


def test_values_of_several_kinds_have_an_order_too(store: Store, runs: Path) -> None:
    for value in (None, 10, 9, "both", True, [1, 2]):
        store(80.0, 45.0, hyper_parameters={"width": value})
    labels = [label.removeprefix("msta (width=").rstrip(")") for label in rows_of(table_of(runs, "base2novel"))]
    assert labels == ["none", "true", "9", "10", "both", "1,2"]


def test_views_that_differ_between_data_sets_only_are_one_row(few_shot: Store, runs: Path) -> None:
    few_shot(50.0, dataset="hmdb51")
    few_shot(70.0, dataset="ucf101")
    few_shot(71.0, "lora", dataset="ucf101")
    table = table_of(runs, "few_shot")
    assert [(group.title, len(group.rows)) for group in table.groups] == [
        ("Run here: ViCLIP-Tiny, packaged weights, views by data set", 2)
    ]
    assert cell_of(table, "msta", "hmdb51", "K=2").value == 50.0
    assert cell_of(table, "msta", "ucf101", "K=2").value == 70.0
    assert "(clips x crops): 10 x 3 on HMDB-51, 5 x 3 on UCF-101." in notes_of(table)


def test_views_that_differ_on_one_data_set_stay_apart(few_shot: Store, runs: Path) -> None:
    for dataset in ("hmdb51", "ucf101"):
        few_shot(60.0, "lora", dataset=dataset)
        few_shot(70.0, "msta", dataset=dataset)
    few_shot(69.0, "msta", dataset="ucf101", training={"views": 1, "crops": 1})
    few_shot(68.0, "lora", dataset="ucf101", training={"views": 1, "crops": 1})
    table = table_of(runs, "few_shot")
    assert [group.title for group in table.groups] == [
        "Run here: ViCLIP-Tiny, packaged weights",
        "Run here: ViCLIP-Tiny, packaged weights, views by data set",
    ]
    column = headers_of(table).index(("ucf101", "K=2")) + 2
    assert [[row.cells[column].value for row in group.rows] for group in table.groups] == [[68.0, 69.0], [60.0, 70.0]]
    assert [[row.cells[column].rank for row in group.rows] for group in table.groups] == [["second", "best"]] * 2
    assert "10 x 3 on HMDB-51, 1 x 1/5 x 3 on UCF-101" in notes_of(table)


def test_one_row_in_other_views_on_one_data_set_leaves_the_others_whole(store: Store, runs: Path) -> None:
    for dataset in ("motion", "ucf101"):
        store(80.0, 45.0, "lora", dataset=dataset)
        store(81.0, 45.0, "msta", dataset=dataset)
    store(82.0, 45.0, "msta", dataset="ucf101", training={"views": 4, "crops": 3})
    store(83.0, 45.0, "lora", dataset="ucf101", training={"views": 4, "crops": 3})
    store(84.0, 45.0, "lora", dataset="ucf101", training={"views": 9, "crops": 3})
    table = table_of(runs, "base2novel")
    column = headers_of(table).index(("ucf101", "Base")) + 2
    assert {group.title: [row.cells[column].value for row in group.rows] for group in table.groups} == {
        "Run here: ViCLIP-Tiny, packaged weights": [80.0, 81.0],
        "Run here: ViCLIP-Tiny, packaged weights, 9 x 3 views": [84.0],
        "Run here: ViCLIP-Tiny, packaged weights, 4 x 3 views": [83.0, 82.0],
    }
    assert [row.cells[2].value for row in table.groups[0].rows] == [80.0, 81.0]


def test_commands_name_the_views_of_the_row_that_lacks_a_run(few_shot: Store, runs: Path) -> None:
    given = {"dataset": "ucf101", "as_planned": True}
    for seed in range(2):
        few_shot(60.0, "lora", seed, **given)
        few_shot(68.0, "lora", seed, training={"views": 1, "crops": 1}, **given)
    few_shot(70.0, "msta", **given)
    few_shot(69.0, "msta", training={"views": 1, "crops": 1}, **given)
    start = (
        "petl-bench run --methods msta --setting few_shot --datasets ucf101 --data-root DIR "
        "--backbone viclip-tiny --seeds 1 --splits 1 --shots 2 --set training.epochs=50"
    )
    assert table_of(runs, "few_shot").commands == (
        f"{start} --set training.views=1 --set training.crops=1",
        start,
    ), "a run has those of the data set by itself"


def test_one_command_fills_several_shots_splits_and_methods(few_shot: Store, runs: Path) -> None:
    for split in ("1", "2"):
        for shots in (2, 4):
            given = {"dataset": "ucf101", "split": split, "shots": shots, "as_planned": True}
            few_shot(60.0, "zero_shot", training={"epochs": 0}, **given)
    few_shot(50.0, "msta", decoder="pyav", as_planned=True)
    few_shot(50.0, "lora", decoder="pyav", as_planned=True)
    assert table_of(runs, "few_shot").commands == (
        "petl-bench run --methods zero_shot --setting few_shot --datasets motion --backbone viclip-tiny --seeds 0 "
        "--splits 1 --shots 2",
        "petl-bench run --methods lora,msta --setting few_shot --datasets ucf101 --data-root DIR "
        "--backbone viclip-tiny --decoder pyav --seeds 0 --splits 1,2 --shots 2,4 --set training.epochs=50",
    )
