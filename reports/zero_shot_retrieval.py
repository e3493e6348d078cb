"""The zero-shot table of retrieval: recalls and ranks of every method on the targets of a transfer."""

from __future__ import annotations

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.api.retrieval import DIRECTIONS
from petl_bench.reports.zero_shot import sources_of, transfer_notes
from petl_bench.tables.notes import listed
from petl_bench.tables.retrieval_table import RetrievalTable, retrieval_numbers


@pb.register_table("zero_shot_retrieval")
class ZeroShotRetrievalTable(RetrievalTable):
    """Zero-shot transfer: recalls and ranks of both directions on every target of retrieval, over seeds of adaptation.

    Methods may have been adapted to classification or to retrieval: each kind of source has columns of its own. Rows
    are ranked if they share backbone, weights, views and source files, and carry no mark that bars them
    (docs/marks.md). As a picture (`--format pdf`, `svg`, `png`): trained parameters against T2V R@1, with the Pareto
    front.
    """

    setting = "zero_shot_transfer"
    title = "Zero-shot transfer from {sources}: retrieval, recalls in percent, and ranks"
    part = "retrieval"
    run_flags = ("--set", "zero_shot_transfer.task_of_targets=retrieval")
    numbers = tuple(number for direction in DIRECTIONS for number in retrieval_numbers(direction, "target"))

    def heading(self, comparison: Comparison) -> str:
        """The title, with the data sets that methods were adapted on."""
        return self.title.format(sources=listed(sources_of(comparison), 3))

    def case_notes(self, comparison: Comparison) -> list[str]:
        """What was adapted on, and how many queries have a tied target."""
        return [*transfer_notes(comparison, comparison.case_groups()), *super().case_notes(comparison)]
