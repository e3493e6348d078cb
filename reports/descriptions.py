"""The table of descriptions: what each kind of class description gives to the consistency constraint."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison, Configuration, bundles, differences_in
from petl_bench.analysis.from_records import compare
from petl_bench.api.options import text_of
from petl_bench.api.table import Table, TableSource
from petl_bench.api.trial import canonical_json
from petl_bench.errors import UsageError
from petl_bench.reports import mean_over_data_sets as means
from petl_bench.reports.mean_over_data_sets import METRICS, SETTING, Study
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, paper_name, published_numbers
from petl_bench.tables import notes as table_notes
from petl_bench.tables import table_parts
from petl_bench.tables.missing_runs import commands

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence

_PUBLISHED_TABLE = "7"
#: The harmonic mean has two decimals, as in the paper, whose rows differ in the second one.
_FORMATS = {"HM": ".2f"}
_WEIGHT, _KINDS = "consistency_weight", "description_kinds"
#: What is read -> label here, label in the paper; in the paper's order. "": nothing, the weight is 0.
_ROWS = {
    "": ("without descriptions", "without_descriptions"),
    "temporal": ("temporal only", "without_spatial"),
    "spatial": ("spatial only", "without_temporal"),
    "both": ("spatial and temporal", "full"),
}


@pb.register_table("descriptions")
class DescriptionsTable(TableSource):
    """Kinds of descriptions in the consistency constraint: none, temporal, spatial, both; means over data sets.

    A group of rows holds base-to-novel configurations of a method that differ in the kinds of descriptions alone, and
    beside them the same one with weight 0, which reads none. Its means are over the data sets that all of its rows
    have. Rows are ranked within their group. Quoted: Table 7 of the MSTA paper (CVPR 2025).
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError where no two differ in their descriptions alone."""
        comparison = compare(evidence.records, SETTING, METRICS)
        table_parts.refuse_nothing(comparison, SETTING)
        found = [(study, means.spots(comparison, study.rows, _FORMATS)) for study in studies(comparison)]
        if not found:
            raise UsageError(
                "no two base2novel configurations here differ in the kinds of their descriptions alone. Make some: "
                "petl-bench run --methods msta --setting base2novel --set msta.description_kinds=spatial"
            )
        quoted = means.quoted_groups(evidence.published, _PUBLISHED_TABLE, [columns for _, columns in found])
        return Table(
            name="descriptions",
            title="Class descriptions: top-1 accuracy in percent, base to novel, mean over data sets",
            corner="Descriptions",
            columns=tuple(spot.column for spot in found[0][1]),
            groups=(*means.run_groups(comparison, found, evidence), *quoted),
            footers=(
                *table_notes.seed_notes(comparison),
                means.NOTE,
                table_notes.RANKS,
                table_notes.TRAINED,
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST}"] if quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )


def studies(comparison: Comparison) -> list[Study]:
    """The groups of rows, each with all that is equal in everything but the descriptions."""
    return [study for rows in comparison.groups().values() for study in _studies(rows)]


def _studies(rows: list[Configuration]) -> list[Study]:
    """Rows with a weight, by all but their kinds; with several kinds, and beside them what has no weight."""
    sets: dict[tuple[str, float], list[Configuration]] = defaultdict(list)
    without: dict[str, list[Configuration]] = defaultdict(list)
    for row in rows:
        hyper = json.loads(row.hyper_parameters)
        if _WEIGHT in hyper and _KINDS in hyper:
            if hyper[_WEIGHT] > 0:
                sets[_rest(row), hyper[_WEIGHT]].append(row)
            else:
                without[_rest(row)].append(row)
    several = {
        (rest, weight): [*without[rest], *own]
        for (rest, weight), own in sets.items()
        if len({_read(row) for row in own}) > 1
    }
    settings = {place: {**json.loads(place[0]), _WEIGHT: place[1]} for place in several}
    differences = differences_in(settings, lambda place: settings[place]["method"])
    return [_study(own, differences[place]) for place, own in several.items()]


def _study(rows: list[Configuration], differences: dict[str, Any]) -> Study:
    apart = "".join(f", {name}={text_of(value)}" for name, value in differences.items())
    ordered = sorted(rows, key=lambda row: list(_ROWS).index(_read(row)))
    counts = Counter(_read(row) for row in ordered)
    return Study(
        title=f"{ordered[0].method}{apart}",
        labels={
            row: _ROWS[_read(row)][0] + (f" ({_KINDS}={_kinds(row)})" if counts[_read(row)] > 1 else "")
            for row in ordered
        },
        table=_PUBLISHED_TABLE,
        published={row: f"MSTA + L_CC [descriptions={_ROWS[_read(row)][1]}]" for row in ordered if _is_papers(row)},
    )


def _rest(row: Configuration) -> str:
    """Everything but the descriptions, as JSON."""
    settable = {name.removeprefix(f"{row.method}."): value for name, value in row.settable.items()}
    rest = {name: value for name, value in settable.items() if name not in (_WEIGHT, _KINDS)}
    return canonical_json({"method": row.method, **rest})


def _read(row: Configuration) -> str:
    """The kinds of descriptions that a row's loss reads; "" where its weight is 0."""
    return _kinds(row) if json.loads(row.hyper_parameters)[_WEIGHT] > 0 else ""


def _kinds(row: Configuration) -> str:
    kinds: str = json.loads(row.hyper_parameters)[_KINDS]
    return kinds


def _is_papers(row: Configuration) -> bool:
    return paper_name(row) in ("MSTA", "MSTA + L_CC")
