"""The table of descriptions: what each kind of class description gives to the consistency constraint."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import differences_in, for_readers, values_in_words, with_values
from petl_bench.api.registry import METHODS
from petl_bench.api.trial import canonical_json
from petl_bench.reports.base2novel import NUMBERS, SETTING
from petl_bench.reports.published_numbers import MSTA_TABLES, PAPERS_MEANS, paper_name
from petl_bench.tables.study_table import Study, StudyTable

_PUBLISHED_TABLE = "7"
_WEIGHT, _KINDS = "consistency_weight", "description_kinds"
#: What is read -> label here, label in the paper; in the paper's order. "": nothing, the weight is 0.
_ROWS = {
    "": ("without descriptions", "without_descriptions"),
    "temporal": ("temporal only", "without_spatial"),
    "spatial": ("spatial only", "without_temporal"),
    "both": ("spatial and temporal", "full"),
}


@pb.register_table("descriptions")
class DescriptionsTable(StudyTable):
    """Kinds of descriptions in the consistency constraint: none, temporal, spatial, both; means over data sets.

    A group of rows holds base-to-novel configurations of a method that differ in the kinds of descriptions alone, and
    beside them the same one with weight 0, which reads none. Its means are over the data sets that all of its rows
    have. Rows are ranked within their group. Quoted: Table 7 of the MSTA paper (CVPR 2025).
    """

    setting = SETTING
    title = "Class descriptions: top-1 accuracy in percent, base to novel, mean over data sets"
    corner = "Descriptions"
    numbers = NUMBERS
    formats: ClassVar[Mapping[str, str]] = {"HM": ".2f"}  # as in the paper, whose rows differ in the second decimal
    no_study = (
        "no two base2novel configurations here differ in the kinds of their descriptions alone. Make some: "
        "petl-bench run --methods msta --setting base2novel --set msta.description_kinds=spatial"
    )
    published_csv = (MSTA_TABLES,)
    published_means = PAPERS_MEANS

    def studies(self, comparison: Comparison) -> list[Study]:
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
    ordered = sorted(rows, key=lambda row: list(_ROWS).index(_read(row)))
    counts = Counter(_read(row) for row in ordered)
    apart = {row: {_KINDS: _kinds(row)} if counts[_read(row)] > 1 else {} for row in ordered}
    return Study(
        title=", ".join(filter(None, (METHODS.display(ordered[0].method), values_in_words(differences)))),
        labels={row: with_values(_ROWS[_read(row)][0], apart[row]) for row in ordered},
        displays={row: for_readers(_ROWS[_read(row)][0], apart[row]) for row in ordered},
        table=_PUBLISHED_TABLE,
        published={row: f"MSTA + L_CC [descriptions={_ROWS[_read(row)][1]}]" for row in ordered if _is_papers(row)},
    )


def _rest(row: Configuration) -> str:
    """Everything but the descriptions, as JSON."""
    rest = {name: value for name, value in row.short(row.settable).items() if name not in (_WEIGHT, _KINDS)}
    return canonical_json({"method": row.method, **rest})


def _read(row: Configuration) -> str:
    """The kinds of descriptions that a row's loss reads; "" if its weight is 0."""
    return _kinds(row) if json.loads(row.hyper_parameters)[_WEIGHT] > 0 else ""


def _kinds(row: Configuration) -> str:
    kinds: str = json.loads(row.hyper_parameters)[_KINDS]
    return kinds


def _is_papers(row: Configuration) -> bool:
    return paper_name(row) in ("MSTA", "MSTA + L_CC")
