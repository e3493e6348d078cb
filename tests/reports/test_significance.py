"""Intervals cover what they should, tests alarm as rarely as they say: checked on clips and seeds made at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petl_bench.significance import difference, holm, interval, mcnemar, needed

HARDNESS, TRIES = 2.0, 150


def _panel(random: np.random.Generator, hardness: np.ndarray, seeds: int, skill: float, spread: float) -> np.ndarray:
    """Right or wrong bool [S, N]: a logistic model of how hard a clip is and how lucky a seed was."""
    luck = random.normal(0, spread, (seeds, 1))
    return random.random((seeds, len(hardness))) < 1 / (1 + np.exp(-(skill + luck - hardness)))


def _expected(skill: float, spread: float) -> float:
    """Accuracy in percent over all clips and all seeds."""
    drawn = np.random.default_rng(0).normal(0, np.hypot(HARDNESS, spread), 400_000)
    return float(100 * np.mean(1 / (1 + np.exp(-(skill + drawn)))))


@pytest.mark.parametrize(("seeds", "clips", "spread"), [(3, 80, 0.1), (3, 400, 0.4), (5, 200, 0.3), (1, 120, 0.0)])
def test_intervals_cover_the_truth(seeds: int, clips: int, spread: float) -> None:
    """At least 95 % of the intervals do, up to what 150 tries can tell (one-sided, one in a thousand)."""
    random = np.random.default_rng(seeds * clips)
    truth = _expected(1.5, spread)
    covered = both = 0
    for _ in range(TRIES):
        one, other = (_panel(random, random.normal(0, HARDNESS, clips), seeds, 1.5, spread) for _ in range(2))
        low, high = interval([[one]])
        covered += low <= truth <= high
        low, high = interval([[one], [other]])
        both += low <= truth <= high
    assert covered >= 0.89 * TRIES
    assert both >= 0.89 * TRIES


@pytest.mark.parametrize(("seeds", "clips", "spread"), [(3, 80, 0.1), (3, 400, 0.4), (5, 200, 0.3), (1, 120, 0.0)])
def test_equal_methods_are_rarely_told_apart(seeds: int, clips: int, spread: float) -> None:
    random = np.random.default_rng(seeds * clips + 1)
    alarms = 0
    for _ in range(TRIES):
        hardness = random.normal(0, HARDNESS, clips)
        a, b = (_panel(random, hardness, seeds, 1.5, spread) for _ in range(2))
        alarms += difference([[a]], [[b]]).is_real
    assert alarms <= 0.11 * TRIES


def test_a_large_difference_is_found() -> None:
    random = np.random.default_rng(5)
    found = 0
    for _ in range(40):
        hardness = random.normal(0, HARDNESS, 400)
        a, b = (_panel(random, hardness, 3, skill, 0.1) for skill in (2.5, 1.0))
        found += difference([[a]], [[b]]).is_real
    assert found >= 36


def test_one_seed_alone_is_wilson_and_mcnemar() -> None:
    a = np.array([[True] * 9 + [False]])
    b = np.array([[True] * 4 + [False] * 6])
    low, high = interval([[a]])
    assert (low, high) == (pytest.approx(59.585, abs=1e-3), pytest.approx(98.212, abs=1e-3))
    assert difference([[a]], [[b]]).p_value == mcnemar(a[0], b[0]) == pytest.approx(2 * 0.5**5)


def test_the_difference_is_antisymmetric_and_nothing_is_nothing() -> None:
    random = np.random.default_rng(3)
    a, b = (random.random((3, 50)) < chance for chance in (0.8, 0.6))
    there, back = difference([[a]], [[b]]), difference([[b]], [[a]])
    assert there.value == pytest.approx(-back.value)
    assert there.interval[0] < there.value < there.interval[1]
    same = difference([[a]], [[a]])
    assert (same.value, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_panels_of_other_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="same clips"):
        difference([[np.ones((3, 5), bool)]], [[np.ones((3, 6), bool)]])
    with pytest.raises(ValueError, match="no clip"):
        interval([[np.ones((3, 0), bool)]])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_an_interval_lies_within_zero_and_hundred_and_holds_the_number(data: Any) -> None:
    seeds, clips = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30))
    panel = np.array(
        data.draw(st.lists(st.lists(st.booleans(), min_size=clips, max_size=clips), min_size=seeds, max_size=seeds))
    )
    low, high = interval([[panel]])
    assert 0 <= low <= 100 * panel.mean() + 1e-9
    assert 100 * panel.mean() - 1e-9 <= high <= 100
    assert high > low, "clips are never all that there are"


@given(st.lists(st.floats(0, 1), max_size=20))
@settings(max_examples=30, deadline=None)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(new >= old for new, old in zip(corrected, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_what_would_settle_it_settles_it() -> None:
    """With as many seeds as it says, about four of five repetitions find a difference of that size."""
    random = np.random.default_rng(11)
    hardness = random.normal(0, HARDNESS, 1_000)
    a, b = (_panel(random, hardness, 3, skill, 0.25) for skill in (1.75, 1.4))
    first = difference([[a]], [[b]])
    more = needed(first)
    assert not first.is_real
    assert more.seeds is not None and more.seeds > 3
    found = 0
    for _ in range(30):
        a, b = (_panel(random, hardness, more.seeds, skill, 0.25) for skill in (1.75, 1.4))
        found += difference([[a]], [[b]]).is_real
    assert found >= 15
