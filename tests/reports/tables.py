"""Tables of synthetic records, and how to find a cell in one."""

from __future__ import annotations

from pathlib import Path

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Figure, Point
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Row, Table
from petl_bench.records.outcomes import StoredOutcomes


def table_of(runs: Path, name: str, *, published: bool = False) -> Table:
    source = TABLES.get(name)()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published() if published else None))
    return table


def figure_of(runs: Path, name: str, *, published: bool = False, statistics: bool = False) -> Figure:
    source = TABLES.get(name)()
    quoted, outcomes = source.published() if published else None, StoredOutcomes([runs]) if statistics else None
    figure: Figure = source.figure(Evidence(pb.load_records(runs), quoted, outcomes))
    return figure


def points_of(figure: Figure) -> dict[str, Point]:
    return {point.label: point for series in figure.series for point in series.points}


def rows_of(table: Table) -> dict[str, Row]:
    return {row.label: row for group in table.groups for row in group.rows}


def cell_of(table: Table, row: str, group: str, label: str) -> Cell:
    index = next(i for i, column in enumerate(table.columns) if (column.group, column.label) == (group, label))
    return rows_of(table)[row].cells[index]


def marks_besides(cell: Cell) -> tuple[str, ...]:
    """The marks of a cell of viclip-tiny, without those that it always has away from base2novel on motion."""
    return tuple(word for word in cell.marks if word not in ("demonstration", "untuned-rate"))


def headers_of(table: Table) -> list[tuple[str, str]]:
    return [(column.group, column.label) for column in table.columns if column.group != "Trained"]


def notes_of(table: Table) -> str:
    return "\n".join([*table.footers, *table.provenance])
