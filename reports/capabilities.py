"""The table of capabilities: which method fits which need, by what the methods declare."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import method_marks
from petl_bench.api.method import trainable_in
from petl_bench.api.registry import BACKBONES, METHODS, SETTINGS
from petl_bench.api.step import MethodTask
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.api.values.resolution import recipe_values
from petl_bench.errors import PetlBenchError, describe
from petl_bench.reports.cost import BUSY, SETTING

if TYPE_CHECKING:
    import pandas as pd

#: Whose recipe gives the values: the first of these settings that the method can be run in.
_SETTINGS = ("base2novel", "retrieval")
#: The made-up task that parameters are counted for: HMDB-51's classes.
_CLASSES, _SHOTS = 51, 16
#: The small backbones, for the commands that measure costs.
_MEASURED_ON = ("viclip-tiny", "clip-tiny")
_NOVEL = {"text": "yes", "frozen": "frozen", "none": "no"}
_COST_COLUMNS = (
    Column("mergeable", "Extra cost"),
    Column("FLOPs", "Extra cost", ".3f"),
    Column("videos/s", "Extra cost", ".3f", lower_is_better=False),
)
_NEED_COLUMNS = (
    Column("new", "Classes"),
    Column("needed", "Classes"),
    Column("reads", "Needs"),
    Column("graph", "Needs"),
    Column("tasks", "Runs in"),
    Column("not in", "Runs in"),
)
#: No number, and nothing to say.
_NONE = "-"
_MEANINGS = (
    "mergeable: the adapter is folded into the backbone's weights, and adds no FLOPs at inference; what is left "
    "without products, such as copies of keys and values, takes time (petl-bench cost --merged yes). in place: no "
    "module is added, for weights of the backbone train, or nothing. FLOPs and videos/s: of the others, as multiples "
    "of the frozen backbone's.",
    "new: classes without training clips are scored with what was trained (yes), by the frozen model, or not (no). "
    "needed: training needs classes; captions do not do.",
    "reads: what it needs beside the features of clips and classes: features of single frames, tokens, pixels, "
    "prompts, descriptions of the classes, or a frozen copy of the backbone. graph: training takes gradients through "
    "blocks of the backbone, which costs memory: petl-bench cost measures how much.",
)


@pb.register_table("capabilities")
class CapabilitiesTable(TableSource):
    """What each method can do and needs: trained parameters by backbone, cost at inference, classes, tasks.

    All is what methods declare, at the values of their recipes; `petl-bench check` tries it. Nothing has to be run
    first. If there are cost records, those of the conditions with the most methods give FLOPs and throughput.
    """

    needs_records: ClassVar[bool] = False
    reads_records: ClassVar[bool] = True

    def build(self, evidence: Evidence) -> Table:
        """One row for each registered method, one column for each registered backbone."""
        broken = {registry: registry.broken() for registry in (METHODS, BACKBONES)}
        methods = [_Method(METHODS.get(name)) for name in METHODS.names() if name not in broken[METHODS]]
        backbones = [BACKBONES.get(name) for name in BACKBONES.names() if name not in broken[BACKBONES]]
        costs = _costs(evidence.records)
        return Table(
            name="capabilities",
            title="What methods can do, and what they need",
            corner="Method",
            columns=(
                *(
                    Column(backbone.name, "Trained, M", ".4g", display=BACKBONES.display(backbone.name))
                    for backbone in backbones
                ),
                *_COST_COLUMNS,
                *_NEED_COLUMNS,
            ),
            groups=(RowGroup("Registered methods", tuple(_row(each, backbones, costs) for each in methods)),),
            footers=(
                *_MEANINGS,
                *_counted(methods, backbones),
                *_families(),
            ),
            provenance=(
                *_by_reason(methods, backbones, "adapted_to", "{method}, adapted to {backbones}: {reason}."),
                *_by_reason(methods, backbones, "refused_by", "{method} is not for {backbones}: {reason}."),
                *costs.notes(),
                *(f"Left out: {reason}" for reasons in broken.values() for reason in reasons.values()),
            ),
            commands=tuple(_commands(methods, backbones, costs)),
        )


@dataclass(frozen=True)
class _Method:
    """A method, and what it declares at the values of its recipes."""

    plugin: type[pb.Method]

    @property
    def name(self) -> str:
        return str(self.plugin.name)

    @property
    def display(self) -> str:
        """Its name for readers."""
        return METHODS.display(self.name)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The kinds of task: retrieval has no classes that could be trained on."""
        return tuple(kind for kind in self.plugin.tasks if kind == "classification" or self.plugin.novel == "text")

    @property
    def other_settings(self) -> list[str]:
        """The settings of its kinds of task that it cannot be run in all the same."""
        allowed, broken = self.plugin.settings, SETTINGS.broken()
        settings = [SETTINGS.get(name) for name in SETTINGS.names() if name not in broken]
        asked = [each for each in settings if not (each.command or each.option_of_run)]
        possible = [each.name for each in asked if each.kind in self.tasks]
        return [name for name in possible if allowed is not None and name not in allowed]

    def on(self, backbone: str) -> pb.Method:
        """The method with the values of its recipe for a backbone."""
        allowed = self.plugin.settings
        first = "base2novel" if "classification" in self.tasks else "retrieval"
        setting = first if allowed is None or first in allowed else next(iter(allowed))
        return self.plugin(**recipe_values(self.plugin, setting, backbone))

    @cached_property
    def usual(self) -> pb.Method:
        """The method with its usual values: those that do not depend on a backbone."""
        return self.on("")

    @property
    def costs_nothing(self) -> bool:
        """Whether inference costs what the frozen backbone does: merged, or with nothing added in the first place."""
        return bool(self.usual.mergeable or self.usual.in_place)

    def refused_by(self, backbone: type[pb.Backbone]) -> str:
        """Why it cannot be used on a backbone; "" if it can."""
        return self.plugin.hosted_by(backbone)

    def adapted_to(self, backbone: type[pb.Backbone]) -> str:
        """In what it departs from its paper on a backbone; "" if in nothing, or if it is not used there."""
        return "" if self.refused_by(backbone) else self.on(backbone.name).adapted_for(backbone.config)

    def measured_on(self, backbones: Sequence[type[pb.Backbone]]) -> str:
        """The backbone that its cost is measured on: a small one if that hosts it; "" if none does."""
        hosts = [each.name for each in backbones if not self.refused_by(each)]
        return next((name for name in (*_MEASURED_ON, *hosts) if name in hosts), "")

    def trained(self, backbone: type[pb.Backbone], classes: int = _CLASSES) -> int:
        """Trained parameters on a backbone. Raises whatever the method's formula raises."""
        kind = self.plugin.tasks[0]
        names = tuple(f"class {number}" for number in range(classes)) if kind == "classification" else ()
        return trainable_in(self.on(backbone.name), backbone.config, MethodTask(kind, names, classes * _SHOTS))


def _row(method: _Method, backbones: Sequence[type[pb.Backbone]], costs: _Costs) -> Row:
    usual = method.usual
    cells = (
        *(_trained(method, backbone) for backbone in backbones),
        Cell("in place") if usual.in_place else _yes(usual.mergeable),
        *costs.cells(method, backbones),
        Cell(_NOVEL[usual.novel]),
        _yes("retrieval" not in method.tasks),
        Cell(", ".join(_read(usual)) or _NONE),
        _yes(usual.needs_graph),
        Cell("both" if len(method.tasks) > 1 else method.tasks[0]),
        Cell(", ".join(map(SETTINGS.display, method.other_settings)) or _NONE),
    )
    marks = tuple(method_marks(usual))
    return Row(method.name, cells, marks, display=method.display, facts=(("method", method.name),))


def _trained(method: _Method, backbone: type[pb.Backbone]) -> Cell:
    """The trained parameters in millions; none with the reason."""
    if reason := method.refused_by(backbone):
        return Cell(origin="absent", source=reason)
    try:
        marks = method_marks(method.on(backbone.name), backbone.config)
        own = tuple(word for word in marks if word not in method_marks(method.usual))
        return Cell(method.trained(backbone) / 1e6, marks=own)
    except PetlBenchError as error:
        return Cell(origin="absent", source=str(error))
    except Exception as error:
        return Cell(origin="absent", source=f"its formula fails: {describe(error)}")


def _yes(holds: bool) -> Cell:
    return Cell("yes" if holds else "no")


def _read(method: pb.Method) -> list[str]:
    copies = ["frozen copy"] if method.reads_original else []
    return [*method.reads, *(["descriptions"] if method.description_count else []), *copies]


# Costs


@dataclass(frozen=True)
class _Costs:
    """The cost records that are shown: of each method, its latest record in the largest group that it is part of.

    `measured`: method -> its record; `groups`: conditions in words -> the methods whose numbers were measured so.
    """

    measured: Mapping[str, _Measured]
    groups: Mapping[str, Sequence[str]]

    def cells(self, method: _Method, backbones: Sequence[type[pb.Backbone]]) -> tuple[Cell, Cell]:
        """FLOPs and throughput against the frozen backbone."""
        if method.costs_nothing:
            return Cell("none"), Cell("none")
        found = self.measured.get(method.name)
        if found is None:
            place = method.measured_on(backbones)
            why = f"not measured; type: {_command([method.name], place)}" if place else "no backbone hosts it"
            return Cell(origin="absent", source=why), Cell(origin="absent", source=why)
        return found.cell(found.flops, timed=False), found.cell(found.throughput, timed=True)

    def notes(self) -> list[str]:
        """What the numbers are, and under which conditions they were measured."""
        if not self.groups:
            return ["FLOPs and videos/s come from cost records in --runs; there are none."]
        where = "; ".join(
            f"{conditions} ({', '.join(map(METHODS.display, methods))})" for conditions, methods in self.groups.items()
        )
        return [f"FLOPs and videos/s are measured: {where}."]


@dataclass(frozen=True)
class _Measured:
    """The extra cost of a method as trained: ratios to the frozen backbone, None for what a record lacks."""

    trial: str
    marks: tuple[str, ...]
    flops: float | None
    throughput: float | None

    def cell(self, value: float | None, *, timed: bool) -> Cell:
        """A ratio; a busy device makes one of times doubtful."""
        if value is None:
            return Cell(origin="absent", source="the cost record has no such number; see its notes")
        return Cell(value, marks=tuple(word for word in self.marks if timed or word != BUSY), trials=(self.trial,))


def _costs(records: pd.DataFrame) -> _Costs:
    groups: dict[str, dict[str, pd.DataFrame]] = defaultdict(dict)
    found = records[records["setting"] == SETTING].sort_values(["created", "trial"])
    for _, record in found.groupby("trial", sort=False):
        first = record.iloc[0]
        options = json.loads(first["setting_options"])
        if not options["merged"]:
            groups[_conditions(first["backbone"], options)][str(first["method"])] = record
    measured: dict[str, _Measured] = {}
    shown: dict[str, list[str]] = defaultdict(list)
    for conditions, of_methods in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        for name, record in sorted(of_methods.items()):
            if name not in measured:
                measured[name] = _measured(record, of_methods)
                shown[conditions].append(name)
    return _Costs(measured, shown)


def _conditions(backbone: str, options: Mapping[str, Any]) -> str:
    batch = "the largest batches" if options["batch_size"] == "largest" else f"batch {options['batch_size']}"
    return (
        f"{BACKBONES.display(backbone)}, {batch}, {options['precision']}, {options['device']}, "
        f"{options['threads']} CPU threads, protocol {options['protocol']}"
    )


def _measured(record: pd.DataFrame, group: Mapping[str, pd.DataFrame]) -> _Measured:
    metrics = _metrics(record)
    frozen = group.get(json.loads(record.iloc[0]["setting_options"])["frozen"])
    base = None if frozen is None else _metrics(frozen).get("flops_g")
    flops = metrics["flops_g"] / base if base and "flops_g" in metrics else None
    first = record.iloc[0]
    marks = tuple(str(first["marks"]).split())
    return _Measured(str(first["trial"]), marks, flops, metrics.get("throughput_vs_frozen"))


def _metrics(record: pd.DataFrame) -> dict[str, float]:
    return dict(zip(record["metric"], record["value"], strict=True))


def _commands(methods: Iterable[_Method], backbones: Sequence[type[pb.Backbone]], costs: _Costs) -> Iterable[str]:
    """The commands that measure what has no cost record."""
    places: dict[str, list[str]] = defaultdict(list)
    for method in methods:
        if method.name not in costs.measured and not method.costs_nothing:
            places[method.measured_on(backbones)].append(method.name)
    return [_command(names, place) for place, names in places.items() if place]


def _command(methods: Iterable[str], backbone: str) -> str:
    return f"petl-bench cost --methods {','.join(methods)} --backbone {backbone}"


# Notes


def _counted(methods: Sequence[_Method], backbones: Sequence[type[pb.Backbone]]) -> Iterable[str]:
    """At which values parameters are counted, and of which methods the task decides how many there are."""
    yield (
        "Trained parameters: millions, at the values of each method's own recipe for "
        f"{' or '.join(map(SETTINGS.display, _SETTINGS))} on that backbone; sizes differ between methods."
    )
    growing = [each.display for each in methods if _grows(each, backbones)]
    if growing:
        yield (
            f"With the number of classes or clips grow those of {', '.join(growing)}: counted for {_CLASSES} classes, "
            f"{_SHOTS} clips of each."
        )


def _families() -> Iterable[str]:
    """The families of methods, whose members are no rows."""
    for name in METHODS.families():
        yield f"The methods of the family {name} are not in this table; they are listed by: petl-bench show {name}."


def _grows(method: _Method, backbones: Sequence[type[pb.Backbone]]) -> bool:
    host = next((each for each in backbones if not method.refused_by(each)), None)
    try:
        return host is not None and method.trained(host) != method.trained(host, classes=2)
    except Exception:  # its cells say so
        return False


def _by_reason(methods: Iterable[_Method], backbones: Iterable[type[pb.Backbone]], of: str, form: str) -> Iterable[str]:
    """A line for each method and reason: why backbones refuse it, or how it is adapted to them."""
    for method in methods:
        places: dict[str, list[str]] = defaultdict(list)
        for backbone in backbones:
            if reason := getattr(method, of)(backbone):
                places[reason].append(BACKBONES.display(backbone.name))
        for reason, names in places.items():
            yield form.format(method=method.display, backbones=", ".join(names), reason=reason)
