"""Proposals for one method, round by round; they depend on the seed and on finished rounds alone.

Every round has a sampler of its own, seeded by the method and the number of the round, and a study rebuilt from what
the earlier rounds came to: neither the order in which trials end nor a stop between them changes a proposal.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petl_bench.api.method import Method
from petl_bench.api.trial import canonical_json
from petl_bench.api.tuning import Choice, Space
from petl_bench.records.tunings import Proposal
from petl_bench.tuning.space import is_whole, plain_value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = Mapping[str, Any]
#: Significant digits of a number that is proposed, so that commands can be read.
DIGITS = 3
#: How often a sampler is asked for one that was not proposed before.
_ATTEMPTS = 64
#: Points of a space that are listed; of a larger one, so many random ones.
_LISTED = 4096


def sampler_name() -> str:
    """What makes the proposals, with its version: another version may make others."""
    return (
        f"recipe, scrambled Sobol points, then TPE with constant liar (optuna {importlib.metadata.version('optuna')})"
    )


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One field of a space, with values in plain JSON: one of `choices`, or from `low` to `high`."""

    name: str
    choices: Sequence[Any] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False  #: a range of whole numbers

    def at(self, place: float) -> Any:
        """The value at a place in [0, 1)."""
        if self.choices:
            return self.choices[int(place * len(self.choices))]
        margin = 0.5 if self.whole else 0.0  # each whole number has the part of the range that rounds to it
        low, high = self.low - margin, self.high + margin
        return self.rounded(low * (high / low) ** place if self.log else low + (high - low) * place)

    def rounded(self, value: float) -> Any:
        """The nearest value that is proposed, within the bounds."""
        near = round(value) if self.whole else float(f"{value:.{DIGITS}g}")
        within = min(max(near, self.low), self.high)
        return int(within) if self.whole else float(within)

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the space; that of a recipe may lie outside."""
        if self.choices:
            return value in self.choices
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def values(self) -> Sequence[Any] | None:
        """All values, if they can be listed: choices and whole numbers."""
        if self.choices:
            return self.choices
        return range(round(self.low), round(self.high) + 1) if self.whole else None


def axes_of(space: Mapping[str, Space], method: type[Method]) -> tuple[Axis, ...]:
    """A method's space for the sampler."""
    return tuple(_axis(name, values, method) for name, values in space.items())


def _axis(name: str, space: Space, method: type[Method]) -> Axis:
    if isinstance(space, Choice):
        return Axis(name=name, choices=tuple(plain_value(method, name, value) for value in space.values))
    return Axis(name=name, low=space.low, high=space.high, log=space.log, whole=is_whole(method, name))


def propose(
    axes: Sequence[Axis], recipe: Values, finished: Sequence[Proposal], seed: int, method: str, number: int, count: int
) -> list[dict[str, Any]]:
    """The proposals of a round.

    Args:
        axes: The space.
        recipe: The values of the recipe, inside the space or outside; they are the first proposal of round 0.
        finished: The proposals of all earlier rounds.
        seed: Of the tuning.
        method: Its name: methods with the same space get different points.
        number: Of the round, from 0.
        count: How many are wanted.

    Returns:
        As many, none of which was proposed before; less if the space has no more.
    """
    own_seed = int.from_bytes(hashlib.sha256(canonical_json([seed, method, number]).encode()).digest()[:4])
    made = [] if number else [dict(recipe)]
    known = {canonical_json(dict(each.values)) for each in finished} | set(map(canonical_json, made))
    points = _points(axes, own_seed, count) if number == 0 else _learned(axes, finished, own_seed, count)
    for values in itertools.chain(points, _anywhere(axes, own_seed)):
        if len(made) >= count:
            break
        text = canonical_json(values)
        if text not in known:
            known.add(text)
            made.append(values)
    return made


def _points(axes: Sequence[Axis], seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Points that are spread evenly over the space, however few they are."""
    from scipy.stats import qmc

    points = qmc.Sobol(len(axes), scramble=True, seed=seed).random_base2(math.ceil(math.log2(count + 1)))
    for point in points.tolist():
        yield {axis.name: axis.at(place) for axis, place in zip(axes, point, strict=True)}


def _learned(axes: Sequence[Axis], finished: Sequence[Proposal], seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Points near those that did well, by a tree-structured Parzen estimator."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces = {axis.name: _distribution(axis) for axis in axes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Without random points of its own: the first round has them.
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for each in finished:
            if each.objective is not None and all(axis.contains(each.values[axis.name]) for axis in axes):
                parameters = {axis.name: _parameter(axis, each.values[axis.name]) for axis in axes}
                study.add_trial(
                    optuna.trial.create_trial(params=parameters, distributions=spaces, value=each.objective)
                )
        for _ in range(count + _ATTEMPTS):
            found = study.ask(spaces).params
            yield {axis.name: _value(axis, found[axis.name]) for axis in axes}


def _anywhere(axes: Sequence[Axis], seed: int) -> Iterator[dict[str, Any]]:
    """If the samplers came to nothing new: all points of a space that can be listed, shuffled, or random ones."""
    draw = random.Random(seed)
    listed = [values for axis in axes if (values := axis.values())]
    if len(listed) < len(axes) or math.prod(map(len, listed)) > _LISTED:
        for _ in range(_LISTED):
            yield {axis.name: axis.at(draw.random()) for axis in axes}
        return
    points = list(itertools.product(*listed))
    for point in draw.sample(points, len(points)):
        yield dict(zip((axis.name for axis in axes), point, strict=True))


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.choices:
        return CategoricalDistribution(list(range(len(axis.choices))))
    if axis.whole:
        return IntDistribution(round(axis.low), round(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _parameter(axis: Axis, value: Any) -> Any:
    """A value as the study has it: of a choice, its place."""
    return axis.choices.index(value) if axis.choices else value


def _value(axis: Axis, parameter: Any) -> Any:
    return axis.choices[parameter] if axis.choices else axis.rounded(parameter)
