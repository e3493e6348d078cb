"""The trade-off: trained parameters against the harmonic mean of base and novel accuracy, as a picture and a table."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import case_labels
from petl_bench.api.evidence import Evidence, OutcomeSource
from petl_bench.api.figure import Figure, Point, joined
from petl_bench.api.marks import barring
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.reports.base2novel import BASE, NOVEL, NUMBERS, SETTING
from petl_bench.reports.published_numbers import BASE2NOVEL_SHOTS, BASE2NOVEL_SPLIT, MSTA_TABLES, SELECTED_ON_TEST
from petl_bench.tables import notes as table_notes
from petl_bench.tables.columns import MeasuredColumn, trained_columns
from petl_bench.tables.commands import commands
from petl_bench.tables.ranking import cells_of
from petl_bench.tables.rows import run_groups
from petl_bench.tables.setting_table import refuse_nothing
from petl_bench.tables.tradeoff_picture import TradeOffPanel, picture_notes

if TYPE_CHECKING:
    import pandas as pd

_METRICS = [BASE.name, NOVEL.name]
_PUBLISHED_TABLE = "2"
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
    outcomes: OutcomeSource | None
    quoted: tuple[_Quoted, ...]
    notes: tuple[str, ...]

    @cached_property
    def means(self) -> list[MeasuredColumn]:
        """Base, novel and harmonic mean, over the cases."""
        cases = self.comparison.cases
        return [
            MeasuredColumn(
                Column(number.label, "Mean"),
                number.over_cases(self.comparison, cases),
                ranked=True,
                measure=number.measure(cases),
            )
            for number in NUMBERS
        ]

    @cached_property
    def harmonic_means(self) -> TradeOffPanel:
        """Trained parameters against the harmonic mean of every row."""
        rows = self.comparison.configurations
        cells = {row: cells_of(self.comparison, self.means, row, self.outcomes)[-1] for row in rows}
        return TradeOffPanel(self.comparison, self.means[-1], cells, self.outcomes)

    @property
    def columns(self) -> list[MeasuredColumn]:
        """Of the table."""

        def on_front(row: Configuration) -> Cell:
            panel = self.harmonic_means
            if barring(panel.cells[row].marks):
                return Cell(origin="absent", source="carries a mark that keeps it from being ranked")
            return Cell("yes" if panel.position(row) in panel.front else "no")

        return [trained_columns(self.comparison)[0], *self.means, MeasuredColumn(Column("Front"), on_front)]


@pb.register_table("tradeoff")
class TradeOffTable(TableSource):
    """What a better harmonic mean costs: trained parameters against base-to-novel accuracy, with the Pareto front.

    As a picture (`--format pdf`, `svg`, `png`) and as a table. Backbones, protocols and numbers of shots are groups, or
    panels, of their own; within one, only the data sets count that all rows have. The front is that of the rows that
    may be ranked. Quoted: Table 2 of the MSTA paper (CVPR 2025), over the same data sets; in the picture, only its rows
    that train nothing, as no other parameter counts are published for it.
    """

    published_csv = (MSTA_TABLES,)

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError if there are none."""
        comparison, panels, left_out = _compared(evidence)
        groups = [_run_groups(panel, evidence) for panel in panels]
        quoted = list(dict.fromkeys(group for panel in panels for group in _quoted_groups(panel)))
        cases = comparison.case_groups()
        return Table(
            name="tradeoff",
            title="Trade-off: trained parameters against base-to-novel accuracy in percent",
            corner="Method",
            columns=tuple(each.column for each in panels[0].columns),
            groups=(*itertools.chain(*groups), *quoted),
            footers=(
                _OVER_DATA,
                _FRONT,
                *left_out,
                *table_notes.seed_notes(comparison),
                *([_SEVERAL] if len(panels) > 1 and evidence.outcomes else []),
                "Trained: millions of trained parameters.",
                *table_notes.protocol_notes(comparison),
                *table_notes.data_notes(comparison, cases),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST} {_COUNTS}"] if quoted else []),
            ),
            provenance=(
                table_notes.ranks_note(comparison),
                *table_notes.training_provenance(comparison),
                *table_notes.data_provenance(comparison, cases),
            ),
            commands=tuple(commands(comparison)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """One panel for each group of rows. Raises UsageError if there are no base2novel records."""
        _, panels, left_out = _compared(evidence)
        notes = (
            _OVER_DATA,
            *picture_notes([panel.harmonic_means for panel in panels], intervals=evidence.outcomes is not None),
            *left_out,
            *([f"{SELECTED_ON_TEST} {_COUNTS}"] if any(panel.quoted for panel in panels) else []),
        )
        return joined([_picture(panel) for panel in panels], notes)


# What is compared with what


def _compared(evidence: Evidence) -> tuple[Comparison, list[_Panel], list[str]]:
    """The comparison, its panels that have something to show, and what had to be left out."""
    every_run = compare(evidence.records, SETTING, _METRICS)
    if not every_run.runs and (evidence.records["setting"] == "retrieval").any():
        raise UsageError(
            f"no {SETTING} record here. The trade-off of the retrieval records, as a picture: "
            "petl-bench report --table retrieval --output fig.pdf"
        )
    refuse_nothing(every_run)
    whole = {place: runs for place, runs in every_run.runs.items() if not any(run.absences for run in runs)}
    comparison, without = replace(every_run, runs=whole), _without_mean(every_run)
    panels = _panels(comparison, evidence)
    notes = [*without, *[note for panel in panels for note in panel.notes]]
    shown = [panel for panel in panels if panel.comparison.runs]
    if not shown:
        raise UsageError(f"no row has one seed on all of its data sets. {' '.join(notes)}")
    return comparison, shown, notes


def _without_mean(comparison: Comparison) -> list[str]:
    """Rows that have no harmonic mean, and why."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for (row, _), runs in comparison.runs.items():
        for run in runs:
            for reason in run.absences.values():
                found[reason][comparison.row_labels[row]] = None
    return [f"Left out, without a harmonic mean: {table_notes.listed(rows, 6)}: {why}." for why, rows in found.items()]


def _panels(comparison: Comparison, evidence: Evidence) -> list[_Panel]:
    protocols: dict[tuple[object, ...], list[ComparedCase]] = defaultdict(list)
    for case in comparison.cases:
        protocols[case.setting_version, case.setting_options, case.shots, case.part, case.selected].append(case)
    return [
        _panel(comparison, rows, cases, evidence)
        for rows in comparison.groups().values()
        for cases in protocols.values()
        if any(comparison.of(row, case) for row in rows for case in cases)
    ]


def _panel(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[ComparedCase], evidence: Evidence
) -> _Panel:
    labels, names = comparison.row_labels, case_labels(comparison.cases, besides="shots")
    having, common = _common(comparison, rows, cases)
    shown = [row for row in having if comparison.common_seeds([row], common)]
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
        outcomes=evidence.outcomes,
        quoted=tuple(_quoted(evidence.published, common)),
        notes=tuple(f"{title}, {data}: {meaning}: {table_notes.listed(them, 6)}." for them, meaning in notes if them),
    )


def _common(
    comparison: Comparison, rows: Sequence[Configuration], cases: Sequence[ComparedCase]
) -> tuple[list[Configuration], list[ComparedCase]]:
    """The rows that have the case that most rows have (nearly always: all), and the cases that all of them have."""
    having = {case: [row for row in rows if comparison.of(row, case)] for case in cases}
    fitting = max(having.values(), key=len)
    return fitting, [case for case, found in having.items() if set(fitting) <= set(found)]


def _data(cases: Sequence[ComparedCase], names: Sequence[str]) -> str:
    shots = f"{cases[0].shots} shots, " if cases[0].shots else ""
    return f"{shots}{table_notes.listed(names)}"


# What is quoted


def _quoted(published: pd.DataFrame | None, cases: Sequence[ComparedCase]) -> Iterable[_Quoted]:
    """The rows of Table 2 over the data sets of these cases; nothing if it does not have all of the cases."""
    if published is None or {(case.split, case.shots) for case in cases} != {(BASE2NOVEL_SPLIT, BASE2NOVEL_SHOTS)}:
        return
    names = {case.dataset for case in cases}
    numbers = published[(published["table"] == _PUBLISHED_TABLE) & published["dataset"].isin(names)]
    for (source, kind, method), part in numbers.groupby(["source", "group", "method"], sort=False):
        base, novel = (part[part["metric"] == metric]["value"].tolist() for metric in _METRICS)
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


def _run_groups(panel: _Panel, evidence: Evidence) -> list[RowGroup]:
    groups = run_groups(panel.comparison, panel.columns, evidence)
    return [replace(group, title=f"{group.title}, {panel.data}") for group in groups]


def _picture(panel: _Panel) -> Figure:
    return panel.harmonic_means.picture(
        name="tradeoff",
        title=f"{panel.title}, {panel.data}",
        y_label="Harmonic mean of base and novel top-1 (%)",
        quoted=[Point(0.0, each.harmonic_mean, each.method) for each in panel.quoted if each.frozen],
    )
