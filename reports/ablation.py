"""The ablation table: what each value of a hyper-parameter does, all else being equal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import petl_bench as pb
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import differences_in, distinct_displays, values_in_words, words_of
from petl_bench.api.options import text_of
from petl_bench.api.registry import METHODS
from petl_bench.api.trial import canonical_json
from petl_bench.reports.base2novel import NUMBERS, SETTING
from petl_bench.reports.published_numbers import MSTA_TABLES, PAPERS_MEANS, paper_name
from petl_bench.tables.study_table import Study, StudyTable

#: The last of ViCLIP-B/16's blocks, which the paper names if the field says none.
_LAST_BLOCK = 12
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """Fields that are varied together, by their names without the method's; and the MSTA paper's table that does so.

    `label`: the paper's label of a row, from the values of the fields; "" if it has none.
    """

    names: tuple[str, ...]
    paper: str = ""
    table: str = ""
    label: Callable[[Values], str] = lambda values: ""

    @property
    def title(self) -> str:
        """The fields as readers see them, with the paper's name for them."""
        return ", ".join(map(words_of, self.names)) + (f" ({self.paper}, Table {self.table})" if self.table else "")


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
class AblationTable(StudyTable):
    """Ablation: base and novel top-1 and their harmonic mean, means over data sets, by value of a hyper-parameter.

    A group of rows holds base-to-novel configurations of one method that differ in nothing but one hyper-parameter or
    training option, or in two that belong together (first and last layer; towers and shared), in the order of its
    values. Its means are over the data sets that all of its rows have. Rows are ranked within their group. Quoted:
    Tables 6a to 6f of the MSTA paper (CVPR 2025), if the same hyper-parameter of MSTA was varied here.
    """

    setting = SETTING
    title = "Ablation: top-1 accuracy in percent, base to novel, mean over data sets"
    corner = "Value"
    numbers = NUMBERS
    no_study = (
        "no two base2novel configurations of one method here differ in one hyper-parameter alone. Make some: "
        "petl-bench run --methods lora --setting base2novel --set lora.rank=4 (and again with another value)"
    )
    published_csv = (MSTA_TABLES,)
    published_means = PAPERS_MEANS

    def studies(self, comparison: Comparison) -> list[Study]:
        """The groups of rows: those of the paper's factors first, then others by name; each by method and weights."""
        found: dict[tuple[str, Factor], list[Study]] = defaultdict(list)
        for configurations in comparison.groups().values():
            for method in sorted({row.method for row in configurations}):
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
        rest = {name: value for name, value in row.short(row.settable).items() if name not in factor.names}
        sets[canonical_json(rest)].append(row)
    several = {rest: own for rest, own in sets.items() if len(own) > 1}
    differences = differences_in({rest: json.loads(rest) for rest in several}, lambda _: "")
    for same, own in several.items():
        apart = ", ".join(filter(None, (factor.title, values_in_words(differences[same]))))
        labels = {row: _label(_of_factor(factor, row)) for row in own}
        displays = {row: values_in_words(_of_factor(factor, row)) for row in own}
        ordered = sorted(own, key=lambda row: [_by_value(value) for value in _of_factor(factor, row).values()])
        yield Study(
            title=f"{METHODS.display(method)}: {apart}",
            labels={each: labels[each] for each in ordered},
            displays=distinct_displays(displays, labels),
            table=factor.table,
            published={each: name for each in ordered if (name := _published(factor, each))},
        )


def _of_factor(factor: Factor, row: Configuration) -> dict[str, Any]:
    settings = row.short(row.settable)
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
