from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean, harmonic_mean_over_seeds, prediction_interval, summarise

PERCENT = st.floats(0, 100)
ACCURACIES = st.lists(PERCENT, min_size=1, max_size=20)


@given(PERCENT, PERCENT)
def test_harmonic_mean_lies_between_its_arguments_and_is_symmetric(base: float, novel: float) -> None:
    value = harmonic_mean(base, novel)
    assert value == harmonic_mean(novel, base)
    assert value <= 2 * min(base, novel) * (1 + 1e-12)
    if min(base, novel) > 0:
        assert min(base, novel) * (1 - 1e-12) <= value <= max(base, novel) * (1 + 1e-12)


@given(PERCENT)
def test_harmonic_mean_of_equal_accuracies_is_that_accuracy(accuracy: float) -> None:
    assert harmonic_mean(accuracy, accuracy) == accuracy


def test_harmonic_mean_of_zero_is_zero() -> None:
    assert harmonic_mean(0, 0) == 0
    assert harmonic_mean(0.0, 80.0) == 0


def test_harmonic_mean_takes_arrays() -> None:
    values = pb.harmonic_mean(np.array([10.0, 0.0]), np.array([30.0, 50.0]))
    assert values.tolist() == [15.0, 0.0]
    assert harmonic_mean(pd.Series([10.0]), 30.0).tolist() == [15.0]
    assert isinstance(harmonic_mean(np.float32(10), np.float32(30)), float)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_harmonic_mean_refuses_what_is_no_accuracy(wrong: float) -> None:
    with pytest.raises(ValueError, match="novel"):
        harmonic_mean(50.0, wrong)
    with pytest.raises(ValueError, match="base"):
        harmonic_mean(np.array([wrong]), np.array([50.0]))


def test_harmonic_mean_agrees_with_the_published_table() -> None:
    """Table 2 of the MSTA paper prints all three to one decimal."""
    path = Path(__file__).parents[2] / "reports" / "published" / "msta_tables.csv"
    triples: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["table"] == "2":
                triples[line["group"], line["method"], line["dataset"]][line["metric"]] = float(line["value"])
    distances = [
        abs(harmonic_mean(each["base_top1"], each["novel_top1"]) - each["harmonic_mean"]) for each in triples.values()
    ]
    assert len(distances) == 52
    assert max(distances) <= 0.1 + 1e-9


@given(ACCURACIES)
def test_summary_agrees_with_the_standard_library(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(statistics.fmean(values))
    if len(values) == 1:
        assert summary.std is None
    else:
        assert summary.std == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="nothing"):
        summarise([])


def test_harmonic_mean_over_seeds_is_of_the_means() -> None:
    summary = harmonic_mean_over_seeds([90.0, 10.0], [10.0, 90.0])
    assert summary.mean == 50.0
    assert summary.std == pytest.approx(0.0)
    assert summary.n == 2
    with pytest.raises(ValueError):
        harmonic_mean_over_seeds([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("own", "runs", "low", "high"),
    [
        # t of 0.975: 12.706 with 1 degree of freedom, 4.303 with 2, 2.776 with 4 (printed tables).
        ([70.0, 72.0], 1, 71 - 12.706 * math.sqrt(2) * math.sqrt(1.5), 71 + 12.706 * math.sqrt(2) * math.sqrt(1.5)),
        ([70.0, 71.0, 72.0], 1, 71 - 4.303 * math.sqrt(4 / 3), 71 + 4.303 * math.sqrt(4 / 3)),
        ([70.0, 71.0, 72.0], 3, 71 - 4.303 * math.sqrt(2 / 3), 71 + 4.303 * math.sqrt(2 / 3)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1, 3 - 2.776 * math.sqrt(2.5 * 1.2), 3 + 2.776 * math.sqrt(2.5 * 1.2)),
        ([63.25] * 3, 1, 63.25, 63.25),
    ],
)
def test_where_further_runs_are_to_be_expected(own: list[float], runs: int, low: float, high: float) -> None:
    assert prediction_interval(own, runs) == pytest.approx((low, high), abs=2e-3)


def test_one_seed_says_nothing_of_further_runs() -> None:
    assert prediction_interval([71.0]) is None
    with pytest.raises(ValueError, match="nothing to summarise"):
        prediction_interval([])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_prediction_interval_holds_the_next_run_as_often_as_it_says(seeds: int) -> None:
    draws = np.random.default_rng(seeds).normal(70, 0.8, (4000, seeds + 1))
    found = [prediction_interval(list(row[:-1])) for row in draws]
    inside = np.mean([ends[0] <= row[-1] <= ends[1] for ends, row in zip(found, draws, strict=True) if ends])
    assert abs(inside - 0.95) < 0.012, "three standard errors of 4,000 draws are 0.010"
