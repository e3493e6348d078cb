from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, marks_besides, notes_of, rows_of, table_of

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.errors import UsageError
from petl_bench.records.outcomes import StoredOutcomes

Store = Any
UCF101 = {"dataset": "ucf101", "manifest_sha256": "c" * 64}


def _lora(store: Store, rank: int, base: float, novel: float, seed: int = 0, **values: Any) -> None:
    store(base, novel, "lora", seed, hyper_parameters={"rank": rank, "alpha": 16.0}, **values)


def test_each_hyper_parameter_that_varies_alone_is_a_group_in_order_of_its_values(ablation_example: Path) -> None:
    table = table_of(ablation_example, "ablation")
    assert [(group.section, [row.label for row in group.rows]) for group in table.groups] == [
        ("MSTA: scale (lambda, Table 6c), mean over Motion", ["scale=0.005", "scale=0.01"]),
        (
            "MSTA: first layer, last layer (layers, Table 6f), mean over Motion",
            ["first_layer=1, last_layer=none", "first_layer=3, last_layer=none"],
        ),
        ("LoRA: rank, mean over Motion", ["rank=4", "rank=8", "rank=16"]),
    ]


def test_rows_say_their_values_in_words(ablation_example: Path) -> None:
    displays = [row.display for group in table_of(ablation_example, "ablation").groups for row in group.rows]
    assert displays[0] == "scale 0.005" and displays[2] == "first layer 1, last layer none"


def test_means_are_over_the_data_sets_that_all_rows_have(store: Store, runs: Path) -> None:
    _lora(store, 4, 80.0, 40.0)
    _lora(store, 8, 90.0, 50.0)
    _lora(store, 4, 10.0, 10.0, **UCF101)
    table = table_of(runs, "ablation")
    assert cell_of(table, "rank=4", "Mean", "Base").value == 80.0
    assert table.groups[0].section.endswith("mean over Motion")
    _lora(store, 8, 20.0, 20.0, **UCF101)
    table = table_of(runs, "ablation")
    base, novel, mean = (cell_of(table, "rank=4", "Mean", label) for label in ("Base", "Novel", "HM"))
    assert (base.value, novel.value, mean.value) == (45.0, 25.0, harmonic_mean(45.0, 25.0))
    assert table.groups[0].section.endswith("mean over Motion, UCF-101")
    assert len(base.trials) == 2


def test_spread_is_over_the_seeds_own_means(store: Store, runs: Path) -> None:
    for rank in (4, 8):
        for seed in (0, 1):
            _lora(store, rank, 80.0 + seed, 40.0, seed)
            _lora(store, rank, 60.0 + 3 * seed, 40.0, seed, **UCF101)
    cell = cell_of(table_of(runs, "ablation"), "rank=4", "Mean", "Base")
    assert (cell.value, cell.n) == (71.0, 2)
    assert cell.std == pytest.approx(2**0.5)


def test_a_seed_that_lacks_a_data_set_is_left_out_and_marked(store: Store, runs: Path) -> None:
    for rank in (2, 4, 8):
        for seed in (0, 1):
            _lora(store, rank, 80.0 + seed, 40.0, seed)
            if (rank, seed) != (8, 1):
                _lora(store, rank, 60.0, 40.0, seed, **UCF101)
    cell = cell_of(table_of(runs, "ablation"), "rank=8", "Mean", "Base")
    assert (cell.value, cell.n, marks_besides(cell), cell.rank) == (70.0, 1, ("partial-seeds",), "")


def test_intervals_and_tests_are_over_all_data_sets(ablation_example: Path) -> None:
    source = TABLES.get("ablation")()
    evidence = Evidence(pb.load_records(ablation_example), None, StoredOutcomes([ablation_example]))
    cell = cell_of(source.build(evidence), "rank=16", "Mean", "HM")
    assert cell.interval is not None
    assert cell.interval[0] < 51 < cell.interval[1]


def test_two_things_that_differ_are_no_ablation(store: Store, runs: Path) -> None:
    store(80.0, 40.0, "lora", hyper_parameters={"rank": 4, "alpha": 16.0})
    store(81.0, 41.0, "lora", hyper_parameters={"rank": 8, "alpha": 32.0})
    with pytest.raises(UsageError, match="differ in one hyper-parameter alone"):
        table_of(runs, "ablation")


def test_sets_of_a_grid_say_what_sets_them_apart(store: Store, runs: Path) -> None:
    for rank in (4, 8):
        for alpha in (16.0, 32.0):
            store(80.0 + rank, 40.0, "lora", hyper_parameters={"rank": rank, "alpha": alpha})
    assert [group.section for group in table_of(runs, "ablation").groups] == [
        "LoRA: alpha, rank 4, mean over Motion",
        "LoRA: alpha, rank 8, mean over Motion",
        "LoRA: rank, alpha 16.0, mean over Motion",
        "LoRA: rank, alpha 32.0, mean over Motion",
    ]


def test_a_training_option_may_be_what_varies(store: Store, runs: Path) -> None:
    for epochs in (20, 5):
        store(80.0, 40.0, "lora", hyper_parameters={"rank": 4}, training={"epochs": epochs})
    assert list(rows_of(table_of(runs, "ablation"))) == ["training.epochs=5", "training.epochs=20"]


def test_other_shots_and_other_files_are_other_means(store: Store, runs: Path) -> None:
    for rank in (4, 8):
        for shots in (8, 16):
            _lora(store, rank, 80.0 + shots, 40.0, shots=shots)
        _lora(store, rank, 10.0, 10.0, manifest_sha256="d" * 64)
    table = table_of(runs, "ablation")
    headers = {column.group for column in table.columns} - {"Trained"}
    assert len(headers) == 3
    values = {cell_of(table, "rank=4", header, "Base").value for header in headers}
    assert values == {88.0, 96.0, 10.0}


def test_a_baseline_is_refused(ablation_example: Path) -> None:
    with pytest.raises(UsageError, match="--baseline lora"):
        TABLES.get("ablation")().build(Evidence(pb.load_records(ablation_example), baseline="lora"))


def test_the_paper_is_quoted_beside_what_varies_here_and_says_what_it_is_over(ablation_example: Path) -> None:
    table = table_of(ablation_example, "ablation", published=True)
    quoted = [group for group in table.groups if group.title.startswith("Quoted")]
    assert [group.title for group in quoted] == [
        "Quoted: MSTA (CVPR 2025), Table 6c",
        "Quoted: MSTA (CVPR 2025), Table 6f",
    ]
    assert all("mean over K-400, HMDB-51, UCF-101, SSv2, 16 shots" in group.section for group in quoted)
    assert [cell.value for cell in quoted[0].rows[1].cells[2:]] == [68.6, 53.5, 60.1]
    assert "never ranked" in notes_of(table)
    assert table.groups[0].rows[1].cells[2].rank == "best", "only rows that were run are ranked"
