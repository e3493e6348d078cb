"""The trade-off: trained parameters against the harmonic mean of base and novel accuracy, as a picture and a table."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import Summary, harmonic_mean, harmonic_mean_over_seeds, summarise
from petl_bench.analysis.cells import CellStatistics, Measure, ScoredOn
from petl_bench.analysis.comparison import CaseKey, Comparison, Configuration, bundles, case_labels, row_labels
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.marks import marks_of
from petl_bench.api.figure import Axis, Figure, Point, Series, joined, pareto_front
from petl_bench.api.marks import barring, mark_of, symbols
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, published_numbers
from petl_bench.tables import notes as table_notes
from petl_bench.tables import table_parts
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence, OutcomeSource

SETTING = "base2novel"
METRICS = ("base_top1", "novel_top1")
#: The case that the paper's Table 2 shows: the published lists (split 1) with 16 shots.
_PUBLISHED_TABLE, _PUBLISHED_SPLIT, _PUBLISHED_SHOTS = "2", "1", 16
#: The published rows (kind of transfer, method) that train nothing: the only ones whose parameters are known.
_FROZEN = {("zero-shot", "Vanilla CLIP"), ("efficient-transfer", "Zero-ViCLIP")}
_OVER_DATA = (
    "Mean: over data sets and splits, each counting once, whatever its number of clips; only those that all rows of a "
    "group have. HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own."
)
_FRONT = (
    "Front: no other row with the same backbone and data is better with as many trained parameters, or as good with "
    "fewer; only rows that may be ranked are compared."
)
_SEVERAL = "Tests: Holm's correction is made for each backbone and protocol."
_STD = "Error bars: ± sample standard deviation over seeds."
_INTERVAL = "Error bars: 95 % interval over clips and seeds."
_ZERO = "What trains nothing stands at 0, left of the break in the axis, which is logarithmic right of it."
_COUNTS = (
    "Table 2 of the MSTA paper publishes no parameter counts: of its rows, the picture shows those that train nothing. "
    "The counts of its Table 5 belong to another setting."
)


@dataclass(frozen=True)
class _Quoted:
    """A published row over the data sets of a panel, in percent. `frozen`: it trains nothing."""

    kind: str
    method: str
    source: str
    base: float
    novel: float

    @property
    def harmonic_mean(self) -> float:
        return harmonic_mean(self.base, self.novel)

    @property
    def frozen(self) -> bool:
        return (self.kind, self.method) in _FROZEN


@dataclass(frozen=True)
class _Panel:
    """Rows that may be compared: one backbone, one protocol, and in `comparison` all rows have all cases.

    `notes`: which rows and cases are left out, and why.
    """

    title: str
    data: str
    comparison: Comparison
    labels: dict[Configuration, str]
    quoted: tuple[_Quoted, ...]
    notes: tuple[str, ...]


@pb.register_table("tradeoff")
class TradeOffTable(TableSource):
    """What a better harmonic mean costs: trained parameters against base-to-novel accuracy, with the Pareto front.

    As a picture (`--format pdf`, `svg`, `png`) and as a table. Backbones, protocols and numbers of shots are groups, or
    panels, of their own; within one, only the data sets count that all rows have. The front is that of the rows that
    may be ranked. Quoted: Table 2 of the MSTA paper (CVPR 2025), over the same data sets; in the picture, only its rows
    that train nothing, as no other parameter counts are published for it.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError where there are none."""
        comparison, panels, left_out = _compared(evidence)
        spots = [_spots(panel.comparison, evidence.outcomes) for panel in panels]
        groups = [_run_groups(panel, own, evidence) for panel, own in zip(panels, spots, strict=True)]
        quoted = list(dict.fromkeys(group for panel in panels for group in _quoted_groups(panel)))
        return Table(
            name="tradeoff",
            title="Trade-off: trained parameters against base-to-novel accuracy in percent",
            corner="Method",
            columns=tuple(spot.column for spot in spots[0]),
            groups=(*itertools.chain(*groups), *quoted),
            footers=(
                _OVER_DATA,
                _FRONT,
                *left_out,
                *table_notes.seed_notes(comparison),
                table_notes.RANKS,
                *([_SEVERAL] if len(panels) > 1 and evidence.outcomes else []),
                "Trained: millions of trained parameters.",
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST} {_COUNTS}"] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """One panel for each group of rows. Raises UsageError where there are no base2novel records."""
        _, panels, left_out = _compared(evidence)
        pictures = [_picture(panel, evidence) for panel in panels]
        marks = {
            mark
            for panel in panels
            for row in panel.labels
            for mark in _shown(panel.comparison, row, evidence.outcomes).marks
        }
        notes = (
            _OVER_DATA,
            _STD if evidence.outcomes is None else _INTERVAL,
            "Pareto front: of the runs here that may be ranked.",
            _ZERO,
            *[f"{mark.symbol}: {mark.meaning}." for mark in map(mark_of, sorted(marks))],
            *left_out,
            *([f"{SELECTED_ON_TEST} {_COUNTS}"] if any(panel.quoted for panel in panels) else []),
        )
        return joined(pictures, notes)


# What is compared with what


def _compared(evidence: Evidence) -> tuple[Comparison, list[_Panel], list[str]]:
    """The comparison, its panels that have something to show, and what had to be left out."""
    comparison = compare(evidence.records, SETTING, METRICS)
    table_parts.refuse_nothing(comparison, SETTING)
    panels = _panels(comparison, evidence.published)
    notes = [note for panel in panels for note in panel.notes]
    shown = [panel for panel in panels if panel.comparison.runs]
    if not shown:
        raise UsageError(f"no row has one seed on all of its data sets. {' '.join(notes)}")
    return comparison, shown, notes


def _panels(comparison: Comparison, published: pd.DataFrame | None) -> list[_Panel]:
    protocols: dict[tuple[object, ...], list[CaseKey]] = defaultdict(list)
    for case in comparison.cases:
        protocols[case.setting_version, case.setting_options, case.shots, case.part, case.selected].append(case)
    return [
        _panel(comparison, rows, cases, published)
        for rows in comparison.groups().values()
        for cases in protocols.values()
        if any(comparison.of(row, case) for row in rows for case in cases)
    ]


def _panel(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[CaseKey], published: pd.DataFrame | None
) -> _Panel:
    labels, names = row_labels(rows), case_labels(comparison.cases, besides="shots")
    having, common = _common(comparison, rows, cases)
    shown = [row for row in having if _seeds(comparison, row, common)]
    title = f"{rows[0].backbone} ({rows[0].weights} weights)"
    data = _data(common, [names[case] for case in common])
    lacking = [labels[row] for row in rows if row not in shown and any(comparison.of(row, case) for case in cases)]
    unused = [names[case] for case in cases if case not in common and any(comparison.of(row, case) for row in shown)]
    notes = [
        (lacking, "left out, for want of a data set or of a seed that all data sets have"),
        (unused, "not counted, as some rows lack it"),
    ]
    return _Panel(
        title=title,
        data=data,
        comparison=replace(
            comparison, runs={(row, case): comparison.of(row, case) for row in shown for case in common}
        ),
        labels=row_labels(shown),
        quoted=tuple(_quoted(published, common)),
        notes=tuple(f"{title}, {data}: {meaning}: {table_notes.listed(them, 6)}." for them, meaning in notes if them),
    )


def _common(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[CaseKey]
) -> tuple[list[Configuration], list[CaseKey]]:
    """The rows that have the case that most rows have (nearly always: all), and the cases that all of them have."""
    having = {case: [row for row in rows if comparison.of(row, case)] for case in cases}
    fitting = max(having.values(), key=len)
    return fitting, [case for case, found in having.items() if set(fitting) <= set(found)]


def _data(cases: Sequence[CaseKey], names: Sequence[str]) -> str:
    shots = f"{cases[0].shots} shots, " if cases[0].shots else ""
    return f"{shots}{table_notes.listed(names)}"


# What a row shows; every row of a panel's comparison has every case


def _seeds(comparison: Comparison, row: Configuration, cases: Sequence[CaseKey]) -> list[int]:
    """The seeds that a row has on all of these cases."""
    return sorted(frozenset.intersection(*[comparison.seeds(row, case) for case in cases]))


def _over_cases(comparison: Comparison, row: Configuration, metric: int) -> list[float]:
    """For each seed, the mean of a metric over the cases."""
    values: dict[int, list[float]] = {seed: [] for seed in _seeds(comparison, row, comparison.cases)}
    for case in comparison.cases:
        for run in comparison.of(row, case):
            if run.seed in values:
                values[run.seed].append(run.values[metric])
    return [math.fsum(found) / len(found) for found in values.values()]


def _marks(comparison: Comparison, row: Configuration) -> tuple[str, ...]:
    return tuple(sorted({mark for case in comparison.cases for mark in marks_of(comparison, row, case)}))


_Summary = Callable[[Sequence[float], Sequence[float]], Summary]


def _cell(comparison: Comparison, summary: _Summary) -> Callable[[Configuration], Cell]:
    """What a row shows of a summary of base and novel accuracies by seed."""

    def cell(row: Configuration) -> Cell:
        seeds = _seeds(comparison, row, comparison.cases)
        trials = [run.trial for case in comparison.cases for run in comparison.of(row, case) if run.seed in seeds]
        found = summary(_over_cases(comparison, row, 0), _over_cases(comparison, row, 1))
        return Cell(found.mean, found.std, found.n, marks=_marks(comparison, row), trials=tuple(trials))

    return cell


def _mean(comparison: Comparison, label: str, summary: _Summary, evaluations: Sequence[str]) -> Spot:
    sides = tuple(tuple(ScoredOn(case, evaluation) for case in comparison.cases) for evaluation in evaluations)
    return Spot(Column(label, "Mean"), _cell(comparison, summary), ranked=True, measure=Measure(sides))


def _harmonic_mean(comparison: Comparison) -> Spot:
    return _mean(comparison, "HM", harmonic_mean_over_seeds, ("base", "novel"))


def _means(comparison: Comparison) -> list[Spot]:
    return [
        _mean(comparison, "Base", lambda base, _: summarise(base), ("base",)),
        _mean(comparison, "Novel", lambda _, novel: summarise(novel), ("novel",)),
        _harmonic_mean(comparison),
    ]


def _shown(comparison: Comparison, row: Configuration, outcomes: OutcomeSource | None) -> Cell:
    """The harmonic mean of a row with all of its marks."""
    return table_parts.cells_of(comparison, _means(comparison), row, outcomes)[-1]


def _spots(comparison: Comparison, outcomes: OutcomeSource | None) -> list[Spot]:
    front = _front(comparison, outcomes)

    def on_front(row: Configuration) -> Cell:
        if barring(_shown(comparison, row, outcomes).marks):
            return Cell(origin="absent", source="carries a mark that keeps it from being ranked")
        return Cell("yes" if _stand(comparison, row) in front else "no")

    return [table_parts.trained(comparison)[0], *_means(comparison), Spot(Column("Front"), on_front)]


def _stand(comparison: Comparison, row: Configuration) -> tuple[float, float]:
    """Trained parameters in millions, of the case where they are most, and harmonic mean in percent."""
    trained = max(run.trainable_params for case in comparison.cases for run in comparison.of(row, case))
    value = _harmonic_mean(comparison).cell(row).value
    assert isinstance(value, float)
    return trained / 1e6, value


def _front(comparison: Comparison, outcomes: OutcomeSource | None) -> tuple[tuple[float, float], ...]:
    """The Pareto front of the rows that may be ranked."""
    fit = [row for row in comparison.configurations if not barring(_shown(comparison, row, outcomes).marks)]
    return pareto_front(_stand(comparison, row) for row in fit)


# What is quoted


def _quoted(published: pd.DataFrame | None, cases: Sequence[CaseKey]) -> Iterable[_Quoted]:
    """The rows of Table 2 over the data sets of these cases; nothing where it does not have all of the cases."""
    if published is None or {(case.split, case.shots) for case in cases} != {(_PUBLISHED_SPLIT, _PUBLISHED_SHOTS)}:
        return
    names = {case.dataset for case in cases}
    numbers = published[(published["table"] == _PUBLISHED_TABLE) & published["dataset"].isin(names)]
    for (source, kind, method), part in numbers.groupby(["source", "group", "method"], sort=False):
        base, novel = (part[part["metric"] == metric]["value"].tolist() for metric in METRICS)
        if len(base) == len(novel) == len(names):
            means = math.fsum(base) / len(base), math.fsum(novel) / len(novel)
            yield _Quoted(str(kind), str(method), str(source), *means)


def _quoted_groups(panel: _Panel) -> list[RowGroup]:
    """The quoted rows by kind of transfer."""
    kinds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for each in panel.quoted:
        kinds[each.source, each.kind].append(Row(each.method, tuple(_quoted_cells(each)), ("quoted",)))
    return [RowGroup(f"Quoted: {source}, {panel.data}", tuple(rows), kind) for (source, kind), rows in kinds.items()]


def _quoted_cells(each: _Quoted) -> list[Cell]:
    known = Cell(0.0, origin="quoted", source="trains nothing")
    trained = known if each.frozen else Cell(origin="absent", source=f"no parameter count for {each.source}")
    means = [Cell(value, origin="quoted", source=each.source) for value in (each.base, each.novel, each.harmonic_mean)]
    return [trained, *means, Cell(origin="absent", source="not run here")]


# Table and picture of a panel


def _run_groups(panel: _Panel, spots: Sequence[Spot], evidence: Evidence) -> list[RowGroup]:
    groups = table_parts.run_groups(panel.comparison, spots, evidence)
    return [replace(group, title=f"{group.title}, {panel.data}") for group in groups]


def _picture(panel: _Panel, evidence: Evidence) -> Figure:
    methods: dict[str, list[Point]] = defaultdict(list)
    for row in panel.comparison.configurations:
        methods[row.method].append(_point(panel, row, evidence))
    quoted = [
        Series(each.method, (Point(0.0, each.harmonic_mean, each.method),), origin="quoted")
        for each in panel.quoted
        if each.frozen
    ]
    return Figure(
        name="tradeoff",
        title=f"{panel.title}, {panel.data}",
        x=Axis("Trained parameters (millions)", logarithmic=True),
        y=Axis("Harmonic mean of base and novel top-1 (%)"),
        series=(*[Series(method, tuple(points)) for method, points in methods.items()], *quoted),
        front=_front(panel.comparison, evidence.outcomes) or None,
        name_points=True,
    )


def _point(panel: _Panel, row: Configuration, evidence: Evidence) -> Point:
    x, y = _stand(panel.comparison, row)
    spot, cell = _harmonic_mean(panel.comparison), _shown(panel.comparison, row, evidence.outcomes)
    y_range = None if cell.std is None else (y - cell.std, y + cell.std)
    if evidence.outcomes is not None and spot.measure is not None:
        y_range = CellStatistics(panel.comparison, evidence.outcomes).interval(row, spot.measure)
    label = f"{panel.labels[row]} [{symbols(cell.marks)}]" if cell.marks else panel.labels[row]
    return Point(x, y, label, y_range, cell.trials)
