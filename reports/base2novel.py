"""The base-to-novel table: base top-1, novel top-1 and their harmonic mean for every method and data set."""

from __future__ import annotations

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase
from petl_bench.reports.published_numbers import (
    BASE2NOVEL_SHOTS,
    BASE2NOVEL_SPLIT,
    FROSTER,
    FROSTER_TABLE,
    MSTA_TABLES,
)
from petl_bench.tables.columns import PublishedKey, ScoredMetric, ShownNumber
from petl_bench.tables.setting_table import SettingTable

SETTING = "base2novel"
BASE = ScoredMetric("base_top1", "base", mean_class="base_mean_class_top1")
NOVEL = ScoredMetric("novel_top1", "novel", mean_class="novel_mean_class_top1")
NUMBERS = (
    ShownNumber("Base", (BASE,), mean_class="Base, mean class"),
    ShownNumber("Novel", (NOVEL,), mean_class="Novel, mean class"),
    ShownNumber("HM", (BASE, NOVEL), mean_class="HM, mean class"),
)


@pb.register_table("base2novel")
class BaseToNovelTable(SettingTable):
    """Base-to-novel generalisation: base and novel top-1 and their harmonic mean, mean and spread over seeds.

    A row is a method with its hyper-parameters, training options, backbone and weights; rows are ranked if they
    share backbone, weights and views, and carry no mark that bars them (docs/marks.md). The harmonic mean is that of
    the mean base and the mean novel accuracy. Quoted: Table 2 of the MSTA paper (CVPR 2025) and Table 1 of FROSTER's
    README (ICLR 2024), which has Open-VCLIP too, for their data sets, 16 shots, split 1.
    """

    setting = SETTING
    title = "Base-to-novel generalisation: top-1 accuracy in percent"
    numbers = NUMBERS
    notes = ("HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own harmonic means.",)
    published_csv = (MSTA_TABLES, FROSTER)
    quoted_tables = ("2", FROSTER_TABLE)

    def heading(self, comparison: Comparison) -> str:
        """The title, with the number of shots if all cases share it."""
        shots = {case.shots for case in comparison.cases}
        return f"{self.title}, {shots.pop()} shots" if len(shots) == 1 and 0 not in shots else self.title

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """Table 2 has 16 shots throughout, and does not say so."""
        shown = (case.split, case.shots) == (BASE2NOVEL_SPLIT, BASE2NOVEL_SHOTS)
        return (case.dataset, 0, metric) if shown else None
