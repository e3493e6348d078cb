"""The paper's own harmonic means, worked out again from its base and novel accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.api.registry import DATASETS
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.reports.published_numbers import MSTA_TABLES, PAPERS_MEANS

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence

#: Base and novel accuracies are printed with one decimal: the true ones lie within half of it.
_HALF = 0.05
#: Two decimals as in the paper, in Table 7.
_DECIMALS = {"7": 2}
#: Against errors of floating point, at the ends of intervals.
_TINY = 1e-9
_COLUMNS = (
    Column("Base", "Published"),
    Column("Novel", "Published"),
    Column("HM", "Published", ".2f"),
    Column("HM", "Recomputed", ".2f"),
    Column("from", "Recomputed", ".2f"),
    Column("to", "Recomputed", ".2f"),
)
#: Verdicts in the order of the groups, with what they mean.
_DISAGREES = "disagrees: no base and novel accuracy that are printed so have this harmonic mean"
_ROUNDING = "agrees within rounding: the printed accuracies themselves give another last digit"
_AGREES = "agrees as printed (one decimal; Table 7: two)"


@dataclass(frozen=True)
class Checked:
    """A printed row: accuracies and harmonic mean in percent, and between which values rounding lets the mean lie."""

    label: str
    display: str  #: the label as readers see it
    base: float
    novel: float
    printed: float
    decimals: int  #: of the printed harmonic mean
    recomputed: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the printed mean can be that of the printed accuracies."""
        half = 0.5 * 10**-self.decimals
        if self.printed + half < self.low - _TINY or self.printed - half > self.high + _TINY:
            return _DISAGREES
        return _AGREES if abs(self.recomputed - self.printed) <= half + _TINY else _ROUNDING


@pb.register_table("published_harmonic_means")
class PublishedHarmonicMeansTable(TableSource):
    """The MSTA paper's harmonic means, recomputed from its base and novel columns (Tables 2, 6 and 7).

    Needs no record. The accuracies are printed with one decimal, so that the true ones lie within 0.05; the table says
    between which values the harmonic mean may lie then, and whether the printed one does. Disagreements come first.
    """

    needs_records: ClassVar[bool] = False
    published_csv = (MSTA_TABLES,)

    def build(self, evidence: Evidence) -> Table:
        """The table of all printed rows with all three numbers. Raises UsageError without published numbers."""
        if evidence.published is None:
            raise UsageError("this table is made of published numbers alone: leave out --no-published")
        checked = checks(evidence.published)
        groups = {
            verdict: [each for each in checked if each.verdict == verdict]
            for verdict in (_DISAGREES, _ROUNDING, _AGREES)
        }
        return Table(
            name="published_harmonic_means",
            title="Harmonic means that the MSTA paper prints, recomputed from its base and novel accuracies",
            corner="Printed row",
            columns=_COLUMNS,
            groups=tuple(
                RowGroup(f"{len(rows)} of {len(checked)}", tuple(map(_row, rows)), verdict)
                for verdict, rows in groups.items()
                if rows
            ),
            footers=(
                "Printed accuracies lie within 0.05 of the true ones; from, to: between which values the harmonic mean "
                "of accuracies that are printed so can lie, before it is rounded itself.",
                "Table 2 has one row for each data set. Tables 6 and 7 print means over "
                f"{', '.join(map(DATASETS.display, PAPERS_MEANS.datasets))}: their harmonic means are those of the "
                "mean accuracies, not means of the data sets' own.",
                f"Disagreements: {len(groups[_DISAGREES])}.",
            ),
        )


def checks(published: pd.DataFrame) -> list[Checked]:
    """Every printed row that has base, novel and harmonic mean, in the order of the paper."""
    numbers = published.fillna({"group": ""})
    found = []
    for (table, group, method, dataset), some in numbers.groupby(["table", "group", "method", "dataset"], sort=False):
        values = dict(zip(some["metric"], some["value"], strict=True))
        if values.keys() >= {"base_top1", "novel_top1", "harmonic_mean"}:
            kind = "" if str(group).startswith("ablation:") else f" ({group})"
            label, display = (f"Table {table}: {name}, {method}{kind}" for name in (dataset, _data(str(dataset))))
            found.append(_checked(str(table), label, display, values))
    return found


def _data(dataset: str) -> str:
    """A data set, or the mean over several, as readers see it."""
    return f"mean of {len(PAPERS_MEANS.datasets)}" if dataset == PAPERS_MEANS.name else DATASETS.display(dataset)


def _checked(table: str, label: str, display: str, values: dict[str, float]) -> Checked:
    base, novel = values["base_top1"], values["novel_top1"]
    return Checked(
        label=label,
        display=display,
        base=base,
        novel=novel,
        printed=values["harmonic_mean"],
        decimals=_DECIMALS.get(table, 1),
        recomputed=harmonic_mean(base, novel),
        low=harmonic_mean(base - _HALF, novel - _HALF),
        high=harmonic_mean(base + _HALF, novel + _HALF),
    )


def _row(checked: Checked) -> Row:
    quoted = [
        Cell(value, origin="quoted", source=f"MSTA (CVPR 2025), {checked.label.partition(':')[0]}")
        for value in (checked.base, checked.novel, checked.printed)
    ]
    worked_out = [Cell(value) for value in (checked.recomputed, checked.low, checked.high)]
    return Row(checked.label, (*quoted, *worked_out), display=checked.display)
