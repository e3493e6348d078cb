from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tables import cell_of, rows_of, table_of

from petl_bench.errors import UsageError

Store = Any


def _msta(store: Store, kinds: str, weight: float, novel: float, **more: Any) -> None:
    hyper = {"consistency_weight": weight, "description_kinds": kinds, **more}
    store(80.0, novel, "msta", hyper_parameters=hyper)


def test_the_rows_stand_in_the_papers_order_with_two_decimals(descriptions_example: Path) -> None:
    table = table_of(descriptions_example, "descriptions")
    assert list(rows_of(table)) == ["without descriptions", "temporal only", "spatial only", "spatial and temporal"]
    assert [column.format for column in table.columns[2:]] == [".1f", ".1f", ".2f"]
    assert cell_of(table, "spatial and temporal", "Mean", "HM").rank == "best"


def test_sets_with_other_values_are_groups_of_their_own(store: Store, runs: Path) -> None:
    for scale in (0.005, 0.01):
        for kinds in ("both", "spatial"):
            _msta(store, kinds, 1.0, 40.0 + 100 * scale, scale=scale)
    _msta(store, "both", 0.0, 40.0, scale=0.01)
    groups = table_of(runs, "descriptions").groups
    assert [(group.section, len(group.rows)) for group in groups] == [
        ("MSTA, scale 0.005, mean over Motion", 2),
        ("MSTA, scale 0.01, mean over Motion", 3),
    ]


def test_without_descriptions_two_runs_that_read_none_are_told_apart(store: Store, runs: Path) -> None:
    for kinds in ("both", "spatial"):
        _msta(store, kinds, 1.0, 42.0)
        _msta(store, kinds, 0.0, 40.0)
    assert list(rows_of(table_of(runs, "descriptions")))[:2] == [
        "without descriptions (description_kinds=both)",
        "without descriptions (description_kinds=spatial)",
    ]


def test_values_are_in_words_for_readers(store: Store, runs: Path) -> None:
    for kinds in ("both", "spatial"):
        _msta(store, kinds, 1.0, 42.0)
        _msta(store, kinds, 0.0, 40.0)
    displays = [row.display for row in rows_of(table_of(runs, "descriptions")).values()]
    assert displays[0] == "without descriptions (description kinds both)"


def test_one_kind_alone_is_no_table(store: Store, runs: Path) -> None:
    _msta(store, "both", 1.0, 42.0)
    _msta(store, "both", 0.0, 42.0)
    store(80.0, 40.0, "lora", hyper_parameters={"rank": 4})
    with pytest.raises(UsageError, match="description_kinds=spatial"):
        table_of(runs, "descriptions")
