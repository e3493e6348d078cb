from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import rows_of, table_of

import petl_bench as pb
from petl_bench.errors import UsageError
from petl_bench.evidence import Evidence
from petl_bench.outcomes import StoredOutcomes
from petl_bench.registry import TABLES
from petl_bench.table import Table

Store = Any
B16 = {"backbone": "viclip-b16", "weights": "ViCLIP.pth", "dataset": "ucf101"}


def _table(runs: Path) -> Table:
    source = TABLES.get("reproduction")()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    return table


def test_a_published_number_stands_beside_the_one_run_here(reproduction_example: Path) -> None:
    table = _table(reproduction_example)
    quoted, here, difference, low, high, inside = rows_of(table)["hmdb51 Base: lora (rank=4)"].cells
    assert (quoted.value, quoted.origin, quoted.source) == (77.2, "quoted", "MSTA (CVPR 2025), Table 2")
    assert (here.value, here.n, here.origin) == (75.5, 2, "run")
    assert difference.value == pytest.approx(1.7)
    assert low.value < 75 < high.value, "six of eight clips"  # type: ignore[operator]
    assert inside.value == "yes"
    assert [group.heading for group in table.groups] == [
        "Table 2, Zero-ViCLIP",
        "Table 2, LoRA",
        "Table 2, MSTA + L_CC",
        "Table 3, MSTA",
    ]


def test_a_value_outside_of_the_interval_is_said_to_be(store: Store, runs: Path) -> None:
    for seed in range(3):
        store(10.0, 10.0, "lora", seed, hyper_parameters={"rank": 4}, **B16)
    table = _table(runs)
    assert rows_of(table)["ucf101 Base"].cells[5].value == "no"
    assert "Inside the interval: 0 of 3" in table.footers[0]


def test_without_predictions_nothing_is_said_about_the_interval(reproduction_example: Path) -> None:
    table = table_of(reproduction_example, "reproduction", published=True)
    assert {row.cells[5].value for group in table.groups for row in group.rows} == {"not known"}
    assert "0 of 0" in table.footers[0]


@pytest.mark.parametrize(
    "values",
    [
        {"weights": "random"},
        {"backbone": "viclip-l14"},
        {"dataset": "motion"},
        {"split": "2"},
        {"shots": 8},
    ],
)
def test_what_the_paper_did_not_run_belongs_to_no_number(store: Store, runs: Path, values: dict[str, Any]) -> None:
    store(80.0, 60.0, "lora", hyper_parameters={"rank": 4}, **{**B16, **values})
    with pytest.raises(UsageError, match="no record here belongs to a published number"):
        _table(runs)


def test_a_method_that_the_paper_does_not_have_belongs_to_no_number(store: Store, runs: Path) -> None:
    store(80.0, 60.0, "text_adapter", hyper_parameters={}, **B16)
    with pytest.raises(UsageError, match="no record here belongs"):
        _table(runs)


def test_an_epoch_selected_on_test_is_a_row_of_its_own(store: Store, runs: Path) -> None:
    hyper = {"consistency_weight": 1.0}
    store(95.0, 70.0, "msta", hyper_parameters=hyper, **B16)
    chosen = {"training": {"select": "best-on-test"}, "marks": ["best-on-test"]}
    store(96.0, 72.0, "msta", hyper_parameters=hyper, **B16, **chosen)
    found = {label: row.cells[1] for label, row in rows_of(_table(runs)).items() if "Base" in label}
    assert sorted((cell.value, cell.marks) for cell in found.values()) == [(95.0, ()), (96.0, ("best-on-test",))]


def test_without_published_numbers_there_is_nothing_to_compare(reproduction_example: Path) -> None:
    with pytest.raises(UsageError, match="--no-published"):
        table_of(reproduction_example, "reproduction")
