from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, headers_of, notes_of, rows_of, table_of

from petl_bench.errors import UsageError

Store = Any


def test_top1_and_top5_for_each_data_set(fully_supervised_example: Path) -> None:
    table = table_of(fully_supervised_example, "fully_supervised")
    assert headers_of(table) == [("k400", "Top-1"), ("k400", "Top-5"), ("ssv2", "Top-1"), ("ssv2", "Top-5")]
    top1, top5 = (cell_of(table, "lora", "k400", name) for name in ("Top-1", "Top-5"))
    assert (top1.value, top1.rank, top5.value, top5.rank) == (80.25, "second", 95.5, "best")


def test_views_of_each_data_set_stand_below(fully_supervised_example: Path) -> None:
    notes = notes_of(table_of(fully_supervised_example, "fully_supervised"))
    assert "4 x 3 on K-400, 2 x 3 on SSv2" in notes
    assert "K-400: split 1, all clips" in notes
    assert "batch size 256" in notes


def test_table_5_is_quoted_with_its_parameters(fully_supervised_example: Path) -> None:
    table = table_of(fully_supervised_example, "fully_supervised", published=True)
    assert cell_of(table, "MSTA + L_CC", "Trained", "M").value == 8.7
    assert cell_of(table, "MSTA + L_CC", "k400", "Top-5").value == 96.2
    assert cell_of(table, "MSTA + L_CC", "Trained", "%").origin == "absent"
    assert cell_of(table, "MSTA + L_CC", "ssv2", "Top-1").origin == "absent"
    assert {"XCLIP", "Vita-CLIP", "OST", "ViCLIP", "AdaptFormer", "LoRA", "MSTA"} <= rows_of(table).keys()
    millions = next(column for column in table.columns if column.label == "M")
    assert [millions.text(number) for number in (124.3, 149.6, 132.0, 0.036864)] == ["124.3", "149.6", "132", "0.03686"]


def test_nothing_is_quoted_for_another_data_set(keep: Store, runs: Path) -> None:
    keep({"top1": 80.0, "top5": 95.0}, setting="fully_supervised", shots=None, dataset="ucf101")
    assert len(table_of(runs, "fully_supervised", published=True).groups) == 1


def test_the_command_names_setting_and_split(keep: Store, runs: Path) -> None:
    given = {"setting": "fully_supervised", "shots": None, "as_planned": True}
    for method, dataset in (("msta", "k400"), ("msta", "ssv2"), ("zero_shot", "k400")):
        keep({"top1": 60.0, "top5": 80.0}, method, dataset=dataset, **given)
    assert table_of(runs, "fully_supervised").commands == (
        "petl-bench run --methods zero_shot --setting fully_supervised --datasets ssv2 --data-root DIR "
        "--backbone viclip-tiny --seeds 0 --splits 1",
    ), "the views are those that a run has by itself"


def test_a_record_without_top5_is_not_shown(keep: Store, runs: Path) -> None:
    keep({"top1": 80.0}, setting="fully_supervised", shots=None)
    with pytest.raises(UsageError, match="--setting fully_supervised"):
        table_of(runs, "fully_supervised")
