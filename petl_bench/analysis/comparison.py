"""What a table compares: configurations (rows) on cases (column groups), their labels and their coverage.

Runs are averaged over seeds only: two trials share a cell only where they differ in nothing but the seed, and in what
changes no number (processes, threads, how many bad clips are allowed).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any

from petl_bench.api.options import text_of
from petl_bench.api.prompts import short_text


@dataclass(frozen=True, eq=False)
class Configuration:
    """What is compared: a method with everything that decides its numbers, save the case and the seed.

    One comparison makes one object of each, so that they are told apart by identity.
    """

    method: str
    hyper_parameters: str  #: canonical JSON, as in a frame of records
    training: str  #: canonical JSON, without views and crops, and without what changes no number
    method_version: str
    backbone: str
    weights: str
    weights_sha256: str
    decoder: str
    engine_version: int
    source_sha256: (
        str  #: of the data that its adapter was trained on, only where others used other files of that source
    )
    other_views: str  #: what sets its views apart, only where a data set was evaluated with several; see Run.views
    descriptions: str  #: sha256 of the class descriptions, only where a method was run with several on one case
    backbone_version: str  #: code of the backbone's plugin, where that is not petl-bench's own
    backbone_options: str  #: canonical JSON of the backbone's options that are not at their defaults

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
            "views": self.other_views,
            "descriptions": self.descriptions[:8],
            "backbone version": self.backbone_version,
            **{f"{self.backbone}.{name}": value for name, value in json.loads(self.backbone_options).items()},
        }

    @cached_property
    def budget(self) -> float:
        """How often it trains on every training clip, mean over them; clips that select the epoch are held out."""
        values = self.training_values
        held_out = values.get("val_fraction", 0.0) if values.get("select") == "val" else 0.0
        return float(values.get("epochs", 0) * (1.0 - held_out))

    @cached_property
    def comparable(self) -> Comparable:
        """What rows must share to be ranked together."""
        options = "" if self.backbone_options == "{}" else self.backbone_options
        weights_sha256 = " ".join(filter(None, (self.weights_sha256, self.backbone_version, options)))
        return self.backbone, self.weights, weights_sha256, self.other_views, self.source_sha256


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
    selected: str  #: "test" where the epoch was selected on the test clips, which honest numbers never are; else ""
    dataset_plugin: str  #: what reads the data set, if its name is one that a user gave to a folder; else ""


#: Backbone, weights, their sha256 (with the backbone's own code and options, if it has some), unusual views, unusual
#: source files: rows that share them are ranked together.
Comparable = tuple[str, str, str, str, str]
#: Kinds of methods, as the tables of papers group them; rows of one kind are ranked together.
FAMILIES = ("zero-shot", "parameter-efficient", "full fine-tuning")


@dataclass(frozen=True, slots=True)
class Run:
    """One trial of a configuration on a case."""

    trial: str  #: its key
    seed: int
    values: tuple[float, ...]  #: in the order of the metrics that were asked for
    marks: str
    coverage: str
    train_clips: str
    trainable_params: int
    backbone_params: int
    views: str  #: temporal clips x crops per test video
    source_missing: bool  #: it starts from the adapter of a trial whose record is not here
    all_training: str  #: canonical JSON of all training options
    locations: str  #: canonical JSON: plugin -> fields that name files
    source_fields: str  #: JSON: "data set.field" -> value, of the data that its adapter was trained on
    created: str  #: ISO 8601
    environment: tuple[tuple[str, str], ...]  #: what can change last bits: (name, value) of what its record knows
    test_classes: str = "{}"  #: JSON: evaluation -> how many classes have clips, and the least and most clips of one
    optional: tuple[float, ...] = ()  #: of the optional metrics that were asked for, NaN for what its record lacks

    @property
    def trains(self) -> bool:
        """Whether its method has anything to train."""
        return self.trainable_params > 0


@dataclass
class Comparison:
    """All runs of one setting, each list ordered by seed, with one run per seed."""

    setting: str
    runs: dict[tuple[Configuration, CaseKey], list[Run]]
    repeated: dict[tuple[Configuration, CaseKey], float]  #: seeds that were run again: the largest difference
    prompts: tuple[str, ...]
    devices: tuple[str, ...]
    software: tuple[str, ...]  #: the versions of libraries, each as one text
    releases: tuple[str, ...]  #: the versions of petl-bench
    configurations: list[Configuration] = field(init=False)
    cases: list[CaseKey] = field(init=False)
    #: What `petl_bench.analysis.marks` has worked out.
    known_marks: dict[tuple[Configuration, CaseKey], tuple[str, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Rows by number of trainable parameters, then by name; cases by name."""
        sizes: dict[Configuration, int] = {}
        for (row, _), runs in self.runs.items():
            sizes[row] = max(sizes.get(row, 0), runs[0].trainable_params)
        self.configurations = sorted(sizes, key=lambda row: (sizes[row], _order(row)))
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
        """The norm of a case for this row's group: the largest set of seeds that one of its rows has.

        Rows that train something count before those that train nothing, then rows with all clips before others. Of sets
        of one size: the one that most rows have, then the one with smaller seeds.
        """
        return self._usual_seeds.get((row.comparable, case), frozenset())

    @cached_property
    def _usual_seeds(self) -> dict[tuple[Comparable, CaseKey], frozenset[int]]:
        places: dict[tuple[Comparable, CaseKey], list[tuple[tuple[bool, bool], frozenset[int]]]] = defaultdict(list)
        for (row, case), runs in self.runs.items():
            standing = (runs[0].trains, not any(map(uncovered, runs)))
            places[row.comparable, case].append((standing, self.seeds(row, case)))
        return {place: _largest_set(found) for place, found in places.items()}

    def is_complete(self, row: Configuration, case: CaseKey) -> bool:
        """Whether a cell has all clips, and at least the seeds that are the norm of its case."""
        runs = self.of(row, case)
        return self.seeds(row, case) >= self.usual_seeds(row, case) and not any(map(uncovered, runs))

    def usual_budget(self, row: Configuration, case: CaseKey) -> float:
        """The largest budget among the complete rows of a case that this row is ranked with, else among all of them."""
        return self._usual_budgets.get((row.comparable, self.family(row), case), 0.0)

    @cached_property
    def _usual_budgets(self) -> dict[tuple[Comparable, str, CaseKey], float]:
        places: dict[tuple[Comparable, str, CaseKey], list[tuple[bool, float]]] = defaultdict(list)
        for row, case in self.runs:
            found = self.is_complete(row, case), row.budget
            places[row.comparable, self.family(row), case].append(found)
        return {place: max(found)[1] for place, found in places.items()}

    def family(self, row: Configuration) -> str:
        """By what is trained: nothing, up to half of the backbone, or more."""
        return self._families[row]

    @cached_property
    def _families(self) -> dict[Configuration, str]:
        first: dict[Configuration, Run] = {}
        for case in self.cases:
            for row in self.configurations:
                if row not in first and (runs := self.of(row, case)):
                    first[row] = runs[0]
        return {row: _family(run) for row, run in first.items()}

    def views(self, row: Configuration, case: CaseKey) -> str:
        """The temporal clips x crops of this row's group on the data set of a case, which one of its rows has."""
        return self._views[row.other_views, case.dataset]

    @cached_property
    def _views(self) -> dict[tuple[str, str], str]:
        return {(row.other_views, case.dataset): runs[0].views for (row, case), runs in self.runs.items()}

    def groups(self) -> dict[Comparable, list[Configuration]]:
        """The configurations that may be ranked together, by what they share."""
        grouped: dict[Comparable, list[Configuration]] = defaultdict(list)
        for configuration in self.configurations:
            grouped[configuration.comparable].append(configuration)
        return dict(sorted(grouped.items()))


def _largest_set(cells: Sequence[tuple[tuple[bool, bool], frozenset[int]]]) -> frozenset[int]:
    """Of sets of seeds, each with its row's standing: the largest one among the rows of highest standing."""
    counts = Counter(seeds for _, seeds in cells)
    highest = max(standing for standing, _ in cells)
    sets = {seeds for standing, seeds in cells if standing == highest}
    return max(sets, key=lambda seeds: (len(seeds), counts[seeds], [-seed for seed in sorted(seeds)]))


def _family(run: Run) -> str:
    if not run.trains:
        return FAMILIES[0]
    return FAMILIES[1] if run.trainable_params < run.backbone_params / 2 else FAMILIES[2]


def _values(thing: Configuration | CaseKey) -> tuple[Any, ...]:
    return tuple(getattr(thing, each.name) for each in fields(thing))


def _order(row: Configuration) -> tuple[Any, ...]:
    """Rows of one method by the values of their fields, numbers as numbers: 3e-05 before 0.0003."""
    return row.method, _by_value(row.hyper_parameters), _by_value(row.training), _values(row)


@cache
def _by_value(text: str) -> tuple[Any, ...]:
    return tuple((name, *_rank_of(value)) for name, value in sorted(json.loads(text).items()))


def _rank_of(value: Any) -> tuple[int, float, str]:
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, (bool, int, float)):
        return 1, float(value), ""
    return 2, 0.0, json.dumps(value)


# Labels: as short as they may be while nothing is confused


def row_labels(configurations: Sequence[Configuration]) -> dict[Configuration, str]:
    """Method names, with the values in which the configurations of one method differ."""
    differences = differences_in({each: each.settable for each in configurations}, lambda each: each.method)
    return {
        each: _label(each.method, {name.removeprefix(f"{each.method}."): value for name, value in found.items()})
        for each, found in differences.items()
    }


def case_labels(cases: Sequence[CaseKey], besides: str = "") -> dict[CaseKey, str]:
    """Data set names, with what tells the cases of one data set apart, besides the field named."""
    settings = {case: {n: v for n, v in _case_settings(case).items() if n != besides} for case in cases}
    differences = differences_in(settings, lambda case: case.dataset)
    return {case: _label(case.dataset, found) for case, found in differences.items()}


@dataclass(frozen=True, eq=False)
class Bundle:
    """Cases that differ in one field only, such as the shots, under their common label."""

    label: str
    cases: tuple[CaseKey, ...]


def bundles(cases: Sequence[CaseKey], over: str) -> list[Bundle]:
    """The cases, gathered over the values of one field; in their order."""
    found: dict[tuple[Any, ...], list[CaseKey]] = defaultdict(list)
    for case in cases:
        found[tuple(getattr(case, each.name) for each in fields(case) if each.name != over)].append(case)
    labels = case_labels(cases, besides=over)
    return [Bundle(labels[some[0]], tuple(some)) for some in found.values()]


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
        "epoch": f"best on {case.selected}" if case.selected else "",
        "read by": case.dataset_plugin,
    }


def differences_in(settings: Mapping[Any, Mapping[str, Any]], family: Any) -> dict[Any, dict[str, Any]]:
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
    inside = ", ".join(
        f"{setting}={short_text(text_of(value))}" for setting, value in differences.items() if value != ""
    )
    return f"{name} ({inside})" if inside else name


# Coverage


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
