"""The reproduction table: every published number of a configuration that was run here, beside the number run here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import prediction_interval
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import row_displays, row_labels
from petl_bench.api.evidence import Evidence
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.reports import cost
from petl_bench.reports.ablation import AblationTable
from petl_bench.reports.base2novel import BaseToNovelTable
from petl_bench.reports.descriptions import DescriptionsTable
from petl_bench.reports.few_shot import FewShotTable
from petl_bench.reports.fully_supervised import FullySupervisedTable
from petl_bench.reports.published_numbers import (
    MSTA_TABLES,
    MV_ADAPTER_BY_DATA,
    MV_ADAPTER_TABLES,
    TUNABLE_PERCENT,
    mv_adapter_name,
    name_of,
    paper_name,
)
from petl_bench.reports.retrieval import RetrievalTable
from petl_bench.reports.zero_shot import ZeroShotTable
from petl_bench.tables.columns import MeasuredColumn, PublishedKey
from petl_bench.tables.compare_pair import compared_by
from petl_bench.tables.quoted_notes import reading_notes
from petl_bench.tables.ranking import facts_of
from petl_bench.tables.setting_table import SettingTable

if TYPE_CHECKING:
    import pandas as pd

#: The MSTA paper's tables of methods, and the tables here with the same columns.
_TABLES: dict[str, type[SettingTable]] = {
    "2": BaseToNovelTable,
    "3": FewShotTable,
    "4": ZeroShotTable,
    "5": FullySupervisedTable,
}
_COLUMNS = (
    Column("Quoted", format=".2f"),
    Column("Run here", format=".2f"),
    Column("Difference", format=".2f"),
    Column("from", "95 % prediction interval", ".2f"),
    Column("to", "95 % prediction interval", ".2f"),
    Column("Inside"),
)
_INSIDE, _OUTSIDE = "yes", "no"
_ONE_SEED = "not known: one seed"
_EQUAL_SEEDS = "not known: equal seeds"
_COUNTED = "not known: a count"
_OTHER_DEVICE = "not known: a time, the paper's batch and precision are not said"
#: Runs that a published number is the mean of, if that is known to be more than one: Table 2 has three draws, and those
#: of the MV-Adapter paper, but for two methods, three seeds.
_RUNS = {"2": 3, **dict.fromkeys(MV_ADAPTER_BY_DATA.values(), 3)}
_ONE_RUN = {"Full Fine-tuning", "CLIP4Clip seqTransf (frozen CLIP)"}
#: Half of the last digit that is printed: one decimal; of some metrics, by table, two.
_HALF, _FINE = 0.05, 0.005
_FINER = {
    ("7", "harmonic_mean"),
    ("8", "train_step_latency_s"),
    *[(table, TUNABLE_PERCENT[-1]) for table in MV_ADAPTER_BY_DATA.values()],
}
_PAPERS_ZERO_SHOT, _PAPERS_COSTS = "4", "8"
#: The column of the zero-shot table whose numbers Table 8 repeats.
_K600, _TABLE_8 = ("k600", 0, "top1"), ("k600", 0, "k600_zero_shot_top1")
#: Of Table 8: metric -> label of the row here.
_TIMES = {
    "train_step_latency_s": "Train step, seconds",
    "inference_throughput_videos_per_s": "Inference, videos per second",
}


@dataclass(frozen=True, eq=False)
class ReproducedNumber:
    """A published number, and the cell of a configuration that was run here.

    `label`, `display`, `facts`: see `petl_bench.api.table.Row`.
    """

    table: str
    paper_row: str
    label: str
    display: str
    facts: tuple[tuple[str, str], ...]
    quoted: Cell
    cell: Cell
    interval: tuple[float, float] | None
    half_digit: float  #: how far the printed number may be from the paper's own, by rounding
    unknown: str = _ONE_SEED  #: the verdict if there is no interval

    @property
    def difference(self) -> float:
        """Absolute, in the number's unit."""
        return abs(_number(self.cell) - _number(self.quoted))

    @property
    def verdict(self) -> str:
        """Whether the published number is one that further runs like those here would give."""
        if self.interval is None:
            return self.unknown
        low, high = self.interval
        inside = (
            low - self.half_digit <= _number(self.quoted) + 1e-9
            and _number(self.quoted) - 1e-9 <= high + self.half_digit
        )
        return _INSIDE if inside else _OUTSIDE


@pb.register_table("reproduction")
class ReproductionTable(TableSource):
    """Published against run here: numbers of the MSTA and MV-Adapter papers, each beside the same number run here.

    Shown are the published numbers that belong to a configuration with records. MSTA: Tables 2 to 8, for ViCLIP-B/16
    with weights that are not random (times: with any); MV-Adapter: Tables 1 to 5, for CLIP-B/16; on the data sets,
    splits and shots that the paper's table shows. Difference: absolute, in the number's unit (percentage points;
    millions for trained parameters). Inside: whether the quoted number lies in the 95 % prediction interval for further
    runs, over seeds (docs/statistics.md). Configurations of one method each have their own rows.
    Times depend on device, batch and precision; of these Table 8 names the device alone, so that there is no verdict.
    """

    published_csv = (MSTA_TABLES, MV_ADAPTER_TABLES)

    def build(self, evidence: Evidence) -> Table:
        """The table of all records that belong to a published number. Raises UsageError if none does."""
        if evidence.published is None:
            raise UsageError("this table compares with published numbers: leave out --no-published")
        quoted = _PublishedNumbers(evidence.published)
        found = [
            *_of_tables(evidence, quoted),
            *_of_studies(evidence, quoted),
            *_of_costs(evidence, quoted),
            *_of_retrieval(evidence, quoted),
        ]
        retrieval = any(each.table in MV_ADAPTER_BY_DATA.values() for each in found)
        if not found:
            raise UsageError(
                "no record here belongs to a published number: these are of viclip-b16 (MSTA) or clip-b16 (MV-Adapter) "
                "with published weights, on the paper's data sets, split 1 and its shots. See: petl-bench run --spec "
                "FILE, one file for each table"
            )
        return Table(
            name="reproduction",
            title=f"Reproduction: {_papers(found)}, and the same run here",
            corner="Number",
            columns=_COLUMNS,
            groups=tuple(_groups(found)),
            footers=(
                _count(found),
                "Difference: absolute, in percentage points (Trained M: millions of parameters).",
                "Interval: where one further run (Table 2: the mean of three) would lie with 95 %, if runs spread as "
                "the seeds here do: m -+ t s sqrt(1/k + 1/S), for k further runs and S seeds with mean m and standard "
                "deviation s, of the seeds' own harmonic means too. The clips are the paper's, and are not drawn anew.",
                *(["Intervals of numbers of MV-Adapter: of the mean of as many further runs."] if retrieval else []),
                *reading_notes(self.published_csv, sorted({each.table for each in found})),
            ),
            provenance=(
                "Inside: the quoted number, give or take half of its last digit. With two seeds t is 12.7, so that "
                "little can be outside.",
                "Quoted numbers have one decimal, and the harmonic means of Table 7 two.",
            ),
        )


class _PublishedNumbers:
    """Finds published numbers."""

    def __init__(self, published: pd.DataFrame) -> None:
        filled = published.fillna({"shots": 0, "dataset": ""})
        keys = zip(*[filled[name] for name in ("table", "method", "dataset", "shots", "metric")], strict=True)
        self._cells = {
            key: Cell(float(value), origin="quoted", source=str(source))
            for key, value, source in zip(keys, filled["value"], filled["source"], strict=True)
        }

    def of(self, table: str, method: str, key: PublishedKey | None) -> Cell | None:
        """The number of a row of the paper; None if it has none."""
        return None if key is None else self._cells.get((table, method, *key))


# What belongs together


def _of_tables(evidence: Evidence, quoted: _PublishedNumbers) -> Iterable[ReproducedNumber]:
    for table, kind in _TABLES.items():
        found = compared_by(kind(), evidence.records)
        if found is None:
            continue
        named = {row: name for row in found.comparison.configurations if (name := paper_name(row))}
        yield from _matches(table, found.comparison, found.columns, named, quoted)
        if table == _PAPERS_ZERO_SHOT:
            columns = [replace(each, published=_TABLE_8) for each in found.columns if each.published == _K600]
            yield from _matches(_PAPERS_COSTS, found.comparison, columns, named, quoted)


def _of_studies(evidence: Evidence, quoted: _PublishedNumbers) -> Iterable[ReproducedNumber]:
    """Tables 6 and 7: rows of groups that differ in one thing."""
    for source in (AblationTable(), DescriptionsTable()):
        comparison = source.comparison(evidence.records)
        for study in source.studies(comparison):
            yield from _matches(study.table, comparison, source.columns(comparison, study), study.published, quoted)


def _of_retrieval(evidence: Evidence, quoted: _PublishedNumbers) -> Iterable[ReproducedNumber]:
    """Tables 1 to 5 of the MV-Adapter paper, one for each data set."""
    found = compared_by(RetrievalTable(), evidence.records)
    if found is None:
        return
    for dataset, table in MV_ADAPTER_BY_DATA.items():
        own = [row for row, case in found.comparison.runs if case.dataset == dataset]
        named = {row: name for row in dict.fromkeys(own) if (name := mv_adapter_name(row))}
        yield from _matches(table, found.comparison, found.columns, named, quoted)


def _of_costs(evidence: Evidence, quoted: _PublishedNumbers) -> Iterable[ReproducedNumber]:
    """The times of Table 8, which are of other devices."""
    for row in cost.timed(evidence.records):
        name = name_of(row.method, row.hyper_parameters, row.backbone)
        for metric, label in _TIMES.items():
            published, cell = quoted.of(_PAPERS_COSTS, name, ("", 0, metric)), row.cells.get(metric)
            if published is not None and cell is not None:
                half = _half_digit(_PAPERS_COSTS, metric)
                text = f"{label} on {row.conditions}"
                yield ReproducedNumber(
                    _PAPERS_COSTS, name, text, text, row.facts, published, cell, None, half, _OTHER_DEVICE
                )


def _matches(
    table: str,
    comparison: Comparison,
    columns: Sequence[MeasuredColumn],
    named: Mapping[Configuration, str],
    quoted: _PublishedNumbers,
) -> Iterable[ReproducedNumber]:
    """The numbers of these rows that the paper's table has, row by row; `named`: the rows' names in the paper."""
    labels, displays = _apart(named, row_labels), _apart(named, row_displays)
    for row, name in named.items():
        for column in columns:
            published, cell = quoted.of(table, name, column.published), column.cell(row)
            if column.published is None or published is None or cell.value is None:
                continue
            runs = 1 if name in _ONE_RUN else _RUNS.get(table, 1)
            interval, unknown = _interval(runs, comparison, row, column)
            yield ReproducedNumber(
                table=table,
                paper_row=name,
                label=f"{column.column.full}{labels[row]}",
                display=f"{column.column.full_display}{displays[row]}",
                facts=facts_of(row),
                quoted=published,
                cell=cell,
                interval=interval,
                half_digit=_half_digit(table, column.published[2]),
                unknown=unknown,
            )


def _interval(
    runs: int, comparison: Comparison, row: Configuration, column: MeasuredColumn
) -> tuple[tuple[float, float] | None, str]:
    """Where further runs are to be expected, and why that is not known.

    Seeds that agree to the last digit say nothing of the spread of a method that trains; one that trains nothing has
    none.
    """
    if column.by_seed is None:
        return None, _COUNTED
    own = column.by_seed(row)
    trains = any(run.trains for run in comparison.of_row(row))
    if trains and len(own) > 1 and max(own) - min(own) < 1e-9:
        return None, _EQUAL_SEEDS
    return prediction_interval(own, runs), _ONE_SEED


def _half_digit(table: str, metric: str) -> float:
    return _FINE if (table, metric) in _FINER else _HALF


def _apart(
    named: Mapping[Configuration, str], names_of: Callable[[Sequence[Configuration]], Mapping[Configuration, str]]
) -> dict[Configuration, str]:
    """What tells the configurations of one row of the paper apart; nothing if there is one."""
    by_name: dict[str, list[Configuration]] = defaultdict(list)
    for row, name in named.items():
        by_name[name].append(row)
    return {
        row: f": {name}" if len(rows) > 1 else "" for rows in by_name.values() for row, name in names_of(rows).items()
    }


# Rows


def _groups(found: Sequence[ReproducedNumber]) -> list[RowGroup]:
    """By table of the paper and row of it, in the order of the paper's tables."""
    ordered = sorted(found, key=lambda match: match.table)
    return [
        RowGroup(_title(table), tuple(map(_row, some)), paper_row)
        for (table, paper_row), some in groupby(ordered, key=lambda match: (match.table, match.paper_row))
    ]


def _title(table: str) -> str:
    paper, _, number = table.rpartition(" ")
    return f"{paper}, Table {number}" if paper else f"Table {number}"


def _row(match: ReproducedNumber) -> Row:
    absent = Cell(origin="absent", source=f"no interval: {match.unknown}")
    ends = [Cell(end) for end in match.interval] if match.interval else [absent, absent]
    cells = (match.quoted, match.cell, Cell(match.difference), *ends, Cell(match.verdict))
    return Row(match.label, cells, display=match.display, facts=match.facts)


def _number(cell: Cell) -> float:
    assert isinstance(cell.value, float)
    return cell.value


def _papers(found: Sequence[ReproducedNumber]) -> str:
    """Whose numbers these are."""
    of_mv_adapter = {each.table in MV_ADAPTER_BY_DATA.values() for each in found}
    papers = " and ".join(name for name, has in (("MSTA", False), ("MV-Adapter", True)) if has in of_mv_adapter)
    return f"numbers of the {papers} paper{'s' if len(of_mv_adapter) > 1 else ''}"


def _count(found: Sequence[ReproducedNumber]) -> str:
    verdicts = [match.verdict for match in found]
    known = [verdict for verdict in verdicts if verdict in (_INSIDE, _OUTSIDE)]
    largest = max((match.difference for match in found if match.unknown != _OTHER_DEVICE), default=None)
    difference = "" if largest is None else f"; largest difference {largest:.2f}, times aside"
    return (
        f"{len(found)} published numbers of configurations run here{difference}. Inside the prediction interval: "
        f"{known.count(_INSIDE)} of {len(known)} whose interval is known."
    )
