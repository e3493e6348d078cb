"""The trade-off: trained parameters against the harmonic mean of base and novel accuracy, as a picture and a table."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import petl_bench as pb
from petl_bench.analysis.averages import harmonic_mean
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration
from petl_bench.analysis.forgetting import FORGETTING
from petl_bench.analysis.from_records import compare
from petl_bench.api.evidence import Evidence, OutcomeSource
from petl_bench.api.figure import Figure, Point, joined
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.reports.base2novel import BASE, NOVEL, NUMBERS, SETTING
from petl_bench.reports.published_numbers import BASE2NOVEL_SHOTS, BASE2NOVEL_SPLIT, MSTA_TABLES
from petl_bench.reports.tradeoff_costs import (
    NO_RECORD,
    Conditions,
    all_conditions,
    axis_of,
    cost_command,
    cost_group,
    cost_panels,
    costs_note,
    distinct,
)
from petl_bench.tables import notes as table_notes
from petl_bench.tables.columns import MeasuredColumn, ShownNumber, trained_columns
from petl_bench.tables.commands import commands
from petl_bench.tables.forgetting import with_forgetting
from petl_bench.tables.quantities import TRAINED, Axes, Quantity, chosen_axes, usual_axes
from petl_bench.tables.quoted_notes import reading_notes, selected_on_test, stated_tables, with_selected
from petl_bench.tables.ranking import cells_of
from petl_bench.tables.rows import baseline_notes, run_groups
from petl_bench.tables.setting_table import refuse_nothing
from petl_bench.tables.shared_cases import shared_cases
from petl_bench.tables.tradeoff_picture import (
    TradeOffPanel,
    TradeOffRow,
    mark_notes,
    most_trained,
    picture_notes,
    rows_of,
    with_interval,
)
from petl_bench.tables.tuned import tuning_notes

if TYPE_CHECKING:
    import pandas as pd

_METRICS = [BASE.name, NOVEL.name]
_USUAL = usual_axes(SETTING, NUMBERS[-1])
_PUBLISHED_TABLE = "2"
#: The published rows (kind of transfer, method) that train nothing: the only ones whose parameters are known.
_FROZEN = {("zero-shot", "Vanilla CLIP"), ("efficient-transfer", "Zero-ViCLIP")}
_MEAN = (
    "Mean: over data sets and splits, each counting once, whatever its number of clips; only those that all rows of a "
    "group have."
)
_HARMONIC = "HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own."
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

    `notes`: which rows and cases are left out, and why; `costs`: what its costs are taken from, if it shows some.
    """

    title: str
    data: str
    comparison: Comparison
    outcomes: OutcomeSource | None
    quoted: tuple[_Quoted, ...]
    notes: tuple[str, ...]
    axes: Axes
    costs: Conditions | None = None

    @property
    def heading(self) -> str:
        """Backbone, data, and the conditions of the costs."""
        return ", ".join(filter(None, (self.title, self.data, self.costs.words if self.costs else "")))

    @cached_property
    def across(self) -> list[MeasuredColumn]:
        """What the table shows of x; the last one is on the axis."""
        return trained_columns(self.comparison)[:1] if _is_usual(self.axes) else self._columns_of(self.axes.x)

    @cached_property
    def up(self) -> list[MeasuredColumn]:
        """What the table shows of y; the last one is on the axis."""
        if not _is_usual(self.axes):
            return self._columns_of(self.axes.y)
        return [self._mean(Column(number.label, "Mean"), number) for number in NUMBERS]

    @cached_property
    def rows(self) -> dict[Configuration, TradeOffRow]:
        """The rows that have both x and y."""
        columns = [*self.across, *self.up]
        x: dict[Configuration, Cell] = {}
        y: dict[Configuration, Cell] = {}
        for row in self.comparison.configurations:
            cells = cells_of(self.comparison, columns, row, self.outcomes)
            across = most_trained(self.comparison, row) if self.axes.x.name == TRAINED else cells[len(self.across) - 1]
            x[row] = with_interval(across, self.comparison, row, self.across[-1], self.outcomes)
            y[row] = with_interval(cells[-1], self.comparison, row, self.up[-1], self.outcomes)
        return rows_of(self.comparison, x, y)

    @cached_property
    def trade_off(self) -> TradeOffPanel:
        """x against y of these rows."""
        x, y = axis_of(self.axes.x), axis_of(self.axes.y)
        return TradeOffPanel(x, y, tuple(self.rows.values()), self.outcomes is not None)

    @property
    def columns(self) -> list[MeasuredColumn]:
        """Of the table."""

        def on_front(row: Configuration) -> Cell:
            if row not in self.rows:
                return Cell(origin="absent", source="lacks one of the two")
            return self.trade_off.on_front(self.rows[row])

        return [*self.across, *self.up, MeasuredColumn(Column("Front"), on_front)]

    @property
    def unmeasured(self) -> list[Configuration]:
        """The rows without a cost record."""
        return [row for row in self.comparison.configurations if self.costs and not self.costs.record(row)]

    def noted(self) -> _Panel:
        """The panel with a note on the rows that lack a cost."""
        names = [self.comparison.row_displays[row] for row in self.comparison.configurations if row not in self.rows]
        note = f"{self.heading}: no such cost, and so not on the front: {table_notes.listed(names, 6)}."
        return replace(self, notes=(*self.notes, note)) if names else self

    def _columns_of(self, quantity: Quantity) -> list[MeasuredColumn]:
        if quantity.number is not None:
            metrics = [*quantity.terms, quantity]
            return [self._mean(each.column, each.number) for each in metrics if each.number is not None]
        if quantity.name == TRAINED:
            return [MeasuredColumn(quantity.column, partial(most_trained, self.comparison))]
        assert self.costs is not None
        return [MeasuredColumn(quantity.column, partial(self.costs.cell, quantity=quantity), ranked=True)]

    def _mean(self, column: Column, number: ShownNumber) -> MeasuredColumn:
        """The mean over the cases."""
        cases = self.comparison.cases
        cell = number.over_cases(self.comparison, cases)
        return MeasuredColumn(column, cell, ranked=True, measure=number.measure(cases))


@pb.register_table("tradeoff")
class TradeOffTable(TableSource):
    """What a better harmonic mean costs: trained parameters against base-to-novel accuracy, with the Pareto front.

    `--x` and `--y` choose others: any metric of the records, what is lost on other data sets (`forgetting`), trained
    parameters, or any cost that `petl-bench cost` measures, such as train_step_ms, training_memory or
    throughput_videos_per_s.
    As a picture (`--format pdf`, `svg`, `png`) and as a table. Backbones, protocols, numbers of shots and conditions of
    costs are groups, or panels, of their own; within one, only the data sets count that all rows have. The front is
    that of the rows that may be ranked. Quoted: Table 2 of the MSTA paper (CVPR 2025), over the same data sets; in the
    picture, only its rows that train nothing, as no other parameter counts are published for it.
    """

    published_csv = (MSTA_TABLES,)
    has_axes = True

    def build(self, evidence: Evidence) -> Table:
        """The table of all records that have what is asked for. Raises UsageError if there are none."""
        evidence = _with_forgetting(evidence)
        axes = _axes(evidence)
        if not axes.setting:
            return _cost_table(axes, all_conditions(evidence))
        comparison, panels, left_out = _compared(evidence, axes)
        groups = [_run_groups(panel, evidence) for panel in panels]
        quoted = list(dict.fromkeys(group for panel in panels for group in _quoted_groups(panel)))
        cases = comparison.case_groups()
        return Table(
            name="tradeoff",
            title=_title(axes),
            corner="Method",
            columns=tuple(each.column for each in panels[0].columns),
            groups=(*itertools.chain(*groups), *quoted),
            footers=(
                _over_data(axes),
                _front(axes),
                *left_out,
                *table_notes.seed_notes(comparison),
                *baseline_notes(comparison, evidence),
                *([_SEVERAL] if len(panels) > 1 and evidence.outcomes else []),
                *(["Trained: millions of trained parameters."] if _is_usual(axes) else []),
                *([costs_note(all_conditions(evidence))] if axes.of_costs else []),
                *tuning_notes(comparison, evidence.tunings),
                *table_notes.protocol_notes(comparison, cases),
                *table_notes.data_notes(comparison),
                *([_quoted_note()] if quoted else []),
            ),
            provenance=(
                table_notes.ranks_note(comparison),
                *table_notes.training_provenance(comparison),
                *table_notes.data_provenance(comparison, cases),
                *(_reading_notes() if quoted else []),
            ),
            commands=(*commands(comparison), *_cost_commands(panels)),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """One panel for each group of rows. Raises UsageError if no record has what is asked for."""
        evidence = _with_forgetting(evidence)
        axes = _axes(evidence)
        if not axes.setting:
            conditions = all_conditions(evidence)
            found = cost_panels(conditions, axes)
            shown = [each.panel for each in found]
            notes = [costs_note(conditions), *_drawn_front(axes, shown), *mark_notes(shown)]
            return joined([each.panel.picture("tradeoff", each.title) for each in found], notes)
        comparison, panels, left_out = _compared(evidence, axes)
        notes = [
            _over_data(axes),
            *picture_notes([panel.trade_off for panel in panels], intervals=evidence.outcomes is not None),
            *([] if _is_usual(axes) else _drawn_front(axes, [panel.trade_off for panel in panels])),
            *([costs_note(all_conditions(evidence))] if axes.of_costs else []),
            *left_out,
            *tuning_notes(comparison, evidence.tunings),
            *([*_reading_notes(), _COUNTS] if any(panel.quoted for panel in panels) else []),
        ]
        return joined([_picture(panel) for panel in panels], notes)


# What stands along the axes


def _axes(evidence: Evidence) -> Axes:
    """Those that were asked for; else trained parameters and the harmonic mean, whatever the records have."""
    usual = evidence.axes == ("", "")
    axes = _USUAL if usual else chosen_axes(evidence.records, evidence.axes, (_USUAL.x.name, _USUAL.y.name))
    if evidence.conditions and not axes.of_costs:
        raise UsageError("--conditions: neither axis is a cost; choose one with --x or --y, e.g. --x training_memory")
    return axes


def _with_forgetting(evidence: Evidence) -> Evidence:
    """The evidence with what models have lost on other data sets as a metric, if an axis is that."""
    if not any(name.rpartition(".")[2] == FORGETTING for name in evidence.axes):
        return evidence
    return replace(evidence, records=with_forgetting(evidence.records))


def _is_usual(axes: Axes) -> bool:
    return (axes.x.name, axes.y.name) == (_USUAL.x.name, _USUAL.y.name)


def _title(axes: Axes) -> str:
    if _is_usual(axes):
        return "Trade-off: trained parameters against base-to-novel accuracy in percent"
    return f"Trade-off: {axes.x.label} against {axes.y.label}"


def _over_data(axes: Axes) -> str:
    return f"{_MEAN} {_HARMONIC}" if any(axis.terms for axis in (axes.x, axes.y)) else _MEAN


def _front(axes: Axes) -> str:
    if _is_usual(axes):
        return _FRONT
    return (
        "Front: no other row of the group is at least as good in both and better in one; "
        f"{axes.directions}; only rows that may be ranked are compared."
    )


def _drawn_front(axes: Axes, panels: Sequence[TradeOffPanel]) -> list[str]:
    """What the front of a picture is, if one is drawn."""
    return [_front(axes)] if any(panel.front for panel in panels) else []


def _cost_table(axes: Axes, conditions: Sequence[Conditions]) -> Table:
    return Table(
        name="tradeoff",
        title=_title(axes),
        corner="Method",
        columns=(axes.x.column, axes.y.column, Column("Front")),
        groups=tuple(cost_group(each) for each in cost_panels(conditions, axes)),
        footers=(costs_note(conditions), _front(axes)),
    )


def _cost_commands(panels: Sequence[_Panel]) -> list[str]:
    """Those that measure what some row lacks."""
    lacking: dict[str, dict[str, None]] = defaultdict(dict)
    for panel in panels:
        for row in panel.unmeasured:
            lacking[row.backbone][row.method] = None
    return [cost_command(methods, backbone) for backbone, methods in lacking.items()]


# What is compared with what


def _compared(evidence: Evidence, axes: Axes) -> tuple[Comparison, list[_Panel], list[str]]:
    """The comparison, its panels that have something to show, and what had to be left out."""
    metrics = dict.fromkeys(metric.name for axis in (axes.x, axes.y) for metric in axis.metrics)
    every_run = compare(evidence.records, axes.setting, list(metrics))
    if not every_run.runs and (evidence.records["setting"] == "retrieval").any():
        raise UsageError(
            f"no {axes.setting} record here. The trade-off of the retrieval records, as a picture: "
            "petl-bench report --table retrieval --output fig.pdf"
        )
    refuse_nothing(every_run)
    whole = {place: runs for place, runs in every_run.runs.items() if not any(run.absences for run in runs)}
    comparison, without = replace(every_run, runs=whole), _without_mean(every_run, axes)
    panels = _panels(comparison, evidence, axes)
    if axes.of_costs:
        panels = _with_costs(panels, all_conditions(evidence))
    notes = [*without, *[note for panel in panels for note in panel.notes]]
    shown = [panel for panel in panels if panel.comparison.runs]
    if not shown:
        raise UsageError(f"no row has one seed on all of its data sets. {' '.join(notes)}")
    return comparison, shown, notes


def _with_costs(panels: Sequence[_Panel], conditions: Sequence[Conditions]) -> list[_Panel]:
    """Each panel under each of the conditions that has costs of its rows. Raises UsageError if none has."""
    found = []
    for panel in panels:
        own = [replace(panel, costs=each) for each in conditions]
        numbers = [{row: shown.position for row, shown in each.rows.items()} for each in own]
        found += [own[place].noted() for place in distinct(numbers)]
    if not found:
        rows = [row for panel in panels for row in panel.comparison.configurations]
        command = cost_command(dict.fromkeys(row.method for row in rows), rows[0].backbone)
        raise UsageError(f"{NO_RECORD}, for any row. Make some: {command}")
    return found


def _without_mean(comparison: Comparison, axes: Axes) -> list[str]:
    """Rows that lack a metric, and why."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for (row, _), runs in comparison.runs.items():
        for run in runs:
            for reason in run.absences.values():
                found[reason][comparison.row_displays[row]] = None
    what = "a harmonic mean" if _is_usual(axes) else "a number"
    return [f"Left out, without {what}: {table_notes.listed(rows, 6)}: {why}." for why, rows in found.items()]


def _panels(comparison: Comparison, evidence: Evidence, axes: Axes) -> list[_Panel]:
    return [
        _Panel(
            title=each.title,
            data=each.data,
            comparison=each.comparison,
            outcomes=evidence.outcomes,
            quoted=tuple(_quoted(evidence.published if _is_usual(axes) else None, each.comparison.cases)),
            notes=each.notes,
            axes=axes,
        )
        for each in shared_cases(comparison)
    ]


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


def _reading_notes() -> list[str]:
    return reading_notes((MSTA_TABLES,), (_PUBLISHED_TABLE,))


def _quoted_note() -> str:
    selected = selected_on_test(stated_tables((MSTA_TABLES,), (_PUBLISHED_TABLE,)))
    return with_selected(f"{table_notes.QUOTED} {_COUNTS}", selected)


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
    more = panel.heading.removeprefix(panel.title)
    return [replace(group, title=f"{group.title}{more}") for group in groups]


def _picture(panel: _Panel) -> Figure:
    quoted = [Point(0.0, each.harmonic_mean, each.method) for each in panel.quoted if each.frozen]
    return panel.trade_off.picture("tradeoff", panel.heading, quoted)
