"""The zero-shot table: top-1 of every method on the targets of a transfer, over their test splits."""

from __future__ import annotations

import json
from collections.abc import Sequence

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase
from petl_bench.analysis.labels import CaseGroup
from petl_bench.api.registry import DATASETS, METHODS
from petl_bench.api.setting import MEAN_CLASS
from petl_bench.reports.published_numbers import MSTA_TABLES
from petl_bench.tables.columns import PublishedKey, ScoredMetric, ShownNumber
from petl_bench.tables.notes import listed
from petl_bench.tables.setting_table import SettingTable
from petl_bench.tables.split_means import displays_of


@pb.register_table("zero_shot")
class ZeroShotTable(SettingTable):
    """Zero-shot transfer: top-1 on every target of classification, mean and spread over its test splits.

    A split's number is the mean over the seeds of the adaptation; a target with one split shows the spread over seeds,
    and says so. Rows are ranked if they share backbone, weights, views and source files, have the splits and seeds of
    the complete rows, and carry no mark that bars them. Quoted: Table 4 of the MSTA paper (CVPR 2025), for its targets,
    if the source is Kinetics-400.
    """

    setting = "zero_shot_transfer"
    title = "Zero-shot transfer from {sources}: top-1 accuracy in percent"
    numbers = (ShownNumber("Top-1", (ScoredMetric("top1", "target", mean_class=MEAN_CLASS),), mean_class="Mean class"),)
    part = "target"  # records of adaptations have other parts, and no number of a target
    over = "split"
    seeds_of = " of the adaptation"
    published_csv = (MSTA_TABLES,)
    quoted_tables = ("4",)

    def heading(self, comparison: Comparison) -> str:
        """The title, with the data sets that methods were adapted on."""
        return self.title.format(sources=listed(sources_of(comparison), 3))

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """The paper's source is Kinetics-400."""
        return (case.dataset, 0, metric) if _source(case) == "k400" else None

    def case_notes(self, comparison: Comparison) -> list[str]:
        """What was adapted on; halves of one data set; adaptations whose records are not here."""
        return transfer_notes(comparison, comparison.case_groups(self.over))


def transfer_notes(comparison: Comparison, groups: Sequence[CaseGroup]) -> list[str]:
    """What was adapted on; halves of one data set, among these groups; adaptations whose records are not here."""
    notes = [
        f"Adapted on {source}, once per method and seed; no target clip was trained on."
        for source in sources_of(comparison)
    ]
    halved = [group for group in groups if group.cases[0].part.endswith("-novel")]
    if halved:
        notes.append(
            f"{displays_of(halved)}: source and target in one; adapted on the base half of the classes, evaluated on "
            "the novel half alone."
        )
    unknown = {
        METHODS.display(row.method) for (row, _), runs in comparison.runs.items() for run in runs if run.source_missing
    }
    if unknown:
        notes.append(
            "The records of some adaptations are not here, so that their training clips are unknown: "
            f"{listed(sorted(unknown), 6)}."
        )
    return notes


def _source(case: ComparedCase) -> str:
    return str(json.loads(case.setting_options).get("source", "an unnamed source"))


def sources_of(comparison: Comparison) -> list[str]:
    """The data sets that methods were adapted on, as readers see them."""
    return sorted({DATASETS.display(_source(case)) for case in comparison.cases})
