"""Intervals cover what they should, tests alarm as rarely and find as much as they say.

A small part of `make simulate`, with limits that a wrong test breaks; and values that can be worked out by hand.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from petl_bench.analysis.panels import Panel
from petl_bench.analysis.significance import (
    Scale,
    difference,
    holm,
    interval,
    needed,
    pooled,
    seed_variance,
    sign_flip_test,
)

SIMULATIONS = Path(__file__).parents[2] / "benchmarks" / "statistics"
TRIES = 150


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """benchmarks/statistics/simulate.py."""
    return _loaded("simulate")


@pytest.fixture(scope="module")
def tuned(simulation: ModuleType) -> ModuleType:
    """benchmarks/statistics/simulate_tuned.py, which imports the other one."""
    return _loaded("simulate_tuned")


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SIMULATIONS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def panel(*rows: Any, units: Any = None) -> Panel:
    """Rows of [S][N] truth values; every clip by itself unless `units` says otherwise."""
    right = np.array(rows, dtype=bool)
    return Panel(right, np.arange(right.shape[2]) if units is None else np.array(units))


# Level, power and coverage


@pytest.mark.parametrize(
    ("world", "seeds", "clips", "harmonic"),
    [
        (1, 3, 60, False),
        (1, 3, 400, True),
        (2, 3, 400, False),
        (3, 5, 400, False),
        (4, 3, 400, False),
        (6, 3, 400, True),
    ],
)
def test_equal_methods_are_rarely_told_apart_and_intervals_cover(
    simulation: ModuleType, world: int, seeds: int, clips: int, harmonic: bool
) -> None:
    """Up to what 150 tries can tell: a level of 5 % gives more than 18 alarms once in a thousand times."""
    found = simulation.answer(simulation.SimulatedCell(simulation.WORLDS[world], seeds, clips, harmonic), TRIES)
    assert found.level <= 18 / TRIES
    assert found.covered >= 0.89
    assert found.difference_covered >= 0.86


@pytest.mark.parametrize(
    ("world", "seeds", "clips", "least"), [(0, 3, 400, 0.70), (1, 3, 60, 0.69), (2, 3, 400, 0.30), (4, 5, 400, 0.68)]
)
def test_differences_are_found(simulation: ModuleType, world: int, seeds: int, clips: int, least: float) -> None:
    """A test that never finds anything would have the best of levels."""
    found = simulation.answer(simulation.SimulatedCell(simulation.WORLDS[world], seeds, clips), TRIES)
    assert found.power >= least - 3 * (least * (1 - least) / TRIES) ** 0.5


# Methods that were tuned


@pytest.mark.parametrize(
    ("world", "budgets", "peaked"),
    [
        (1, (8, 8), False),
        (2, (8, 1), False),
        (3, (8, 8), False),
        (3, (32, 1), False),
        (1, (8, 8), True),
        (2, (8, 8), True),
        (3, (8, 8, 8), True),
    ],
)
def test_tuning_on_held_out_clips_with_other_seeds_keeps_the_level(
    tuned: ModuleType, world: int, budgets: tuple[int, ...], peaked: bool
) -> None:
    """Of the values that were chosen, as many as the tests above allow; unbiased, and equal budgets favour nobody."""
    drop = tuned.PEAKED if peaked else tuned.FLAT
    found = tuned.answer_tuned(tuned.TunedCell(tuned.WORLDS[world], "fresh", budgets, drop), TRIES)
    assert found.covered >= 0.86
    assert found.measured == pytest.approx(found.true, abs=1.0)
    assert found.true == pytest.approx(0, abs=1.0)
    if not peaked:
        assert found.true == 0
        assert found.apart <= 18 / TRIES


def test_a_larger_budget_gives_a_real_difference(tuned: ModuleType) -> None:
    cell = tuned.TunedCell(tuned.WORLDS[1], "fresh", (16, 2), tuned.PEAKED, clips=1500)
    found = tuned.answer_tuned(cell, TRIES)
    assert found.true > 0.5
    assert found.apart > 0.1
    assert found.covered >= 0.86


def test_choosing_by_the_test_clips_finds_differences_that_are_not_there(tuned: ModuleType) -> None:
    """This is why no value is chosen by them. The same seeds in tuning and final runs flatter too, but less."""
    of_rule = {
        rule: tuned.answer_tuned(tuned.TunedCell(tuned.WORLDS[3], rule, (32, 1), tuned.FLAT, clips=1500), TRIES)
        for rule in tuned.RULES
    }
    assert of_rule["test"].apart > 2 * of_rule["fresh"].apart
    assert of_rule["test"].measured > of_rule["same"].measured > 1 > abs(of_rule["fresh"].measured)


@pytest.mark.parametrize(("clips", "texts", "seeds"), [(400, 1, 1), (400, 1, 3), (150, 3, 3)])
@pytest.mark.parametrize("mean", [True, False])
def test_sums_of_recalls_and_mean_ranks_are_covered(mean: bool, clips: int, texts: int, seeds: int) -> None:
    """Ranks among as many candidates as there are clips; a tenth of them makes up most of their mean."""
    units, size = np.repeat(np.arange(clips), texts), (clips, texts)
    random = np.random.default_rng([clips, texts, seeds, mean])

    def ranks(tries: int) -> np.ndarray:
        """[2 methods, seeds, clips, texts]: the ease of a clip is shared; methods, texts and runs add their own."""
        ease = random.normal(3, 1.2, (tries, 1, 1, clips, 1)) + random.normal(0, 0.4, (tries, 1, 1, *size))
        own = random.normal(0, 0.5, (tries, 2, 1, clips, 1)) + random.normal(0, 0.3, (tries, 2, seeds, *size))
        return 1 + random.binomial(clips - 1, ndtr(-ease - own))

    def averaged(found: np.ndarray) -> np.ndarray:
        return (found - 1) / (clips - 1) if mean else np.mean([found <= k for k in (1, 5, 10)], axis=0)

    scale = Scale(clips - 1, 1.0) if mean else Scale(300.0)
    true = scale.of(float(averaged(ranks(1_000)).mean()))
    covered = alarms = 0
    for _ in range(TRIES):
        found = averaged(ranks(1)[0]).reshape(2, seeds, -1)
        low, high = interval([[Panel(found[:1], units)]], scale)
        between = difference([[Panel(found, units)]], scale=scale)
        covered += low <= true <= high
        alarms += between.p_value < 0.05
        assert between.p_value < 0.05 or between.interval[0] <= 0 <= between.interval[1]
    assert covered >= 0.87 * TRIES
    assert alarms <= 18


def test_a_scale_stretches_what_is_found() -> None:
    random = np.random.default_rng(0)
    term = [Panel(random.random((2, 3, 50)), np.arange(50))]
    one, other = interval([[Panel(term[0].right[:1], np.arange(50))]]), difference([term])
    assert interval([[Panel(term[0].right[:1], np.arange(50))]], Scale(300.0, 1.0)) == pytest.approx(
        tuple(1 + 3 * end for end in one), abs=0.02
    )
    stretched = difference([term], scale=Scale(300.0, 1.0))
    assert (stretched.value, stretched.p_value) == (pytest.approx(3 * other.value), other.p_value)
    assert stretched.interval == pytest.approx(tuple(3 * end for end in other.interval), abs=0.02)
    assert needed(stretched).clips_factor == pytest.approx(needed(other).clips_factor)


@pytest.mark.parametrize("methods", [3, 12])
def test_a_table_of_equal_methods_is_rarely_wrong_however_many_there_are(simulation: ModuleType, methods: int) -> None:
    found = simulation.answer_table(simulation.TableCell(simulation.WORLDS[1], 3, methods), 80)
    assert found.wrong <= 11 / 80
    assert found.found >= 0.3


# By hand


def test_one_seed_alone_is_mcnemars_test() -> None:
    found = difference([[panel([[True] * 9 + [False]], [[True] * 4 + [False] * 6])]])
    assert found.p_value == pytest.approx(2 * 0.5**5)
    assert not found.is_of_methods


def test_the_interval_of_one_run_by_hand() -> None:
    """9 of 10 right: variance 0.09 / 9, Student's t with 9 degrees of freedom, in Wilson's form."""
    low, high = interval([[panel([[True] * 9 + [False]])]])
    assert (low, high) == (pytest.approx(52.34, abs=0.02), pytest.approx(98.66, abs=0.02))


def test_the_test_with_several_seeds_by_hand() -> None:
    """Four clips, two seeds; the seeds differ by no more than clips do, so that clips alone count."""
    a = [[True, True, True, False], [True, True, False, True]]
    b = [[False, True, False, False], [False, True, False, False]]
    found = difference([[panel(a, b)]])
    means = np.array([1.0, 0.0, 0.5, 0.5]) / 4
    clips = 4 / 3 * ((means - means.mean()) ** 2).sum()
    assert found.value == pytest.approx(50.0)
    assert found.clip_share == pytest.approx(1e4 * clips)
    assert found.seed_share == 0.0
    # Signs of 1, 1/2, 1/2: two of eight ways reach the sum of 2. The t-test alone has less.
    assert found.p_value == pytest.approx(0.25)


def test_a_harmonic_mean_is_no_less_sure_for_clips_that_agree() -> None:
    """The part of a unit on which two methods agree is 0 in their difference, on either side."""
    same = [[True, False, True, True, False]] * 3
    other = [[True, False, True, True, True]] * 3
    found = difference([[panel(same, same)], [panel(other, same)]])
    assert found.p_value == 1.0  # one unit differs
    assert found.value == pytest.approx(100 * (2 * 0.6 * 0.8 / 1.4 - 0.6))


# Few clips that differ


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize(("differ", "least"), [(1, 1.0), (2, 0.5), (5, 0.0625), (6, 0.03125)])
def test_p_is_never_below_an_exact_test_on_the_clips_that_differ(seeds: int, differ: int, least: float) -> None:
    """Equal seeds add nothing: one clip of 3,783 under three seeds is no difference."""
    a, b = np.ones((seeds, 3783), bool), np.ones((seeds, 3783), bool)
    b[:, :differ] = False
    found = difference([[panel(a, b)]])
    assert found.p_value >= least * (1 - 1e-9)
    assert (found.interval[0] <= 0) == (found.p_value >= 0.05)


@given(st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 1 / 3, 0.5, 1.0]), max_size=9))
@settings(max_examples=60, deadline=None)
def test_the_sign_flip_test_tries_all_signs(differences: list[float]) -> None:
    sizes = np.abs([value for value in differences if value])
    sums = [abs(float(np.dot(signs, sizes))) for signs in itertools.product((-1, 1), repeat=len(sizes))]
    exact = np.mean([value >= abs(sum(differences)) - 1e-9 for value in sums])
    assert sign_flip_test(np.array(differences)) == pytest.approx(float(exact))


# Clips that are not independent


def test_clips_of_one_group_count_as_one() -> None:
    """Every clip five times is no more evidence than once."""
    random = np.random.default_rng(2)
    a, b = (random.random((3, 40)) < chance for chance in (0.8, 0.6))
    once = difference([[panel(a, b)]])
    fivefold = difference([[panel(a.repeat(5, axis=1), b.repeat(5, axis=1), units=np.arange(40).repeat(5))]])
    assert fivefold.p_value == pytest.approx(once.p_value)
    assert fivefold.value == pytest.approx(once.value)
    assert (fivefold.units, fivefold.clips) == (40, 200)
    one, apart = difference([[panel(a[:1], b[:1])]]), difference([[panel(*(x[:1].repeat(5, axis=1) for x in (a, b)))]])
    assert apart.p_value < one.p_value / 10
    assert interval([[panel(a.repeat(5, axis=1), units=np.arange(40).repeat(5))]]) == interval([[panel(a)]])


def test_clips_that_stand_in_several_splits_count_once() -> None:
    random = np.random.default_rng(4)
    a, b = (random.random((3, 60)) < chance for chance in (0.8, 0.65))
    once = panel(a, b)
    assert difference([[once, once, once]]).p_value == pytest.approx(difference([[once]]).p_value)
    assert interval([[panel(a)] * 3]) == interval([[panel(a)]])


def test_a_single_group_tells_nothing() -> None:
    one = panel([[True] * 6] * 3, [[False] * 6] * 3, units=["film"] * 6)
    found = difference([[one]])
    assert (found.p_value, found.interval) == (1.0, (-100.0, 100.0))
    assert interval([[panel([[True] * 6] * 3, units=["film"] * 6)]]) == (0.0, 100.0)


# In general


def test_the_difference_is_antisymmetric_and_nothing_is_nothing() -> None:
    random = np.random.default_rng(3)
    a, b = (random.random((3, 50)) < chance for chance in (0.8, 0.6))
    there, back = difference([[panel(a, b)]]), difference([[panel(b, a)]])
    assert there.value == pytest.approx(-back.value)
    assert there.p_value == pytest.approx(back.p_value)
    assert there.interval[0] < there.value < there.interval[1]
    same = difference([[panel(a, a)]])
    assert (same.value, same.p_value) == (0.0, 1.0)
    assert same.interval[0] < 0 < same.interval[1]


def test_no_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="no clip"):
        interval([[panel(np.ones((3, 0)))]])
    with pytest.raises(ValueError, match="no clip"):
        difference([])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_intervals_lie_within_what_there_is_and_hold_the_number(data: Any) -> None:
    seeds, clips, sides = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 30)), data.draw(st.integers(1, 2))
    flat = data.draw(st.lists(st.booleans(), min_size=2 * seeds * clips * sides, max_size=2 * seeds * clips * sides))
    right = np.array(flat).reshape(sides, 2, seeds, clips)
    units = data.draw(st.sampled_from([np.arange(clips), np.arange(clips) // 2]))
    both = [[Panel(side, units)] for side in right]
    low, high = interval([[Panel(side[:1], units)] for side in right])
    means = right[:, 0].mean(axis=(1, 2))
    value = 100 * (means[0] if sides == 1 else 2 * means.prod() / max(means.sum(), 1e-12))
    assert 0 <= low <= value + 1e-9
    assert value - 1e-9 <= high <= 100
    assert high > low, "clips are never all that there are"
    found = difference(both)
    assert -100 <= found.interval[0] <= found.value + 1e-9
    assert found.value - 1e-9 <= found.interval[1] <= 100
    assert 0 <= found.p_value <= 1
    assert np.isfinite(found.p_value)


@given(st.lists(st.floats(0, 1), max_size=20))
@settings(max_examples=30, deadline=None)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(new >= old for new, old in zip(corrected, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_what_would_settle_it_settles_it(simulation: ModuleType) -> None:
    """With as many seeds as it says, at least half of the repetitions find a difference of that size."""
    random = np.random.default_rng(11)
    world = simulation.World("seeds", r=0.25)
    found = [difference(simulation.draw(world, 2, 3, 1000, 0.35, random)[:1]) for _ in range(20)]
    first = sorted(found, key=lambda each: abs(each.value - 5.3))[0]  # about as large as it is
    more = needed(first)
    assert more.seeds is not None and more.seeds > 3
    repeated = [difference(simulation.draw(world, 2, more.seeds, 1000, 0.35, random)[:1]) for _ in range(40)]
    assert np.mean([each.p_value < 0.05 for each in repeated]) >= 0.5


def test_two_methods_alone_have_their_own_variance() -> None:
    """The usual variance between runs of two methods is their own: no rounding may choose another formula for it."""
    random = np.random.default_rng(0)
    for _ in range(40):
        luck = random.normal(0, 0.4, (2, 3, 1))
        rows = random.random((2, 3, 60)) < 1 / (1 + np.exp(-1 - luck))
        found = [seed_variance([[panel(row)]]) for row in rows]
        usual = pooled([each for each in found if each is not None])
        assert difference([[panel(*rows)]], usual).p_value == difference([[panel(*rows)]]).p_value
