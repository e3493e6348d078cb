"""How likely the paired test of tables is to see a difference, before anything is run.

The test (`petl_bench.analysis.significance.difference`) rests on few statistics: the difference, how much the two
methods' measures vary between seeds, and the variance from the choice of clips. Here these are drawn as they fall for
normal runs with the variances stated, and the rule of the test is applied to them; over the difference itself the
integral is exact. docs/statistics.md says how near that is to simulations of the test on clips.

Values and variances are parts of 1 here, as in `petl_bench.analysis.panels`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from petl_bench.analysis.panels import Panel, Term
from petl_bench.analysis.significance import (
    LEAST_OF_SEEDS,
    LEVEL,
    POWER,
    Difference,
    SeedVariance,
    difference,
    pooled,
    seed_variance,
)

if TYPE_CHECKING:
    import numpy as np

#: Seeds that are looked at when it is asked how many are needed.
MOST_SEEDS = 100
#: Times the clips at hand, when it is asked how many are needed.
_MOST_CLIPS = 1e4
_DRAWS = 2_000
_PRECISION = 1e-3  #: of a smallest difference, and of a number of clips


@dataclass(frozen=True)
class Variances:
    """What makes the difference of two methods vary, as variances of the measure on so many test clips.

    Args:
        clips: How many test clips; of a harmonic mean those of both sides.
        units: How many of them are independent: clips, or groups of clips from one source video.
        persistent: Of the difference, from the choice of clips, whatever the number of seeds: a method's own easy and
            hard clips. It falls with more clips only.
        within: Of each method, from a run's luck with single clips. It falls with more clips and with more seeds.
        luck: Of each method, from a run's luck in all. It falls with more seeds only.
    """

    clips: int
    units: int
    persistent: float
    within: tuple[float, float]
    luck: tuple[float, float]

    def at(self, factor: float) -> Variances:
        """The same with so many times the clips."""
        return replace(
            self,
            clips=math.ceil(self.clips * factor),
            units=math.ceil(self.units * factor),
            persistent=self.persistent / factor,
            within=(self.within[0] / factor, self.within[1] / factor),
        )

    def of_clips(self, seeds: int) -> float:
        """The variance of the mean difference under so many seeds that comes from the choice of clips."""
        return self.persistent + sum(self.within) / seeds

    def of_difference(self, seeds: int) -> float:
        """All of the variance of the mean difference under so many seeds."""
        return self.of_clips(seeds) + sum(self.luck) / seeds

    @property
    def seed_deviation(self) -> float:
        """The standard deviation over seeds that a table shows of such methods, the root mean square of the two."""
        return math.sqrt((sum(self.within) + sum(self.luck)) / 2)

    @property
    def disagreement(self) -> float:
        """The part of the clips on which one run of each differ, as if clips were independent."""
        return (self.persistent + sum(self.within)) * self.clips

    @property
    def rerun_disagreement(self) -> float:
        """The part of the clips on which two runs of one method differ, the mean of the two methods."""
        return sum(self.within) * self.clips


def stated(
    clips: int,
    units: int,
    disagreement: float,
    rerun_disagreement: float,
    luck: float,
    value: float = 0.0,
    group_correlation: float = 0.0,
) -> Variances:
    """The variances of two methods that are alike, of an accuracy over `clips` clips.

    Args:
        clips: How many test clips.
        units: How many groups they come from.
        disagreement: The part of them on which one is right and the other wrong, for one run of each.
        rerun_disagreement: The same for two runs of one method.
        luck: The variance of a run's luck in all, in parts of 1 squared.
        value: How much better one of them is: that much of the disagreement has one sign, and varies less.
        group_correlation: Of the lasting differences on two clips of one group.
    """
    together = 1 + (clips / units - 1) * group_correlation
    persistent = max(0.0, disagreement - rerun_disagreement - value**2) / clips * together
    within = rerun_disagreement / 2 / clips
    return Variances(clips, units, persistent, (within, within), (luck, luck))


def with_seed_deviation(variances: Variances, deviation: float) -> Variances:
    """The same with a standard deviation over seeds, as tables show it: what of it the luck with single clips does not
    explain is luck in all. If that luck alone would be more, runs differ on fewer clips, and methods lastingly on more.
    """
    square = deviation**2
    within = min(variances.within[0], square)
    persistent = variances.persistent + 2 * (variances.within[0] - within)
    luck = square - within
    return replace(variances, persistent=persistent, within=(within, within), luck=(luck, luck))


def harmonic_mean(base: Variances, novel: Variances) -> Variances:
    """Of the harmonic mean of two accuracies of about the same height, half of each to first order; no luck in all."""
    return Variances(
        clips=base.clips + novel.clips,
        units=base.units + novel.units,
        persistent=(base.persistent + novel.persistent) / 4,
        within=((base.within[0] + novel.within[0]) / 4, (base.within[1] + novel.within[1]) / 4),
        luck=(0.0, 0.0),
    )


def recorded(found: Difference, a: SeedVariance | None, b: SeedVariance | None) -> Variances:
    """The variances of two methods that were run: their difference, in percent, and how each varies between runs.

    Args:
        found: The paired difference under two seeds or more.
        a: Of the first method; None if its runs are alike.
        b: Of the second method.
    """
    own = [SeedVariance(0.0, 0.0, 1) if each is None else each for each in (a, b)]
    within = own[0].explained, own[1].explained
    luck = max(0.0, own[0].between - within[0]), max(0.0, own[1].between - within[1])
    persistent = max(0.0, found.clip_share / 1e4 - sum(within) / found.seeds)
    return Variances(found.clips, found.units, persistent, within, luck)


def mean_of(found: Sequence[Variances]) -> Variances:
    """Of pairs of methods on the same test clips; of each pair the method that varies less comes first."""
    count = len(found)
    methods = [sorted(zip(each.luck, each.within, strict=True)) for each in found]
    (luck_a, within_a), (luck_b, within_b) = (
        (sum(pair[row][0] for pair in methods) / count, sum(pair[row][1] for pair in methods) / count) for row in (0, 1)
    )
    return Variances(
        clips=round(sum(each.clips for each in found) / count),
        units=round(sum(each.units for each in found) / count),
        persistent=sum(each.persistent for each in found) / count,
        within=(within_a, within_b),
        luck=(luck_a, luck_b),
    )


# The test


@dataclass(frozen=True)
class PairedTest:
    """The test of one pair in a table, two-sided at 5 %, before any record is there.

    Args:
        variances: Of the pair.
        seeds: How many, two or more.
        comparisons: How many pairs the table tests. It has as few methods as so many pairs need, and what they have in
            common in varying between runs is known from all of them.
        corrected: Whether the pair must pass Holm's first step, a level of 5 % over `comparisons`; it is as if no other
            pair differed, so that a table in which others do finds a little more.
    """

    variances: Variances
    seeds: int
    comparisons: int = 1
    corrected: bool = False

    def power(self, value: float) -> float:
        """The chance that a difference of this size is seen, in its own direction."""
        from scipy.special import ndtr

        deviation = math.sqrt(self.variances.of_difference(self.seeds))
        if deviation == 0:
            return float(value > 0)
        return float(ndtr((value - self._critical) / deviation).mean())

    def smallest(self, power: float = POWER) -> float | None:
        """The smallest difference that is seen with this chance; None if not even one of all clips is."""
        if self.power(1.0) < power:
            return None
        low, high = 0.0, 1.0
        while high - low > _PRECISION * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle) >= power else (middle, high)
        return high

    @property
    def half_interval(self) -> float:
        """Half the width of the 95 % interval of the difference, by itself, as it is to be expected."""
        return float(replace(self, corrected=False)._half_intervals().mean())

    def _half_intervals(self) -> np.ndarray:
        """Half the interval for every draw; two seeds show little of how runs vary, and widen it."""
        import numpy as np
        from scipy.special import stdtrit

        freedom = self.variances.units - 1
        if self.seeds > 2 or freedom < 1:
            return self._critical
        clips, between = self._drawn
        excess = between.sum(axis=1) - sum(self.variances.within)
        of_seeds = np.maximum(excess, LEAST_OF_SEEDS * between.sum(axis=1)) / 2
        reach = stdtrit(freedom, 1 - LEVEL / 2) ** 2 * clips + stdtrit(1, 1 - LEVEL / 2) ** 2 * of_seeds
        found: np.ndarray = np.maximum(self._critical, np.sqrt(reach))
        return found

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the clips' variance of the difference [draws], and of each method's between seeds [draws, 2]."""
        import numpy as np

        random = np.random.default_rng(0)  # the same draws for all seeds and differences: power then grows smoothly
        freedom = self.variances.units - 1
        clips = self.variances.of_clips(self.seeds) * random.chisquare(freedom, _DRAWS) / freedom
        own = np.array(self.variances.within) + np.array(self.variances.luck)
        return clips, random.chisquare(self.seeds - 1, (_DRAWS, 2)) / (self.seeds - 1) * own

    @cached_property
    def _critical(self) -> np.ndarray:
        """How large a difference must be to be told from chance, for every draw of what else the test sees."""
        import numpy as np
        from scipy.special import stdtrit

        level = LEVEL / self.comparisons if self.corrected else LEVEL
        freedom = self.variances.units - 1
        if freedom < 1:
            return np.full(1, np.inf)
        clips, between = self._drawn
        of_runs, of_seeds = self._of_seeds(between)
        variance = clips + of_runs
        denominator = np.maximum(clips**2 / freedom + of_seeds, 1e-300)
        by_t = stdtrit(np.minimum(variance**2 / denominator, 1e9), 1 - level / 2) * np.sqrt(variance)
        # The test that flips signs sees the square of the difference in its variance.
        normal = float(stdtrit(1e9, 1 - level / 2)) ** 2
        left = 1 - normal / self.variances.units
        by_flips = np.sqrt(normal * clips / left) if left > 0 else np.inf
        found: np.ndarray = np.maximum(by_t, by_flips)
        return found

    def _of_seeds(self, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The seeds' part of the variance, and its part in Satterthwaite's denominator, each [draws]; from draws of
        each method's variance between seeds [draws, 2]."""
        import numpy as np

        within, luck = np.array(self.variances.within), np.array(self.variances.luck)
        varying = within + luck > 0
        excess = draws.sum(axis=1) - within.sum()
        of_runs = np.maximum(0.0, excess) / self.seeds
        of_seeds = (draws**2).sum(axis=1) / self.seeds**2 / max(3, self.seeds) * (of_runs > 0)
        if not varying.any():
            return of_runs, of_seeds
        others = methods_of(self.comparisons) - 2
        rows = int(varying.sum()) + others
        freedom = rows * (self.seeds - 1)
        usual = draws.sum(axis=1)
        if others:
            of_others = others * (self.seeds - 1)
            random = np.random.default_rng(1)
            usual = usual + (within + luck)[varying].mean() * random.chisquare(of_others, _DRAWS) / (self.seeds - 1)
        usual = usual / rows
        of_all = 2 * (usual - within[varying].mean()) / self.seeds
        larger = of_all > of_runs * (1 + 1e-9)
        return np.where(larger, of_all, of_runs), np.where(larger, (2 * usual / self.seeds) ** 2 / freedom, of_seeds)


def methods_of(comparisons: int) -> int:
    """The fewest methods that have so many pairs."""
    return math.ceil((1 + math.sqrt(1 + 8 * comparisons)) / 2)


# What is needed


def seeds_needed(test: PairedTest, value: float, power: float = POWER) -> int | None:
    """The fewest seeds, from two on, that show a difference with this chance, as all larger numbers do up to MOST_SEEDS
    (two may show more than three). None if MOST_SEEDS do not."""
    needed = None
    for seeds in range(MOST_SEEDS, 1, -1):
        if replace(test, seeds=seeds).power(value) < power:
            break
        needed = seeds
    return needed


def clips_needed(test: PairedTest, value: float, power: float = POWER) -> int | None:
    """The fewest test clips that show a difference with this chance and as many seeds; None if no number does."""

    def shows(factor: float) -> bool:
        return replace(test, variances=test.variances.at(factor)).power(value) >= power

    if not shows(_MOST_CLIPS):
        return None
    low, high = 1 / test.variances.units, _MOST_CLIPS
    while high - low > _PRECISION * high:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if shows(middle) else (middle, high)
    return math.ceil(test.variances.clips * high)


# Simulation


def simulated_power(test: PairedTest, value: float, tries: int) -> float:
    """The same as `PairedTest.power`, by the test itself on clips that are right or wrong at random.

    Clips on which the methods differ under every seed, and clips that are right or wrong by a run's luck, as many as
    the variances say; groups of clips are simulated as single clips that differ more often. Seeded.
    """
    import numpy as np

    random = np.random.default_rng(0)
    level = LEVEL / test.comparisons if test.corrected else LEVEL
    found = 0
    for _ in range(tries):
        rows = _drawn_rows(test, value, random)
        usual = [seed_variance(_term(row[None])) for row in rows]
        seen = difference(_term(np.stack(rows[:2])), pooled([each for each in usual if each is not None]))
        found += seen.p_value < level and seen.value > 0
    return found / tries


def _term(right: np.ndarray) -> list[Term]:
    import numpy as np

    return [[Panel(right, np.arange(right.shape[2]))]]


def _drawn_rows(test: PairedTest, value: float, random: np.random.Generator) -> list[np.ndarray]:
    """Right or wrong of every row of a table, each bool [S, N]; the first is better than the second by `value`."""
    import numpy as np

    variances, clips = test.variances, test.variances.clips
    within, luck = [*variances.within], [*variances.luck]
    others = methods_of(test.comparisons) - 2
    within += [sum(variances.within) / 2] * others
    luck += [sum(variances.luck) / 2] * others
    # A clip by chance of one half has a variance of one quarter; against a clip of no chance, as much lasts.
    by_chance = [min(1.0, 4 * each * clips) for each in within]
    lasting = variances.persistent * clips + value**2 - abs(by_chance[0] - by_chance[1]) / 4
    # What of the difference lies on clips that differ under every seed; the rest makes luck a little better.
    shown = min(value, max(0.0, lasting)) if by_chance[0] > 2 * value else value
    differing = min(1.0, max(shown, lasting))
    kind, place, fixed = random.random(clips), random.random(clips), random.random(clips) < 0.5
    differs, better = kind < differing, kind < (differing + shown) / 2
    rows = []
    for row, part in enumerate(by_chance):
        own = np.where(differs, better == (row == 0), fixed)
        right = np.broadcast_to(own, (test.seeds, clips)).copy()
        lucky = ~differs & (place * (1 - differing) < part)
        gain = (value - shown) * (row == 0) + random.normal(0, math.sqrt(luck[row]), (test.seeds, 1))
        chance = 0.5 + gain / max(part, 1e-9)
        right[:, lucky] = random.random((test.seeds, int(lucky.sum()))) < chance
        rows.append(right)
    return rows
