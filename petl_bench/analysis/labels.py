"""Labels of rows and cases: as short as possible without confusing any two.

Each in two forms: with registered names, as a user types it, and for readers, with the names that papers use.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from petl_bench.analysis.configurations import ComparedCase, Configuration, values_of
from petl_bench.api.options import text_of
from petl_bench.api.prompts import short_text
from petl_bench.api.registry import DATASETS, METHODS

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class CaseGroup:
    """Cases that differ in one field only, such as the shots, under their common label."""

    label: str
    cases: tuple[ComparedCase, ...]
    display: str


def row_labels(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """Method names, with the values in which the configurations of one method differ."""
    return {row: with_values(row.method, row.short(found)) for row, found in row_differences(configurations).items()}


def row_displays(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """The same for readers: "LoRA (rank 8)" for "lora (rank=8)"."""
    differences = row_differences(configurations)
    return {row: for_readers(METHODS.display(row.method), row.short(found)) for row, found in differences.items()}


def row_differences(configurations: Sequence[Configuration]) -> dict[Configuration, dict[str, Any]]:
    """The values in which the configurations of one method differ, with the names in `Configuration.settable`."""
    differences = differences_in({row: row.settable for row in configurations}, lambda row: row.method)
    return {row: _without_empty(found) for row, found in differences.items()}


def case_labels(cases: Sequence[ComparedCase], besides: str = "") -> dict[ComparedCase, str]:
    """Data set names, with what tells the cases of one data set apart, without the field `besides`."""
    return {case: with_values(case.dataset, found) for case, found in _case_differences(cases, besides).items()}


def case_displays(cases: Sequence[ComparedCase], besides: str = "") -> dict[ComparedCase, str]:
    """The same for readers: "HMDB-51 (split 2)" for "hmdb51 (split=2)"; names that a user gave stay as they are."""
    return {
        case: for_readers(case.dataset if case.dataset_plugin else DATASETS.display(case.dataset), found)
        for case, found in _case_differences(cases, besides).items()
    }


def _case_differences(cases: Sequence[ComparedCase], besides: str) -> dict[ComparedCase, dict[str, Any]]:
    settings = {case: {n: v for n, v in case.settings.items() if n != besides} for case in cases}
    differences = differences_in(settings, lambda case: case.dataset)
    return {case: _without_empty(found) for case, found in differences.items()}


def case_groups(cases: Sequence[ComparedCase], over: str) -> list[CaseGroup]:
    """The cases, those together that differ in the field `over` only; in their order."""
    found: dict[tuple[Any, ...], list[ComparedCase]] = defaultdict(list)
    for case in cases:
        found[values_of(case, besides=over)].append(case)
    labels, displays = case_labels(cases, besides=over), case_displays(cases, besides=over)
    return [CaseGroup(labels[some[0]], tuple(some), displays[some[0]]) for some in found.values()]


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


def for_readers(display: str, differences: Mapping[str, Any]) -> str:
    """A name for readers, with the values that tell it apart in words."""
    inside = ", ".join(f"{words_of(setting)} {short_text(text_of(value))}" for setting, value in differences.items())
    return f"{display} ({inside})" if inside else display


def words_of(setting: str) -> str:
    """An option as readers see it: "learning rate" for training.learning_rate."""
    return setting.removeprefix("training.").replace("_", " ")


def _without_empty(differences: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in differences.items() if value != ""}
