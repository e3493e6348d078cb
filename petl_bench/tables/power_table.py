"""How many seeds and test clips show a difference: a plan as a table, and what records say of how methods vary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from petl_bench.analysis.cells import Measure
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.power import (
    MOST_SEEDS,
    PairedTest,
    Variances,
    clips_needed,
    methods_of,
    recorded,
    seeds_needed,
    simulated_power,
)
from petl_bench.analysis.significance import SeedVariance
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.errors import UsageError, unknown
from petl_bench.system.texts import clean
from petl_bench.tables.columns import MeasuredComparison
from petl_bench.tables.compare_pair import compared_by
from petl_bench.tables.setting_table import SettingTable

#: Metric -> the evaluations that it is a mean over, or the harmonic mean of two; as tables show it.
METRICS: dict[str, tuple[str, ...]] = {
    "top1": ("test",),
    "base_top1": ("base",),
    "novel_top1": ("novel",),
    "harmonic_mean": ("base", "novel"),
    "t2v_r1": ("test/t2v",),
    "v2t_r1": ("test/v2t",),
}
#: Setting -> its metrics; the first is the one that is meant if none is named.
METRICS_OF = {
    "base2novel": ("harmonic_mean", "base_top1", "novel_top1"),
    "few_shot": ("top1",),
    "fully_supervised": ("top1",),
    "zero_shot_transfer": ("top1",),
    "retrieval": ("t2v_r1", "v2t_r1"),
}
_TARGET = "target"  #: the evaluation of zero-shot transfer
#: Draws at most, and outcomes that are drawn in all of them.
_TRIES, _LEAST_TRIES, _OUTCOMES = 400, 50, 4e7
#: Outcomes of one draw: more would take minutes.
_MOST_OUTCOMES = 5e6
#: Seeds that are simulated: a table of all would take a minute.
_SIMULATED = (2, 3, 5, 10, 20)
_PAIRS_SHOWN = 12
_USUAL_ALARMS = 6.0  #: percent; a test of level 5 % may have that many by what is approximate in it


@dataclass(frozen=True)
class RecordedPair:
    """Two rows that were run under `seeds` common seeds, and what makes their difference vary."""

    names: tuple[str, str]
    methods: tuple[str, str]
    seeds: int
    variances: Variances


@dataclass(frozen=True)
class Plan:
    """What is asked.

    Args:
        subject: What is measured on what, in words.
        value: The difference, in points.
        power: The chance to see it, part of 1.
        seeds: The numbers of seeds that are shown.
        comparisons: How many pairs the table will test.
        variances: How methods vary.
        sources: Where the variances are from, in sentences.
        simulated: Whether the test itself is run on clips that are drawn.
    """

    subject: str
    value: float
    power: float
    seeds: Sequence[int]
    comparisons: int
    variances: Variances
    sources: Sequence[str]
    simulated: bool = False

    def test(self, seeds: int, *, corrected: bool = False) -> PairedTest:
        """The test under so many seeds."""
        return PairedTest(self.variances, seeds, self.comparisons, corrected)


# What records say


def recorded_pairs(
    evidence: Evidence, setting: str, dataset: str, metric: str, methods: Sequence[str] = ()
) -> list[RecordedPair]:
    """Every pair of methods of a setting that a table compares in a metric on a data set, under two seeds or more.

    Pairs of rows of one method count if there are no others; rows that never differ do not.

    Args:
        evidence: Records with their per-clip predictions.
        setting: Its name.
        dataset: Its name.
        metric: One of METRICS.
        methods: Rows of these alone; of all if there are none.

    Raises:
        UsageError: There is no such pair, or no record of a method.
    """
    known = sorted(evidence.records["method"].unique())
    for name in methods:
        if name not in known:
            raise unknown("method", name, known, "petl-bench runs list")
    tables = [TABLES.get(name)() for name in TABLES.names()]
    found: list[RecordedPair] = []
    most_seeds = 0
    for table in tables:
        if not isinstance(table, SettingTable) or table.setting != setting:
            continue
        compared = compared_by(table, evidence.records)
        for pair in _pairs(compared, evidence, dataset, metric, methods) if compared else ():
            most_seeds = max(most_seeds, pair.seeds)
            found += [pair] if pair.seeds > 1 and pair.variances.of_difference(1) > 0 else []
        if found:
            return [pair for pair in found if pair.methods[0] != pair.methods[1]] or found
    what = f"{metric} on {dataset}, setting {setting}" + (f", of {', '.join(methods)}" if methods else "")
    if most_seeds == 1:
        raise UsageError(
            f"--runs: one seed of {what} tells nothing of how runs vary; run it with --seeds 0-2, "
            "or state --seed-sd and --disagreement instead of --runs"
        )
    raise UsageError(
        f"--runs: no two methods with {what}, on the same clips and seeds; run them, "
        "or state --seed-sd and --disagreement instead of --runs"
    )


def _pairs(
    compared: MeasuredComparison, evidence: Evidence, dataset: str, metric: str, methods: Sequence[str]
) -> Iterator[RecordedPair]:
    assert evidence.outcomes is not None
    measures = [column.measure if column.tested else None for column in compared.columns]
    tests = PairwiseTests(compared.comparison, measures, evidence.outcomes, evidence.damaged)
    for column, measure in enumerate(measures):
        if measure is None or not _is_of(measure, dataset, METRICS[metric]):
            continue
        for rows in compared.comparison.groups().values():
            chosen = [row for row in rows if not methods or row.method in methods]
            for a, b in combinations(chosen, 2):
                if (found := tests.difference(column, a, b)) is not None:
                    own = [_seed_variance(tests, row, measure) for row in (a, b)]
                    names = compared.comparison.row_displays[a], compared.comparison.row_displays[b]
                    yield RecordedPair(names, (a.method, b.method), found.seeds, recorded(found, own[0], own[1]))


def _seed_variance(tests: PairwiseTests, row: Configuration, measure: Measure) -> SeedVariance | None:
    return tests.statistics.usual_seed_variance([row], measure)


def _is_of(measure: Measure, dataset: str, evaluations: tuple[str, ...]) -> bool:
    """Whether a column measures this: shares of clips whose first answer is right, each clip with the same weight."""
    places = [place for term in measure.terms for place in term]
    names = tuple(term[0].evaluation.replace(_TARGET, "test") for term in measure.terms)
    return names == evaluations and all(
        place.case.dataset == dataset and place.top == 1 and not place.by_class and not place.of_ranks
        for place in places
    )


# The table


def power_table(plan: Plan) -> Table:
    """A row for each number of seeds: the chance to see the difference, and the smallest one that is seen."""
    return Table(
        name="plan-power",
        title=f"Power to detect a difference of {_in_points(plan.value)}: {plan.subject}",
        corner="Seeds",
        columns=tuple(_columns(plan)),
        groups=(RowGroup(_sizes(plan.variances), tuple(_row(plan, seeds) for seeds in plan.seeds)),),
        footers=(*_answers(plan), *_meanings(plan), *plan.sources),
        spread="none",
    )


def _columns(plan: Plan) -> Iterator[Column]:
    families = ["by itself"]
    if plan.comparisons > 1:
        families.append(f"Holm, {plan.comparisons} pairs")
    for family in families:
        yield Column("Power %", family, ".0f")
        yield Column("Smallest", family, ".2f", lower_is_better=True)
    yield Column("Interval ±", "", ".2f", lower_is_better=True)
    if plan.simulated:
        yield Column("Simulated %", "", ".0f")


def _row(plan: Plan, seeds: int) -> Row:
    cells = []
    for corrected in (False, True) if plan.comparisons > 1 else (False,):
        test = plan.test(seeds, corrected=corrected)
        cells += [Cell(100 * test.power(plan.value / 100)), _points(test.smallest(plan.power))]
    test = plan.test(seeds)
    cells.append(_points(test.half_interval))
    if plan.simulated:
        shown = seeds in _simulated_seeds(plan)
        nothing = Cell(origin="absent", source="not simulated")
        cells.append(Cell(100 * simulated_power(test, plan.value / 100, _tries(plan, seeds))) if shown else nothing)
    return Row(str(seeds), tuple(cells))


def _simulated_seeds(plan: Plan) -> list[int]:
    """All of a few, some of many; the fewest if these are not among them."""
    few = len(plan.seeds) <= len(_SIMULATED)
    return [seeds for seeds in plan.seeds if few or seeds in _SIMULATED] or [plan.seeds[0]]


def _tries(plan: Plan, seeds: int) -> int:
    """Fewer of many clips and seeds, so that it takes seconds. Raises UsageError for too many."""
    outcomes = methods_of(plan.comparisons) * seeds * plan.variances.clips
    if outcomes > _MOST_OUTCOMES:
        raise UsageError(
            f"--simulate: {seeds} seeds of {methods_of(plan.comparisons)} methods on {plan.variances.clips:,} clips "
            "would take too long; leave it out, or name fewer --seeds or --comparisons"
        )
    return int(min(_TRIES, max(_LEAST_TRIES, _OUTCOMES / outcomes)))


def _points(value: float | None) -> Cell:
    if value is None or not math.isfinite(value) or value > 1:
        return Cell(origin="absent", source="no difference is as large")
    return Cell(100 * value)


def _sizes(variances: Variances) -> str:
    groups = "" if variances.units == variances.clips else f" of {variances.units:,} source videos"
    return f"{variances.clips:,} test clips{groups}"


def _answers(plan: Plan) -> Iterator[str]:
    yield _answer(plan, corrected=False)
    if plan.comparisons > 1:
        yield _answer(plan, corrected=True)


def _answer(plan: Plan, *, corrected: bool) -> str:
    """How many seeds it takes, or what else."""
    value, test = plan.value / 100, plan.test(max(plan.seeds), corrected=corrected)
    how = f"after correction for {plan.comparisons} pairs" if corrected else "by itself"
    asked = f"A difference of {_in_points(plan.value)}, {how}, is detected {_often(plan.power)}"
    needed = seeds_needed(test, value, plan.power)
    if needed is not None:
        return f"{asked} with {needed} seeds or more."
    more = _clips_that_would(test, value, plan.power)
    if not _is_limited_by_clips(test, value, plan.power):
        return f"{asked} only with more than {MOST_SEEDS} seeds; {more}."
    return f"{asked} by no number of seeds, since the test clips limit it; {more}."


def _clips_that_would(test: PairedTest, value: float, power: float) -> str:
    """How many clips it takes with as many seeds as are shown, or with more if none would do."""
    for seeds in (test.seeds, *(more for more in (20, MOST_SEEDS) if more > test.seeds)):
        clips = clips_needed(replace(test, seeds=seeds), value, power)
        if clips is not None:
            return f"with {seeds} seeds it takes about {_rounded(clips):,} test clips (here {test.variances.clips:,})"
    return f"with up to {MOST_SEEDS} seeds, more test clips do not suffice either"


def _is_limited_by_clips(test: PairedTest, value: float, power: float) -> bool:
    """Whether it is not detected even if all that seeds lessen is gone."""
    without = replace(test.variances, within=(0.0, 0.0), luck=(0.0, 0.0))
    return replace(test, variances=without, seeds=MOST_SEEDS).power(value) < power


def _often(power: float) -> str:
    return f"in {100 * power:g} % of repetitions"


def _in_points(value: float) -> str:
    return f"{value:g} point{'' if value == 1 else 's'}"


def _rounded(clips: int) -> int:
    """To two digits, upwards: it is an estimate."""
    unit: int = 10 ** max(0, len(str(clips)) - 2)
    return math.ceil(clips / unit) * unit


def _meanings(plan: Plan) -> Iterator[str]:
    yield (
        "Power: chance that the paired test of the tables detects it, level 5 %. Smallest: difference, in points, that "
        f"is detected {_often(plan.power)}. Interval: half the width of its 95 % interval, by itself, in points."
    )
    false_alarms = 200 * plan.test(2).power(0.0)  # in both directions
    if 2 in plan.seeds and false_alarms > _USUAL_ALARMS:
        yield (
            f"Two seeds show too little of how runs vary: without any difference the test still finds one in about "
            f"{false_alarms:.0f} % of repetitions, so that two seeds may seem to have more power than three."
        )
    if plan.comparisons > 1:
        yield (
            f"Holm: at its first step, level 5 % / {plan.comparisons}, as if no other pair differed; how runs vary is "
            "pooled over the methods that so many pairs have, in one column."
        )
    if plan.simulated:
        yield f"Simulated: by itself, by the test itself on drawn clips, {_describe_tries(plan)}."


def _describe_tries(plan: Plan) -> str:
    fewest = min(_tries(plan, seeds) for seeds in _simulated_seeds(plan))
    return f"{fewest} times or more (standard error up to {50 / math.sqrt(fewest):.1f})"


def variances_in_words(variances: Variances) -> str:
    """The parts of the variance of a difference, as numbers that a reader knows."""
    luck = math.sqrt(sum(variances.luck) / 2)
    return (
        f"seeds' standard deviation {100 * variances.seed_deviation:.2f} points, of it luck of a whole run "
        f"{100 * luck:.2f}; clips vary as if methods differed on {100 * variances.disagreement:.1f} % of "
        f"independent ones, two runs of one on {100 * variances.rerun_disagreement:.1f} %"
    )


def pairs_in_words(pairs: Sequence[RecordedPair]) -> Iterator[str]:
    """A line for each pair: its parts between seeds and between clips, in points; before them, what these are."""
    yield "Recorded: standard deviation of the difference of one run each, and its parts."
    for pair in pairs[:_PAIRS_SHOWN]:
        found = pair.variances
        parts = found.of_difference(1), found.persistent, sum(found.within), sum(found.luck)
        whole, between_clips, single_clips, luck = (f"{100 * math.sqrt(part):.2f}" for part in parts)
        yield clean(
            f"Recorded, {pair.names[0]} and {pair.names[1]}, {pair.seeds} seeds: {whole} points (between clips "
            f"{between_clips}; between seeds: with single clips {single_clips}, of whole runs {luck})."
        )
    if len(pairs) > _PAIRS_SHOWN:
        yield f"Recorded: {len(pairs) - _PAIRS_SHOWN} more pairs, of which the mean is taken too."
