"""Runs with another option of the backbone are a row of their own, not ranked with the others."""

from __future__ import annotations

from pathlib import Path

from tables import table_of

import petl_bench as pb
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import row_labels
from petl_bench.tables.layout import apply
from petl_bench.tables.layout_choices import TableLayout
from tests.reports.conftest import Store


def test_rows_name_the_option(store: Store, runs: Path) -> None:
    for seed in (0, 1):
        store(80.0, 45.0, seed=seed, backbone="clip-b16")
    store(70.0, 45.0, seed=0, backbone="clip-b16", backbone_options={"activation": "gelu"})
    records = pb.load_records(runs)
    comparison = compare(records, "base2novel", ("base_top1", "novel_top1", "harmonic_mean"))
    labels = row_labels(comparison.configurations)
    assert sorted(labels.values()) == ["msta", "msta (clip-b16.activation=gelu)"]
    assert len(comparison.groups()) == 2, "other features: not ranked together"


def test_groups_of_one_backbone_and_name_of_weights_have_titles_of_their_own(store: Store, runs: Path) -> None:
    """Else they read as one, and a layout with bold by column ranks them together."""
    lora = {"hyper_parameters": {"rank": 4}, "backbone": "clip-b16"}
    for letter, base in (("c", 80.0), ("d", 70.0)):
        store(
            base, 45.0, "zero_shot", hyper_parameters={}, trainable=0, backbone="clip-b16", weights_sha256=letter * 64
        )
        store(base + 5, 45.0, "lora", weights_sha256=letter * 64, **lora)
        store(base + 6, 45.0, "lora", weights_sha256=letter * 64, **{**lora, "hyper_parameters": {"rank": 8}})
    store(60.0, 45.0, "lora", backbone_options={"activation": "gelu"}, weights_sha256="d" * 64, **lora)
    titles = [group.title for group in table_of(runs, "base2novel").groups if group.title.startswith("Run here")]
    assert [title.partition(" weights, ")[2] for title in titles] == [
        "weights sha256 cccccccccccc",
        "weights sha256 cccccccccccc",
        "weights sha256 dddddddddddd",
        "weights sha256 dddddddddddd",
        "weights sha256 dddddddddddd, activation gelu",
    ]
    table = apply(table_of(runs, "base2novel"), TableLayout(bold="column"))
    best = {group.title: row.label for group in table.groups for row in group.rows if row.cells[2].rank == "best"}
    assert list(best.values()) == ["lora (rank=8)", "lora (rank=8)"]
