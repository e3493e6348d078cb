"""Which rows of a table a test tells apart: every pair of rows in every column, corrected together.

One family of tests for a table and for `petl-bench compare`, so that the two never disagree. Its size depends on rows,
columns and seeds alone, not on which evidence can be read: a pair whose clips are damaged or gone keeps its place, and
is not told apart; so do the pairs of a row that damage leaves with less than two seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from petl_bench.analysis.cells import CellStatistics, Measure
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Comparable, Configuration
from petl_bench.analysis.significance import LEVEL, Difference, SeedVariance, holm
from petl_bench.api.evidence import OutcomeSource

if TYPE_CHECKING:
    import pandas as pd

_Test = tuple[int, Configuration, Configuration]


class PairwiseTests:
    """The paired tests of one table. `measures`: what each of its columns measures, None for one without a test.

    Rows are paired within the groups that may be compared (one backbone, weights and views), if they share two seeds or
    more: one seed speaks of two runs, and not of methods.
    """

    def __init__(
        self,
        comparison: Comparison,
        measures: Sequence[Measure | None],
        outcomes: OutcomeSource,
        damaged: pd.DataFrame | None = None,
    ) -> None:
        self._comparison, self._measures, self.outcomes, self._damaged = comparison, measures, outcomes, damaged
        self.statistics = CellStatistics(comparison, outcomes)

    def difference(self, column: int, a: Configuration, b: Configuration) -> Difference | None:
        """A minus B in a column, with a p-value of its own; None if no clips and seeds of both are known."""
        measure = self._measures[column]
        if measure is None:
            return None
        usual = self._usual[column, a.comparable] if a.comparable == b.comparable else None
        return self.statistics.difference(a, b, measure, usual)

    def p_value(self, column: int, a: Configuration, b: Configuration) -> float:
        """The p-value of a pair, corrected for all tests of the table (Holm); 1.0 if the pair was not tested."""
        return self._corrected.get((column, a, b), self._corrected.get((column, b, a), 1.0))

    def are_told_apart(self, column: int, a: Configuration, b: Configuration) -> bool:
        """Whether chance is an unlikely explanation of the difference, with all pairs and columns looked at."""
        return self.p_value(column, a, b) < LEVEL

    @cached_property
    def _usual(self) -> dict[tuple[int, Comparable], SeedVariance | None]:
        """How much methods vary between runs, by column and group of rows."""
        return {
            (column, comparable): self.statistics.usual_seed_variance(rows, measure)
            for column, measure in enumerate(self._measures)
            if measure is not None
            for comparable, rows in self._comparison.groups().items()
        }

    @property
    def count(self) -> int:
        """How many tests the family has."""
        return len(self._family) + self._lost

    @cached_property
    def _lost(self) -> int:
        """Tests of rows that damaged records leave with less than two seeds, against each other and all others."""
        if self._damaged is None:
            return 0
        of_setting = self._damaged[self._damaged["setting"] == self._comparison.setting]
        columns = sum(measure is not None for measure in self._measures)
        tests = 0
        for rows in self._comparison.groups().values():
            of_group = of_setting[of_setting["backbone"] == rows[0].backbone]
            damaged = set(zip(of_group["method"], of_group["hyper_parameters"], strict=True))
            left = {(row.method, row.hyper_parameters) for row in rows if self._has_seeds(row)}
            lost = len(damaged - left)
            tests += columns * (lost * len(rows) + lost * (lost - 1) // 2)
        return tests

    def _has_seeds(self, row: Configuration) -> bool:
        return any(len(self._comparison.seeds(row, case)) > 1 for case in self._comparison.cases)

    @cached_property
    def _family(self) -> list[_Test]:
        return [
            (column, a, b)
            for column, measure in enumerate(self._measures)
            if measure is not None
            for rows in self._comparison.groups().values()
            for a, b in itertools.combinations(rows, 2)
            if self._seeds(measure, a, b) > 1
        ]

    @cached_property
    def _corrected(self) -> dict[_Test, float]:
        found = [self.difference(*test) for test in self._family]
        p_values = [1.0 if each is None else each.p_value for each in found]
        corrected = holm([*p_values, *[1.0] * self._lost])
        return dict(zip(self._family, corrected[: len(p_values)], strict=True))

    def _seeds(self, measure: Measure, a: Configuration, b: Configuration) -> int:
        """How many seeds two rows share on the cases of a column that both have; none if one lacks the evaluation."""
        places = [place for term in measure.terms for place in term]
        if any(self._comparison.lacks(row, place.case, place.evaluation) for row in (a, b) for place in places):
            return 0
        cases = [place.case for place in places]
        both = [case for case in cases if self._comparison.of(a, case) and self._comparison.of(b, case)]
        return len(self._comparison.common_seeds((a, b), both))
