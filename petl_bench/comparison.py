"""From records to what a table compares: configurations (rows) on cases (column groups), with their reservations.

Runs are averaged over seeds only: two trials share a cell only where they differ in nothing but the seed.
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Configuration:
    """What is compared: a method with everything that decides its numbers, save the case and the seed.

    One comparison makes one object of each, so that they are told apart by identity.
    """

    method: str
    hyper_parameters: str  #: canonical JSON, as in a frame of records
    training: str  #: canonical JSON
    method_version: str
    backbone: str
    weights: str
    weights_sha256: str
    decoder: str
    engine_version: int
    source_sha256: str  #: of the data set that its adapter was trained on, where that is another than the case's
    descriptions: str  #: sha256 of the class descriptions, only where a method was run with several on one case

    @cached_property
    def training_values(self) -> dict[str, Any]:
        """The training options."""
        values: dict[str, Any] = json.loads(self.training)
        return values

    @cached_property
    def settable(self) -> dict[str, Any]:
        """Everything in which two configurations of one method can differ, by a name that a reader knows."""
        return {
            **{f"{self.method}.{name}": value for name, value in json.loads(self.hyper_parameters).items()},
            **{f"training.{name}": value for name, value in self.training_values.items()},
            "version": self.method_version,
            "decoder": self.decoder,
            "engine": self.engine_version,
            "source files": self.source_sha256[:8],
            "descriptions": self.descriptions[:8],
        }

    @cached_property
    def comparable(self) -> Comparable:
        """What rows must share to be ranked together."""
        training = self.training_values
        return self.backbone, self.weights, self.weights_sha256, training.get("views", 1), training.get("crops", 1)


@dataclass(frozen=True, eq=False)
class CaseKey:
    """What configurations are compared on: data, split, shots, protocol. One object of each in a comparison."""

    dataset: str
    split: str
    shots: int  #: 0: all clips
    setting: str
    setting_version: str
    setting_options: str  #: canonical JSON
    dataset_version: str
    dataset_options: str  #: canonical JSON
    manifest_sha256: str
    part: str


#: Backbone, weights, their sha256, temporal clips and crops per test video: rows that share them are ranked together.
Comparable = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One trial of a configuration on a case."""

    seed: int
    values: tuple[float, ...]  #: in the order of the metrics that were asked for
    marks: str
    coverage: str
    train_clips: str
    trainable_params: int
    backbone_params: int


@dataclass
class Comparison:
    """All runs of one setting, each list ordered by seed."""

    runs: dict[tuple[Configuration, CaseKey], list[Run]]
    locations: dict[CaseKey, dict[str, Any]]  #: fields of a data set that name files, as one of its trials had them
    prompts: tuple[str, ...]
    devices: tuple[str, ...]
    configurations: list[Configuration] = field(init=False)
    cases: list[CaseKey] = field(init=False)

    def __post_init__(self) -> None:
        """Rows by number of trainable parameters, then by name; cases by name."""
        sizes: dict[Configuration, int] = {}
        for (row, _), runs in self.runs.items():
            sizes[row] = max(sizes.get(row, 0), runs[0].trainable_params)
        self.configurations = sorted(sizes, key=lambda row: (sizes[row], _values(row)))
        self.cases = sorted({case for _, case in self.runs}, key=_values)

    def of(self, configuration: Configuration, case: CaseKey) -> list[Run]:
        """The runs of one cell; empty where there are none."""
        return self.runs.get((configuration, case), [])

    def seeds(self, row: Configuration, case: CaseKey) -> frozenset[int]:
        """The seeds of one cell."""
        return self._seeds.get((row, case), frozenset())

    @cached_property
    def _seeds(self) -> dict[tuple[Configuration, CaseKey], frozenset[int]]:
        return {place: frozenset([run.seed for run in runs]) for place, runs in self.runs.items()}

    def usual_seeds(self, row: Configuration, case: CaseKey) -> frozenset[int]:
        """The seeds that most rows of this row's group have on a case; the larger set wins a tie."""
        return self._usual_seeds.get((row.comparable, case), frozenset())

    @cached_property
    def _usual_seeds(self) -> dict[tuple[Comparable, CaseKey], frozenset[int]]:
        counts: dict[tuple[Comparable, CaseKey], Counter[frozenset[int]]] = defaultdict(Counter)
        for (row, case), seeds in self._seeds.items():
            counts[row.comparable, case][seeds] += 1
        return {
            place: max(found, key=lambda seeds: (found[seeds], len(seeds), sorted(seeds, reverse=True)))
            for place, found in counts.items()
        }

    def groups(self) -> dict[Comparable, list[Configuration]]:
        """The configurations that may be ranked together, by what they share."""
        grouped: dict[Comparable, list[Configuration]] = defaultdict(list)
        for configuration in self.configurations:
            grouped[configuration.comparable].append(configuration)
        return dict(sorted(grouped.items()))


def compare(records: pd.DataFrame, setting: str, metrics: Sequence[str]) -> Comparison:
    """The runs of one setting that have all of these metrics."""
    import pandas as pd  # here: `list` and `show` load the tables' files, and need no pandas

    chosen = records[(records["setting"] == setting) & records["metric"].isin(list(metrics))]
    trials = chosen.drop_duplicates("trial").set_index("trial")
    for metric in metrics:
        trials[metric] = chosen[chosen["metric"] == metric].set_index("trial")["value"]
    trials = trials.dropna(subset=list(metrics))
    trials["shots"] = trials["shots"].fillna(0)
    trials["descriptions"] = trials["descriptions_sha256"].where(_has_several_descriptions(trials), "")
    rows, row_of = _distinct_rows(trials, Configuration)
    cases, case_of = _distinct_rows(trials, CaseKey)
    trials["values"] = pd.Series(_columns(trials, metrics), index=trials.index, dtype=object)
    trials["row"], trials["case"] = row_of, case_of
    cells: dict[tuple[Configuration, CaseKey], list[Run]] = defaultdict(list)
    for row, case, *values in _columns(trials.sort_values("seed", kind="stable"), ["row", "case", *_names(Run)]):
        cells[rows[row], cases[case]].append(Run(*values))
    located = trials.drop_duplicates("case")
    locations = {
        cases[case]: json.loads(text).get(cases[case].dataset, {})
        for case, text in _columns(located, ["case", "locations"])
    }
    return Comparison(dict(cells), locations, _distinct(trials["prompt_template"]), _distinct(trials["device"]))


def _has_several_descriptions(trials: pd.DataFrame) -> pd.Series:
    """Whether a trial's row has, on any case, runs with different descriptions; these must not be averaged.

    Descriptions belong to a data set, so a row that used one file for each data set stays one row.
    """
    if trials["descriptions_sha256"].nunique() < 2:
        return trials["descriptions_sha256"].map(lambda _: False)
    row = [name for name in _names(Configuration) if name != "descriptions"]
    counts = trials.groupby([*row, *_names(CaseKey)], sort=False)["descriptions_sha256"].transform("nunique")
    return counts.groupby([trials[name] for name in row], sort=False).transform("max") > 1


def _distinct_rows(trials: pd.DataFrame, kind: type[T]) -> tuple[list[T], pd.Series]:
    """One object for each distinct combination of the fields of `kind`, and which of them each trial has."""
    names = _names(kind)
    numbers = trials.groupby(names, sort=False).ngroup()
    first = trials[~numbers.duplicated()]
    return [kind(*values) for values in _columns(first, names)], numbers


def _names(kind: Any) -> list[str]:
    return [each.name for each in fields(kind)]


def _columns(trials: pd.DataFrame, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*[trials[name].tolist() for name in names], strict=True))


def _values(row: Configuration | CaseKey) -> tuple[Any, ...]:
    return tuple(getattr(row, each.name) for each in fields(row))


def _distinct(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(map(str, values.dropna().unique())))


# Labels: as short as they may be while nothing is confused


def row_labels(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """Method names, with the values in which the configurations of one method differ."""
    differences = _differences({each: each.settable for each in configurations}, lambda each: each.method)
    return {
        each: _label(each.method, {name.removeprefix(f"{each.method}."): value for name, value in found.items()})
        for each, found in differences.items()
    }


def case_labels(cases: Sequence[CaseKey]) -> dict[CaseKey, str]:
    """Data set names, with what tells the cases of one data set apart."""
    differences = _differences({case: _case_settings(case) for case in cases}, lambda case: case.dataset)
    return {case: _label(case.dataset, found) for case, found in differences.items()}


def _case_settings(case: CaseKey) -> dict[str, Any]:
    return {
        "part": case.part,
        "split": case.split,
        "shots": case.shots or "all",
        **json.loads(case.dataset_options),
        **json.loads(case.setting_options),
        "protocol": case.setting_version,
        "data version": case.dataset_version,
        "files": case.manifest_sha256[:8],
    }


def _differences(settings: Mapping[Any, Mapping[str, Any]], family: Any) -> dict[Any, dict[str, Any]]:
    """For each thing, those of its settings that are not alike in its family."""
    families: dict[Any, list[Any]] = defaultdict(list)
    for thing in settings:
        families[family(thing)].append(thing)
    found: dict[Any, dict[str, Any]] = {}
    for things in families.values():
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for thing in things:
            for name, value in settings[thing].items():
                seen[name][json.dumps(value)] += 1
        alike = {name for name, values in seen.items() if list(values.values()) == [len(things)]}
        for thing in things:
            found[thing] = {name: value for name, value in settings[thing].items() if name not in alike}
    return found


def _label(name: str, differences: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{setting}={_text(value)}" for setting, value in differences.items())
    return f"{name} ({inside})" if inside else name


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# Reservations


def marks_of(comparison: Comparison, row: Configuration, case: CaseKey) -> tuple[str, ...]:
    """The marks of one cell: those of its records, and those that follow from coverage and seeds."""
    runs = comparison.of(row, case)
    marks = {word for run in runs if run.marks for word in run.marks.split()}
    if any(uncovered(run) for run in runs):
        marks.add("incomplete-coverage")
    if runs and comparison.seeds(row, case) != comparison.usual_seeds(row, case):
        marks.add("partial-seeds")
    return tuple(sorted(marks))


def uncovered(run: Run) -> str:
    """Which clips a run did not use, in words; empty where it used all."""
    return _uncovered(run.train_clips, run.coverage)


@cache
def _uncovered(train_clips: str, coverage: str) -> str:
    parts = []
    train = json.loads(train_clips)
    if train["used"] < train["expected"]:
        parts.append(f"training: {train['used']:,} of {train['expected']:,} clips used")
    for evaluation, counts in json.loads(coverage).items():
        if counts["used"] < counts["expected"]:
            parts.append(
                f"{evaluation}: {counts['used']:,} of {counts['expected']:,} test clips scored "
                f"({counts['expected'] - counts['found']:,} not found, {counts['unreadable']:,} unreadable)"
            )
    return "; ".join(parts)


def scored(runs: Sequence[Run]) -> tuple[int, int]:
    """Test clips scored and expected over all evaluations, of the run that scored fewest."""
    return min(_scored(run.coverage) for run in runs)


@cache
def _scored(coverage: str) -> tuple[int, int]:
    counts = json.loads(coverage).values()
    return sum(each["used"] for each in counts), sum(each["expected"] for each in counts)


# What would fill the gaps


def commands(comparison: Comparison, setting: str) -> list[str]:
    """The commands that would run the missing cells and seeds."""
    methods: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for configurations in comparison.groups().values():
        differences = _differences({each: each.settable for each in configurations}, lambda each: each.method)
        for case, row in itertools.product(comparison.cases, configurations):
            missing = comparison.usual_seeds(row, case) - comparison.seeds(row, case)
            if missing:
                methods[_flags(comparison, row, case, missing, differences[row])].append(row.method)
    return [
        shlex.join(["petl-bench", "run", "--methods", ",".join(dict.fromkeys(names)), "--setting", setting, *flags])
        for flags, names in methods.items()
    ]


def _flags(
    comparison: Comparison,
    configuration: Configuration,
    case: CaseKey,
    seeds: Iterable[int],
    differences: Mapping[str, Any],
) -> tuple[str, ...]:
    flags = ["--datasets", case.dataset, "--backbone", configuration.backbone]
    if configuration.weights != "packaged":
        flags += ["--weights", configuration.weights]
    flags += ["--seeds", ",".join(map(str, sorted(seeds)))]
    if case.split:
        flags += ["--splits", case.split]
    if case.shots:
        flags += ["--shots", str(case.shots)]
    options = {**json.loads(case.dataset_options), **comparison.locations[case]}
    given = {f"{case.dataset}.{name}": value for name, value in options.items() if value is not None}
    settable = {name: value for name, value in differences.items() if "." in name}
    for name, value in {**given, **settable}.items():
        flags += ["--set", f"{name}={_text(value)}"]
    return tuple(flags)
