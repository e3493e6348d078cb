"""Rounds hit all subjects alike, ratios are paired, and a turn that fails takes no other one down."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from petl_bench.costs import timing
from petl_bench.costs.measure import largest_batch
from petl_bench.costs.timing import Samples, interleave, paired_ratio


def turns(log: list[str], names: str) -> dict[str, object]:
    def turn(name: str) -> object:
        def run() -> Samples:
            log.append(name)
            return {"train": [1.0]}

        return run

    return {name: turn(name) for name in names}


def never(key: object, error: Exception) -> None:
    raise AssertionError(f"{key} failed") from error


def test_every_round_goes_over_all_and_begins_with_another_one() -> None:
    log: list[str] = []
    given = interleave(turns(log, "ABC"), rounds=3, most=9, seconds=0, dropped=never)
    assert "".join(log) == "ABCBCACAB"
    assert {name: len(rounds) for name, rounds in given.items()} == {"A": 3, "B": 3, "C": 3}


def test_without_a_number_there_is_one_round_at_least_and_no_more_than_there_is_time_for() -> None:
    assert len(interleave(turns([], "A"), rounds=None, most=5, seconds=0.0, dropped=never)["A"]) == 1
    assert len(interleave(turns([], "A"), rounds=None, most=5, seconds=60.0, dropped=never)["A"]) == 5


def test_one_that_fails_is_left_out_and_the_others_go_on() -> None:
    log: list[str] = []
    told: list[str] = []
    counter = itertools.count()

    def failing() -> Samples:
        if next(counter) == 1:
            raise ValueError("not again")
        return {"train": [1.0]}

    given = interleave(
        {**turns(log, "AB"), "C": failing},
        rounds=3,
        most=3,
        seconds=0,
        dropped=lambda key, error: told.append(f"{key}: {error}"),
    )
    assert told == ["C: not again"]
    assert {name: len(rounds) for name, rounds in given.items()} == {"A": 3, "B": 3}


def test_a_drift_of_the_machine_cancels_in_a_paired_ratio() -> None:
    drift = np.linspace(1, 10, 12)
    ratio, interval = paired_ratio(1.2 * drift, drift)
    assert ratio == pytest.approx(1.2)
    assert interval == pytest.approx((1.2, 1.2))


def test_the_interval_covers_the_ratio_and_needs_three_rounds() -> None:
    noise = np.random.default_rng(1).normal(1, 0.05, 20)
    ratio, interval = paired_ratio(0.9 * noise, np.ones(20))
    assert interval is not None and interval[0] < ratio < interval[1]
    assert paired_ratio([1.0, 1.0], [2.0, 2.0]) == (0.5, None)


def test_percentiles_are_median_and_the_two_tails() -> None:
    assert timing.percentiles(list(range(101))) == (50, 10, 90)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 37, 63, 64, 100])
def test_the_largest_batch_is_found_up_to_its_bound(limit: int) -> None:
    tried: list[int] = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= limit

    assert largest_batch(fits, 64) == min(limit, 64)
    assert max(tried) <= 64
    assert len(tried) <= 14
