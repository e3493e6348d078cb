"""Costs in a trade-off: those of one device, precision and batch size at a time, joined to the rows of a comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from petl_bench.analysis.configurations import Configuration
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import BACKBONES
from petl_bench.api.table import Cell, Row, RowGroup
from petl_bench.errors import UsageError
from petl_bench.reports.cost import Measured, measured
from petl_bench.tables.quantities import Axes, Quantity
from petl_bench.tables.tradeoff_picture import TradeOffAxis, TradeOffPanel, TradeOffRow

_COSTS_NOTE = (
    "Costs: of the record of `petl-bench cost` with the row's method, hyper-parameters and backbone, as it trains, "
    "not merged."
)
NO_RECORD = "no cost record of this method with these hyper-parameters on this backbone"


@dataclass(frozen=True, eq=False)
class Conditions:
    """The cost records of one backbone, device, precision, batch size and so on.

    `words`: in what these conditions differ from the others that are shown; `shared`: in what they do not.
    """

    backbone: str
    words: str
    shared: str
    records: tuple[Measured, ...]

    def record(self, row: Configuration) -> Measured | None:
        """The newest record of a row of a comparison; None if it has none."""
        wanted = (row.method, row.hyper_parameters, row.backbone, row.backbone_options)
        return self._records.get(wanted)

    @cached_property
    def _records(self) -> dict[tuple[str, str, str, str], Measured]:
        return {
            (each.method, each.hyper_parameters, each.backbone, each.backbone_options): each for each in self.records
        }

    def cell(self, row: Configuration, quantity: Quantity) -> Cell:
        """A cost of a row of a comparison."""
        record = self.record(row)
        return record.cell(quantity) if record else Cell(origin="absent", source=NO_RECORD)


def cost_command(methods: Iterable[str], backbone: str) -> str:
    """The command that measures methods on a backbone."""
    return f"petl-bench cost --methods {','.join(methods)} --backbone {backbone}"


def all_conditions(evidence: Evidence) -> list[Conditions]:
    """All conditions, or those that have every one of the words that were asked for. Raises UsageError for none."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for record in measured(evidence.records):
        found[record.conditions].append(record)
    wanted = [word.strip(",") for word in evidence.conditions.split()]
    chosen = [words for words in found if set(wanted) <= {word.strip(",") for word in words.split()}]
    if not chosen:
        raise UsageError(f"--conditions {evidence.conditions}: no cost record has them. There are: {'; '.join(found)}")
    parts = [words.split(", ")[1:] for words in chosen]  # without the backbone
    shared = [part for part in parts[0] if all(part in others for others in parts)]
    return [
        Conditions(
            backbone=found[words][0].backbone,
            words=", ".join(part for part in own if part not in shared),
            shared=", ".join(shared),
            records=tuple(found[words]),
        )
        for words, own in zip(chosen, parts, strict=True)
    ]


def costs_note(conditions: Sequence[Conditions]) -> str:
    """Which costs are shown, and how they were measured."""
    return f"{_COSTS_NOTE} Measured with: {conditions[0].shared}."


def distinct(numbers: Sequence[Mapping[object, tuple[object, ...]]]) -> list[int]:
    """The places of those that say more than an earlier one: numbers that no device changes are shown once."""
    chosen: list[int] = []
    for place, own in enumerate(numbers):
        if own and not any(own.items() <= numbers[other].items() for other in chosen):
            chosen.append(place)
    return chosen


# Costs against costs


@dataclass(frozen=True, eq=False)
class CostPanel:
    """All methods under one set of conditions."""

    title: str
    panel: TradeOffPanel


def cost_panels(conditions: Sequence[Conditions], axes: Axes) -> list[CostPanel]:
    """A panel for each of the conditions that has both costs. Raises UsageError if none has."""
    found = []
    for each in conditions:
        rows = (
            TradeOffRow(one.label, one.display, one.method, one.cell(axes.x), one.cell(axes.y), one.facts)
            for one in each.records
        )
        found.append(tuple(row for row in rows if row.x.value is not None and row.y.value is not None))
    chosen = distinct([{row.label: row.position for row in rows} for rows in found])
    if not chosen:
        raise UsageError(f"no cost record here has both {axes.x.name} and {axes.y.name}")
    x, y = axis_of(axes.x), axis_of(axes.y)
    return [
        CostPanel(
            ", ".join(filter(None, (BACKBONES.display(conditions[place].backbone), conditions[place].words))),
            TradeOffPanel(x, y, found[place], intervals=True),
        )
        for place in chosen
    ]


def cost_group(found: CostPanel) -> RowGroup:
    """The rows of a panel as a table shows them."""
    rows = tuple(
        Row(row.label, (row.x, row.y, found.panel.on_front(row)), display=row.display, facts=row.facts)
        for row in found.panel.rows
    )
    return RowGroup(f"Run here: {found.title}", rows)


def axis_of(quantity: Quantity) -> TradeOffAxis:
    """The axis of a picture that shows a quantity."""
    logarithmic = {"linear": False, "logarithmic": True, "by-values": None}[quantity.scale]
    return TradeOffAxis(quantity.label, quantity.lower_is_better, logarithmic)
