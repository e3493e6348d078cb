"""Proposals: of the seed and of finished rounds alone, none twice, all within the space."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from petl_bench.api.tuning import RATE
from petl_bench.records.tunings import Proposal
from petl_bench.tuning.sampler import Axis, _anywhere, propose

RATES = Axis(name=RATE, low=3e-4, high=3e-2, log=True)
RANKS = Axis(name="rank", choices=(4, 8, 16))
LAYERS = Axis(name="layers", low=1, high=6, whole=True)


def _objective(values: dict[str, Any]) -> float:
    return 50 - 1000 * abs(values.get(RATE, 0.003) - 0.004) + values.get("rank", 0)


def _place(value: float) -> float:
    """Where a learning rate lies in its logarithmic range, from 0 to 1."""
    return min(0.999, math.log(value / RATES.low) / math.log(RATES.high / RATES.low))


def _tuned(axes: tuple[Axis, ...], rounds: int, seed: int = 0, size: int = 4, **recipe: Any) -> list[Proposal]:
    """All proposals of so many rounds, with objectives."""
    done: list[Proposal] = []
    for number in range(rounds):
        for values in propose(axes, recipe or {RATE: 0.003}, done, seed, "lora", number, size):
            done.append(Proposal(number=len(done), round=number, values=values, objective=_objective(values)))
    return done


def test_the_first_proposal_is_the_recipe_and_none_is_made_twice() -> None:
    found = _tuned((RATES,), rounds=4)
    assert found[0].values == {RATE: 0.003}
    values = [each.values[RATE] for each in found]
    assert len(set(values)) == len(values) == 16
    assert all(3e-4 <= value <= 3e-2 and float(f"{value:.3g}") == value for value in values)


def test_the_first_round_is_spread_over_the_range() -> None:
    """Three points in three different quarters of the logarithmic range, whatever the seed."""
    for seed in range(20):
        places = {int(4 * _place(each.values[RATE])) for each in _tuned((RATES,), 1, seed)[1:]}
        assert len(places) == 3


def test_proposals_depend_on_the_seed_and_on_finished_rounds_alone() -> None:
    axes = (RATES, RANKS)
    recipe = {RATE: 0.003, "rank": 8}
    before = _tuned(axes, 2, 3, **recipe)
    expected = propose(axes, recipe, before, 3, "lora", 2, 4)
    random.seed(99)
    assert propose(axes, recipe, before, 3, "lora", 2, 4) == expected
    others = [replace(each, objective=60 - (each.objective or 0)) for each in before]
    assert propose(axes, recipe, others, 3, "lora", 2, 4) != expected
    assert propose(axes, recipe, before, 4, "lora", 2, 4) != expected
    assert propose(axes, recipe, before, 3, "msta", 2, 4) != expected


def test_later_rounds_look_where_the_objective_is_good() -> None:
    found = _tuned((RATES,), 6)
    late = [abs(each.values[RATE] - 0.004) for each in found[12:]]
    early = [abs(each.values[RATE] - 0.004) for each in found[1:4]]
    assert sorted(late)[len(late) // 2] < max(early)
    assert max(each.objective or 0 for each in found) > 49.5


@pytest.mark.parametrize("axes", [(RANKS,), (LAYERS,), (RANKS, LAYERS)])
def test_a_small_space_is_exhausted(axes: tuple[Axis, ...]) -> None:
    """Every point once, and then no more."""
    points = 1
    for axis in axes:
        points *= len(axis.values() or [])
    recipe = {axis.name: (axis.values() or [])[1] for axis in axes}
    found = _tuned(axes, rounds=8, **recipe)
    texts = [tuple(each.values.items()) for each in found]
    assert len(texts) == len(set(texts)) == points
    assert all(axis.contains(each.values[axis.name]) for axis in axes for each in found)


def test_a_recipe_outside_of_its_space_and_failed_proposals_are_no_obstacle() -> None:
    recipe = {RATE: 0.5}
    before = [replace(each, objective=None, fault="not finite") for each in _tuned((RATES,), 1, **recipe)]
    assert before[0].values == recipe
    assert len(propose((RATES,), recipe, before, 0, "lora", 1, 4)) == 4


def test_whole_numbers_are_whole_and_reach_both_ends() -> None:
    axis = Axis(name="rank", low=4, high=64, log=True, whole=True)
    assert {axis.at(0.0), axis.at(0.9999)} == {4, 64}
    assert all(isinstance(each.values["rank"], int) for each in _tuned((axis,), 3, rank=8))


def test_a_range_with_whole_bounds_of_a_number_that_is_not_whole() -> None:
    """As a plugin may declare it, `Range(1234, 9876)`: its values are those that a trial has."""
    axis = Axis(name="scale", low=1234, high=9876)
    assert all(isinstance(value, float) for value in (axis.at(0.0), axis.at(0.5), axis.rounded(9999.0)))


def test_a_wide_range_of_whole_numbers_is_not_listed() -> None:
    """When its neighbours have been proposed, others are drawn, without a list of all."""
    width = Axis(name="width", low=1, high=10**12, log=True, whole=True)
    points = list(_anywhere((width, RANKS), 0))
    assert 1 < len(points) < 10_000
    assert all(width.contains(each["width"]) and RANKS.contains(each["rank"]) for each in points)
