"""Runs with another option of the backbone are a row of their own, not ranked with the others."""

from __future__ import annotations

from pathlib import Path

import petl_bench as pb
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import row_labels
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
