"""The frontier: the points that each method reaches along one option, two numbers of each, and which are dominated.

A table plugin subclasses `FrontierSource`; `petl-bench compare` asks it whether one method's points dominate another's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.from_records import compare
from petl_bench.analysis.labels import differences_in, for_readers, method_display, with_values, words_of
from petl_bench.analysis.pairwise import PairwiseTests
from petl_bench.api.evidence import Evidence
from petl_bench.api.marks import barring
from petl_bench.api.options import text_of
from petl_bench.api.registry import BACKBONES, DATASETS, METHODS, SETTINGS
from petl_bench.api.table import Cell, Column, TableSource
from petl_bench.api.training_options import TrainingOptions
from petl_bench.api.trial import canonical_json
from petl_bench.api.values.resolution import recipe_values, usual_training
from petl_bench.errors import PetlBenchError, UsageError, unknown
from petl_bench.system.texts import clean
from petl_bench.tables.columns import MeasuredColumn, ShownNumber
from petl_bench.tables.ranking import cells_of, may_be_ranked
from petl_bench.tables.setting_table import refuse_nothing
from petl_bench.tables.shared_cases import SharedCases, shared_cases
from petl_bench.tables.tradeoff_picture import with_interval

USUAL_OPTION = "training.learning_rate"
_TRAINING = "training."
_SEE = "petl-bench show METHOD"


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """One row: its value of the option, as a short text ("" if it has none), and its two numbers with their marks.

    `of_recipe`: the value is that of the method's recipe for the setting and backbone; None if that is not known.
    """

    row: Configuration
    value: str
    x: Cell
    y: Cell
    of_recipe: bool | None

    @property
    def position(self) -> tuple[float, float]:
        """Both numbers."""
        assert isinstance(self.x.value, float) and isinstance(self.y.value, float)
        return self.x.value, self.y.value

    @property
    def marks(self) -> tuple[str, ...]:
        """Those of both numbers."""
        return tuple(sorted({*self.x.marks, *self.y.marks}))


@dataclass(frozen=True, eq=False)
class Curve:
    """Rows of one method that differ in the option alone, in the order of its values.

    `key`: the registered name, with values in parentheses if the method has several curves; `display`: for readers.
    """

    method: str
    key: str
    display: str
    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True, eq=False)
class Domination:
    """A point that is at least as good as another in both numbers, and better in one; with the labels of the numbers in
    which a paired test tells the two apart."""

    by: FrontierPoint
    told_apart: tuple[str, ...]


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one point is at least as good as another in both numbers, and better in one; more is better."""
    return one != other and one[0] >= other[0] and one[1] >= other[1]


@dataclass(frozen=True, eq=False)
class FrontierPanel:
    """The curves of one backbone on one set of cases. `tests`: of `columns`, x and y; None if no test is asked for."""

    shared: SharedCases
    option: str
    columns: tuple[MeasuredColumn, MeasuredColumn]
    curves: tuple[Curve, ...]
    tests: PairwiseTests | None

    @cached_property
    def points(self) -> dict[Configuration, FrontierPoint]:
        """Every point, curve by curve."""
        return {point.row: point for curve in self.curves for point in curve.points}

    @cached_property
    def ranked(self) -> frozenset[Configuration]:
        """The rows that may be ranked with each other."""
        return frozenset(may_be_ranked({row: point.marks for row, point in self.points.items()}))

    @cached_property
    def dominated(self) -> Mapping[Configuration, list[Domination]]:
        """What dominates each dominated row, what more tests support first. Rows with a mark that bars them neither
        dominate nor are dominated."""
        found: dict[Configuration, list[Domination]] = {}
        for row, point in self.points.items():
            over = [self.points[other] for other in self.points if self._dominates(other, row)]
            if over:
                ways = [Domination(each, self._told_apart(each, point)) for each in over]
                found[row] = sorted(ways, key=lambda way: (-len(way.told_apart), -sum(way.by.position)))
        return found

    def name_of(self, point: FrontierPoint) -> str:
        """A point for readers: "LoRA 1e-3"."""
        curve = next(each for each in self.curves if point in each.points)
        return f"{curve.display} {point.value}" if point.value and len(curve.points) > 1 else curve.display

    def _dominates(self, one: Configuration, other: Configuration) -> bool:
        if not {one, other} <= self.ranked:
            return False
        return dominates(self.points[one].position, self.points[other].position)

    def _told_apart(self, better: FrontierPoint, worse: FrontierPoint) -> tuple[str, ...]:
        if self.tests is None:
            return ()
        found = []
        for index, column in enumerate(self.columns):
            difference = self.tests.difference(index, better.row, worse.row)
            is_better = difference is not None and difference.value > 0
            if is_better and self.tests.are_told_apart(index, better.row, worse.row):
                found.append(column.column.label)
        return tuple(found)


class FrontierSource(TableSource):
    """Base of tables of a frontier: `x` against `y`, both better if higher, along an option (`--over`)."""

    setting: ClassVar[str]
    x: ClassVar[ShownNumber]
    y: ClassVar[ShownNumber]
    has_option = True

    def panels(self, evidence: Evidence) -> list[FrontierPanel]:
        """One for each backbone, shots and protocol in which some method has several values of the option.

        Raises UsageError if there are none, or if no method here has such an option.
        """
        metrics = list(dict.fromkeys(one.name for number in (self.x, self.y) for one in number.of))
        comparison = compare(evidence.records, self.setting, metrics)
        refuse_nothing(comparison)
        option = evidence.over or USUAL_OPTION
        _refuse_unknown(option, comparison.configurations)
        comparison = _without_repeats(comparison, option)
        found = [self._panel(shared, option, evidence) for shared in shared_cases(comparison)]
        several = [panel for panel in found if any(len(curve.points) > 1 for curve in panel.curves)]
        if not several:
            raise UsageError(_nothing_varies(option, comparison))
        return several

    def _panel(self, shared: SharedCases, option: str, evidence: Evidence) -> FrontierPanel:
        comparison, outcomes = shared.comparison, evidence.outcomes
        x, y = (_mean_column(comparison, number) for number in (self.x, self.y))
        tests = None
        if outcomes is not None:
            tests = PairwiseTests(comparison, [x.measure, y.measure], outcomes, evidence.damaged)
        points = {}
        for row in comparison.configurations:
            across, up = (
                with_interval(cell, comparison, row, column, outcomes)
                for cell, column in zip(cells_of(comparison, [x, y], row, outcomes), (x, y), strict=True)
            )
            if isinstance(across.value, float) and isinstance(up.value, float):
                points[row] = _point(comparison, row, option, across, up)
        return FrontierPanel(shared, option, (x, y), tuple(_curves(points, option)), tests)


def _mean_column(comparison: Comparison, number: ShownNumber) -> MeasuredColumn:
    """The mean over all cases. Nothing is marked as best: the table selects nothing."""
    cases = comparison.cases
    return MeasuredColumn(Column(number.label), number.over_cases(comparison, cases), measure=number.measure(cases))


# Points and curves


def _without_repeats(comparison: Comparison, option: str) -> Comparison:
    """Without further rows of a method that does not train which differ in a training option alone: one is a point of
    reference, more would be a curve of equal points."""
    kept: dict[tuple[object, ...], Configuration] = {}
    for row in sorted(comparison.configurations, key=lambda row: -len(comparison.of_row(row))):
        name = "" if _trains(comparison, row) else field_of(row, option)
        place = (row.method, row.comparable, _besides(row, name if name.startswith(_TRAINING) else ""))
        kept.setdefault(place, row)
    rows = set(kept.values())
    return replace(comparison, runs={place: runs for place, runs in comparison.runs.items() if place[0] in rows})


def _trains(comparison: Comparison, row: Configuration) -> bool:
    return comparison.of_row(row)[0].trains


def _besides(row: Configuration, name: str) -> str:
    """Everything of a row but one field."""
    return canonical_json({each: value for each, value in row.settable.items() if each != name})


def _point(comparison: Comparison, row: Configuration, option: str, x: Cell, y: Cell) -> FrontierPoint:
    name, trains = field_of(row, option), _trains(comparison, row)
    if not name or (name.startswith(_TRAINING) and not trains):
        return FrontierPoint(row, "", x, y, None)
    value = row.settable[name]
    usual = _recipe_value(comparison, row, name) if trains else None
    return FrontierPoint(row, short_value(value), x, y, None if usual is None else usual == value)


def field_of(row: Configuration, option: str) -> str:
    """The name that a row has for an option: "lora.rank" for "rank" or "lora.rank"; "" if it has no such option."""
    names = (option,) if "." in option else (f"{row.method}.{option}", f"{_TRAINING}{option}")
    return next((name for name in names if name in row.settable), "")


def _recipe_value(comparison: Comparison, row: Configuration, name: str) -> Any:
    """What the recipe of a row's method has for a field; None if that is not known here."""
    dataset = comparison.of_row(row) and next(case for case in comparison.cases if comparison.of(row, case)).dataset
    try:
        method = METHODS.get(row.method)
        if not name.startswith(_TRAINING):
            values = method(**recipe_values(method, comparison.setting, row.backbone)).all_values()
            return values.get(name.removeprefix(f"{row.method}."))
        plugins = SETTINGS.get(comparison.setting)(), BACKBONES.get(row.backbone), DATASETS.get(str(dataset))
        training = usual_training(method, *plugins)
        return TrainingOptions(**training).all_values().get(name.removeprefix(_TRAINING))
    except PetlBenchError:  # a plugin that is not here, or does not load; `petl-bench list` says so
        return None


def _curves(points: Mapping[Configuration, FrontierPoint], option: str) -> Iterator[Curve]:
    """The points by method and everything but the option, in the order of their first rows."""
    sets: dict[tuple[str, str], list[FrontierPoint]] = defaultdict(list)
    for row, point in points.items():
        sets[row.method, _besides(row, field_of(row, option))].append(point)
    apart = differences_in({place: json.loads(place[1]) for place in sets}, lambda place: place[0])
    for place, own in sets.items():
        method, row = place[0], own[0].row
        different = {each: value for each, value in row.short(apart[place]).items() if value != ""}
        ordered = sorted(own, key=lambda point: _order(point.row, option))
        display = for_readers(method_display(method, json.loads(row.hyper_parameters)), different)
        yield Curve(method, with_values(method, different), display, tuple(ordered))


def _order(row: Configuration, option: str) -> tuple[int, float, str]:
    """Numbers by size, then texts; none at the end."""
    value = row.settable.get(field_of(row, option))
    if value is None:
        return 2, 0.0, ""
    return (0, float(value), "") if isinstance(value, (bool, int, float)) else (1, 0.0, text_of(value))


def short_value(value: Any) -> str:
    """A value with few letters: 1e-3 for 0.001, 2.5e-5 for 2.5e-05, 16 for 16.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return text_of(value)
    plain = f"{value:g}" if isinstance(value, float) else str(value)
    if not isinstance(value, float) or value == 0 or 0.1 <= abs(value) < 1e4:
        return plain
    mantissa, exponent = next(found for digits in range(17) if float(found := f"{value:.{digits}e}") == value).split(
        "e"
    )
    return f"{mantissa}e{int(exponent)}"


# What is refused


def _refuse_unknown(option: str, rows: Sequence[Configuration]) -> None:
    if any(field_of(row, option) for row in rows):
        return
    known = dict.fromkeys(name for row in rows for name in row.settable if "." in name)
    raise unknown("option", option, known, _SEE)


def _nothing_varies(option: str, comparison: Comparison) -> str:
    row = next((row for row in comparison.configurations if field_of(row, option)), comparison.configurations[0])
    name = field_of(row, option)
    example = next((each.method for each in comparison.configurations if _trains(comparison, each)), row.method)
    return (
        f"no two {comparison.setting} rows here differ in {option} alone. Make some: petl-bench run --methods "
        f"{example} --setting {comparison.setting} --variant {name}=VALUE --variant {name}=VALUE"
    )


# In words, for two methods


def dominance_lines(source: FrontierSource, evidence: Evidence, a: str, b: str) -> list[str]:
    """One line for each panel in which both methods have points: at which of them one dominates the other, if at any.

    A and B are methods, by registered name or as readers see them; nothing if they are something else, or if no method
    has several values of the option.
    """
    try:
        panels = source.panels(evidence)
    except UsageError:
        return []
    lines = []
    for panel in panels:
        one, other = (_points_of(panel, name) for name in (a, b))
        if one and other and one != other and max(len(one), len(other)) > 1:
            names = METHODS.display(one[0].row.method), METHODS.display(other[0].row.method)
            lines.append(clean(f"{source.name}, {panel.shared.heading}: {_in_words(panel, one, other, names)}"))
    return lines


def _points_of(panel: FrontierPanel, name: str) -> list[FrontierPoint]:
    wanted = name.casefold()
    return [
        point
        for curve in panel.curves
        if wanted in (curve.method.casefold(), METHODS.display(curve.method).casefold())
        for point in curve.points
    ]


def _in_words(
    panel: FrontierPanel, one: Sequence[FrontierPoint], other: Sequence[FrontierPoint], names: tuple[str, str]
) -> str:
    if barred := [name for name, points in zip(names, (one, other), strict=True) if not _ranked(panel, points)]:
        return f"not compared: no point of {' or '.join(barred)} may be ranked"
    for better, worse, (name, than) in ((one, other, names), (other, one, names[::-1])):
        whole = [point for point in better if len(_beaten(panel, point, worse)) == len(_ranked(panel, worse))]
        if whole:
            best = max(whole, key=lambda point: (_supported(panel, point, worse), sum(point.position)))
            return f"{_at(panel, best, name)} dominates {_all_of(panel, worse, than)} ({_test(panel, best, worse)})"
    return (
        f"no point of either dominates the whole other method; dominated are {_share(panel, one, other)} points of "
        f"{names[1]} by {names[0]}, {_share(panel, other, one)} of {names[0]} by {names[1]}"
    )


def _ranked(panel: FrontierPanel, points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    return [point for point in points if point.row in panel.ranked]


def _beaten(panel: FrontierPanel, by: FrontierPoint, points: Sequence[FrontierPoint]) -> list[Domination]:
    """How a point dominates others, for each that it does dominate."""
    return [way for point in points for way in panel.dominated.get(point.row, []) if way.by is by]


def _supported(panel: FrontierPanel, by: FrontierPoint, points: Sequence[FrontierPoint]) -> int:
    return sum(bool(way.told_apart) for way in _beaten(panel, by, points))


def _share(panel: FrontierPanel, better: Sequence[FrontierPoint], worse: Sequence[FrontierPoint]) -> str:
    own = {point.row for point in better}
    beaten = [point for point in worse if any(way.by.row in own for way in panel.dominated.get(point.row, []))]
    return f"{len(beaten)} of {len(_ranked(panel, worse))}"


def _test(panel: FrontierPanel, by: FrontierPoint, points: Sequence[FrontierPoint]) -> str:
    supported, count = _supported(panel, by, points), len(_beaten(panel, by, points))
    if supported == count:
        return "supported by a test"
    return f"supported by a test for {supported} of {count}" if supported else "not told apart"


def _at(panel: FrontierPanel, point: FrontierPoint, name: str) -> str:
    """A point of a method of this name; its other values are said if the method has several curves."""
    own = [curve for curve in panel.curves if curve.method == point.row.method]
    shown = next(curve.display for curve in own if point in curve.points) if len(own) > 1 else name
    return f"{shown} at {words_of(panel.option)} {point.value}" if point.value else shown


def _all_of(panel: FrontierPanel, points: Sequence[FrontierPoint], name: str) -> str:
    """Those points of a method that may be ranked, in words."""
    count = len(_ranked(panel, points))
    if count < len(points):
        return f"{count} of {len(points)} points of {name}, all that may be ranked"
    return f"all {count} points of {name}" if count > 1 else name


def barring_marks(point: FrontierPoint) -> tuple[str, ...]:
    """Those marks of a point that keep it from being ranked."""
    return barring(point.marks)
