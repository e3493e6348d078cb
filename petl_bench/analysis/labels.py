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
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS
from petl_bench.errors import PetlBenchError, PluginError, describe

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
    """The same for readers: "LoRA (rank 8)" for "lora (rank=8)".

    A value that decides what the method itself calls a variant (`Method.display_of`) is not said again in parentheses,
    if the rows of this name share it.
    """
    names = {row: method_display(row.method, json.loads(row.hyper_parameters)) for row in configurations}
    of_name = differences_in({row: row.settable for row in configurations}, lambda row: (row.method, names[row]))
    named_with = _names_by_value(names)
    displays = {}
    for row, found in row_differences(configurations).items():
        said = {
            option: value
            for option, value in found.items()
            if option in of_name[row] or _is_unsaid(row, option, names[row], named_with[row.method, option])
        }
        displays[row] = for_readers(names[row], row.short(said))
    return distinct_displays(displays, row_labels(configurations))


#: Value of an option, as JSON -> what its method calls the rows that have it.
_Names = Mapping[str, set[str]]
_EMPTY = json.dumps("")


def _names_by_value(names: Mapping[Configuration, str]) -> Mapping[tuple[str, str], _Names]:
    """By method and option, for the methods that have several names."""
    of_method: dict[str, set[str]] = defaultdict(set)
    for row, name in names.items():
        of_method[row.method].add(name)
    found: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row, name in names.items():
        for option, value in row.settable.items() if len(of_method[row.method]) > 1 else ():
            found[row.method, option][json.dumps(value)].add(name)
    return found


def _is_unsaid(row: Configuration, option: str, name: str, named_with: _Names) -> bool:
    """Whether rows of another name have another value of an option, which is not what their name says.

    An empty value is none: such as the descriptions, which one of two variants does not read.
    """
    own = json.dumps(row.settable[option])
    return any(
        value not in (own, _EMPTY) and named - {name} and not _changes_name(row, option, json.loads(value))
        for value, named in named_with.items()
    )


def _changes_name(row: Configuration, option: str, value: Any) -> bool:
    """Whether a method calls a row by another name if this option alone has another value."""
    values = json.loads(row.hyper_parameters)
    field = option.removeprefix(f"{row.method}.")
    if field == option or field not in values:
        return False
    return method_display(row.method, {**values, field: value}) != method_display(row.method, values)


def row_differences(configurations: Sequence[Configuration]) -> dict[Configuration, dict[str, Any]]:
    """The values in which the configurations of one method differ, with the names in `Configuration.settable`."""
    differences = differences_in({row: row.settable for row in configurations}, lambda row: row.method)
    return {row: _without_empty(found) for row, found in differences.items()}


def case_labels(cases: Sequence[ComparedCase], besides: str = "") -> dict[ComparedCase, str]:
    """Data set names, with what tells the cases of one data set apart, without the field `besides`."""
    return {case: with_values(case.dataset, found) for case, found in _case_differences(cases, besides).items()}


def case_displays(cases: Sequence[ComparedCase], besides: str = "") -> dict[ComparedCase, str]:
    """The same for readers: "HMDB-51 (split 2)" for "hmdb51 (split=2)"; names that a user gave stay as they are."""
    displays = {
        case: for_readers(dataset_display(case.dataset, case.dataset_plugin), found)
        for case, found in _case_differences(cases, besides).items()
    }
    return displays if besides else distinct_displays(displays, case_labels(cases))


def _case_differences(cases: Sequence[ComparedCase], besides: str) -> dict[ComparedCase, dict[str, Any]]:
    settings = {case: {n: v for n, v in case.settings.items() if n != besides} for case in cases}
    differences = differences_in(settings, lambda case: case.dataset)
    return {case: _without_empty(found) for case, found in differences.items()}


def case_groups(cases: Sequence[ComparedCase], over: str) -> list[CaseGroup]:
    """The cases, those together that differ in the field `over` only; in their order."""
    found: dict[tuple[Any, ...], list[ComparedCase]] = defaultdict(list)
    for case in cases:
        found[values_of(case, besides=over)].append(case)
    firsts = [some[0] for some in found.values()]
    labels, displays = case_labels(cases, besides=over), case_displays(cases, besides=over)
    displays = distinct_displays({case: displays[case] for case in firsts}, labels)
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
    inside = values_in_words(differences)
    return f"{display} ({inside})" if inside else display


def values_in_words(differences: Mapping[str, Any]) -> str:
    """Options with their values as readers see them: "rank 8, 30 epochs, no shared"; nothing for an empty value."""
    return ", ".join(_in_words(option, value) for option, value in differences.items() if value != "")


def _in_words(option: str, value: Any) -> str:
    words, text = words_of(option), short_text(text_of(value))
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if isinstance(value, float):
        text = text.removesuffix(".0")
    if value == "all":
        return f"all {words}"
    counted, per, of_each = words.partition(" per ")
    if isinstance(value, int) and counted.endswith("s") and not counted.endswith("ss"):
        return f"{text} {counted if value != 1 else _singular(counted)}{per}{of_each}"
    return f"{words} {text}"


def _singular(words: str) -> str:
    return words.removesuffix("es") if words.endswith("sses") else words.removesuffix("s")


def words_of(option: str) -> str:
    """An option as readers see it: "learning rate" for training.learning_rate, "LoRA rank" for lora.rank."""
    owner, _, name = option.removeprefix("training.").rpartition(".")
    words = name.removeprefix("num_").replace("_", " ")
    return f"{METHODS.display(owner)} {words}" if owner else words


def method_display(method: str, values: Mapping[str, Any]) -> str:
    """A configuration of a method as readers see it: "MSTA + L_CC"; the registered name if it cannot be loaded here.

    Args:
        method: its registered name.
        values: of its fields, as records hold them.

    Raises:
        PluginError: if the method's own `display_of` fails.
    """
    try:
        shown = METHODS.get(method).display_of(values) if method in METHODS else ""
    except PetlBenchError:
        return method
    except Exception as error:
        raise PluginError(f"{method}.display_of() fails: {describe(error)}") from error
    if not isinstance(shown, str):
        raise PluginError(f"{method}.display_of() returned {type(shown).__name__}; it must return a text")
    return shown or method


def dataset_display(dataset: str, plugin: str) -> str:
    """A data set as readers see it; one that a user gave to a folder, which `plugin` reads, as it is."""
    return dataset if plugin else DATASETS.display(dataset)


def host_display(backbone: str, weights: str) -> str:
    """A backbone with its weights, as readers see it: "ViCLIP-B/16, packaged weights"."""
    return f"{BACKBONES.display(backbone)}, {weights} weights"


def distinct_displays(displays: Mapping[T, str], labels: Mapping[T, str]) -> dict[T, str]:
    """The displays of some things; of those that share one, the labels."""
    counts = Counter(displays.values())
    found = {thing: display if counts[display] == 1 else labels[thing] for thing, display in displays.items()}
    return found if len(set(found.values())) == len(found) else dict(labels)


def _without_empty(differences: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in differences.items() if value != ""}
