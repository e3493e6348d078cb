"""The retrieval table: recalls and ranks of both directions, and trained parameters, of every method and data set."""

from __future__ import annotations

import json
from dataclasses import replace

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase
from petl_bench.reports.published_numbers import (
    MV_ADAPTER_BACKBONE,
    MV_ADAPTER_BY_DATA,
    MV_ADAPTER_DATA,
    MV_ADAPTER_DETAILS,
    MV_ADAPTER_NOTE,
    MV_ADAPTER_TABLES,
    TUNABLE_PERCENT,
)
from petl_bench.tables.columns import MeasuredColumn, PublishedKey
from petl_bench.tables.notes import QUOTED
from petl_bench.tables.retrieval_table import RetrievalTable as Base

SETTING = "retrieval"


@pb.register_table("retrieval")
class RetrievalTable(Base):
    """Video-text retrieval: R@1, R@5, R@10, their sum, median and mean rank of both directions, over seeds.

    Rows are ranked if they share backbone, weights and views, and carry no mark that bars them (docs/marks.md).
    Quoted: Tables 1 to 5 of the MV-Adapter paper (CVPR 2024), for their data sets: MSR-VTT 1k-A with 9,000 training
    videos, MSVD, LSMDC, DiDeMo and ActivityNet with all captions of a video as one text. As a picture (`--format pdf`,
    `svg`, `png`): trained parameters against T2V R@1, with the Pareto front.
    """

    setting = SETTING
    title = "Video-text retrieval: recalls in percent, and ranks"
    published_csv = (MV_ADAPTER_TABLES,)
    quoted_tables = tuple(MV_ADAPTER_BY_DATA.values())
    quoted_note = f"{QUOTED} {MV_ADAPTER_NOTE}"
    quoted_details = MV_ADAPTER_DETAILS
    quoted_backbone_params = MV_ADAPTER_BACKBONE

    def published_key(self, case: ComparedCase, metric: str) -> PublishedKey | None:
        """On the paper's data sets as it reads them."""
        return (case.dataset, 0, metric) if is_papers(case) else None

    def trained_columns(self, comparison: Comparison) -> list[MeasuredColumn]:
        """Percentages as precise as published, if the paper has one of the data sets."""
        millions, percent = super().trained_columns(comparison)
        if any(map(is_papers, comparison.cases)):
            percent = replace(percent, column=replace(percent.column, format=".2f"), published=TUNABLE_PERCENT)
        return [millions, percent]


def is_papers(case: ComparedCase) -> bool:
    """Whether the MV-Adapter paper has this case."""
    options = json.loads(case.dataset_options)
    known = all(options.get(name, values[0]) in values for name, values in MV_ADAPTER_DATA.items())
    return known and case.dataset in MV_ADAPTER_BY_DATA and (case.split, case.dataset_plugin) == ("1", "")
