"""The ablation table: what each value of a hyper-parameter does, all else being equal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison, Configuration, bundles, differences_in
from petl_bench.analysis.from_records import compare
from petl_bench.api.options import text_of
from petl_bench.api.table import RowGroup, Table, TableSource
from petl_bench.api.trial import canonical_json
from petl_bench.errors import UsageError
from petl_bench.reports import mean_over_data_sets as means
from petl_bench.reports.mean_over_data_sets import METRICS, SETTING, Study
from petl_bench.reports.published_numbers import SELECTED_ON_TEST, paper_name, published_numbers
from petl_bench.tables import notes as table_notes
from petl_bench.tables import table_parts
from petl_bench.tables.missing_runs import commands
from petl_bench.tables.table_parts import Spot

if TYPE_CHECKING:
    import pandas as pd

    from petl_bench.api.evidence import Evidence

#: The last of ViCLIP-B/16's blocks, which the paper names where the field says none.
_LAST_BLOCK = 12
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """Fields that are varied together, by their names without the method's; and where the MSTA paper does so.

    `label`: the paper's label of a row, from the values of the fields; "" where it has none.
    """

    names: tuple[str, ...]
    paper: str = ""
    table: str = ""
    label: Callable[[Values], str] = lambda values: ""

    @property
    def title(self) -> str:
        """The fields, with the paper's name for them."""
        return ", ".join(self.names) + (f" ({self.paper}, Table {self.table})" if self.table else "")


def _variant(values: Values) -> str:
    alone = {"text": "only_l_adapter", "video": "only_v_adapter"}
    if values["towers"] == "both":
        return "full" if values["shared"] else "without_shared_layers"
    return alone.get(values["towers"], "") if values["shared"] else ""


def _layers(values: Values) -> str:
    return f"{values['first_layer']}-{values['last_layer'] or _LAST_BLOCK}"


#: What the MSTA paper varies, in its order. Other methods share the fields, not the tables.
_PAPERS_METHOD = "msta"
_PAPERS = (
    Factor(("towers", "shared"), "variant", "6a", _variant),
    Factor(("bottleneck_dim",), "dims", "6b", lambda values: str(values["bottleneck_dim"])),
    Factor(("scale",), "lambda", "6c", lambda values: f"{values['scale']:g}"),
    Factor(("consistency_weight",), "alpha", "6d", lambda values: str(float(values["consistency_weight"]))),
    Factor(("descriptions_per_class",), "N", "6e", lambda values: str(values["descriptions_per_class"])),
    Factor(("first_layer", "last_layer"), "layers", "6f", _layers),
)


@pb.register_table("ablation")
class AblationTable(TableSource):
    """Ablation: base and novel top-1 and their harmonic mean, means over data sets, by value of a hyper-parameter.

    A group of rows holds base-to-novel configurations of one method that differ in nothing but one hyper-parameter or
    training option, or in two that belong together (first and last layer; towers and shared), in the order of its
    values. Its means are over the data sets that all of its rows have. Rows are ranked within their group. Quoted:
    Tables 6a to 6f of the MSTA paper (CVPR 2025), where the same hyper-parameter of MSTA was varied here.
    """

    def published(self) -> pd.DataFrame:
        """The published numbers of the MSTA paper, one per line, with the table they stand in."""
        return published_numbers()

    def build(self, evidence: Evidence) -> Table:
        """The table of all base2novel records. Raises UsageError where no two differ in one hyper-parameter alone."""
        comparison = compare(evidence.records, SETTING, METRICS)
        table_parts.refuse_nothing(comparison, SETTING)
        found = [(study, means.spots(comparison, study.rows, {})) for study in studies(comparison)]
        if not found:
            raise UsageError(
                "no two base2novel configurations of one method here differ in one hyper-parameter alone. Make some: "
                "petl-bench run --methods lora --setting base2novel --set lora.rank=4 (and again with another value)"
            )
        groups = _with_quoted(found, means.run_groups(comparison, found, evidence), evidence.published)
        is_quoted = any(row.marks == ("quoted",) for group in groups for row in group.rows)
        return Table(
            name="ablation",
            title="Ablation: top-1 accuracy in percent, base to novel, mean over data sets",
            corner="Value",
            columns=tuple(spot.column for spot in found[0][1]),
            groups=tuple(groups),
            footers=(
                *table_notes.seed_notes(comparison),
                means.NOTE,
                table_notes.RANKS,
                table_notes.TRAINED,
                *table_notes.training_notes(comparison),
                *table_notes.data_notes(comparison, bundles(comparison.cases, over="")),
                *([f"{table_notes.QUOTED} {SELECTED_ON_TEST}"] if is_quoted else []),
            ),
            commands=tuple(commands(comparison, SETTING)),
        )


def studies(comparison: Comparison) -> list[Study]:
    """The groups of rows: those of the paper's factors first, then the others by name; each by method and weights."""
    found: dict[tuple[str, Factor], list[Study]] = defaultdict(list)
    for configurations in comparison.groups().values():
        methods = sorted({row.method for row in configurations})
        for method in methods:
            rows = [row for row in configurations if row.method == method]
            for factor in _factors(method, rows):
                found[method, factor] += _studies(method, factor, rows)
    return [study for place in sorted(found, key=_order) for study in found[place]]


def _order(place: tuple[str, Factor]) -> tuple[int, str, tuple[str, ...]]:
    method, factor = place
    return _PAPERS.index(factor) if factor in _PAPERS else len(_PAPERS), method, factor.names


def _factors(method: str, rows: Sequence[Configuration]) -> list[Factor]:
    """What may vary: the paper's factors, and every other field by itself."""
    fields = {name.removeprefix(f"{method}.") for row in rows for name in row.settable if "." in name}
    together = [factor for factor in _PAPERS if len(factor.names) > 1 and fields.issuperset(factor.names)]
    if method == _PAPERS_METHOD:
        together = [factor for factor in _PAPERS if fields.issuperset(factor.names)]
    elif together:
        together = [Factor(factor.names) for factor in together]
    single = fields - {name for factor in together for name in factor.names}
    return [*together, *[Factor((name,)) for name in sorted(single)]]


def _studies(method: str, factor: Factor, rows: Sequence[Configuration]) -> Iterable[Study]:
    """The rows that differ in this factor alone, set by set."""
    sets: dict[str, list[Configuration]] = defaultdict(list)
    for row in rows:
        rest = {name: value for name, value in _settings(row).items() if name not in factor.names}
        sets[canonical_json(rest)].append(row)
    several = {rest: own for rest, own in sets.items() if len(own) > 1}
    differences = differences_in({rest: json.loads(rest) for rest in several}, lambda _: "")
    for same, own in several.items():
        apart = "".join(f", {name}={text_of(value)}" for name, value in differences[same].items())
        ordered = sorted(own, key=lambda row: [_by_value(value) for value in _of_factor(factor, row).values()])
        yield Study(
            title=f"{method}: {factor.title}{apart}",
            labels={each: _label(_of_factor(factor, each)) for each in ordered},
            table=factor.table,
            published={each: name for each in ordered if (name := _published(factor, each))},
        )


def _settings(row: Configuration) -> dict[str, Any]:
    """Everything in which rows can differ, hyper-parameters by their names without the method's."""
    return {name.removeprefix(f"{row.method}."): value for name, value in row.settable.items()}


def _of_factor(factor: Factor, row: Configuration) -> dict[str, Any]:
    settings = _settings(row)
    return {name: settings.get(name) for name in factor.names}


def _label(values: Values) -> str:
    return ", ".join(f"{name}={text_of(value)}" for name, value in values.items())


def _by_value(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then texts; none, which stands for the last or for no limit, at the end."""
    if value is None:
        return 2, 0.0, ""
    if isinstance(value, (bool, int, float)):
        return 0, float(value), ""
    return 1, 0.0, text_of(value)


def _published(factor: Factor, row: Configuration) -> str:
    """The paper's label of a row: all of its Table 6 is MSTA with the consistency constraint."""
    if not factor.table or paper_name(row) != "MSTA + L_CC":
        return ""
    value = factor.label(_of_factor(factor, row))
    return f"MSTA + L_CC [{factor.paper}={value}]" if value else ""


def _with_quoted(
    found: Sequence[tuple[Study, list[Spot]]], groups: Sequence[RowGroup], published: pd.DataFrame | None
) -> list[RowGroup]:
    """The groups of rows, those of one of the paper's tables followed by its quoted rows."""
    shown: list[RowGroup] = []
    for table, some in groupby(zip(found, groups, strict=True), key=lambda pair: pair[0][0].table):
        of_table = list(some)
        shown += [group for _, group in of_table]
        if table:
            shown += means.quoted_groups(published, table, [columns for (_, columns), _ in of_table])
    return shown
