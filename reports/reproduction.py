"""The reproduction table: every published number of a configuration that was run here, beside the number run here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.cell_statistics import CellStatistics
from petl_bench.compare_records import compare
from petl_bench.comparison import Comparison, Configuration, row_labels
from petl_bench.errors import UsageError
from petl_bench.reports import ablation, descriptions
from petl_bench.reports import mean_over_data_sets as means
from petl_bench.reports.base2novel import BaseToNovelTable
from petl_bench.reports.few_shot import FewShotTable
from petl_bench.reports.fully_supervised import FullySupervisedTable
from petl_bench.reports.mean_over_data_sets import Study
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, paper_name, published_numbers
from petl_bench.reports.zero_shot import ZeroShotTable
from petl_bench.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.table_parts import Compared, Published, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.evidence import Evidence, Outcomes

#: The paper's tables of methods, and the tables here with the same columns.
_TABLES: dict[str, type[TableSource]] = {
    "2": BaseToNovelTable,
    "3": FewShotTable,
    "4": ZeroShotTable,
    "5": FullySupervisedTable,
}
_COLUMNS = (
    Column("Quoted", format=".2f"),
    Column("Run here", format=".2f"),
    Column("Difference", format=".2f"),
    Column("from", "95 % interval", ".2f"),
    Column("to", "95 % interval", ".2f"),
    Column("Inside"),
)
_NO_INTERVAL = Cell(origin="absent", source="no interval: the predictions were not read, or are not there")
_INSIDE, _OUTSIDE, _UNKNOWN = "yes", "no", "not known"


@dataclass(frozen=True, eq=False)
class Match:
    """A published number, and the cell of a configuration that was run here."""

    table: str
    paper_row: str
    label: str
    quoted: Cell
    cell: Cell
    interval: tuple[float, float] | None


@pb.register_table("reproduction")
class ReproductionTable(TableSource):
    """Published against run here: each number of the MSTA paper that belongs to a configuration with records.

    Tables 2 to 7, for ViCLIP-B/16 with weights that are not random, on the data sets, splits and shots that the paper's
    table shows. Difference: absolute, in the number's unit (percentage points; millions for trained parameters).
    Inside: whether the quoted value lies inside the 95 % interval of the number run here. Configurations of one method
    each have their own rows.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def build(self, evidence: Evidence) -> Table:
        """The table of all records that belong to a published number. Raises UsageError where none does."""
        if evidence.published is None:
            raise UsageError("this table compares with published numbers: leave out --no-published")
        quoted = _Quoted(evidence.published)
        found = [*_of_tables(evidence, quoted), *_of_studies(evidence, quoted)]
        if not found:
            raise UsageError(
                "no record here belongs to a published number: these are of viclip-b16 with published weights, on the "
                "paper's data sets, split 1 and its shots. See: petl-bench run --spec FILE, one file for each table"
            )
        return Table(
            name="reproduction",
            title="Reproduction: numbers of the MSTA paper, and the same run here",
            corner="Number",
            columns=_COLUMNS,
            groups=tuple(_groups(found)),
            footers=(
                _count(found),
                "Difference: absolute, in percentage points (Trained M: millions of parameters). Interval: over the "
                "choice of clips and of seeds, of the number run here; what the paper's own spread is, it seldom says.",
                f"Quoted numbers have one decimal, and the harmonic means of Table 7 two. {SELECTED_ON_TEST}",
            ),
        )


class _Quoted:
    """Finds published numbers."""

    def __init__(self, published: pd.DataFrame) -> None:
        filled = published.fillna({"shots": 0})
        keys = zip(*[filled[name] for name in ("table", "method", "dataset", "shots", "metric")], strict=True)
        self._cells = {
            key: Cell(float(value), origin="quoted", source=str(source))
            for key, value, source in zip(keys, filled["value"], filled["source"], strict=True)
        }

    def of(self, table: str, method: str, place: Published | None) -> Cell | None:
        """The number of a row of the paper; None where it has none."""
        return None if place is None else self._cells.get((table, method, *place))


# What belongs together


def _of_tables(evidence: Evidence, quoted: _Quoted) -> Iterable[Match]:
    for table, kind in _TABLES.items():
        found = _compared(kind(), evidence.records)
        if found is None:
            continue
        named = {row: name for row in found.comparison.configurations if (name := paper_name(row))}
        yield from _matches(table, found.comparison, found.spots, named, quoted, evidence.outcomes)


def _compared(source: TableSource, records: pd.DataFrame) -> Compared | None:
    """What a table shows; None where no record fits it."""
    try:
        return source.compared(records)
    except UsageError:
        return None


def _of_studies(evidence: Evidence, quoted: _Quoted) -> Iterable[Match]:
    """Tables 6 and 7: rows of groups that differ in one thing."""
    comparison = compare(evidence.records, means.SETTING, means.METRICS)
    studies: list[Study] = [*ablation.studies(comparison), *descriptions.studies(comparison)]
    for study in studies:
        spots = means.spots(comparison, study.rows, {})
        yield from _matches(study.table, comparison, spots, study.published, quoted, evidence.outcomes)


def _matches(
    table: str,
    comparison: Comparison,
    spots: Sequence[Spot],
    named: Mapping[Configuration, str],
    quoted: _Quoted,
    outcomes: Outcomes | None,
) -> Iterable[Match]:
    """The numbers of these rows that the paper's table has, row by row; `named`: the rows' names in the paper."""
    statistics = None if outcomes is None else CellStatistics(comparison, outcomes)
    labels = _labels(named)
    for row, name in named.items():
        for spot in spots:
            published, cell = quoted.of(table, name, spot.published), spot.cell(row)
            if published is None or cell.value is None:
                continue
            interval = statistics.interval(row, spot.measure) if statistics and spot.measure else None
            label = f"{spot.column.group} {spot.column.label}{labels[row]}"
            yield Match(table, name, label, published, cell, interval)


def _labels(named: Mapping[Configuration, str]) -> dict[Configuration, str]:
    """What tells the configurations of one row of the paper apart; nothing where there is one."""
    by_name: dict[str, list[Configuration]] = defaultdict(list)
    for row, name in named.items():
        by_name[name].append(row)
    return {
        row: f": {label}" if len(rows) > 1 else ""
        for rows in by_name.values()
        for row, label in row_labels(rows).items()
    }


# Rows


def _groups(found: Sequence[Match]) -> list[RowGroup]:
    """By table of the paper and row of it, in the order of the paper's tables."""
    ordered = sorted(found, key=lambda match: match.table)
    return [
        RowGroup(f"Table {table}", tuple(map(_row, some)), paper_row)
        for (table, paper_row), some in groupby(ordered, key=lambda match: (match.table, match.paper_row))
    ]


def _row(match: Match) -> Row:
    difference = abs(_number(match.cell) - _number(match.quoted))
    ends = [Cell(end) for end in match.interval] if match.interval else [_NO_INTERVAL, _NO_INTERVAL]
    return Row(match.label, (match.quoted, match.cell, Cell(difference), *ends, Cell(_inside(match))))


def _number(cell: Cell) -> float:
    assert isinstance(cell.value, float)
    return cell.value


def _inside(match: Match) -> str:
    if match.interval is None:
        return _UNKNOWN
    low, high = match.interval
    return _INSIDE if low <= _number(match.quoted) <= high else _OUTSIDE


def _count(found: Sequence[Match]) -> str:
    verdicts = [_inside(match) for match in found]
    known = [verdict for verdict in verdicts if verdict != _UNKNOWN]
    differences = sorted(abs(_number(match.cell) - _number(match.quoted)) for match in found)
    return (
        f"{len(found)} published numbers of configurations run here; largest difference {differences[-1]:.2f}. Inside "
        f"the interval: {known.count(_INSIDE)} of {len(known)} whose interval is known."
    )
