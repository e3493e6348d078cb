"""Means over test splits: a row's number is the mean over splits of each split's mean over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from petl_bench.analysis.averages import summarise
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Comparable, ComparedCase, Configuration
from petl_bench.analysis.labels import CaseGroup
from petl_bench.api.table import Cell
from petl_bench.tables.columns import NOT_RUN, CellOf, OfRuns, cell_of_runs
from petl_bench.tables.notes import listed, usual_seeds


class SplitMeans:
    """Cells and notes of a comparison whose cases are gathered over their test splits."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.groups = comparison, comparison.case_groups("split")

    def cell(self, group: CaseGroup, summary: OfRuns) -> CellOf:
        """Mean and spread over splits, of each split's mean over seeds; over seeds if there is one split."""

        def cell(row: Configuration) -> Cell:
            runs = {case: self.comparison.of(row, case) for case in self._cases(row, group)}
            if not runs:
                return NOT_RUN
            splits = [summary(of_case) for of_case in runs.values()]
            over = splits[0] if len(splits) == 1 else summarise([split.mean for split in splits])
            found = cell_of_runs(self.comparison, row, runs, over)
            if tuple(runs) == self._usual[row.comparable, group]:
                return found
            return replace(found, marks=tuple(sorted({*found.marks, "partial-splits"})))

        return cell

    def notes(self, seeds_of: str = "") -> list[str]:
        """What mean and spread are over; which cells have other splits or seeds than the complete ones.

        `seeds_of`: what the seeds are of, such as " of the adaptation".
        """
        seeds, others = usual_seeds(self.comparison)
        several = [group for group in self.groups if len(group.cases) > 1]
        single = [group for group in self.groups if len(group.cases) == 1]
        over = f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}{seeds_of}"
        notes = []
        if several:
            splits = listed(f"{group.display} ({len(group.cases)})" for group in several)
            mean = f"each split's mean over {over}" if len(seeds) > 1 else f"a single run per split, {over}"
            notes.append(f"Numbers: mean ± sample standard deviation over the splits of {splits}, of {mean}.")
        if single:
            spread = "mean ± sample standard deviation over" if len(seeds) > 1 else "a single run, without spread:"
            notes.append(f"One split only, {displays_of(single)}: {spread} {over}.")
        return [*notes, *self._missing_splits(), *others]

    def _cases(self, row: Configuration, group: CaseGroup) -> tuple[ComparedCase, ...]:
        """The cases of a group that a row has runs on."""
        return tuple(case for case in group.cases if self.comparison.of(row, case))

    @cached_property
    def _usual(self) -> dict[tuple[Comparable, CaseGroup], tuple[ComparedCase, ...]]:
        """The splits that are the norm of rows that may be compared: the most that one of them has.

        Of sets of one size, the one that most rows have, then the one with smaller splits.
        """
        counts: dict[tuple[Comparable, CaseGroup], Counter[tuple[ComparedCase, ...]]] = defaultdict(Counter)
        for row in self.comparison.configurations:
            for group in self.groups:
                if cases := self._cases(row, group):
                    counts[row.comparable, group][cases] += 1
        return {
            place: min(found, key=lambda cases: (-len(cases), -found[cases], [case.split for case in cases]))
            for place, found in counts.items()
        }

    def _missing_splits(self) -> list[str]:
        """Which rows lack splits that another row of the table has."""
        found: dict[str, list[str]] = defaultdict(list)
        for rows in self.comparison.groups().values():
            for group in self.groups:
                for row in rows:
                    cases = self._cases(row, group)
                    if 0 < len(cases) < len(group.cases):
                        which = listed(case.split for case in cases)
                        spread = ", ± over seeds" if len(cases) == 1 else ""
                        text = f"{group.display}: {len(cases)} of {len(group.cases)} splits ({which}){spread}"
                        found[text].append(self.comparison.row_displays[row])
        return [f"{text} [{listed(rows, 6)}]." for text, rows in found.items()]


def displays_of(groups: Sequence[CaseGroup]) -> str:
    """The names for readers of some groups, in one text."""
    return listed((group.display for group in groups), 6)
