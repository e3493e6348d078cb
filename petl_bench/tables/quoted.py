"""Rows of published numbers, beside those that were run here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petl_bench.api.table import Cell, Row, RowGroup
from petl_bench.tables.columns import MeasuredColumn, PublishedKey

if TYPE_CHECKING:
    import pandas as pd


def quoted_groups(published: pd.DataFrame | None, table: str, columns: Sequence[MeasuredColumn]) -> list[RowGroup]:
    """The rows of a published table, as far as it has numbers for these columns; nothing if it has no result there,
    such as trained parameters alone."""
    if published is None:
        return []
    shown, results = ({each.published for each in some} for some in (columns, [c for c in columns if c.ranked]))
    numbers = published[published["table"] == table].fillna({"dataset": "", "shots": 0, "group": "", "frames": ""})
    if results.isdisjoint(_keys(numbers)):
        return []
    numbers = numbers[[key in shown for key in _keys(numbers)]]
    frames = numbers["frames"].nunique() > 1
    return [
        RowGroup(
            f"Quoted: {source}",
            tuple(_row(label, own, columns, str(source)) for label, own in _rows(part, frames).items()),
            str(kind),
        )
        for (source, kind), part in numbers.groupby(["source", "group"], sort=False)
    ]


def _rows(numbers: pd.DataFrame, with_frames: bool) -> dict[str, pd.DataFrame]:
    """The published rows of one group by label, which names their number of frames if rows of the table differ."""
    return {
        f"{method} ({frames} frames)" if with_frames else str(method): part
        for (method, frames), part in numbers.groupby(["method", "frames"], sort=False)
    }


def _keys(numbers: pd.DataFrame) -> list[PublishedKey]:
    return list(zip(numbers["dataset"], numbers["shots"], numbers["metric"], strict=True))


def _row(label: str, numbers: pd.DataFrame, columns: Sequence[MeasuredColumn], source: str) -> Row:
    known = {
        key: Cell(float(value), None if math.isnan(std) else float(std), origin="quoted", source=source)
        for key, value, std in zip(_keys(numbers), numbers["value"], numbers["std"], strict=True)
    }
    absent = Cell(origin="absent", source=f"not in {source}")
    cells = [absent if column.published is None else known.get(column.published, absent) for column in columns]
    return Row(label, tuple(cells), marks=("quoted",))
