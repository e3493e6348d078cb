"""Rows of published numbers, beside those that were run here."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.api.published import PublishedNumber, PublishedTable
from petl_bench.api.table import Cell, Row, RowGroup
from petl_bench.tables.columns import MeasuredColumn, PublishedKey
from petl_bench.tables.notes import listed
from petl_bench.tables.quoted_notes import notes_of, selected_on_test

if TYPE_CHECKING:
    import pandas as pd


def quoted_groups(published: pd.DataFrame | None, table: str, columns: Sequence[MeasuredColumn]) -> list[RowGroup]:
    """The rows of a published table that have results in these columns, not trained parameters alone."""
    if published is None:
        return []
    shown, results = ({each.published for each in some} for some in (columns, [c for c in columns if c.ranked]))
    numbers = published[published["table"] == table].fillna({"dataset": "", "shots": 0, "group": "", "frames": ""})
    if results.isdisjoint(_keys(numbers)):
        return []
    numbers = numbers[[key in shown for key in _keys(numbers)]]
    has_result = numbers[[key in results for key in _keys(numbers)]]
    rows = set(_row_names(has_result))
    numbers = numbers[[row in rows for row in _row_names(numbers)]]
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


def _row_names(numbers: pd.DataFrame) -> list[tuple[str, ...]]:
    """What tells the published rows of a table apart."""
    return list(zip(*(numbers[name] for name in ("source", "group", "method", "frames")), strict=True))


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


# Rows of the user's own files


@dataclass(frozen=True)
class OwnRows:
    """The quoted rows of the user's own files.

    `selected`: as `selected_on_test` gives it; `provenance`: what changes how they read, and their files.
    """

    groups: tuple[RowGroup, ...]
    selected: tuple[str, ...]
    provenance: tuple[str, ...]


def own_rows(ledger: Iterable[PublishedTable], settings: Collection[str], columns: Sequence[MeasuredColumn]) -> OwnRows:
    """The rows of the user's own published tables that belong to a setting.

    A number stands in the first column of its data set and metric, and of its shots if it has some; without them, only
    if the columns of its data set are all of one number of shots. What fits no column is named in the provenance.
    """
    groups: list[RowGroup] = []
    unplaced: list[str] = []
    shown: list[PublishedTable] = []
    for table in ledger:
        numbers = [number for number in table.numbers if number.setting in settings]
        places = {id(number): place_of(number, columns) for number in numbers}
        unplaced += [f"{number.method}: {_named(number)}" for number in numbers if places[id(number)] is None]
        placed = [number for number in numbers if places[id(number)] is not None]
        if not placed:
            continue
        shown.append(table)
        frames = len({number.frames for number in placed}) > 1
        headings: dict[tuple[str, str], list[PublishedNumber]] = {}
        for number in placed:
            headings.setdefault((number.source, number.group), []).append(number)
        for (source, kind), some in headings.items():
            rows = _own_rows(some, frames, places, columns)
            groups.append(RowGroup(f"Quoted: {source}", tuple(rows), kind))
    provenance = notes_of(shown)
    if shown:
        files = listed(dict.fromkeys(table.file.name for table in shown))
        sources = listed(dict.fromkeys(source for table in shown for source in table.sources), 6)
        provenance.append(f"Given by --published-file {files}: {sources}.")
    if unplaced:
        provenance.append(f"Of --published-file, without a column here: {listed(unplaced, 6)}.")
    return OwnRows(tuple(groups), selected_on_test(shown), tuple(provenance))


def _named(number: PublishedNumber) -> str:
    shots = f", {number.shots} shots" if number.shots else ""
    return f"{number.metric} on {number.dataset or 'no data set'}{shots}"


def place_of(number: PublishedNumber, columns: Sequence[MeasuredColumn]) -> int | None:
    """The column that a number stands in; None if there is none, or if its shots would have to be guessed."""
    fitting = [
        place
        for place, column in enumerate(columns)
        if column.shows is not None
        and column.shows[2] == number.metric
        and column.shows[0] in ("", number.dataset)
        and (not number.shots or column.shows[1] in (0, number.shots))
    ]
    shots = {column.shows[1] for column in (columns[place] for place in fitting) if column.shows is not None}
    return fitting[0] if fitting and (number.shots or len(shots) == 1) else None


def _own_rows(
    numbers: Sequence[PublishedNumber],
    with_frames: bool,
    places: dict[int, int | None],
    columns: Sequence[MeasuredColumn],
) -> Iterable[Row]:
    """A row for each method, venue and number of frames, in the order of the file."""
    by_row: dict[tuple[str, str, str, str], list[PublishedNumber]] = {}
    for number in numbers:
        by_row.setdefault(number.row, []).append(number)
    for (_, method, _, frames), some in by_row.items():
        source = some[0].source
        cells = [Cell(origin="absent", source=f"not in {source}")] * len(columns)
        for number in some:
            place = places[id(number)]
            assert place is not None
            cells[place] = Cell(number.value, number.std, origin="quoted", source=source)
        yield Row(f"{method} ({frames} frames)" if with_frames else method, tuple(cells), marks=("quoted",))
