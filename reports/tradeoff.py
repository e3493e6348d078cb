"""The trade-off: trained parameters against the harmonic mean of base and novel accuracy, as a picture and a table."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench import table_notes, table_parts
from petl_bench.compare_records import compare
from petl_bench.comparison import CaseKey, Comparison, Configuration, bundles, case_labels, marks_of, row_labels
from petl_bench.errors import UsageError
from petl_bench.figure import Axis, Figure, Point, Series, joined, pareto_front
from petl_bench.missing_runs import commands
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, published_numbers
from petl_bench.statistics import Summary, harmonic_mean, harmonic_mean_over_seeds, summarise
from petl_bench.table import Cell, Column, Row, RowGroup, Table, TableSource, mark_of, ranked, symbols

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.evidence import Evidence

SETTING = "base2novel"
METRICS = ("base_top1", "novel_top1")
#: The case that the paper's Table 2 shows: the published lists (split 1) with 16 shots.
_PUBLISHED_TABLE, _PUBLISHED_SPLIT, _PUBLISHED_SHOTS = "2", "1", 16
#: The published rows (kind of transfer, method) that train nothing: the only ones whose parameters are known.
_FROZEN = {("zero-shot", "Vanilla CLIP"), ("efficient-transfer", "Zero-ViCLIP")}
_MEANS = tuple(Column(label, "Mean") for label in ("Base", "Novel", "HM"))
_COLUMNS = (Column("M", "Trained", ".3g"), Column("%", "Trained", ".3g"), *_MEANS, Column("Front"))
_OVER_DATA = (
    "Mean: over data sets, each counting once, whatever its number of clips; only data sets that all rows of a group "
    "have. HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own."
)
_FRONT = (
    "Front: no other row of its group is better with as many trained parameters, or as good with fewer; only rows "
    "without a mark are compared."
)
_ZERO = "What trains nothing stands at 0, left of the break in the axis, which is logarithmic right of it."
_COUNTS = (
    "Table 2 of the MSTA paper publishes no parameter counts: of its rows, the picture shows those that train nothing. "
    "The counts of its Table 5 belong to another setting."
)


@dataclass(frozen=True)
class _Standing:
    """Where one configuration stands: trained parameters, and accuracies in percent over the data sets of its panel."""

    row: Configuration
    label: str
    trained: int
    backbone: int
    base: Summary
    novel: Summary
    harmonic_mean: Summary
    marks: tuple[str, ...]


@dataclass(frozen=True)
class _Quoted:
    """A published row over the data sets of a panel, in percent."""

    label: str
    source: str
    base: float
    novel: float
    frozen: bool

    @property
    def harmonic_mean(self) -> float:
        return harmonic_mean(self.base, self.novel)


@dataclass(frozen=True)
class _Panel:
    """Rows that may be compared: one backbone, one protocol, the same cases."""

    title: str
    standings: tuple[_Standing, ...]
    quoted: tuple[_Quoted, ...]
    notes: tuple[str, ...]  #: which rows and cases are left out, and why

    def front(self) -> tuple[tuple[float, float], ...]:
        """The Pareto front of what was run here and carries no mark: trained parameters in millions, HM in percent."""
        fair = [each for each in self.standings if not each.marks]
        return pareto_front((each.trained / 1e6, each.harmonic_mean.mean) for each in fair)


@pb.register_table("tradeoff")
class TradeOffTable(TableSource):
    """What a better harmonic mean costs: trained parameters against base-to-novel accuracy, with the Pareto front.

    As a picture (`--format pdf`, `svg`, `png`) and as a table. Backbones, protocols and numbers of shots are groups, or
    panels, of their own; within one, only the data sets count that all rows have. The front is that of the rows without
    a mark. Quoted: Table 2 of the MSTA paper (CVPR 2025), over the same data sets; in the picture, only its rows that
    train nothing, as no other parameter counts are published for it.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError where there are none."""
        comparison, panels, notes = _compared(evidence)
        quoted = [_quoted_group(panel) for panel in panels if panel.quoted]
        return Table(
            name="tradeoff",
            title="Trade-off: trained parameters against base-to-novel accuracy in percent",
            corner="Method",
            columns=_COLUMNS,
            groups=(*map(_run_group, panels), *dict.fromkeys(quoted)),
            footers=(
                _OVER_DATA,
                _FRONT,
                *notes,
                *table_notes.seed_notes(comparison),
                table_notes.RANKS,
                table_notes.TRAINED,
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST} {_COUNTS}"] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """One panel for each group of rows. Raises UsageError where there are no base2novel records."""
        _, panels, left_out = _compared(evidence)
        words = sorted({mark for panel in panels for each in panel.standings for mark in each.marks})
        notes = (
            _OVER_DATA,
            "Error bars: ± sample standard deviation over seeds. Pareto front: of the runs here without a mark.",
            _ZERO,
            *[f"{mark.symbol}: {mark.meaning}." for mark in map(mark_of, words)],
            *left_out,
            *([f"{SELECTED_ON_TEST} {_COUNTS}"] if any(panel.quoted for panel in panels) else []),
        )
        return joined([_picture(panel) for panel in panels], notes)


# What is compared with what


def _compared(evidence: Evidence) -> tuple[Comparison, list[_Panel], list[str]]:
    """The comparison, its panels that have something to show, and what had to be left out."""
    comparison = compare(evidence.records, SETTING, METRICS)
    table_parts.refuse_nothing(comparison, SETTING)
    panels = _panels(comparison, evidence.published)
    notes = [note for panel in panels for note in panel.notes]
    shown = [panel for panel in panels if panel.standings]
    if not shown:
        raise UsageError(f"no row has one seed on all of its data sets. {' '.join(notes)}")
    return comparison, shown, notes


def _panels(comparison: Comparison, published: pd.DataFrame | None) -> list[_Panel]:
    protocols: dict[tuple[object, ...], list[CaseKey]] = defaultdict(list)
    for case in comparison.cases:
        protocols[case.setting_version, case.setting_options, case.shots, case.part].append(case)
    return [
        _panel(comparison, rows, cases, published)
        for rows in comparison.groups().values()
        for cases in protocols.values()
        if any(comparison.of(row, case) for row in rows for case in cases)
    ]


def _panel(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[CaseKey], published: pd.DataFrame | None
) -> _Panel:
    labels, names = row_labels(rows), case_labels(cases)
    fitting, common = _common(comparison, rows, cases)
    standings = [_standing(comparison, row, labels[row], common) for row in fitting if _seeds(comparison, row, common)]
    title = _title(rows[0], common, [names[case] for case in common])
    shown = {standing.row for standing in standings}
    lacking = [labels[row] for row in rows if row not in shown and any(comparison.of(row, case) for case in cases)]
    unused = [names[case] for case in cases if case not in common and any(comparison.of(row, case) for row in shown)]
    differing = [each.label for each in standings if len(_sizes(comparison, each.row, common)) > 1]
    notes = [
        (lacking, "left out, for want of these data sets or of a seed that has all of them"),
        (unused, "not counted, as some rows lack it"),
        (differing, "trained parameters differ between runs; the largest number counts"),
    ]
    return _Panel(
        title=title,
        standings=tuple(standings),
        quoted=tuple(_quoted(published, common)),
        notes=tuple(f"{title}: {meaning}: {table_notes.listed(names, 6)}." for names, meaning in notes if names),
    )


def _common(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[CaseKey]
) -> tuple[list[Configuration], list[CaseKey]]:
    """The rows that have the case that most rows have (nearly always: all), and the cases that all of them have."""
    having = {case: [row for row in rows if comparison.of(row, case)] for case in cases}
    fitting = max(having.values(), key=len)
    return fitting, [case for case, found in having.items() if set(fitting) <= set(found)]


def _title(row: Configuration, cases: Sequence[CaseKey], names: Sequence[str]) -> str:
    shots = f", {cases[0].shots} shots" if cases[0].shots else ""
    views = f", {row.other_views} views" if row.other_views else ""
    return f"{row.backbone} ({row.weights} weights){views}{shots}: {table_notes.listed(names)}"


# Where a row stands


def _standing(comparison: Comparison, row: Configuration, label: str, cases: Sequence[CaseKey]) -> _Standing:
    seeds = _seeds(comparison, row, cases)
    base, novel = ([_mean(comparison, row, cases, seed, metric) for seed in seeds] for metric in range(2))
    trained, backbone = max(_sizes(comparison, row, cases))
    return _Standing(
        row=row,
        label=label,
        trained=trained,
        backbone=backbone,
        base=summarise(base),
        novel=summarise(novel),
        harmonic_mean=harmonic_mean_over_seeds(base, novel),
        marks=tuple(sorted({mark for case in cases for mark in marks_of(comparison, row, case)})),
    )


def _seeds(comparison: Comparison, row: Configuration, cases: Sequence[CaseKey]) -> list[int]:
    """The seeds that a row has on all of these cases."""
    return sorted(frozenset.intersection(*[comparison.seeds(row, case) for case in cases]))


def _mean(comparison: Comparison, row: Configuration, cases: Sequence[CaseKey], seed: int, metric: int) -> float:
    """The mean over data sets of one seed's accuracy; that of a data set is the mean over its splits."""
    of_data: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        of_data[case.dataset] += [run.values[metric] for run in comparison.of(row, case) if run.seed == seed]
    return math.fsum(math.fsum(found) / len(found) for found in of_data.values()) / len(of_data)


def _sizes(comparison: Comparison, row: Configuration, cases: Sequence[CaseKey]) -> set[tuple[int, int]]:
    return {(run.trainable_params, run.backbone_params) for case in cases for run in comparison.of(row, case)}


# What is quoted


def _quoted(published: pd.DataFrame | None, cases: Sequence[CaseKey]) -> Iterable[_Quoted]:
    """The rows of Table 2 over the data sets of these cases; nothing where it does not have all of the cases."""
    if published is None or {(case.split, case.shots) for case in cases} != {(_PUBLISHED_SPLIT, _PUBLISHED_SHOTS)}:
        return
    names = {case.dataset for case in cases}
    numbers = published[(published["table"] == _PUBLISHED_TABLE) & published["dataset"].isin(names)]
    rows = {(str(kind), str(method)): part for (kind, method), part in numbers.groupby(["group", "method"], sort=False)}
    kinds = Counter(method for _, method in rows)
    for (kind, method), part in rows.items():
        base, novel = (part[part["metric"] == metric]["value"].tolist() for metric in METRICS)
        if len(base) == len(novel) == len(names):
            label = f"{method} ({kind})" if kinds[method] > 1 else method
            means = math.fsum(base) / len(base), math.fsum(novel) / len(novel)
            yield _Quoted(label, str(part["source"].iloc[0]), *means, frozen=(kind, method) in _FROZEN)


# As a table


def _run_group(panel: _Panel) -> RowGroup:
    front = panel.front()
    down = zip(_COLUMNS, *[_cells(each, front) for each in panel.standings], strict=True)
    across = zip(*[ranked(cells, column) if column in _MEANS else cells for column, *cells in down], strict=True)
    rows = zip(panel.standings, across, strict=True)
    return RowGroup(f"Run here: {panel.title}", tuple(Row(each.label, tuple(cells)) for each, cells in rows))


def _cells(each: _Standing, front: Sequence[tuple[float, float]]) -> list[Cell]:
    summaries = each.base, each.novel, each.harmonic_mean
    means = [Cell(found.mean, found.std, found.n, marks=each.marks) for found in summaries]
    on_front = "yes" if (each.trained / 1e6, each.harmonic_mean.mean) in front else "no"
    last = Cell(origin="absent", source="carries a mark") if each.marks else Cell(on_front)
    return [Cell(each.trained / 1e6), Cell(100 * each.trained / each.backbone), *means, last]


def _quoted_group(panel: _Panel) -> RowGroup:
    source = panel.quoted[0].source
    title = f"Quoted: {source}, over the same data sets"
    return RowGroup(title, tuple(Row(each.label, tuple(_quoted_cells(each)), ("quoted",)) for each in panel.quoted))


def _quoted_cells(each: _Quoted) -> list[Cell]:
    known = Cell(0.0, origin="quoted", source="trains nothing") if each.frozen else None
    unknown = Cell(origin="absent", source=f"no parameter count for {each.source}")
    means = [Cell(value, origin="quoted", source=each.source) for value in (each.base, each.novel, each.harmonic_mean)]
    return [known or unknown, known or unknown, *means, Cell(origin="absent", source="not run here")]


# As a picture


def _picture(panel: _Panel) -> Figure:
    methods: dict[str, list[Point]] = defaultdict(list)
    for each in panel.standings:
        mean, std = each.harmonic_mean.mean, each.harmonic_mean.std
        y_range = None if std is None else (mean - std, mean + std)
        label = f"{each.label} [{symbols(each.marks)}]" if each.marks else each.label
        methods[each.row.method].append(Point(each.trained / 1e6, mean, label, y_range))
    quoted = [
        Series(each.label, (Point(0.0, each.harmonic_mean, each.label),), origin="quoted")
        for each in panel.quoted
        if each.frozen
    ]
    return Figure(
        name="tradeoff",
        title=panel.title,
        x=Axis("Trained parameters (millions)", logarithmic=True),
        y=Axis("Harmonic mean of base and novel top-1 (%)"),
        series=(*[Series(method, tuple(points)) for method, points in methods.items()], *quoted),
        front=panel.front() or None,
        name_points=True,
    )
