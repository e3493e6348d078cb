"""How sure a number is: intervals and paired tests from what became of every clip, under every seed.

Two things are drawn at random in a comparison: the test clips, and the runs (draw of the training clips,
initialisation), one for each seed. Both count. For a measure m, such as an accuracy or a harmonic mean of two,

    m*  =  m(clips drawn anew)  +  t * s / sqrt(S)                                    S seeds, t: Student, S - 1

where the clips are drawn by the Bayesian bootstrap (Rubin, 1981) of each clip's results under all seeds together, and s
is the standard deviation of the seeds' own m on the clips at hand. With three seeds a bootstrap over seeds would be
far too narrow; Student's t says what three values tell. One seed alone says nothing about other seeds: its interval and
its test are about these clips only (Wilson; McNemar).

A panel is bool [S, N]: right or wrong, for S seeds on the same N clips. A measure has sides, a side has panels: the
value of a side is the mean accuracy over its panels, that of two sides their harmonic mean. All values are percentages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: bool [S, N].
Panel = Any
#: The panels whose accuracies are averaged.
Side = Sequence[Panel]

#: Probability that an interval misses, and level of the tests.
LEVEL = 0.05
#: Chance to find a difference of the size seen, when it is asked how much more would settle it.
POWER = 0.8
_DRAWS = 9_999
_MOST_SEEDS = 100


@dataclass(frozen=True)
class Difference:
    """A minus B on the same clips and seeds, in percentage points.

    `clips`: how many each side's panels have in all; `clip_share`: the variance that comes from the choice of clips,
    `seed_share`: that from the seeds (None with one seed).
    """

    value: float
    interval: tuple[float, float]
    p_value: float
    seeds: int
    clips: int
    clip_share: float
    seed_share: float | None

    @property
    def is_real(self) -> bool:
        """Whether it is unlikely to be chance, taken by itself."""
        return self.p_value < LEVEL


@dataclass(frozen=True)
class Needed:
    """What would settle a difference of the size seen: so many times the clips, or in all so many seeds, or both.

    None: no number would do, since what the other one leaves open is too much. `both_factor`: that many times the clips
    and that many times the seeds.
    """

    clips_factor: float | None
    seeds: int | None
    both_factor: float


def interval(sides: Sequence[Side]) -> tuple[float, float]:
    """The 95 % interval of a measure. Raises ValueError where there is no clip."""
    _refuse_nothing(sides)
    seeds, only = len(sides[0][0]), sides[0][0]
    if seeds == 1 and len(sides) == len(sides[0]) == 1:
        from scipy.stats import binomtest

        found = binomtest(int(only.sum()), only.size).proportion_ci(1 - LEVEL, method="wilson")
        return 100 * float(found.low), 100 * float(found.high)
    random = _random()
    drawn = _measure([_drawn_side(side, None, random)[0] for side in sides])
    drawn = drawn + _seed_noise(_by_seed(sides), random)
    return _around(float(_measure([_side_value(side) for side in sides])), drawn, 0.0, 100.0)


def difference(a: Sequence[Side], b: Sequence[Side]) -> Difference:
    """A minus B, of panels with the same clips in the same order and the same seeds.

    Raises ValueError where panels do not fit each other, or hold no clip.
    """
    import numpy as np

    _refuse_nothing(a)
    if [[panel.shape for panel in side] for side in a] != [[panel.shape for panel in side] for side in b]:
        raise ValueError("the panels of a paired comparison must have the same clips and seeds")
    random = _random()
    drawn = [_drawn_side(one, other, random) for one, other in zip(a, b, strict=True)]
    over_clips = _measure([first for first, _ in drawn]) - _measure([second for _, second in drawn])
    by_seed = _by_seed(a) - _by_seed(b)
    drawn_all = over_clips + _seed_noise(by_seed, random)
    seeds, clips = len(by_seed), sum(panel.shape[1] for side in a for panel in side)
    if seeds == 1 and len(a) == len(a[0]) == 1:
        p_value = mcnemar(a[0][0][0], b[0][0][0])
    else:
        below, above = float((drawn_all <= 0).sum()), float((drawn_all >= 0).sum())
        p_value = min(1.0, 2 * (min(below, above) + 1) / (_DRAWS + 1))
    value = float(_measure([_side_value(side) for side in a]) - _measure([_side_value(side) for side in b]))
    return Difference(
        value=value,
        interval=_around(value, drawn_all, -100.0, 100.0),
        p_value=p_value,
        seeds=seeds,
        clips=clips,
        clip_share=float(over_clips.var()),
        seed_share=float(np.var(by_seed, ddof=1) / seeds) if seeds > 1 else None,
    )


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """McNemar's exact test of two runs on the same clips, bool [N]: the probability of such a difference by chance."""
    from statsmodels.stats.contingency_tables import mcnemar as exact

    a, b = a.astype(bool), b.astype(bool)
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    return float(exact(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm, 1979): any one below 0.05 is a false alarm in 5 % of tables."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(list(p_values), method="holm")[1]]


def needed(found: Difference) -> Needed:
    """How many more clips, or seeds, would show a difference of this size with a chance of 80 %.

    Clips: the same seeds, and so many times the clips. Seeds: the same clips, and so many seeds in all. From the
    variances seen, which are themselves rough.
    """
    variance = found.clip_share + (found.seed_share or 0.0)
    both = variance * (_normal_quantile() / found.value) ** 2 if found.value else math.inf
    return Needed(_clips_factor(found), _seeds(found), both)


def _clips_factor(found: Difference) -> float | None:
    quantile = _quantile(found.seeds) if found.seed_share else _normal_quantile()
    left = (found.value / quantile) ** 2 - (found.seed_share or 0.0)
    return None if left <= 0 else found.clip_share / left


def _seeds(found: Difference) -> int | None:
    if found.seed_share is None:
        return None
    of_one = found.seed_share * found.seeds
    for seeds in range(2, _MOST_SEEDS + 1):
        spread = math.sqrt(found.clip_share + of_one / seeds)
        if abs(found.value) >= _quantile(seeds) * spread:
            return seeds
    return None


def _quantile(seeds: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - LEVEL / 2, seeds - 1) + t.ppf(POWER, seeds - 1))


def _normal_quantile() -> float:
    from scipy.stats import norm

    return float(norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER))


# Draws


def _random() -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(20250)


def _refuse_nothing(sides: Sequence[Side]) -> None:
    if not sides or not all(side and all(panel.size for panel in side) for side in sides):
        raise ValueError("there is no clip to compare")


def _drawn_side(one: Side, other: Side | None, random: np.random.Generator) -> tuple[Any, Any]:
    """Draws [B] of the value of a side, and of the same side of another configuration on the very same clips."""
    pairs = [_drawn_panel(panel, other[index] if other else panel, random) for index, panel in enumerate(one)]
    first, second = zip(*pairs, strict=True)
    return sum(first) / len(pairs), sum(second) / len(pairs)


def _drawn_panel(one: Panel, other: Panel, random: np.random.Generator) -> tuple[Any, Any]:
    """Draws [B] of the accuracies of two panels over clips drawn anew.

    Clips with the same results are drawn as one kind, so that no draw depends on their number. Half a clip on which
    all is right, and half a clip on which all is wrong (Jeffreys' prior), keep an interval open at 0 and 100 %.
    """
    import numpy as np

    seeds = len(one)
    kinds, counts = np.unique(np.stack([one.sum(axis=0), other.sum(axis=0)]), axis=1, return_counts=True)
    kinds = np.concatenate([kinds, [[0, seeds], [0, seeds]]], axis=1)
    weights = random.dirichlet(np.concatenate([counts, [0.5, 0.5]]), size=_DRAWS)
    first, second = 100 * (weights @ kinds.T / seeds).T
    return first, second


def _seed_noise(by_seed: np.ndarray, random: np.random.Generator) -> Any:
    """Draws [B] of how far the mean over seeds [S] may lie from that over all seeds; 0 where there is one."""
    import numpy as np

    seeds = len(by_seed)
    if seeds == 1:
        return 0.0
    return random.standard_t(seeds - 1, size=_DRAWS) * np.std(by_seed, ddof=1) / math.sqrt(seeds)


def _by_seed(sides: Sequence[Side]) -> np.ndarray:
    """The measure of every seed [S]."""
    values: np.ndarray = _measure([100 * sum(panel.mean(axis=1) for panel in side) / len(side) for side in sides])
    return values


def _side_value(side: Side) -> float:
    return 100 * sum(float(panel.mean()) for panel in side) / len(side)


def _measure(sides: Sequence[Any]) -> Any:
    """One side as it is; the harmonic mean of two."""
    import numpy as np

    if len(sides) == 1:
        return sides[0]
    first, second = sides
    total = np.maximum(first + second, 1e-12)
    return 2 * first * second / total


def _around(value: float, drawn: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The interval of the draws, between `low` and `high`; it always holds the value itself.

    In steps of 0.01: what lies below is the chance of the draws.
    """
    import numpy as np

    ends = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return max(low, min(value, round(float(ends[0]), 2))), min(high, max(value, round(float(ends[1]), 2)))
