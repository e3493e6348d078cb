"""Accuracy on held-out training clips in tables: a column apart for trials whose epoch was selected on such clips.

It is no test number: it is never ranked, has no interval and is not tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from petl_bench.analysis.averages import Summary, summarise
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, Run
from petl_bench.api.table import Cell, Column
from petl_bench.tables.columns import CellOf, MeasuredColumn, OfRuns

#: What stands behind the case in the header above such a column.
HEADING = "held-out"
NOTE = (
    "Held-out: accuracy of the selected epoch on the training clips that were held out to select it (--select val); no "
    "test clip is among them, and it is neither ranked nor tested."
)
_UNKNOWN = "no epoch was selected on held-out training clips, or the record is older than this metric"


def is_shown(comparison: Comparison, cases: Sequence[ComparedCase], metric: str) -> bool:
    """Whether a run on one of these cases has the metric."""
    return any(not math.isnan(_value(comparison, run, metric)) for case in cases for run in comparison.of_case(case))


def column(comparison: Comparison, metric: str, header: Column, cell_of: Callable[[OfRuns], CellOf]) -> MeasuredColumn:
    """The column of a metric of held-out training clips.

    Args:
        comparison: the runs, with the metric among the optional ones.
        metric: such as "val_top1".
        header: as for a number of the case; the column gets a group of its own.
        cell_of: makes the cell of a row from a summary of its runs.
    """

    def summary(runs: Sequence[Run]) -> Summary:
        values = [_value(comparison, run, metric) for run in runs]
        return Summary(math.nan, None, len(runs)) if any(map(math.isnan, values)) else summarise(values)

    cell = cell_of(summary)

    def known(row: Configuration) -> Cell:
        found = cell(row)
        is_known = not isinstance(found.value, float) or math.isfinite(found.value)
        return found if is_known else Cell(origin="absent", source=_UNKNOWN)

    shown = f"{header.group_display or header.group}, {HEADING}"
    return MeasuredColumn(replace(header, group=f"{header.group} {HEADING}", group_display=shown), known)


def notes(columns: Sequence[MeasuredColumn]) -> list[str]:
    """What a reader of these columns must know; nothing without one."""
    return [NOTE] if any(each.column.group.endswith(f" {HEADING}") for each in columns) else []


def _value(comparison: Comparison, run: Run, metric: str) -> float:
    return run.optional[comparison.optional.index(metric)]
