"""The cost table: parameters, FLOPs, time, memory and file size of every method, on one device at a time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.analysis.averages import summarise
from petl_bench.analysis.labels import differences_in, distinct_displays, for_readers, with_values
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.reports.published_numbers import MSTA_TABLES
from petl_bench.tables.quantities import NO_COSTS, Quantity
from petl_bench.tables.ranking import ranked

if TYPE_CHECKING:
    import pandas as pd

SETTING = "cost"
BUSY = "busy-device"
_PUBLISHED_TABLE = "8"
_INTERVALS = "of the median over rounds, by bootstrap"
#: What a training step holds at most.
_MEMORY = "peak_memory_mib"
#: Why a number is not there, if the record says it in words of its own.
_IN_NOTES = "not measured; the reason is in the notes of the record"


@pb.register_table("cost")
class CostTable(TableSource):
    """What methods cost, as in Table 8 of the MSTA paper (CVPR 2025), which is quoted.

    Rows of a group were measured on one device, in one precision, with one batch size and number of classes, by one
    version of the protocol (docs/cost_protocol.md), so that no column mixes them. The best and the second are those of
    a group, references aside, and without a mark. Zero-shot accuracy on K600 stands beside if there are records of
    it (setting zero_shot_transfer, the same hyper-parameters).
    """

    published_csv = (MSTA_TABLES,)

    def build(self, evidence: Evidence) -> Table:
        """The table of all cost records. Raises UsageError if there are none."""
        rows = _rows(evidence.records)
        if not rows:
            raise pb.UsageError(NO_COSTS)
        accuracies = _Accuracies(evidence.records)
        quoted = _quoted(evidence.published)
        columns = _columns(accuracies, _TrainingMemory(rows), shown=bool(quoted))
        return Table(
            name="cost",
            title="What methods cost to train and to use",
            corner="Method",
            columns=tuple(each.column for each in columns),
            groups=(
                *(_group(found, columns) for found in _groups(rows)),
                *_quoted_groups(quoted, columns),
            ),
            footers=tuple(_footers(rows, bool(quoted))),
            interval_over=_INTERVALS,
            provenance=_PROVENANCE,
        )


@dataclass(frozen=True, eq=False)
class _CostRecord:
    """One record."""

    trial: str
    method: str
    hyper_parameters: str
    options: Mapping[str, Any]
    backbone: str
    backbone_options: str  #: canonical JSON
    versions: Mapping[str, Any]  #: what else can tell two rows apart
    metrics: Mapping[str, float]
    marks: tuple[str, ...]
    created: str

    @property
    def name(self) -> str:
        """The method, and whether it was merged into the backbone."""
        return self._with_merged(self.method)

    @property
    def display(self) -> str:
        """The same for readers."""
        return self._with_merged(METHODS.display(self.method))

    def _with_merged(self, name: str) -> str:
        return f"{name} merged" if self.options["merged"] else name

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What it is, with registered names."""
        merged = "yes" if self.options["merged"] else "no"
        weights = str(self.versions["weights"])
        return (("method", self.method), ("backbone", self.backbone), ("weights", weights), ("merged", merged))

    @property
    def is_reference(self) -> bool:
        """The frozen backbone, or full fine-tuning."""
        return self.method in (self.options["frozen"], self.options["full"])

    @cached_property
    def conditions(self) -> tuple[Any, ...]:
        """What rows of one group have in common."""
        names = ("device", "threads", "precision", "batch_size", "classes", "protocol", "frozen", "full")
        return (self.backbone, *(self.options[name] for name in names))

    @property
    def title(self) -> str:
        """The conditions for readers."""
        return f"Run here: {BACKBONES.display(self.backbone)}, {self.conditions_besides_backbone}"

    @property
    def conditions_besides_backbone(self) -> str:
        """The conditions in words, without the backbone."""
        options, batch = self.options, self.options["batch_size"]
        size = "the largest batch of each" if batch == "largest" else f"batch {batch}"
        return (
            f"{size}, {options['precision']}, on {options['device']}, {options['threads']} CPU threads, "
            f"{options['classes']} classes, protocol {options['protocol']}"
        )


def _rows(records: pd.DataFrame) -> list[_CostRecord]:
    found = records[records["setting"] == SETTING]
    rows = []
    for trial, part in found.groupby("trial", sort=False):
        first = part.iloc[0]
        rows.append(
            _CostRecord(
                trial=str(trial),
                method=str(first["method"]),
                hyper_parameters=str(first["hyper_parameters"]),
                options=json.loads(first["setting_options"]),
                backbone=str(first["backbone"]),
                backbone_options=str(first["backbone_options"]),
                versions={
                    "version": first["method_version"],
                    "engine": int(first["engine_version"]),
                    "weights": first["weights"],
                },
                metrics=dict(zip(part["metric"], part["value"], strict=True)),
                marks=tuple(str(first["marks"]).split()),
                created=str(first["created"]),
            )
        )
    return rows


def _groups(rows: Iterable[_CostRecord]) -> list[list[_CostRecord]]:
    """Those under the same conditions together, in the order of the table."""
    grouped: dict[tuple[Any, ...], list[_CostRecord]] = defaultdict(list)
    for row in rows:
        grouped[row.conditions].append(row)
    ordered = sorted(grouped.values(), key=lambda found: [_by_size(value) for value in found[0].conditions])
    return [sorted(found, key=_order) for found in ordered]


def _by_size(value: Any) -> tuple[bool, float, str]:
    """Numbers before words, and by size."""
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


def _order(row: _CostRecord) -> tuple[Any, ...]:
    """By number of trained parameters: the frozen backbone first, full fine-tuning last."""
    return row.metrics["trainable_params"], row.name, row.hyper_parameters, row.created


@dataclass(frozen=True, eq=False)
class Timed:
    """The numbers of one cost record that the paper's Table 8 has, in its units, by the paper's metric."""

    method: str
    hyper_parameters: str  #: canonical JSON
    backbone: str
    facts: tuple[tuple[str, str], ...]  #: see `petl_bench.api.table.Row`
    conditions: str  #: device, batch size, precision
    cells: Mapping[str, Cell]


def timed(records: pd.DataFrame) -> list[Timed]:
    """All cost records of methods as they train, not merged, in the order of the table."""
    found = []
    for row in (row for rows in _groups(_rows(records)) for row in rows if not row.options["merged"]):
        cells = {
            metric: Cell(row.metrics[ours] / factor, marks=row.marks, trials=(row.trial,))
            for metric, (ours, factor) in _PUBLISHED.items()
            if ours in row.metrics
        }
        options = row.options
        conditions = f"{options['device']}, batch {options['batch_size']}, {options['precision']}"
        found.append(Timed(row.method, row.hyper_parameters, row.backbone, row.facts, conditions, cells))
    return found


@dataclass(frozen=True, eq=False)
class Measured:
    """One cost record of a method as it trains, with what a trade-off takes from it."""

    label: str  #: that tells it from the others of its conditions
    display: str  #: the same for readers
    method: str
    hyper_parameters: str  #: canonical JSON
    backbone: str
    backbone_options: str  #: canonical JSON
    conditions: str  #: in words, the registered backbone first
    facts: tuple[tuple[str, str], ...]  #: see `petl_bench.api.table.Row`
    _row: _CostRecord

    def cell(self, quantity: Quantity) -> Cell:
        """A cost in the unit of an axis."""
        return _cell(self._row, quantity.name, quantity.per, timed=quantity.timed)


def measured(records: pd.DataFrame) -> list[Measured]:
    """All cost records of methods as they train, not merged, in the order of the table."""
    found = []
    for rows in _groups(row for row in _rows(records) if not row.options["merged"]):
        labels, displays = _labels(rows), _displays(rows)
        found += [
            Measured(
                label=labels[row],
                display=displays[row],
                method=row.method,
                hyper_parameters=row.hyper_parameters,
                backbone=row.backbone,
                backbone_options=row.backbone_options,
                conditions=f"{row.backbone}, {row.conditions_besides_backbone}",
                facts=row.facts,
                _row=row,
            )
            for row in rows
        ]
    return found


# Columns


@dataclass(frozen=True)
class _CostColumn:
    """A column, and what a row shows in it. `metric`: also of which published number it is."""

    column: Column
    metric: str
    cell: Callable[[_CostRecord], Cell]
    ranked: bool = True


def _columns(accuracies: _Accuracies, memory: _TrainingMemory, *, shown: bool) -> list[_CostColumn]:
    columns = [
        _column("M", "Trained", ".4g", "trainable_params", per=1e6, ranked=False),
        _column("%", "Trained", ".3g", "trainable_percent", ranked=False),
        _column("total M", "Trained", ".4g", "total_params", per=1e6, ranked=False),
        _column("MB", "Adapter", ".4g", "adapter_mb"),
        _column("GFLOPs", "One video", ".4g", "flops_g"),
        _column("ms", "One video", ".4g", "latency_ms", timed=True),
        _column("ms", "Train step", ".4g", "train_step_ms", timed=True),
        _column("p10", "Train step", ".4g", "train_step_ms_p10", timed=True, ranked=False),
        _column("p90", "Train step", ".4g", "train_step_ms_p90", timed=True, ranked=False),
        _column("/ full", "Train step", ".3f", "train_step_vs_full", timed=True),
        _column("videos/s", "Inference", ".4g", "throughput_videos_per_s", timed=True, lower=False),
        _column("/ frozen", "Inference", ".3f", "throughput_vs_frozen", timed=True, lower=False),
        _column("batch", "Inference", ".0f", "batch_size", ranked=False),
        _column("train", "Memory MiB", ".4g", _MEMORY),
        _CostColumn(Column("/ full", "Memory MiB", ".3f", lower_is_better=True), f"{_MEMORY}_vs_full", memory.cell),
        _column("infer", "Memory MiB", ".4g", "inference_memory_mib"),
        _column("ms", "Text", ".4g", "text_ms", timed=True),
    ]
    if shown or accuracies.found:
        column = Column("top-1", "Zero-shot K600", group_display=f"Zero-shot {DATASETS.display('k600')}")
        columns.append(_CostColumn(column, "k600_zero_shot_top1", accuracies.cell))
    return columns


def _column(
    label: str,
    group: str,
    form: str,
    metric: str,
    *,
    per: float = 1.0,
    timed: bool = False,
    lower: bool = True,
    ranked: bool = True,
) -> _CostColumn:
    """A column of one metric. `timed`: a busy device makes it doubtful; `lower` is better."""

    def cell(row: _CostRecord) -> Cell:
        return _cell(row, metric, per, timed=timed)

    return _CostColumn(Column(label, group, form, lower_is_better=lower), metric, cell, ranked)


def _cell(row: _CostRecord, metric: str, per: float, *, timed: bool) -> Cell:
    """A metric of a record in units of `per`, with its interval if it has one."""
    if metric not in row.metrics:
        return Cell(origin="absent", source=_IN_NOTES)
    marks = row.marks if timed else tuple(word for word in row.marks if word != BUSY)
    ends = [row.metrics.get(f"{metric}_{end}") for end in ("low", "high")]
    interval = (ends[0] / per, ends[1] / per) if ends[0] is not None and ends[1] is not None else None
    return Cell(row.metrics[metric] / per, marks=marks, interval=interval, trials=(row.trial,))


class _TrainingMemory:
    """The memory of a training step over that of full fine-tuning: of the record under the same conditions, so that it
    is there for records of any age. It is the same in every round."""

    def __init__(self, rows: Iterable[_CostRecord]) -> None:
        self._full: dict[tuple[Any, ...], list[_CostRecord]] = defaultdict(list)
        for row in rows:
            if row.method == row.options["full"] and _MEMORY in row.metrics:
                self._full[row.conditions].append(row)

    def cell(self, row: _CostRecord) -> Cell:
        """The ratio; absent if there is no memory to compare with, or more than one."""
        full = self._full[row.conditions]
        if _MEMORY not in row.metrics:
            return Cell(origin="absent", source=_IN_NOTES)
        if len(full) != 1:
            words = "no record" if not full else f"{len(full)} records"
            return Cell(
                origin="absent", source=f"{words} of {METHODS.display(row.options['full'])} under these conditions"
            )
        marks = tuple(word for word in row.marks if word != BUSY)
        ratio = row.metrics[_MEMORY] / full[0].metrics[_MEMORY]
        return Cell(ratio, marks=marks, trials=tuple(dict.fromkeys((row.trial, full[0].trial))))


class _Accuracies:
    """Zero-shot top-1 on K600 of the records, by method, hyper-parameters and backbone."""

    def __init__(self, records: pd.DataFrame) -> None:
        wanted = (records["setting"] == "zero_shot_transfer") & (records["dataset"] == "k600")
        part = records[wanted & (records["metric"] == "top1") & records["part"].str.startswith("target")]
        self.found: dict[tuple[str, str, str], pd.DataFrame] = {
            (str(method), str(hyper), str(backbone)): runs
            for (method, hyper, backbone), runs in part.groupby(["method", "hyper_parameters", "backbone"], sort=False)
        }

    def cell(self, row: _CostRecord) -> Cell:
        """Mean over splits of each split's mean over seeds, with the spread over splits."""
        runs = self.found.get((row.method, row.hyper_parameters, row.backbone))
        if runs is None or row.options["merged"]:
            return Cell(origin="absent", source="as unmerged" if row.options["merged"] else "not run")
        if len(runs.drop_duplicates(["training", "weights_sha256", "setting_options", "manifest_sha256"])) > 1:
            return Cell(origin="absent", source="there are runs of several kinds; see the table zero_shot")
        splits = summarise([float(part["value"].mean()) for _, part in runs.groupby("split")])
        marks = {word for marks in runs["marks"] for word in marks.split()} | self._lacking(row.backbone, runs)
        return Cell(splits.mean, splits.std, splits.n, marks=tuple(sorted(marks)), trials=tuple(runs["trial"]))

    def _lacking(self, backbone: str, runs: pd.DataFrame) -> set[str]:
        """The mark of a number that lacks splits, or seeds on them, which another number of the backbone has."""
        others = [_places(some) for (_, _, of), some in self.found.items() if of == backbone and _trains(some)]
        norm = max(others, key=lambda places: (len({split for split, _ in places}), len(places)), default=frozenset())
        own = _places(runs)
        if own >= norm:
            return set()
        return {"partial-seeds" if {split for split, _ in own} >= {split for split, _ in norm} else "partial-splits"}


def _places(runs: pd.DataFrame) -> frozenset[tuple[str, int]]:
    """The splits and seeds of some runs."""
    return frozenset(zip(runs["split"], runs["seed"], strict=True))


def _trains(runs: pd.DataFrame) -> bool:
    return bool((runs["trainable_params"] > 0).any())


# Rows


def _group(rows: Sequence[_CostRecord], columns: Sequence[_CostColumn]) -> RowGroup:
    labels, displays = _labels(rows), _displays(rows)
    shown = [_ranked([column.cell(row) for row in rows], rows, column) for column in columns]
    cells = zip(*shown, strict=True)
    return RowGroup(
        rows[0].title,
        tuple(
            Row(labels[row], own, display=displays[row], facts=row.facts) for row, own in zip(rows, cells, strict=True)
        ),
    )


def _ranked(cells: list[Cell], rows: Sequence[_CostRecord], column: _CostColumn) -> list[Cell]:
    """The best and the second among the methods; the references are what they are measured by."""
    methods = [index for index, row in enumerate(rows) if not row.is_reference]
    if column.ranked:
        for index, cell in zip(methods, ranked([cells[index] for index in methods], column.column), strict=True):
            cells[index] = cell
    return cells


def _labels(rows: Sequence[_CostRecord]) -> dict[_CostRecord, str]:
    """Methods, with the values in which rows of one method differ."""
    return {row: with_values(row.name, found) for row, found in _differences(rows).items()}


def _displays(rows: Sequence[_CostRecord]) -> dict[_CostRecord, str]:
    """The same for readers."""
    displays = {row: for_readers(row.display, found) for row, found in _differences(rows).items()}
    return distinct_displays(displays, _labels(rows))


def _differences(rows: Sequence[_CostRecord]) -> dict[_CostRecord, dict[str, Any]]:
    settings = {row: {**json.loads(row.hyper_parameters), **row.versions} for row in rows}
    return differences_in(settings, lambda row: row.name)


# What is quoted


def _quoted(published: pd.DataFrame | None) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """(source, device) -> method -> metric -> value, in the units of the columns."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    if published is None:
        return found
    numbers = published[published["table"] == _PUBLISHED_TABLE]
    for source, device, method, metric, value in zip(
        numbers["source"], numbers["group"], numbers["method"], numbers["metric"], numbers["value"], strict=True
    ):
        name, factor = _PUBLISHED.get(metric, (metric, 1.0))
        found.setdefault((source, device), {}).setdefault(method, {})[name] = factor * float(value)
    return found


#: Published metric -> ours, and the factor to its unit.
_PUBLISHED = {
    "train_step_latency_s": ("train_step_ms", 1000.0),
    "inference_throughput_videos_per_s": ("throughput_videos_per_s", 1.0),
}


def _quoted_groups(
    quoted: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]], columns: Sequence[_CostColumn]
) -> list[RowGroup]:
    return [
        RowGroup(
            f"Quoted: {source}, on {device}; batch and precision not said",
            tuple(_quoted_row(method, metrics, columns, source) for method, metrics in methods.items()),
        )
        for (source, device), methods in quoted.items()
    ]


def _quoted_row(method: str, metrics: Mapping[str, float], columns: Sequence[_CostColumn], source: str) -> Row:
    cells = [
        Cell(metrics[column.metric], origin="quoted", source=source)
        if column.metric in metrics
        else Cell(origin="absent", source=f"not in {source}")
        for column in columns
    ]
    return Row(method, tuple(cells), marks=("quoted",))


# Notes

_PROVENANCE = (
    "A step encodes frames in the video tower, a frozen one too, and prompts unless the text tower is frozen: "
    "`petl-bench run` encodes fixed views once if the video tower is frozen, and then holds less.",
    "Best and second: within a group, references aside, without a mark; less is best but for videos/s, / frozen.",
)


def _footers(rows: Sequence[_CostRecord], quoted: bool) -> Iterable[str]:
    frozen, full = (
        ", ".join(sorted({METHODS.display(row.options[name]) for row in rows})) for name in ("frozen", "full")
    )
    rounds = sorted(int(row.metrics["rounds"]) for row in rows)
    between = " to ".join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))
    yield (
        f"Times: medians, in interleaved rounds ({between}), without data loading; p10, p90: over single passes. "
        "GFLOPs: one video to its scores, two per multiply-accumulate."
    )
    yield (
        f"/ frozen: throughput over that of {frozen}; / full: time and memory of a step over those of {full}; times "
        "paired by round of one run."
    )
    yield "Memory: what torch's allocator held at most, weights and optimiser included. Text: all class prompts once."
    if quoted:
        yield "Quoted: another device, another pipeline; Table 8 of the paper names neither batch nor precision."
