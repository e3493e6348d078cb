"""The table and figure `forgetting`: what adapted models have lost on data sets that they were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import petl_bench as pb
from petl_bench.analysis.averages import summarise
from petl_bench.analysis.cells import CellStatistics
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import ComparedCase, Configuration, values_of
from petl_bench.analysis.forgetting import Change, Elsewhere, Origin, elsewhere, measure, origins, without_source
from petl_bench.analysis.labels import case_displays, case_labels, host_display
from petl_bench.analysis.significance import holm
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Axis, Figure, Point, Series, joined
from petl_bench.api.registry import SETTINGS
from petl_bench.api.table import RUN_HERE, Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.tables import notes as table_notes
from petl_bench.tables.columns import NOT_RUN, cell_of_runs
from petl_bench.tables.forgetting import MEANING, cell_of_change, marks_elsewhere
from petl_bench.tables.ranking import AT_CHANCE, facts_of
from petl_bench.tables.tradeoff_picture import INTERVAL_NOTE, STD_NOTE, error_bar

_NONE = (
    "no evaluation on other data sets here. Make some: petl-bench run --methods lora,adaptformer --setting base2novel "
    "--forgetting ucf101,hmdb51"
)
_TESTED = (
    "p: paired test of the difference on the same clips and seeds, corrected for all of this table (Holm); none with "
    "one seed, which compares two runs and not two models."
)
_NO_FROZEN = Cell(origin="absent", source="no run of the frozen backbone with the same seeds")
_ONE_SEED = Cell(origin="absent", source="one seed compares two runs alone")
_UNKNOWN = Cell(origin="absent", source="per-clip predictions are not known")


@dataclass(frozen=True, eq=False)
class _Block:
    """The rows that one case has adapted on one backbone, under a title of their own."""

    title: str
    found: Elsewhere
    rows: list[Configuration]


@dataclass(frozen=True, eq=False)
class _Compared:
    """Blocks, and the other data sets: of each the values of its fields, its label and its name for readers."""

    blocks: list[_Block]
    datasets: dict[tuple[object, ...], tuple[str, str]]

    @property
    def comparisons(self) -> list[Comparison]:
        """Of each origin, once."""
        return list({id(block.found): block.found.comparison for block in self.blocks}.values())

    def places(self) -> Iterator[tuple[_Block, Configuration, ComparedCase]]:
        """Every row with every other data set that it was evaluated on, by blocks."""
        for block in self.blocks:
            for row in block.rows:
                yield from ((block, row, case) for case in block.found.cases if block.found.comparison.of(row, case))


@pb.register_table("forgetting")
class ForgettingTable(TableSource):
    """What adapted models have lost on data sets that they were not trained on, as `run --forgetting` evaluates it.

    For each of these data sets the zero-shot accuracy of the frozen backbone and of the adapted model (top-1; T2V R@1
    if captions are searched), their difference in points with its paired 95 % interval over clips and seeds, and a
    paired test. Rows are grouped by what they were adapted on. As a picture: a bar for each row and data set.
    """

    def build(self, evidence: Evidence) -> Table:
        """The table of all evaluations on other data sets. Raises UsageError if there are none."""
        compared = _compared(evidence)
        changes = {(block, row, case): block.found.change(row, [case]) for block, row, case in compared.places()}
        tests = _corrected(changes)
        groups = [_group(block, compared, changes, tests, evidence) for block in compared.blocks]
        comparisons = compared.comparisons
        lost = without_source(evidence.records)
        return Table(
            name="forgetting",
            title="Forgetting: zero-shot accuracy in percent on data sets that were not trained on",
            corner="Method",
            columns=tuple(column for names in compared.datasets.values() for column in _columns(*names)),
            groups=tuple(groups),
            footers=(
                f"Difference: {MEANING}",
                *([_TESTED] if evidence.outcomes is not None else []),
                *_distinct(table_notes.seed_notes(each) for each in comparisons),
                *_distinct(table_notes.protocol_notes(each, each.case_groups()) for each in comparisons),
                *_distinct(table_notes.data_notes(each) for each in comparisons),
                *([f"Left out: evaluations whose adapting trial has no record here ({lost})."] if lost else []),
            ),
            provenance=(
                *_distinct(table_notes.training_provenance(each) for each in comparisons),
                *_distinct(table_notes.data_provenance(each, each.case_groups()) for each in comparisons),
            ),
        )

    def figure(self, evidence: Evidence) -> Figure:
        """A panel for each block of rows and data set. Raises UsageError if there are no such records."""
        compared = _compared(evidence)
        panels = [
            _panel(block, case, evidence.outcomes is not None)
            for block in compared.blocks
            for case in block.found.cases
        ]
        notes = [
            f"Change: {MEANING}",
            STD_NOTE if evidence.outcomes is None else INTERVAL_NOTE,
            *_distinct(table_notes.seed_notes(each) for each in compared.comparisons),
        ]
        return joined([panel for panel in panels if panel.series], notes)


# What is compared


def _compared(evidence: Evidence) -> _Compared:
    """All that was evaluated on other data sets. Raises UsageError if nothing was."""
    records = evidence.records
    blocks = [block for origin, name in _named(origins(records)) for block in _blocks(origin, name, evidence)]
    if not blocks:
        raise UsageError(_NONE)
    cases = {values_of(case): case for block in blocks for case in block.found.cases}
    labels, displays = case_labels(list(cases.values())), case_displays(list(cases.values()))
    return _Compared(blocks, {values: (labels[case], displays[case]) for values, case in cases.items()})


def _named(found: Sequence[Origin]) -> Iterator[tuple[Origin, str]]:
    """Each origin, with its name for readers."""
    for setting in dict.fromkeys(origin.case.setting for origin in found):
        of_setting = [origin for origin in found if origin.case.setting == setting]
        names = case_displays([origin.case for origin in of_setting])
        for origin in of_setting:
            shots = f", {origin.case.shots} shots" if origin.case.shots and "shots" not in names[origin.case] else ""
            yield origin, f"adapted on {names[origin.case]}, {SETTINGS.display(setting)}{shots}"


def _blocks(origin: Origin, name: str, evidence: Evidence) -> Iterator[_Block]:
    found = elsewhere(evidence.records, origin.trials, origin.case.setting, evidence.outcomes)
    if found is None:
        return
    for rows in found.comparison.groups().values():
        if adapted := [row for row in rows if row in set(found.adapted)]:
            title = f"{RUN_HERE}: {name}; {host_display(rows[0].backbone, rows[0].weights)}"
            yield _Block(title, found, adapted)


# The table


def _columns(label: str, display: str) -> list[Column]:
    def column(name: str, form: str = ".1f") -> Column:
        return Column(name, label, form, group_display=display)

    return [
        column("Frozen"),
        column("Adapted"),
        column("Difference", "+.1f"),
        column("95 % interval"),
        column("p", ".2g"),
    ]


_Changes = dict[tuple[_Block, Configuration, ComparedCase], Change | None]
_Tests = dict[tuple[_Block, Configuration, ComparedCase], float]


def _corrected(changes: _Changes) -> _Tests:
    """The p-values of the differences, corrected for all of them; none of a single seed."""
    tested = {
        place: change.difference.p_value
        for place, change in changes.items()
        if change is not None and change.difference is not None and change.difference.is_of_methods
    }
    return dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}


def _group(block: _Block, compared: _Compared, changes: _Changes, tests: _Tests, evidence: Evidence) -> RowGroup:
    comparison = block.found.comparison
    cases = {values_of(case): case for case in block.found.cases}
    rows = []
    for row in block.rows:
        cells: list[Cell] = []
        for values in compared.datasets:
            case = cases.get(values)
            if case is None or not comparison.of(row, case):
                cells += [NOT_RUN] * 5
                continue
            place = (block, row, case)
            cells += _cells(block.found, row, case, changes[place], tests.get(place), evidence)
        label, display = comparison.row_labels[row], comparison.row_displays[row]
        rows.append(Row(label, tuple(cells), display=display, facts=facts_of(comparison, row)))
    return RowGroup(block.title, tuple(rows))


def _cells(
    found: Elsewhere, row: Configuration, case: ComparedCase, change: Change | None, p: float | None, evidence: Evidence
) -> list[Cell]:
    """Frozen, adapted, difference, interval and test of one row on one data set."""
    frozen = found.frozen(row)
    adapted = _accuracy(found, row, case, evidence)
    if frozen is None or change is None:
        return [_NO_FROZEN, adapted, _NO_FROZEN, _NO_FROZEN, _NO_FROZEN]
    difference = cell_of_change(change, marks_elsewhere(found, row, case))
    interval = _UNKNOWN
    if difference.interval is not None:
        interval = Cell("{:+.1f} to {:+.1f}".format(*difference.interval), trials=change.trials)
    test = _UNKNOWN if change.difference is None else _ONE_SEED if p is None else Cell(p, trials=change.trials)
    return [_accuracy(found, frozen, case, evidence), adapted, difference, interval, test]


def _accuracy(found: Elsewhere, row: Configuration, case: ComparedCase, evidence: Evidence) -> Cell:
    """What one model has on another data set."""
    runs = found.comparison.of(row, case)
    if not runs:
        return NOT_RUN
    cell = cell_of_runs(found.comparison, row, {case: runs}, summarise([run.values[0] for run in runs]))
    if found.is_at_chance(row, case):
        cell = replace(cell, marks=tuple(sorted({*cell.marks, AT_CHANCE})))
    if evidence.outcomes is None:
        return cell
    return replace(cell, interval=CellStatistics(found.comparison, evidence.outcomes).interval(row, measure([case])))


def _distinct(notes: Iterable[Iterable[str]]) -> list[str]:
    """The notes of several comparisons, each once."""
    return list(dict.fromkeys(note for some in notes for note in some))


# The figure


def _panel(block: _Block, case: ComparedCase, intervals: bool) -> Figure:
    """A bar for each row."""
    comparison = block.found.comparison
    shown = [(row, block.found.change(row, [case])) for row in block.rows if comparison.of(row, case)]
    cells = [(row, cell_of_change(change, ())) for row, change in shown if change is not None]
    points = tuple(
        Point(cell.value, float(place), comparison.row_displays[row], trials=cell.trials, x_range=bar)
        for place, (row, cell) in enumerate(cells)
        if isinstance(cell.value, float)
        for bar in [error_bar(cell, intervals=intervals)]
    )
    return Figure(
        name="forgetting",
        title=f"{comparison.case_displays[case]}: {block.title.removeprefix(f'{RUN_HERE}: ')}",
        x=Axis(f"Change on {comparison.case_displays[case]} (points)"),
        y=Axis("", names=tuple(comparison.row_displays[row] for row, _ in cells)),
        series=(Series("Difference", points, bars=True),) if points else (),
    )
