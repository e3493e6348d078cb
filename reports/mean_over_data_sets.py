"""Base-to-novel accuracy as a mean over data sets, for groups of rows that differ in one thing: tables of ablations."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from petl_bench.analysis.averages import Summary, harmonic_mean_over_seeds, summarise
from petl_bench.analysis.cells import Measure, ScoredOn
from petl_bench.analysis.comparison import (
    CaseKey,
    Comparison,
    Configuration,
    Run,
    case_labels,
    differences_in,
)
from petl_bench.analysis.marks import marks_of
from petl_bench.api.options import text_of
from petl_bench.api.table import Cell, Column, RowGroup
from petl_bench.api.trial import canonical_json
from petl_bench.errors import UsageError
from petl_bench.tables import notes as table_notes
from petl_bench.tables import table_parts
from petl_bench.tables.table_parts import NOT_RUN, Published, RankedRows, Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence

SETTING = "base2novel"
METRICS = ("base_top1", "novel_top1")
#: What the MSTA paper's Tables 6 and 7 average over: these data sets, their first lists, 16 shots.
PAPERS_DATA, _PAPERS_SPLIT, _PAPERS_SHOTS = ("k400", "hmdb51", "ucf101", "ssv2"), "1", 16
_PAPERS_NAME = "mean_of_4"
NOTE = (
    "Means over the data sets that all rows of a group have, which its heading names, and over the seeds that a row "
    "has on all of them; ± over these seeds' own means. HM: harmonic mean of the mean base and the mean novel accuracy."
)
#: Base [S] and novel [S] accuracy of each of S seeds -> what a column shows.
_Summary = Callable[[Sequence[float], Sequence[float]], Summary]
_SHOWN: tuple[tuple[str, str, _Summary, tuple[str, ...]], ...] = (
    ("Base", "base_top1", lambda base, _: summarise(base), ("base",)),
    ("Novel", "novel_top1", lambda _, novel: summarise(novel), ("novel",)),
    ("HM", "harmonic_mean", harmonic_mean_over_seeds, ("base", "novel")),
)


@dataclass(frozen=True, eq=False)
class Protocol:
    """Cases that differ in their data set only, and the header of the columns of their means."""

    label: str
    cases: tuple[CaseKey, ...]

    def shared(self, comparison: Comparison, rows: Iterable[Configuration]) -> list[CaseKey]:
        """The cases that all of these rows have runs on."""
        rows = list(rows)
        return [case for case in self.cases if all(comparison.of(row, case) for row in rows)]


@dataclass(frozen=True, eq=False)
class Study:
    """Configurations that differ in one thing: a group of rows, in their order, each with its label.

    `published`: the rows' labels in the paper's table `table`, for those that it has.
    """

    title: str
    labels: Mapping[Configuration, str]
    table: str = ""
    published: Mapping[Configuration, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Configuration]:
        """The configurations."""
        return list(self.labels)


def protocols(cases: Sequence[CaseKey]) -> list[Protocol]:
    """The cases, gathered over data sets; a data set's other files, or other options of it, stand in a further mean."""
    found: dict[tuple[str, int], list[CaseKey]] = defaultdict(list)
    for case in cases:
        text = canonical_json(_of_protocol(case))
        copy = 0
        while any(other.dataset == case.dataset for other in found[text, copy]):
            copy += 1
        found[text, copy].append(case)
    settings = {place: {**json.loads(place[0]), "copy of the data": place[1] + 1} for place in found}
    differences = differences_in(settings, lambda _: "")
    return [
        Protocol(", ".join(["Mean", *[f"{name}={text_of(value)}" for name, value in differences[place].items()]]), own)
        for place, own in ((place, tuple(some)) for place, some in found.items())
    ]


def _of_protocol(case: CaseKey) -> dict[str, object]:
    """Everything of a case but its data set and its files."""
    return {
        "split": case.split,
        "shots": case.shots or "all",
        **json.loads(case.setting_options),
        "protocol": case.setting_version,
        "part": case.part,
        "epoch selected on": case.selected,
    }


# Columns


def spots(comparison: Comparison, rows: Sequence[Configuration], formats: Mapping[str, str]) -> list[Spot]:
    """The columns for these rows: trained parameters; base, novel and harmonic mean for each protocol.

    `formats`: format specifications of columns by their label, where they are not the usual one.
    """
    columns = table_parts.trained(comparison)
    for protocol in protocols(comparison.cases):
        cases = protocol.shared(comparison, rows)
        columns += [
            Spot(
                column=Column(name, protocol.label, formats.get(name, ".1f")),
                cell=_mean(comparison, cases, summary),
                ranked=True,
                published=(_PAPERS_NAME, 0, metric) if _are_papers(cases) else None,
                measure=Measure(tuple(tuple(ScoredOn(case, side) for case in cases) for side in sides))
                if cases
                else None,
                own=table_parts.by_seed(comparison, cases, partial(_of_runs, summary)),
            )
            for name, metric, summary, sides in _SHOWN
        ]
    return columns


def _are_papers(cases: Sequence[CaseKey]) -> bool:
    return {case.dataset for case in cases} == set(PAPERS_DATA) and all(
        (case.split, case.shots, case.part) == (_PAPERS_SPLIT, _PAPERS_SHOTS, "") for case in cases
    )


def _mean(comparison: Comparison, cases: Sequence[CaseKey], summary: _Summary) -> Callable[[Configuration], Cell]:
    def cell(row: Configuration) -> Cell:
        if not cases:
            return Cell(origin="absent", source="no data set that all rows of this group have")
        seeds = sorted(frozenset.intersection(*[comparison.seeds(row, case) for case in cases]))
        if not seeds:
            return NOT_RUN
        found = summary(*_by_seed(comparison, row, cases, seeds))
        runs = [run for case in cases for run in comparison.of(row, case) if run.seed in seeds]
        marks = {word for case in cases for word in marks_of(comparison, row, case)}
        trials = tuple(run.trial for run in runs)
        return Cell(found.mean, found.std, found.n, marks=tuple(sorted(marks)), trials=trials)

    return cell


def _of_runs(summary: _Summary, runs: Sequence[Run]) -> Summary:
    """What a column shows of one seed: of the means over its runs, one on each data set."""
    base, novel = (math.fsum(run.values[side] for run in runs) / len(runs) for side in (0, 1))
    return summary([base], [novel])


def _by_seed(
    comparison: Comparison, row: Configuration, cases: Sequence[CaseKey], seeds: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Base and novel accuracy of each seed, means over the cases."""
    values = [{run.seed: run.values for run in comparison.of(row, case)} for case in cases]
    base, novel = (
        [math.fsum(of_case[seed][side] for of_case in values) / len(cases) for seed in seeds] for side in (0, 1)
    )
    return base, novel


# Groups of rows


def run_groups(
    comparison: Comparison, found: Sequence[tuple[Study, Sequence[Spot]]], evidence: Evidence
) -> list[RowGroup]:
    """The rows of these studies, ranked within each of them. Raises UsageError where a baseline is asked for."""
    if evidence.baseline:
        raise UsageError(
            f"--baseline {evidence.baseline}: this table compares configurations of one method with each other; leave "
            "it out, or see: petl-bench report --table base2novel"
        )
    groups = [
        RankedRows(
            table_parts.weights_title(comparison, study.rows),
            f"{study.title}, {_over(comparison, study.rows)}",
            columns,
            study.rows,
            study.labels,
            [table_parts.cells_of(comparison, columns, row, evidence.outcomes) for row in study.rows],
        )
        for study, columns in found
    ]
    table_parts.add_statistics(groups, comparison, evidence)
    return [group.finished() for group in groups]


def _over(comparison: Comparison, rows: Sequence[Configuration]) -> str:
    """Which data sets the means of these rows are over: once where all protocols have the same, else for each."""
    names = {}
    for protocol in protocols(comparison.cases):
        labels = case_labels(protocol.cases)
        cases = protocol.shared(comparison, rows)
        names[protocol.label] = table_notes.listed(labels[case] for case in cases) or "no common data set"
    if len(set(names.values())) == 1:
        return f"mean over {next(iter(names.values()))}"
    return "; ".join(f"{label}: over {some}" for label, some in names.items())


def quoted_groups(published: pd.DataFrame | None, table: str, columns: Sequence[Sequence[Spot]]) -> list[RowGroup]:
    """The rows of one of the paper's tables, which say what they are a mean over.

    `columns`: those of each study of the table; where none of them has the mean that the paper has, its numbers stand
    in the first columns of a mean.
    """
    same = next((some for some in columns if any(spot.published for spot in some)), None)
    groups = table_parts.quoted_groups(published, table, same or _first_mean(columns[0]))
    over = f"mean over {table_notes.listed(PAPERS_DATA)}, {_PAPERS_SHOTS} shots"
    return [replace(group, section=f"{group.section}, {over}") for group in groups]


def _first_mean(columns: Sequence[Spot]) -> list[Spot]:
    places: list[Published] = [(_PAPERS_NAME, 0, metric) for _, metric, *_ in _SHOWN]
    means = [spot for spot in columns if spot.ranked][: len(places)]
    places_of = dict(zip(map(id, means), places, strict=True))
    return [replace(spot, published=places_of.get(id(spot))) for spot in columns]
