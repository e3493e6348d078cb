"""What tables have in common: columns that know their cells, groups of ranked rows, and quoted rows beside them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from petl_bench.analysis.averages import Summary, summarise
from petl_bench.analysis.cells import Measure
from petl_bench.analysis.chance import guesses_of, is_at_chance
from petl_bench.analysis.comparison import FAMILIES, CaseKey, Comparison, Configuration, Run, row_labels, scored
from petl_bench.analysis.marks import marks_of
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.analysis.ranks import ranked
from petl_bench.api.marks import barring
from petl_bench.api.table import Cell, Column, Row, RowGroup
from petl_bench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

#: What a published number is of: data set, shots (0: all clips, or not said), metric.
Published = tuple[str, int, str]


@dataclass(frozen=True)
class Spot:
    """A column, what each row shows in it, what that measures, and which published number belongs there."""

    column: Column
    cell: Callable[[Configuration], Cell]
    ranked: bool = False
    published: Published | None = None
    measure: Measure | None = None
    own: Callable[[Configuration], list[float]] | None = None  #: the value of each of a row's seeds by itself
    tested: bool = True  #: whether rows are told apart in it, if it has a measure


@dataclass(frozen=True)
class Compared:
    """What a table shows of its records: a comparison, and its columns."""

    comparison: Comparison
    spots: list[Spot]


AT_CHANCE = "at-chance"
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
        trials = tuple(run.trial for run in runs)
        return Cell(found.mean, found.std, found.n, marks=marks_of(comparison, row, case), trials=trials)

    return cell


def by_seed(
    comparison: Comparison, cases: Sequence[CaseKey], summary: Callable[[Sequence[Run]], Summary]
) -> Callable[[Configuration], list[float]]:
    """The values of a row's seeds, each by itself: of its runs on those of the cases that the row has.

    Seeds that the row lacks on one of these cases are left out.
    """

    def values(row: Configuration) -> list[float]:
        found = [{run.seed: run for run in runs} for case in cases if (runs := comparison.of(row, case))]
        seeds = sorted(set(found[0]).intersection(*found)) if found else []
        return [summary([runs[seed] for runs in found]).mean for seed in seeds]

    return values


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


def run_groups(comparison: Comparison, spots: Sequence[Spot], evidence: Evidence) -> list[RowGroup]:
    """The rows that were run here, ranked within each group.

    Rows of a group share backbone, weights and views, and are of one family: zero-shot, parameter-efficient or full
    fine-tuning. If the evidence has outcomes, cells get their intervals, and those that no paired test tells apart from
    the best of their column and group share a sign with it (corrected for all pairs and columns of the table).
    """
    groups = [
        RankedRows(
            weights_title(comparison, rows),
            family,
            spots,
            rows,
            labels,
            [cells_of(comparison, spots, row, evidence.outcomes) for row in rows],
        )
        for family, rows, labels in _families(comparison)
    ]
    add_statistics(groups, comparison, evidence)
    if evidence.baseline:
        _add_deltas(groups, evidence.baseline)
    return [group.finished() for group in groups]


def weights_title(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """What rows of one group share: backbone, weights, views, source files."""
    return f"Run here: {rows[0].backbone} ({rows[0].weights} weights){_apart(comparison, rows)}"


def _families(comparison: Comparison) -> Iterable[tuple[str, list[Configuration], dict[Configuration, str]]]:
    """Name, rows and their labels, group by group."""
    for rows in comparison.groups().values():
        labels = row_labels(rows)
        families: dict[str, list[Configuration]] = defaultdict(list)
        for row in rows:
            families[comparison.family(row)].append(row)
        for family in FAMILIES:
            if family in families:
                yield family, families[family], labels


def cells_of(
    comparison: Comparison, spots: Sequence[Spot], row: Configuration, outcomes: OutcomeSource | None
) -> list[Cell]:
    """What a row shows in each column, marked where it is at chance: the accuracy, or one side of a harmonic mean."""
    cells = [spot.cell(row) for spot in spots]
    at_chance = set()
    for spot, cell in zip(spots, cells, strict=True):
        if spot.measure is None or not spot.tested or len(spot.measure.sides) > 1 or not isinstance(cell.value, float):
            continue
        (side,) = spot.measure.sides
        guesses = guesses_of(comparison, row, side, outcomes)
        if guesses is not None and is_at_chance(cell.value, guesses):
            at_chance.add(side)
    return [
        replace(cell, marks=tuple(sorted({*cell.marks, AT_CHANCE})))
        if spot.measure is not None and cell.value is not None and at_chance.intersection(spot.measure.sides)
        else cell
        for spot, cell in zip(spots, cells, strict=True)
    ]


class RankedRows:
    """Rows under a common title while their cells are worked out; `cells[spot][row]`, made of one list per row."""

    def __init__(
        self,
        title: str,
        section: str,
        spots: Sequence[Spot],
        rows: Sequence[Configuration],
        labels: Mapping[Configuration, str],
        cells: Sequence[Sequence[Cell]],
    ) -> None:
        self.title, self.section = title, section
        self.spots, self.rows, self.labels = spots, rows, labels
        down = [list(column) for column in zip(*cells, strict=True)]
        self.cells = [
            ranked(column, spot.column) if spot.ranked else column for column, spot in zip(down, spots, strict=True)
        ]

    def change(self, spot: int, row: int, **values: Any) -> None:
        """Set fields of one cell."""
        self.cells[spot][row] = replace(self.cells[spot][row], **values)

    def best(self, spot: int) -> int | None:
        """The first row that is best in a column; None where nothing is ranked."""
        return next((index for index, cell in enumerate(self.cells[spot]) if cell.rank == "best"), None)

    def finished(self) -> RowGroup:
        """What a renderer prints."""
        across = zip(*self.cells, strict=True)
        rows = tuple(Row(self.labels[row], cells) for row, cells in zip(self.rows, across, strict=True))
        return RowGroup(self.title, rows, self.section)


def add_statistics(groups: Sequence[RankedRows], comparison: Comparison, evidence: Evidence) -> None:
    """Intervals, and which cells no paired test tells from the best; nothing if no outcomes are known."""
    if evidence.outcomes is None or not groups:
        return
    measures = [spot.measure if spot.tested else None for spot in groups[0].spots]
    tests = PairwiseTests(comparison, measures, evidence.outcomes, evidence.damaged)
    for group in groups:
        for index, spot in enumerate(group.spots):
            if spot.measure is None:
                continue
            for place, row in enumerate(group.rows):
                if group.cells[index][place].value is not None:
                    group.change(index, place, interval=tests.statistics.interval(row, spot.measure))
            _mark_alike(group, index, tests)


def _mark_alike(group: RankedRows, index: int, tests: PairwiseTests) -> None:
    """Mark the ranked cells of a column that no test tells from the best, and the best with them."""
    best = group.best(index)
    if best is None:
        return
    cells = group.cells[index]
    bars = barring(cells[best].marks)
    rivals = [at for at, cell in enumerate(cells) if cell.value is not None and barring(cell.marks) == bars]
    alike = [at for at in rivals if at != best and not tests.are_told_apart(index, group.rows[best], group.rows[at])]
    for at in [best, *alike] if alike else []:
        group.change(index, at, alike=True)


def _add_deltas(groups: Sequence[RankedRows], baseline: str) -> None:
    """Differences from the baseline method's first row with the same backbone, weights, views and source."""
    references = {
        row.comparable: (group, place)
        for group in reversed(groups)
        for place, row in reversed(list(enumerate(group.rows)))
        if row.method == baseline
    }
    for group in groups:
        reference = references.get(group.rows[0].comparable)
        if reference is None:
            continue
        for index, spot in enumerate(group.spots):
            if spot.ranked:
                _add_delta(group, index, reference[0].cells[index][reference[1]])


def _add_delta(group: RankedRows, index: int, baseline: Cell) -> None:
    for place, cell in enumerate(group.cells[index]):
        if cell is not baseline and isinstance(cell.value, float) and isinstance(baseline.value, float):
            group.change(index, place, delta=cell.value - baseline.value)


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
    frames = numbers["frames"].nunique() > 1
    return [
        RowGroup(
            f"Quoted: {source}",
            tuple(_quoted_row(label, own, spots, str(source)) for label, own in _published_rows(part, frames).items()),
            str(kind),
        )
        for (source, kind), part in numbers.groupby(["source", "group"], sort=False)
    ]


def _published_rows(numbers: pd.DataFrame, with_frames: bool) -> dict[str, pd.DataFrame]:
    """The published rows of one group by label, which names their number of frames where rows of the table differ."""
    return {
        f"{method} ({frames} frames)" if with_frames else str(method): part
        for (method, frames), part in numbers.groupby(["method", "frames"], sort=False)
    }


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
