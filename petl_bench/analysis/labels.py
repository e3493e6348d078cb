"""Labels of rows and cases: as short as possible without confusing any two."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from petl_bench.analysis.configurations import ComparedCase, Configuration, values_of
from petl_bench.api.options import text_of
from petl_bench.api.prompts import short_text

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class CaseGroup:
    """Cases that differ in one field only, such as the shots, under their common label."""

    label: str
    cases: tuple[ComparedCase, ...]


def row_labels(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """Method names, with the values in which the configurations of one method differ."""
    differences = differences_in({row: row.settable for row in configurations}, lambda row: row.method)
    return {row: with_values(row.method, row.short(_without_empty(found))) for row, found in differences.items()}


def case_labels(cases: Sequence[ComparedCase], besides: str = "") -> dict[ComparedCase, str]:
    """Data set names, with what tells the cases of one data set apart, without the field `besides`."""
    settings = {case: {n: v for n, v in case.settings.items() if n != besides} for case in cases}
    differences = differences_in(settings, lambda case: case.dataset)
    return {case: with_values(case.dataset, _without_empty(found)) for case, found in differences.items()}


def case_groups(cases: Sequence[ComparedCase], over: str) -> list[CaseGroup]:
    """The cases, those together that differ in the field `over` only; in their order."""
    found: dict[tuple[Any, ...], list[ComparedCase]] = defaultdict(list)
    for case in cases:
        found[values_of(case, besides=over)].append(case)
    labels = case_labels(cases, besides=over)
    return [CaseGroup(labels[some[0]], tuple(some)) for some in found.values()]


def differences_in(settings: Mapping[T, Mapping[str, Any]], family: Callable[[T], Any]) -> dict[T, dict[str, Any]]:
    """For each thing, those of its settings that are not alike in its family."""
    families: dict[Any, list[T]] = defaultdict(list)
    for thing in settings:
        families[family(thing)].append(thing)
    found: dict[T, dict[str, Any]] = {}
    for things in families.values():
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for thing in things:
            for name, value in settings[thing].items():
                seen[name][json.dumps(value)] += 1
        alike = {name for name, values in seen.items() if list(values.values()) == [len(things)]}
        for thing in things:
            found[thing] = {name: value for name, value in settings[thing].items() if name not in alike}
    return found


def with_values(name: str, differences: Mapping[str, Any]) -> str:
    """A name, with the values that tell it apart in parentheses."""
    inside = ", ".join(f"{setting}={short_text(text_of(value))}" for setting, value in differences.items())
    return f"{name} ({inside})" if inside else name


def _without_empty(differences: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in differences.items() if value != ""}
