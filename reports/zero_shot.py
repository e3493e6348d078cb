"""The zero-shot table: top-1 of every method on the targets of a transfer, over their test splits."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import Summary, summarise
from petl_bench.analysis.cells import ScoredOn, accuracy
from petl_bench.analysis.comparison import (
    Bundle,
    CaseKey,
    Comparable,
    Comparison,
    Configuration,
    Run,
    bundles,
    row_labels,
)
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.marks import marks_of
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.api.table import Cell, Column, Table, TableSource
from petl_bench.reports.published_numbers import published_numbers
from petl_bench.tables import mean_class, table_parts
from petl_bench.tables import notes as table_notes
from petl_bench.tables.mean_class import Side
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import NOT_RUN, Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

SETTING = "zero_shot_transfer"
#: Records of adaptations have other parts, and no number of a target.
_PART, _NOVEL_HALF = "target", "target-novel"
_PUBLISHED_TABLE, _PUBLISHED_SOURCE = "4", "k400"
_RANKS = (
    "Best and second: among the rows of one group with all splits and seeds that carry "
    f"{table_notes.UNBARRED}; equal figures share."
)
_QUOTED = (
    f"{table_notes.QUOTED} Table 4: mean ± standard deviation over three splits (K600: three sets of 160 classes); "
    "some rows have more frames."
)


@pb.register_table("zero_shot")
class ZeroShotTable(TableSource):
    """Zero-shot transfer: top-1 on every target, mean and spread over its test splits.

    A split's number is the mean over the seeds of the adaptation; a target with one split shows the spread over seeds,
    and says so. Rows are ranked where they share backbone, weights, views and source files, have the splits and
    seeds of the complete rows, and carry no mark that bars them. Quoted: Table 4 of the MSTA paper (CVPR 2025), for its
    targets, where the source is Kinetics-400.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def compared(self, records: pd.DataFrame) -> Compared:
        """The records of targets, and the columns. Raises UsageError where there are none."""
        return _compared(records, None)

    def build(self, evidence: Evidence) -> Table:
        """The table of all records of targets. Raises UsageError where there are none."""
        found = _compared(evidence.records, evidence.outcomes)
        comparison, spots = found.comparison, found.spots
        targets = _Targets(comparison)
        quoted = table_parts.quoted_groups(evidence.published, _PUBLISHED_TABLE, spots)
        return Table(
            name="zero_shot",
            title=f"Zero-shot transfer from {table_notes.listed(targets.sources, 3)}: top-1 accuracy in percent",
            corner="Method",
            columns=tuple(spot.column for spot in spots),
            groups=(*table_parts.run_groups(comparison, spots, evidence), *quoted),
            footers=(
                *_number_notes(targets),
                _RANKS,
                table_notes.TRAINED,
                *mean_class.notes(comparison, spots),
                *table_notes.training_notes(comparison),
                *_source_notes(targets),
                *table_notes.data_notes(comparison, targets.bundles),
                *([_QUOTED] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )


class _Targets:
    """The targets of a comparison: bundles of cases that differ in their test split only."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.bundles = bundles(comparison.cases, over="split")

    @cached_property
    def sources(self) -> list[str]:
        """The data sets that methods were adapted on."""
        return sorted({_source(case) for case in self.comparison.cases})

    def cases(self, row: Configuration, bundle: Bundle) -> tuple[CaseKey, ...]:
        """The cases of a target that a row has runs on."""
        return tuple(case for case in bundle.cases if self.comparison.of(row, case))

    def is_usual(self, row: Configuration, bundle: Bundle) -> bool:
        """Whether a row has the splits that are the norm of its group: the most that one of its rows has.

        Of sets of one size, the one that most rows have, then the one with smaller splits.
        """
        return self.cases(row, bundle) == self._usual[row.comparable, bundle]

    @cached_property
    def _usual(self) -> dict[tuple[Comparable, Bundle], tuple[CaseKey, ...]]:
        counts: dict[tuple[Comparable, Bundle], Counter[tuple[CaseKey, ...]]] = defaultdict(Counter)
        for row in self.comparison.configurations:
            for bundle in self.bundles:
                if cases := self.cases(row, bundle):
                    counts[row.comparable, bundle][cases] += 1
        return {
            place: min(found, key=lambda cases: (-len(cases), -found[cases], [case.split for case in cases]))
            for place, found in counts.items()
        }


def _source(case: CaseKey) -> str:
    return str(json.loads(case.setting_options).get("source", "an unnamed source"))


# Columns


def _compared(records: pd.DataFrame, outcomes: OutcomeSource | None) -> Compared:
    comparison = compare(records, SETTING, ["top1"], part=_PART, optional=[MEAN_CLASS])
    table_parts.refuse_nothing(comparison, SETTING)
    return Compared(comparison, [*table_parts.trained(comparison), *_accuracies(_Targets(comparison), outcomes)])


def _accuracies(targets: _Targets, outcomes: OutcomeSource | None) -> list[Spot]:
    spots = []
    for bundle in targets.bundles:
        spots.append(
            Spot(
                column=Column("Top-1", bundle.label),
                cell=_over_splits(targets, bundle, table_parts.mean_of(0)),
                ranked=True,
                published=_published(bundle),
                measure=accuracy(*(ScoredOn(case, "target") for case in bundle.cases)),
                own=table_parts.by_seed(targets.comparison, bundle.cases, table_parts.mean_of(0)),
            )
        )
        side = Side(0, tuple(ScoredOn(case, "target") for case in bundle.cases))
        if mean_class.is_shown(targets.comparison, side.places):
            cell_of = partial(_over_splits, targets, bundle)
            spots.append(mean_class.spot(Column("Mean class", bundle.label), [side], outcomes, cell_of))
        spots += table_parts.clips(targets.comparison, bundle.label, bundle.cases, added=True)
    return spots


def _published(bundle: Bundle) -> Published | None:
    case = bundle.cases[0]
    return (case.dataset, 0, "top1") if _source(case) == _PUBLISHED_SOURCE else None


def _over_splits(
    targets: _Targets, bundle: Bundle, summary: Callable[[Sequence[Run]], Summary]
) -> Callable[[Configuration], Cell]:
    """Mean and spread over splits, of each split's mean over seeds; over seeds where there is one split."""
    comparison = targets.comparison

    def cell(row: Configuration) -> Cell:
        cases = targets.cases(row, bundle)
        if not cases:
            return NOT_RUN
        if len(cases) == 1:
            found = table_parts.over_seeds(comparison, cases[0], summary)(row)
        else:
            splits = summarise([summary(comparison.of(row, case)).mean for case in cases])
            marks = {word for case in cases for word in marks_of(comparison, row, case)}
            trials = tuple(run.trial for case in cases for run in comparison.of(row, case))
            found = Cell(splits.mean, splits.std, splits.n, marks=tuple(sorted(marks)), trials=trials)
        if targets.is_usual(row, bundle):
            return found
        return replace(found, marks=tuple(sorted({*found.marks, "partial-splits"})))

    return cell


# Footers


def _number_notes(targets: _Targets) -> list[str]:
    """What mean and spread are over; which cells have other splits or seeds than the complete ones."""
    seeds, others = table_notes.usual_seeds(targets.comparison)
    several = [bundle for bundle in targets.bundles if len(bundle.cases) > 1]
    single = [bundle for bundle in targets.bundles if len(bundle.cases) == 1]
    adaptations = f"seed{'s' if len(seeds) > 1 else ''} {table_notes.listed(seeds)} of the adaptation"
    notes = []
    if several:
        splits = table_notes.listed(f"{bundle.label} ({len(bundle.cases)})" for bundle in several)
        mean = f"each split's mean over {adaptations}" if len(seeds) > 1 else f"a single run per split, {adaptations}"
        notes.append(f"Numbers: mean ± sample standard deviation over the splits of {splits}, of {mean}.")
    if single:
        spread = "mean ± sample standard deviation over" if len(seeds) > 1 else "a single run, without spread:"
        notes.append(f"One split only, {_labels(single)}: {spread} {adaptations}.")
    return [*notes, *_missing_splits(targets), *others]


def _missing_splits(targets: _Targets) -> list[str]:
    """Which rows lack splits that another row of the table has."""
    found: dict[str, list[str]] = defaultdict(list)
    for rows in targets.comparison.groups().values():
        names = row_labels(rows)
        for bundle in targets.bundles:
            for row in rows:
                cases = targets.cases(row, bundle)
                if 0 < len(cases) < len(bundle.cases):
                    which = table_notes.listed(case.split for case in cases)
                    spread = ", ± over seeds" if len(cases) == 1 else ""
                    text = f"{bundle.label}: {len(cases)} of {len(bundle.cases)} splits ({which}){spread}"
                    found[text].append(names[row])
    return [f"{text} [{table_notes.listed(rows, 6)}]." for text, rows in found.items()]


def _source_notes(targets: _Targets) -> list[str]:
    """What was adapted on; halves of one data set; adaptations whose records are not here."""
    notes = [
        f"Adapted on {source}, once per method and seed; no target clip was trained on." for source in targets.sources
    ]
    halved = [bundle for bundle in targets.bundles if bundle.cases[0].part == _NOVEL_HALF]
    if halved:
        notes.append(
            f"{_labels(halved)}: source and target in one; adapted on the base half of the classes, evaluated on the "
            "novel half alone."
        )
    unknown = {row.method for (row, _), runs in targets.comparison.runs.items() for run in runs if run.source_missing}
    if unknown:
        notes.append(
            "The records of some adaptations are not here, so that their training clips are unknown: "
            f"{table_notes.listed(sorted(unknown), 6)}."
        )
    return notes


def _labels(some: Sequence[Bundle]) -> str:
    return table_notes.listed((bundle.label for bundle in some), 6)
