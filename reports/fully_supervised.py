"""The fully-supervised table: trained parameters, top-1 and top-5 of every method and data set."""

from __future__ import annotations

from dataclasses import replace

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase
from petl_bench.reports.published_numbers import MSTA_TABLES
from petl_bench.tables.columns import MeasuredColumn, PublishedKey, ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import TOP1, SettingTable


@pb.register_table("fully_supervised")
class FullySupervisedTable(SettingTable):
    """Fully-supervised recognition: trained parameters, top-1 and top-5, mean and spread over seeds.

    Rows are ranked if they share backbone, weights and views, and carry no mark that bars them (docs/marks.md).
    Quoted: Table 5 of the MSTA paper (CVPR 2025), for Kinetics-400.
    """

    setting = "fully_supervised"
    title = "Fully-supervised recognition: top-1 and top-5 accuracy in percent"
    numbers = (
        ShownNumber("Top-1", (TOP1,), mean_class="Mean class"),
        ShownNumber("Top-5", (ScoredMetric("top5", "test", top=5),)),
    )
    published_csv = (MSTA_TABLES,)
    quoted_tables = ("5",)

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """Of Kinetics-400 alone."""
        return (case.dataset, 0, metric) if (case.dataset, case.split) == ("k400", "1") else None

    def trained_columns(self, comparison: Comparison) -> list[MeasuredColumn]:
        """As precise as published; the published ones stand beside only with their data set."""
        millions, percent = super().trained_columns(comparison)
        keys = (self.published_key(case, "tunable_params_m") for case in comparison.cases)
        published = next((key for key in keys if key), None)
        return [replace(millions, column=replace(millions.column, format=".4g"), published=published), percent]
