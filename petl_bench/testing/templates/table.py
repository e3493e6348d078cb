"""Template table: one setting, its metrics as columns."""

from __future__ import annotations

import petl_bench as pb


@pb.register_table("template_table")
class TemplateTable(pb.SettingTable):
    """Few-shot top-1 and top-5 accuracy: mean and spread over seeds, rows as in every table.

    What rows share, what is ranked, intervals, tests, marks and notes come from pb.SettingTable.
    """

    #: The setting whose records are shown; yours, if its file is loaded too (--plugin).
    setting = "few_shot"
    title = "Top-1 and top-5 accuracy in percent"
    #: A group of columns for each data set and number of shots; "shots" or "split" gathers cases that differ in it.
    over = ""
    #: The columns: a metric of the setting with the evaluation that it is of, or the harmonic mean of two.
    numbers = (
        pb.ShownNumber("Top-1", (pb.ScoredMetric("top1", "test"),)),
        pb.ShownNumber("Top-5", (pb.ScoredMetric("top5", "test"),)),
    )
    notes = ("Top-5: the true class is among the five with the highest scores.",)

    # Another table altogether: derive from pb.TableSource and write build(self, evidence), which returns a pb.Table.
    # A picture beside it: def figure(self, evidence: pb.Evidence) -> pb.Figure; see pb.Series and pb.Point.
