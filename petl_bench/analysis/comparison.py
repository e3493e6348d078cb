"""The runs of one setting, by configuration and case: its rows, groups, usual seeds and budgets, and labels.

Runs are averaged over seeds only: two trials share a cell only if they differ in nothing but the seed, and in what
changes no number (processes, threads, how many bad clips are allowed).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from petl_bench.analysis import labels
from petl_bench.analysis.configurations import Comparable, ComparedCase, Configuration, Run, values_of
from petl_bench.analysis.labels import CaseGroup


@dataclass
class Comparison:
    """All runs of one setting, each list ordered by seed, with one run per seed."""

    setting: str
    metrics: tuple[str, ...]  #: whose values runs have, in their order
    optional: tuple[str, ...]  #: whose values runs have if their records do
    runs: dict[tuple[Configuration, ComparedCase], list[Run]]
    repeated: dict[tuple[Configuration, ComparedCase], float]  #: seeds that were run again: the largest difference
    prompts: tuple[str, ...]
    devices: tuple[str, ...]
    software: tuple[str, ...]  #: the versions of libraries, each as one text
    releases: tuple[str, ...]  #: the versions of petl-bench
    configurations: list[Configuration] = field(init=False)
    cases: list[ComparedCase] = field(init=False)
    #: What `petl_bench.analysis.marks` has worked out.
    known_marks: dict[tuple[Configuration, ComparedCase], tuple[str, ...]] = field(init=False, default_factory=dict)
    _case_groups: dict[str, list[CaseGroup]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Rows by number of trainable parameters, then by name; cases by name."""
        sizes: dict[Configuration, int] = {}
        for (row, _), runs in self.runs.items():
            sizes[row] = max(sizes.get(row, 0), runs[0].trainable_params)
        self.configurations = sorted(sizes, key=lambda row: (sizes[row], _order(row)))
        self.cases = sorted({case for _, case in self.runs}, key=values_of)

    def of(self, configuration: Configuration, case: ComparedCase) -> list[Run]:
        """The runs of one cell; empty if there are none."""
        return self.runs.get((configuration, case), [])

    def of_row(self, row: Configuration) -> list[Run]:
        """The runs of one row, in the order of the cases."""
        return [run for case in self.cases for run in self.of(row, case)]

    def of_case(self, case: ComparedCase) -> list[Run]:
        """The runs on one case, in the order of the rows."""
        return [run for row in self.configurations for run in self.of(row, case)]

    def seeds(self, row: Configuration, case: ComparedCase) -> frozenset[int]:
        """The seeds of one cell."""
        return self._seeds.get((row, case), frozenset())

    @cached_property
    def _seeds(self) -> dict[tuple[Configuration, ComparedCase], frozenset[int]]:
        return {place: frozenset([run.seed for run in runs]) for place, runs in self.runs.items()}

    def common_seeds(self, rows: Sequence[Configuration], cases: Sequence[ComparedCase]) -> list[int]:
        """The seeds that all of these rows have on all of these cases; none without a case."""
        sets = [self.seeds(row, case) for case in cases for row in rows]
        return sorted(frozenset.intersection(*sets)) if sets else []

    def lacks(self, row: Configuration, case: ComparedCase, evaluation: str) -> bool:
        """Whether an evaluation is absent from a run of this cell."""
        return (row, case, evaluation) in self._absent

    @cached_property
    def _absent(self) -> frozenset[tuple[Configuration, ComparedCase, str]]:
        return frozenset((*place, name) for place, runs in self.runs.items() for run in runs for name in run.absences)

    def usual_seeds(self, row: Configuration, case: ComparedCase) -> frozenset[int]:
        """The norm of a case for this row's group: the largest set of seeds that one of its rows has.

        Rows that train something count before those that train nothing, then rows with all clips and evaluations before
        others. Of sets of one size: the one that most rows have, then the one with smaller seeds.
        """
        return self._usual_seeds.get((row.comparable, case), frozenset())

    @cached_property
    def _usual_seeds(self) -> dict[tuple[Comparable, ComparedCase], frozenset[int]]:
        places: dict[tuple[Comparable, ComparedCase], list[tuple[tuple[bool, bool], frozenset[int]]]] = defaultdict(
            list
        )
        for (row, case), runs in self.runs.items():
            standing = (runs[0].trains, not any(run.uncovered or run.absences for run in runs))
            places[row.comparable, case].append((standing, self.seeds(row, case)))
        return {place: _largest_set(found) for place, found in places.items()}

    def is_complete(self, row: Configuration, case: ComparedCase) -> bool:
        """Whether a cell has all clips and evaluations, and at least the seeds that are the norm of its case."""
        whole = not any(run.uncovered or run.absences for run in self.of(row, case))
        return whole and self.seeds(row, case) >= self.usual_seeds(row, case)

    def usual_budget(self, row: Configuration, case: ComparedCase) -> float:
        """The largest budget among the complete rows of a case that this row is ranked with, else among all of them."""
        return self._usual_budgets.get((row.comparable, self.family(row), case), 0.0)

    @cached_property
    def _usual_budgets(self) -> dict[tuple[Comparable, str, ComparedCase], float]:
        places: dict[tuple[Comparable, str, ComparedCase], list[tuple[bool, float]]] = defaultdict(list)
        for row, case in self.runs:
            found = self.is_complete(row, case), row.budget
            places[row.comparable, self.family(row), case].append(found)
        return {place: max(found)[1] for place, found in places.items()}

    def family(self, row: Configuration) -> str:
        """One of FAMILIES, by what is trained in its first run."""
        return self._families[row]

    @cached_property
    def _families(self) -> dict[Configuration, str]:
        return {row: self.of_row(row)[0].family for row in self.configurations}

    def views(self, row: Configuration, case: ComparedCase) -> str:
        """The temporal clips x crops of this row's group on the data set of a case, which one of its rows has."""
        return self._views[row.other_views, case.dataset]

    @cached_property
    def _views(self) -> dict[tuple[str, str], str]:
        return {(row.other_views, case.dataset): runs[0].views for (row, case), runs in self.runs.items()}

    def groups(self) -> dict[Comparable, list[Configuration]]:
        """The configurations that may be ranked together, by what they share."""
        grouped: dict[Comparable, list[Configuration]] = defaultdict(list)
        for configuration in self.configurations:
            grouped[configuration.comparable].append(configuration)
        return dict(sorted(grouped.items()))

    @cached_property
    def row_labels(self) -> dict[Configuration, str]:
        """The label of every row, which tells it from the others of its group."""
        return {row: label for rows in self.groups().values() for row, label in labels.row_labels(rows).items()}

    @cached_property
    def row_displays(self) -> dict[Configuration, str]:
        """The same for readers: "LoRA (rank 8)" for "lora (rank=8)"."""
        return {row: text for rows in self.groups().values() for row, text in labels.row_displays(rows).items()}

    @cached_property
    def case_labels(self) -> dict[ComparedCase, str]:
        """The label of every case."""
        return labels.case_labels(self.cases)

    @cached_property
    def case_displays(self) -> dict[ComparedCase, str]:
        """The same for readers: "HMDB-51" for "hmdb51"."""
        return labels.case_displays(self.cases)

    def case_groups(self, over: str = "") -> list[CaseGroup]:
        """The cases, those together that differ in the field `over` only; each by itself without one."""
        if over not in self._case_groups:
            self._case_groups[over] = labels.case_groups(self.cases, over)
        return self._case_groups[over]

    def cells(self) -> Iterator[tuple[Configuration, ComparedCase]]:
        """Every row and case that have runs, by groups and cases."""
        for rows in self.groups().values():
            for case in self.cases:
                yield from ((row, case) for row in rows if self.of(row, case))

    def cell_label(self, row: Configuration, case: ComparedCase) -> str:
        """A cell in words for readers: "row on case"."""
        return f"{self.row_displays[row]} on {self.case_displays[case]}"


def _largest_set(cells: Sequence[tuple[tuple[bool, bool], frozenset[int]]]) -> frozenset[int]:
    """Of sets of seeds, each with its row's standing: the largest one among the rows of highest standing."""
    counts = Counter(seeds for _, seeds in cells)
    highest = max(standing for standing, _ in cells)
    sets = {seeds for standing, seeds in cells if standing == highest}
    return max(sets, key=lambda seeds: (len(seeds), counts[seeds], [-seed for seed in sorted(seeds)]))


def _order(row: Configuration) -> tuple[Any, ...]:
    """Rows of one method by the values of their fields, numbers as numbers: 3e-05 before 0.0003."""
    return row.method, _by_value(row.hyper_parameters), _by_value(row.training), values_of(row)


@cache
def _by_value(text: str) -> tuple[Any, ...]:
    return tuple((name, *_rank_of(value)) for name, value in sorted(json.loads(text).items()))


def _rank_of(value: Any) -> tuple[int, float, str]:
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, (bool, int, float)):
        return 1, float(value), ""
    return 2, 0.0, json.dumps(value)
