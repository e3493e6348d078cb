"""The fully-supervised table: trained parameters, top-1 and top-5 of every method and data set."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.cells import ScoredOn, accuracy
from petl_bench.analysis.comparison import CaseKey, Comparison, bundles, case_labels
from petl_bench.analysis.from_records import compare
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.api.table import Column, Table, TableSource
from petl_bench.reports.published_numbers import published_numbers
from petl_bench.tables import mean_class, table_parts
from petl_bench.tables import notes as table_notes
from petl_bench.tables.mean_class import Side
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

SETTING = "fully_supervised"
#: metric -> its label, and among how many of the highest scores a label counts as right
METRICS = {"top1": ("Top-1", 1), "top5": ("Top-5", 5)}
_PUBLISHED_TABLE, _PUBLISHED_DATASET, _PUBLISHED_SPLIT = "5", "k400", "1"
_QUOTED = (
    f"{table_notes.QUOTED} Table 5: 4 x 3 views; its 8.7 M parameters of MSTA are those of another bottleneck than the "
    "paper's Table 1 names."
)


@pb.register_table("fully_supervised")
class FullySupervisedTable(TableSource):
    """Fully-supervised recognition: trained parameters, top-1 and top-5, mean and spread over seeds.

    Rows are ranked where they share backbone, weights and views, and carry no mark that bars them (docs/marks.md).
    Quoted: Table 5 of the MSTA paper (CVPR 2025), for Kinetics-400.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def compared(self, records: pd.DataFrame) -> Compared:
        """The records of this setting, and the columns. Raises UsageError where there are none."""
        return _compared(records, None)

    def build(self, evidence: Evidence) -> Table:
        """The table of all fully-supervised records. Raises UsageError where there are none."""
        found = _compared(evidence.records, evidence.outcomes)
        comparison, spots = found.comparison, found.spots
        quoted = table_parts.quoted_groups(evidence.published, _PUBLISHED_TABLE, spots)
        return Table(
            name="fully_supervised",
            title="Fully-supervised recognition: top-1 and top-5 accuracy in percent",
            corner="Method",
            columns=tuple(spot.column for spot in spots),
            groups=(*table_parts.run_groups(comparison, spots, evidence), *quoted),
            footers=(
                *table_notes.seed_notes(comparison),
                table_notes.RANKS,
                table_notes.TRAINED,
                *mean_class.notes(comparison, spots),
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([_QUOTED] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )


def _trained(comparison: Comparison) -> list[Spot]:
    """Trained parameters, as precise as published; the published ones stand beside only with their data set."""
    millions, percent = table_parts.trained(comparison)
    shown = any(_published(case, "top1") for case in comparison.cases)
    published = (_PUBLISHED_DATASET, 0, "tunable_params_m") if shown else None
    return [replace(millions, column=replace(millions.column, format=".4g"), published=published), percent]


def _compared(records: pd.DataFrame, outcomes: OutcomeSource | None) -> Compared:
    comparison = compare(records, SETTING, list(METRICS), optional=[MEAN_CLASS])
    table_parts.refuse_nothing(comparison, SETTING)
    return Compared(comparison, [*_trained(comparison), *_accuracies(comparison, outcomes)])


def _accuracies(comparison: Comparison, outcomes: OutcomeSource | None) -> list[Spot]:
    spots = []
    for case, label in case_labels(comparison.cases).items():
        spots += [
            Spot(
                column=Column(name, label),
                cell=table_parts.over_seeds(comparison, case, table_parts.mean_of(index)),
                ranked=True,
                published=_published(case, metric),
                measure=accuracy(ScoredOn(case, "test", top)),
                own=table_parts.by_seed(comparison, [case], table_parts.mean_of(index)),
            )
            for index, (metric, (name, top)) in enumerate(METRICS.items())
        ]
        sides, cell_of = [Side(0, (ScoredOn(case, "test"),))], partial(table_parts.over_seeds, comparison, case)
        if mean_class.is_shown(comparison, sides[0].places):
            spots.append(mean_class.spot(Column("Mean class", label), sides, outcomes, cell_of))
        spots += table_parts.clips(comparison, label, [case])
    return spots


def _published(case: CaseKey, metric: str) -> Published | None:
    shown = case.dataset == _PUBLISHED_DATASET and case.split == _PUBLISHED_SPLIT
    return (case.dataset, 0, metric) if shown else None
