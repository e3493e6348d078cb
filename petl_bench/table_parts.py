"""What tables have in common: columns that know their cells, groups of ranked rows, and quoted rows beside them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.comparison import CaseKey, Comparison, Configuration, Run, marks_of, row_labels, scored
from petl_bench.errors import UsageError
from petl_bench.statistics import Summary, summarise
from petl_bench.table import Cell, Column, Row, RowGroup, ranked

if TYPE_CHECKING:
    import pandas as pd

#: What a published number is of: data set, shots (0: all clips, or not said), metric.
Published = tuple[str, int, str]


@dataclass(frozen=True)
class Spot:
    """A column, what each row shows in it, and which published number belongs there."""

    column: Column
    cell: Callable[[Configuration], Cell]
    ranked: bool = False
    published: Published | None = None


NOT_RUN = Cell(origin="absent", source="not run")


def refuse_nothing(comparison: Comparison, setting: str) -> None:
    """Raise UsageError where there is no record to make a table of."""
    if not comparison.runs:
        raise UsageError(
            f"no {setting} record here. Make some: petl-bench run --methods zero_shot,lora --setting {setting}"
        )


# Columns


def trained(comparison: Comparison) -> list[Spot]:
    """Trained parameters, in millions and in percent of the backbone's."""
    return [
        Spot(Column("M", "Trained", ".3g"), lambda row: _parameters(comparison, row, lambda own, _: own / 1e6)),
        Spot(
            Column("%", "Trained", ".3g"), lambda row: _parameters(comparison, row, lambda own, all_: 100 * own / all_)
        ),
    ]


def _parameters(comparison: Comparison, row: Configuration, shown: Callable[[int, int], float]) -> Cell:
    runs = [run for case in comparison.cases for run in comparison.of(row, case)]
    found = {(run.trainable_params, run.backbone_params) for run in runs}
    if len(found) != 1:
        return Cell(origin="absent", source="differs between the runs of this row")
    return Cell(shown(*found.pop()))


def over_seeds(
    comparison: Comparison, case: CaseKey, summary: Callable[[Sequence[Run]], Summary]
) -> Callable[[Configuration], Cell]:
    """What a row shows of one case: a summary of its runs, one per seed, with their marks."""

    def cell(row: Configuration) -> Cell:
        runs = comparison.of(row, case)
        if not runs:
            return NOT_RUN
        found = summary(runs)
        return Cell(found.mean, found.std, found.n, marks=marks_of(comparison, row, case))

    return cell


def mean_of(metric: int) -> Callable[[Sequence[Run]], Summary]:
    """Mean and standard deviation of one of the metrics that the comparison was made with."""
    return lambda runs: summarise([run.values[metric] for run in runs])


def clips(comparison: Comparison, group: str, cases: Sequence[CaseKey], *, added: bool = False) -> list[Spot]:
    """A column of scored and expected test clips, where some row lacks some; nothing where all are complete.

    Of several cases, the one with the fewest clips scored; or, where they are `added`, all of them together.
    """
    counts: dict[Configuration, list[tuple[int, int]]] = {}
    for row in comparison.configurations:
        found = [scored(runs) for case in cases if (runs := comparison.of(row, case))]
        if found:
            counts[row] = found
    if all(used == expected for found in counts.values() for used, expected in found):
        return []

    def cell(row: Configuration) -> Cell:
        if row not in counts:
            return NOT_RUN
        used, expected = map(sum, zip(*counts[row], strict=True)) if added else min(counts[row])
        return Cell(f"{used:,}/{expected:,}", n=max(len(comparison.seeds(row, case)) for case in cases))

    return [Spot(Column("Clips", group), cell)]


# Rows that were run here


def run_groups(comparison: Comparison, spots: Sequence[Spot]) -> list[RowGroup]:
    """The rows that were run here, in groups that share backbone, weights and views, ranked within each."""
    return [_group(comparison, spots, rows) for rows in comparison.groups().values()]


def _group(comparison: Comparison, spots: Sequence[Spot], rows: list[Configuration]) -> RowGroup:
    labels = row_labels(rows)
    down = [[spot.cell(row) for row in rows] for spot in spots]
    down = [ranked(cells, spot.column) if spot.ranked else cells for cells, spot in zip(down, spots, strict=True)]
    across = zip(*down, strict=True)
    title = f"Run here: {rows[0].backbone} ({rows[0].weights} weights){_apart(comparison, rows)}"
    return RowGroup(title, tuple(Row(labels[row], cells) for row, cells in zip(rows, across, strict=True)))


def _apart(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """What else sets a group of rows apart: its views, and the source files of its adapters."""
    views = {run.views for row in rows for case in comparison.cases for run in comparison.of(row, case)}
    source = f", source files {rows[0].source_sha256[:8]}" if rows[0].source_sha256 else ""
    if len(views) > 1:
        return f", views by data set{source}"
    return source if views == {"1 x 1"} else f", {views.pop()} views{source}"


# Rows that are quoted


def quoted_groups(published: pd.DataFrame | None, table: str, spots: Sequence[Spot]) -> list[RowGroup]:
    """The rows of a published table, as far as it has numbers for these columns; nothing where it has none."""
    if published is None:
        return []
    shown = {spot.published for spot in spots}
    numbers = published[published["table"] == table].fillna({"shots": 0, "group": "", "frames": ""})
    numbers = numbers[[place in shown for place in _places(numbers)]]
    return [
        RowGroup(
            f"Quoted: {source}",
            tuple(_quoted_row(label, own, spots, str(source)) for label, own in _published_rows(part).items()),
        )
        for source, part in numbers.groupby("source", sort=False)
    ]


def _published_rows(numbers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The published rows by label.

    Where a method occurs in several kinds of transfer, its label names the kind; where rows differ in their number of
    frames, every label names its own.
    """
    several_frames = numbers["frames"].nunique() > 1
    parts = [
        (str(kind), str(method), str(frames), part)
        for (kind, method, frames), part in numbers.groupby(["group", "method", "frames"], sort=False)
    ]
    kinds = Counter(method for _, method in {(kind, method) for kind, method, _, _ in parts})
    rows = {}
    for kind, method, frames, part in parts:
        inside = [kind] if kinds[method] > 1 else []
        inside += [f"{frames} frames"] if several_frames else []
        rows[f"{method} ({', '.join(inside)})" if inside else method] = part
    return rows


def _places(numbers: pd.DataFrame) -> list[Published]:
    return list(zip(numbers["dataset"], numbers["shots"], numbers["metric"], strict=True))


def _quoted_row(label: str, numbers: pd.DataFrame, spots: Sequence[Spot], source: str) -> Row:
    known = {
        place: Cell(float(value), None if math.isnan(std) else float(std), origin="quoted", source=source)
        for place, value, std in zip(_places(numbers), numbers["value"], numbers["std"], strict=True)
    }
    absent = Cell(origin="absent", source=f"not in {source}")
    cells = [absent if spot.published is None else known.get(spot.published, absent) for spot in spots]
    return Row(label, tuple(cells), marks=("quoted",))
