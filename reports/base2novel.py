"""The base-to-novel table: base top-1, novel top-1 and their harmonic mean for every method and data set."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.comparison import (
    CaseKey,
    Comparison,
    Configuration,
    case_labels,
    commands,
    compare,
    marks_of,
    row_labels,
    scored,
    uncovered,
)
from petl_bench.errors import UsageError
from petl_bench.statistics import harmonic_mean_over_seeds, summarise
from petl_bench.table import Cell, Column, Row, RowGroup, Table, TableSource, ranked

if TYPE_CHECKING:
    import pandas as pd

SETTING = "base2novel"
METRICS = ("base_top1", "novel_top1")
PUBLISHED = Path(__file__).with_name("published") / "msta_tables.csv"
_LABELS = {"base_top1": "Base", "novel_top1": "Novel", "harmonic_mean": "HM"}
#: The case that the paper's Table 2 shows: the published lists (split 1) with 16 shots.
_PUBLISHED_TABLE, _PUBLISHED_SPLIT, _PUBLISHED_SHOTS = "2", "1", 16
_SELECTION = {
    "last": "the last epoch",
    "val": "the epoch that is best on held-out training clips",
    "best-on-test": "the epoch that is best on the test clips",
}


_BUDGET = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "precision": "precision",
}


@pb.register_table("base2novel")
class BaseToNovelTable(TableSource):
    """Base-to-novel generalisation: base and novel top-1 and their harmonic mean, mean and spread over seeds.

    A row is a method with its hyper-parameters, training options, backbone and weights; rows are ranked where they
    share backbone, weights, views and seeds, and carry no mark. The harmonic mean is that of the mean base and the mean
    novel accuracy. Quoted: Table 2 of the MSTA paper (CVPR 2025), for its data sets, 16 shots, split 1.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        import pandas as pd  # here: `list` and `show` load this file, and need no pandas

        return pd.read_csv(PUBLISHED, dtype={"table": str, "shots": "Int64"}, keep_default_na=True)

    def build(self, records: pd.DataFrame, published: pd.DataFrame | None) -> Table:
        """The table of all base2novel records. Raises UsageError where there are none."""
        comparison = compare(records, SETTING, METRICS)
        if not comparison.runs:
            raise UsageError(
                f"no {SETTING} record here. Make some: petl-bench run --methods zero_shot,lora --setting {SETTING}"
            )
        columns = _columns(comparison)
        groups = [
            _group(comparison, columns, shared, configurations)
            for shared, configurations in comparison.groups().items()
        ]
        quoted = [] if published is None else _quoted(published, columns)
        return Table(
            name="base2novel",
            title=f"Base-to-novel generalisation: top-1 accuracy in percent{_shots(comparison.cases)}",
            corner="Method",
            columns=tuple(column for column, _, _ in columns),
            groups=(*groups, *quoted),
            footers=tuple(_footers(comparison, quoted)),
            commands=tuple(commands(comparison, SETTING)),
        )


#: A column, the case it belongs to (None: the whole row), and what it shows.
_Column = tuple[Column, CaseKey | None, str]


def _columns(comparison: Comparison) -> list[_Column]:
    columns: list[_Column] = [
        (Column("M", "Trained", ".3g"), None, "millions"),
        (Column("%", "Trained", ".3g"), None, "percent"),
    ]
    for case, label in case_labels(comparison.cases).items():
        columns += [(Column(name, label), case, metric) for metric, name in _LABELS.items()]
        runs = [comparison.of(configuration, case) for configuration in comparison.configurations]
        if any(used < expected for used, expected in map(scored, filter(None, runs))):
            columns.append((Column("Clips", label), case, "clips"))
    return columns


def _shots(cases: Sequence[CaseKey]) -> str:
    shots = {case.shots for case in cases}
    return f", {shots.pop()} shots" if len(shots) == 1 and 0 not in shots else ""


# Rows that were run here


def _group(
    comparison: Comparison, columns: Sequence[_Column], shared: Any, configurations: list[Configuration]
) -> RowGroup:
    backbone, weights, _, views, crops = shared
    labels = row_labels(configurations)
    computed = [_cells(comparison, row) for row in configurations]
    down = [[cells[case, shows] for cells in computed] for _, case, shows in columns]
    for index, (column, _, shows) in enumerate(columns):
        if shows in _LABELS:
            down[index] = ranked(down[index], column)
    across = zip(*down, strict=True)
    rows = tuple(Row(labels[row], cells) for row, cells in zip(configurations, across, strict=True))
    several = f", {views} x {crops} views" if (views, crops) != (1, 1) else ""
    return RowGroup(f"Run here: {backbone} ({weights} weights){several}", rows)


def _cells(comparison: Comparison, row: Configuration) -> dict[tuple[CaseKey | None, str], Cell]:
    """Everything that a row can show, by case and by what a column shows."""
    cells = _parameters(comparison, row)
    for case in comparison.cases:
        cells |= {(case, shows): cell for shows, cell in _results(comparison, row, case).items()}
    return cells


def _results(comparison: Comparison, row: Configuration, case: CaseKey) -> dict[str, Cell]:
    runs = comparison.of(row, case)
    if not runs:
        return dict.fromkeys((*_LABELS, "clips"), Cell(origin="absent", source="not run"))
    base, novel = zip(*[run.values for run in runs], strict=True)
    marks = marks_of(comparison, row, case)
    used, expected = scored(runs)
    summaries = {
        "base_top1": summarise(base),
        "novel_top1": summarise(novel),
        "harmonic_mean": harmonic_mean_over_seeds(base, novel),
    }
    cells = {shows: Cell(found.mean, found.std, found.n, marks=marks) for shows, found in summaries.items()}
    return {**cells, "clips": Cell(f"{used:,}/{expected:,}", n=len(runs))}


def _parameters(comparison: Comparison, row: Configuration) -> dict[tuple[CaseKey | None, str], Cell]:
    runs = [run for case in comparison.cases for run in comparison.of(row, case)]
    found = {(run.trainable_params, run.backbone_params) for run in runs}
    if len(found) != 1:
        absent = Cell(origin="absent", source="differs between the runs of this row")
        return {(None, "millions"): absent, (None, "percent"): absent}
    trainable, backbone = found.pop()
    return {(None, "millions"): Cell(trainable / 1e6), (None, "percent"): Cell(100 * trainable / backbone)}


# Rows that are quoted


def _quoted(published: pd.DataFrame, columns: Sequence[_Column]) -> list[RowGroup]:
    chosen = published[(published["setting"] == SETTING) & (published["table"] == _PUBLISHED_TABLE)]
    shown = {case.dataset for _, case, _ in columns if case is not None and _is_published(case)}
    chosen = chosen[chosen["dataset"].isin(list(shown))]
    groups = []
    for source, numbers in chosen.groupby("source", sort=False):
        rows = [_quoted_row(label, part, columns, str(source)) for label, part in _published_rows(numbers).items()]
        groups.append(RowGroup(f"Quoted: {source}", tuple(rows)))
    return groups


def _published_rows(numbers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The published rows by label; the kind of transfer is named where a method occurs in two kinds."""
    parts = dict(iter(numbers.groupby(["group", "method"], sort=False)))
    times = Counter(method for _, method in parts)
    return {f"{method} ({kind})" if times[method] > 1 else str(method): part for (kind, method), part in parts.items()}


def _quoted_row(label: str, numbers: pd.DataFrame, columns: Sequence[_Column], source: str) -> Row:
    known = {
        (dataset, metric): (value, None if math.isnan(std) else float(std))
        for dataset, metric, value, std in zip(
            numbers["dataset"], numbers["metric"], numbers["value"], numbers["std"], strict=True
        )
    }
    cells = []
    for _, case, shows in columns:
        found = known.get((case.dataset, shows)) if case is not None and _is_published(case) else None
        if found is None:
            cells.append(Cell(origin="absent", source=f"not in {source}"))
        else:
            cells.append(Cell(float(found[0]), found[1], origin="quoted", source=source))
    return Row(label, tuple(cells), marks=("quoted",))


def _is_published(case: CaseKey) -> bool:
    return case.split == _PUBLISHED_SPLIT and case.shots == _PUBLISHED_SHOTS


# Footers


_HARMONIC_MEAN = "HM: harmonic mean of the mean base and the mean novel accuracy; ± over the seeds' own harmonic means."
_RANKS = "Best and second: among rows of one group with the same seeds and without a mark; equal figures share."
_TRAINED = "Trained: millions of trained parameters, and percent of the backbone's parameters."
_QUOTES = (
    "Quoted rows are other people's runs: never ranked or averaged with the rows above. "
    "By its authors' logs, MSTA's epochs were selected on the test clips."
)


def _footers(comparison: Comparison, quoted: Sequence[RowGroup]) -> list[str]:
    labels = case_labels(comparison.cases)
    return [
        *_seed_notes(comparison, labels),
        _HARMONIC_MEAN,
        _RANKS,
        _TRAINED,
        *_backbone_notes(comparison),
        *_training_notes(comparison.configurations),
        *[f"Prompt: {prompt}" for prompt in comparison.prompts],
        *_data_notes(comparison, labels),
        *_coverage_notes(comparison, labels),
        *[f"Device: {device}" for device in comparison.devices],
        *([_QUOTES] if quoted else []),
    ]


def _seed_notes(comparison: Comparison, labels: dict[CaseKey, str]) -> list[str]:
    sets: dict[frozenset[int], list[str]] = defaultdict(list)
    for configurations in comparison.groups().values():
        names = row_labels(configurations)
        for case in comparison.cases:
            for row in configurations:
                if seeds := comparison.seeds(row, case):
                    sets[seeds].append(f"{names[row]} on {labels[case]}")
    usual = max(sets, key=lambda seeds: (len(sets[seeds]), len(seeds), sorted(seeds)))
    spread = "mean ± sample standard deviation over seeds" if len(usual) > 1 else "a single run, without spread: seed"
    lines = [f"Numbers: {spread} {_list(sorted(usual))}."]
    others = sorted((sorted(seeds), names) for seeds, names in sets.items() if seeds != usual)
    return lines + [f"Seeds {_list(seeds)} only: {_list(names, 6)}." for seeds, names in others]


def _backbone_notes(comparison: Comparison) -> list[str]:
    found = {
        (row.backbone, row.weights, row.weights_sha256, run.backbone_params)
        for (row, _), runs in comparison.runs.items()
        for run in runs
    }
    return [
        f"Backbone {backbone}: {params:,} parameters, weights {weights} (sha256 {sha256[:12] or 'none'})."
        for backbone, weights, sha256, params in sorted(found)
    ]


def _training_notes(rows: Sequence[Configuration]) -> list[str]:
    selection = {_SELECTION.get(row.training_values.get("select", ""), "unknown") for row in rows}
    views = {f"{row.training_values.get('views')} x {row.training_values.get('crops')}" for row in rows}
    budget = [f"{meaning} {_by_method(rows, name)}" for name, meaning in _BUDGET.items()]
    tried = Counter(row.method for row in rows)
    configurations = ", ".join(f"{method} {count}" for method, count in sorted(tried.items()))
    return [
        f"Evaluated: {_list(sorted(selection))}; views per test video (clips x crops): {_list(sorted(views))}.",
        f"Budget: {'; '.join(budget)}. Configurations tried in these records: {configurations}.",
    ]


def _by_method(rows: Sequence[Configuration], name: str) -> str:
    """A training value: once where all rows share it, else by method."""
    by_method: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        by_method[row.method].add(str(row.training_values.get(name)))
    texts = {method: "/".join(sorted(values)) for method, values in sorted(by_method.items())}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{method} {text}" for method, text in texts.items())


def _data_notes(comparison: Comparison, labels: dict[CaseKey, str]) -> list[str]:
    notes = []
    for case in comparison.cases:
        options = json.loads(case.dataset_options)  # not where the files lie: tables are passed on
        chosen = "".join(f", {name}={value}" for name, value in options.items() if value is not None)
        shots = case.shots or "all"
        notes.append(f"{labels[case]}: split {case.split}, {shots} shots{chosen}, files {case.manifest_sha256[:12]}.")
    return notes


def _coverage_notes(comparison: Comparison, labels: dict[CaseKey, str]) -> list[str]:
    """Which clips were not used, and in which rows."""
    found: dict[str, list[str]] = defaultdict(list)
    for configurations in comparison.groups().values():
        names = row_labels(configurations)
        for case in comparison.cases:
            for row in configurations:
                for text in sorted({uncovered(run) for run in comparison.of(row, case)} - {""}):
                    found[f"{labels[case]}: {text}"].append(names[row])
    return [f"Coverage of {text} [{_list(rows, 6)}]." for text, rows in found.items()]


def _list(values: Iterable[object], most: int = 1000) -> str:
    texts = list(map(str, values))
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
