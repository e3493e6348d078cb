"""What must not share a row or a column, and names that must stay text in every format."""

from __future__ import annotations

import csv
import html
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_records import make_result, make_trial
from tables import notes_of, rows_of, table_of
from test_renderers import compiled

from petl_bench.api.table import Table
from petl_bench.records.layout import trial_folder
from petl_bench.records.write import write_record
from petl_bench.render import latex, render, render_provenance
from petl_bench.render.options import LatexOptions

Store = Any
NAME = r"a_b%c&<script>$d\e"


def _columns(table: Table) -> set[str]:
    return {column.group for column in table.columns} - {"Trained"}


@pytest.mark.parametrize("name", ["base2novel", "ablation"])
def test_another_protocol_is_another_column(store: Store, runs: Path, name: str) -> None:
    for rank in (4, 8):
        for version in ("1", "2"):
            store(80.0 + rank, 40.0, "lora", hyper_parameters={"rank": rank}, setting_version=version)
    table = table_of(runs, name)
    assert len(_columns(table)) == 2
    assert all("protocol=" in column for column in _columns(table))
    assert {cell.n for row in rows_of(table).values() for cell in row.cells[2:]} == {1}


@pytest.mark.parametrize("changed", [{"engine_version": 1}, {"method_version": "0"}])
def test_another_version_is_another_row(store: Store, runs: Path, changed: dict[str, Any]) -> None:
    for seed, values in enumerate(({}, changed)):
        store(80.0, 40.0, "lora", seed, hyper_parameters={"rank": 4}, **values)
    assert len(rows_of(table_of(runs, "base2novel"))) == 2


def test_another_version_is_no_value_of_an_ablation(store: Store, runs: Path) -> None:
    """Rank 8 under another engine differs in two things from rank 4."""
    for rank, engine in ((4, 2), (8, 2), (16, 1), (32, 1)):
        store(80.0, 40.0, "lora", hyper_parameters={"rank": rank}, engine_version=engine)
    groups = table_of(runs, "ablation").groups
    assert sorted([row.label for row in group.rows] for group in groups) == [
        ["rank=16", "rank=32"],
        ["rank=4", "rank=8"],
    ]
    assert sorted(group.section for group in groups) == [
        "LoRA: rank, engine 1, mean over Motion",
        "LoRA: rank, engine 2, mean over Motion",
    ]


@pytest.mark.parametrize("name", ["base2novel", "ablation"])
def test_devices_that_share_a_column_are_both_named(runs: Path, name: str) -> None:
    for seed, device in enumerate(("cpu", "NVIDIA H100")):
        for rank in (4, 8):
            trial = make_trial("lora", seed, hyper_parameters={"rank": rank})
            result = make_result(80.0, 40.0, trainable=1000)
            result = replace(result, environment={**result.environment, "device": device})
            folder = trial_folder(runs, trial.key)
            folder.mkdir(parents=True)
            write_record(folder, trial, result)
    notes = notes_of(table_of(runs, name))
    assert "Device: cpu" in notes
    assert "Device: NVIDIA H100" in notes


@pytest.fixture
def hostile(store: Store, runs: Path) -> Path:
    for value in (1, 2):
        store(80.0 + value, 40.0, NAME, dataset=NAME, hyper_parameters={NAME: value}, trainable=1000)
    return runs


@pytest.mark.parametrize("name", ["base2novel", "ablation"])
def test_hostile_names_stay_text_in_every_format(hostile: Path, tmp_path: Path, name: str) -> None:
    table = table_of(hostile, name)
    assert any(NAME in part for line in csv.reader(io.StringIO(render(table, "csv"))) for part in line)
    assert any(NAME in note for note in json.loads(render(table, "json"))["provenance"])
    page = render(table, "html")
    assert "<script>" not in page
    assert html.escape(NAME) in page
    assert r"a\_b%c\&\<script\>\$d\\e" in render(table, "markdown")
    assert r"a\_b%c\&\<script\>\$d\\e" in render_provenance(table)
    compiled(tmp_path, latex.render(table, LatexOptions(standalone=True)))
