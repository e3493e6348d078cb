"""The few-shot table: top-1 of every method and data set by number of training clips per class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench import table_notes, table_parts
from petl_bench.cell_statistics import Place, accuracy
from petl_bench.compare_records import compare
from petl_bench.comparison import CaseKey, Comparison, bundles
from petl_bench.missing_runs import commands
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, published_numbers
from petl_bench.table import Column, Table, TableSource
from petl_bench.table_parts import Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.evidence import Evidence

SETTING = "few_shot"
_PUBLISHED_TABLE, _PUBLISHED_SPLIT = "3", "1"
_QUOTED = (
    f"{table_notes.QUOTED} Table 3: one published list for each number of shots, split 1, without spread. "
    f"{SELECTED_ON_TEST}"
)


@pb.register_table("few_shot")
class FewShotTable(TableSource):
    """Few-shot recognition: top-1 for each data set and number of shots K, mean and spread over seeds.

    A data set's numbers of shots stand side by side; another split, other files or other options of a data set are a
    group of columns of their own. Rows are ranked where they share backbone, weights, views and seeds, and carry no
    mark. Quoted: Table 3 of the MSTA paper (CVPR 2025), for its data sets, 2, 4, 8 and 16 shots, split 1.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def compared(self, records: pd.DataFrame) -> Compared:
        """The records of this setting, and the columns. Raises UsageError where there are none."""
        comparison = compare(records, SETTING, ["top1"])
        table_parts.refuse_nothing(comparison, SETTING)
        return Compared(comparison, [*table_parts.trained(comparison), *_accuracies(comparison)])

    def build(self, evidence: Evidence) -> Table:
        """The table of all few-shot records. Raises UsageError where there are none."""
        found = self.compared(evidence.records)
        comparison, spots = found.comparison, found.spots
        quoted = table_parts.quoted_groups(evidence.published, _PUBLISHED_TABLE, spots)
        return Table(
            name="few_shot",
            title="Few-shot recognition: top-1 accuracy in percent, K training clips per class",
            corner="Method",
            columns=tuple(spot.column for spot in spots),
            groups=(*table_parts.run_groups(comparison, spots, evidence), *quoted),
            footers=(
                *table_notes.seed_notes(comparison),
                table_notes.RANKS,
                table_notes.TRAINED,
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="shots")),
                *([_QUOTED] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING, multi_view=True)),
        )


def _accuracies(comparison: Comparison) -> list[Spot]:
    spots = []
    for bundle in bundles(comparison.cases, over="shots"):
        spots += [
            Spot(
                column=Column(f"K={case.shots}", bundle.label),
                cell=table_parts.over_seeds(comparison, case, table_parts.mean_of(0)),
                ranked=True,
                published=_published(case),
                measure=accuracy(Place(case, "test")),
            )
            for case in bundle.cases
        ]
        spots += table_parts.clips(comparison, bundle.label, bundle.cases)
    return spots


def _published(case: CaseKey) -> Published | None:
    return (case.dataset, case.shots, "top1") if case.split == _PUBLISHED_SPLIT else None
