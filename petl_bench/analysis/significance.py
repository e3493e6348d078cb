"""How sure a number is: intervals and paired tests from per-clip predictions under every seed.

Two things are drawn at random in a comparison: the test clips, and the runs (draw of the training clips,
initialisation), one for each seed. What is drawn of clips is a unit: a clip, or the group of clips that were cut from
one source video, under all its seeds together. Each unit u has a part in a measure under each seed s, c[s, u]; the
measure of seed s is, to first order, the sum of its parts (weights 1/N for an accuracy of N clips; for a harmonic mean
the same times its gradient at the numbers at hand). With S seeds, U units and m[u] the mean of c[s, u] over s,

    clips  =  U / (U - 1) * sum over u of (m[u] - mean m)^2
    seeds  =  max(0, s^2 - w) / S        s^2: variance of the seeds' own measures;  w: the part of it that the choice of
                                         clips explains, the sum over u of the variance of c[s, u] over s

are the two variances of a measure. An effect that a method has on a clip under every seed stays in m, and so in the
first. docs/statistics.md has the whole method, and what simulations say of it.

A panel holds right or wrong of K rows under S seeds on the same N clips. A measure has terms, a term has panels: the
value of a term is the mean accuracy over its panels, that of two terms their harmonic mean. A panel of retrieval may
hold another mean over queries, of values from 0 to 1. What is returned is in percent, or on the scale that is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.analysis.panels import NOTHING, MeasuredPanels, Term

if TYPE_CHECKING:
    import numpy as np

#: Probability that an interval misses, and level of the tests.
LEVEL = 0.05
#: Chance to find a difference of the size seen, when it is asked how much more would settle it.
POWER = 0.8
#: An interval takes at least this part of the variance between seeds for their own: with few of them, what is left
#: beside the choice of clips is often zero by chance. Chosen by simulation (docs/statistics.md).
LEAST_OF_SEEDS = 0.4
#: Up to so many units that differ, all their signs are tried.
_MOST_ENUMERATED = 12
_MOST_SEEDS = 100


@dataclass(frozen=True)
class Scale:
    """What a measure, which is from 0 to 1, is shown as: `least` and `times` the measure."""

    times: float = 100.0
    least: float = 0.0

    def of(self, value: float) -> float:
        """A measure as it is shown."""
        return self.least + self.times * value


PERCENT = Scale()


@dataclass(frozen=True)
class SeedVariance:
    """How much one method's measure varies between runs, in parts of 1 squared: `between` seeds in all, and what of it
    the choice of clips explains; `freedom`: degrees of freedom of the estimate."""

    between: float
    explained: float
    freedom: int


@dataclass(frozen=True)
class Difference:
    """A minus B on the same clips and seeds, in percentage points, or in units of another scale.

    `p_value`: of a difference between the methods, with one seed between these two runs alone. `clips`: how many all
    panels have; `units`: how many of them are independent; `clip_share`: the variance that comes from the choice of
    clips, `seed_share`: that from the seeds (None with one seed).
    """

    value: float
    interval: tuple[float, float]
    p_value: float
    seeds: int
    clips: int
    units: int
    clip_share: float
    seed_share: float | None

    @property
    def is_of_methods(self) -> bool:
        """Whether it says anything of the methods: one seed speaks of two runs alone."""
        return self.seeds > 1


@dataclass(frozen=True)
class RunsNeeded:
    """What would settle a difference of the size seen: so many times the clips, or in all so many seeds, or both.

    None: no number would do, since what the other one leaves open is too much. `both_factor`: that many times the clips
    and that many times the seeds.
    """

    clips_factor: float | None
    seeds: int | None
    both_factor: float


def interval(terms: Sequence[Term], scale: Scale = PERCENT) -> tuple[float, float]:
    """The 95 % interval of the measure of one row (K = 1), on a scale; with one seed it is over the clips alone.

    Wilson's interval with as many independent clips as the variance stands for. If clips have weights, the few with
    large ones count, and not their number. Raises ValueError if there is no clip.
    """
    measured = MeasuredPanels(terms)
    units, freedom = measured.effective_units
    if freedom < 1:
        return scale.of(0.0), scale.of(1.0)
    value = float(measured.values[0])
    variance = _clip_variance(measured.parts[0].mean(axis=0))
    of_seeds, of_clips = _seed_variances(measured.parts[0])
    half = math.sqrt(_reach(freedom, variance) + _seed_reach(measured.seeds, of_seeds, of_clips, measured.seeds - 1))
    size = units / _quantile(freedom) ** 2
    if half > 0 and 0 < value < 1:
        seen = value * (1 - value) / half**2
        # A few clips with large weights may all be right by chance: what was seen to vary is then too little.
        size = min(seen, size) if measured.has_weights else seen
    middle = (value + 1 / (2 * size)) / (1 + 1 / size)
    reach = math.sqrt(value * (1 - value) / size + 1 / (4 * size**2)) / (1 + 1 / size)
    low, high = scale.of(middle - reach), scale.of(middle + reach)
    return _around(scale.of(value), low, high, scale.of(0.0), scale.of(1.0))


def seed_variance(terms: Sequence[Term]) -> SeedVariance | None:
    """Of one row (K = 1); None with one seed, or if all its runs are alike, as those of a method without training.

    Raises ValueError if there is no clip.
    """
    measured = MeasuredPanels(terms)
    between, explained = _seed_variances(measured.parts[0])
    if measured.seeds < 2 or explained + between <= 0:
        return None
    return SeedVariance(between, explained, measured.seeds - 1)


def pooled(variances: Sequence[SeedVariance]) -> SeedVariance | None:
    """What the methods of a column have in common: their mean, with all their degrees of freedom; None of nothing."""
    if not variances:
        return None
    count = len(variances)
    return SeedVariance(
        sum(each.between for each in variances) / count,
        sum(each.explained for each in variances) / count,
        sum(each.freedom for each in variances),
    )


def difference(terms: Sequence[Term], usual: SeedVariance | None = None, scale: Scale = PERCENT) -> Difference:
    """The first row minus the second one (K = 2).

    The test is Student's t of the difference over the root of its variance. Its seeds' part is the sum of the two
    methods' own ones, as in Welch's test, and not less than what is `usual` for methods of that column: of many pairs
    some have runs that are alike by chance. Degrees of freedom are Satterthwaite's. p is never below that of an exact
    test that flips the signs of the units' differences. Raises ValueError if there is no clip.
    """
    measured = MeasuredPanels(terms)
    value = float(measured.values[0] - measured.values[1])
    parts = measured.differences
    means = parts.mean(axis=0)
    flipped = sign_flip_test(means)
    seeds, units, times = measured.seeds, measured.units, scale.times
    if units < 2:
        return Difference(times * value, (-times, times), 1.0, seeds, measured.clips, units, math.inf, None)
    clip_variance = _clip_variance(means)
    own = [_seed_variances(measured.parts_of(row)) for row in (0, 1)]
    between, explained = sum(each[0] for each in own), sum(each[1] for each in own)
    of_runs = max(0.0, between - explained) / seeds
    # Of the denominators of Satterthwaite's formula, S - 1 finds less than there is, and S + 1, which is unbiased, too
    # much; with two seeds less than 3 would find nothing (docs/statistics.md).
    of_seeds = sum(each[0] ** 2 for each in own) / seeds**2 / max(3, seeds) if of_runs > 0 else 0.0
    # Of two methods alone it is their own, which rounding must not decide.
    if usual is not None and 2 * (usual.between - usual.explained) / seeds > of_runs * (1 + 1e-9):
        of_runs = 2 * (usual.between - usual.explained) / seeds
        of_seeds = (2 * usual.between / seeds) ** 2 / usual.freedom
    variance = clip_variance + of_runs
    freedom = _satterthwaite(variance, clip_variance**2 / (units - 1) + of_seeds)
    p_value = flipped if seeds == 1 else max(flipped, _two_sided(value, variance, freedom))
    # As if one clip more differed, so that no interval is empty.
    open_variance = clip_variance + measured.largest_part**2
    reach = _reach(freedom, open_variance + of_runs)
    if seeds == 2:
        reach = max(reach, _reach(units - 1, open_variance) + _seed_reach(2, between, explained, 1))
    return Difference(
        value=times * value,
        interval=_agreeing(value, math.sqrt(reach), p_value, times),
        p_value=p_value,
        seeds=seeds,
        clips=measured.clips,
        units=units,
        clip_share=times**2 * clip_variance,
        seed_share=times**2 * of_runs if seeds > 1 else None,
    )


def sign_flip_test(differences: np.ndarray) -> float:
    """Two-sided p-value of differences [U] if, without an effect, the sign of each may as well be the other one.

    Exact (the binomial test) if all that are not zero are of one size, as for clips under one seed, where it is
    McNemar's; else exact by trying all signs of up to 12, and beyond that by the normal approximation.
    """
    import numpy as np
    from scipy.special import ndtr
    from scipy.stats import binomtest

    found = differences[np.abs(differences) > NOTHING]
    sizes = np.abs(found)
    if not len(found):
        return 1.0
    if np.ptp(sizes) < NOTHING:
        return float(binomtest(int((found > 0).sum()), len(found)).pvalue)
    if len(found) <= _MOST_ENUMERATED:
        signs = 1 - 2 * (np.arange(2 ** len(found))[:, None] >> np.arange(len(found)) & 1)
        return float((np.abs(signs @ sizes) >= abs(found.sum()) - NOTHING).mean())
    return float(2 * ndtr(-abs(found.sum()) / math.sqrt(float((sizes**2).sum()))))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm, 1979): any one below 0.05 is a false alarm in 5 % of tables.

    Not by statsmodels, whose import takes a second and whose function runs the garbage collector at every call.
    """
    import numpy as np

    order = np.argsort(p_values)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.take(p_values, order) * np.arange(len(order), 0, -1))
    return [float(value) for value in corrected.clip(max=1)]


def needed(found: Difference) -> RunsNeeded:
    """How many more clips, or seeds, would show a difference of this size with a chance of 80 %.

    Clips: the same seeds, and so many times the clips. Seeds: the same clips, and so many seeds in all. From the
    variances seen, which are themselves rough.
    """
    variance = found.clip_share + (found.seed_share or 0.0)
    both = variance * (_normal_quantile() / found.value) ** 2 if found.value else math.inf
    return RunsNeeded(_clips_factor(found), _seeds(found), both)


def _clips_factor(found: Difference) -> float | None:
    quantile = _seeds_quantile(found.seeds) if found.seed_share else _normal_quantile()
    left = (found.value / quantile) ** 2 - (found.seed_share or 0.0)
    return None if left <= 0 else found.clip_share / left


def _seeds(found: Difference) -> int | None:
    if found.seed_share is None:
        return None
    of_one = found.seed_share * found.seeds
    for seeds in range(2, _MOST_SEEDS + 1):
        spread = math.sqrt(found.clip_share + of_one / seeds)
        if abs(found.value) >= _seeds_quantile(seeds) * spread:
            return seeds
    return None


def _seeds_quantile(seeds: int) -> float:
    """Of Student's t with the degrees of freedom that two methods of so many seeds have at most."""
    freedom = 2 * (seeds - 1)
    return _quantile(freedom) + _quantile(freedom, POWER)


def _normal_quantile() -> float:
    return _quantile(math.inf) + _quantile(math.inf, POWER)


# Variances


def _clip_variance(means: np.ndarray) -> float:
    """Of a sum over units [U] that were drawn at random."""
    return float(((means - means.mean()) ** 2).sum() * len(means) / (len(means) - 1))


def _seed_variances(parts: np.ndarray) -> tuple[float, float]:
    """Of parts [S, U]: the variance of the seeds' own measures, and what of it the choice of clips explains."""
    if len(parts) == 1:
        return 0.0, 0.0
    return float(parts.sum(axis=1).var(ddof=1)), float(parts.var(axis=0, ddof=1).sum())


def _satterthwaite(variance: float, denominator: float) -> float:
    return variance**2 / denominator if denominator > 0 else math.inf


def _two_sided(value: float, variance: float, freedom: float) -> float:
    from scipy.special import stdtr

    if variance <= 0:
        return 1.0
    return float(2 * stdtr(freedom, -abs(value) / math.sqrt(variance)))


def _quantile(freedom: float, part: float = 1 - LEVEL / 2) -> float:
    """Of Student's t. (`scipy.special` takes a tenth of the time of `scipy.stats`, and a table asks often.)"""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, part))


def _reach(freedom: float, variance: float) -> float:
    """The square of half an interval."""
    return _quantile(freedom) ** 2 * variance


def _seed_reach(seeds: int, between: float, explained: float, freedom: float) -> float:
    """The square of what the seeds add to half an interval; 0 for one seed."""
    if seeds == 1:
        return 0.0
    return _reach(freedom, max(between - explained, LEAST_OF_SEEDS * between) / seeds)


def _agreeing(value: float, half: float, p_value: float, times: float) -> tuple[float, float]:
    """The interval of so many times a difference; it holds 0 if the test does not rule 0 out."""
    low, high = times * (value - half), times * (value + half)
    if p_value >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return _around(times * value, low, high, -times, times)


def _around(value: float, low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """The ends to 0.01, between the least and the most that there is; the interval always holds the value itself."""
    return max(least, min(value, round(low, 2))), min(most, max(value, round(high, 2)))
