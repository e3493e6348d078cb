"""What one method gains and loses against another, class by class: as a picture, and as a table with all classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from petl_bench.analysis.averages import summarise
from petl_bench.analysis.cells import ScoredOn
from petl_bench.analysis.comparison import Comparison
from petl_bench.analysis.configurations import Configuration
from petl_bench.analysis.labels import host_display
from petl_bench.api.evidence import ClipOutcomes, Evidence, OutcomeSource
from petl_bench.api.figure import Axis, Figure, Point, Series, joined
from petl_bench.api.retrieval import split_queries
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource
from petl_bench.errors import UsageError
from petl_bench.tables.columns import MeasuredColumn
from petl_bench.tables.compare_pair import compared_by, pairs
from petl_bench.tables.notes import listed
from petl_bench.tables.tradeoff_picture import STD_NOTE

if TYPE_CHECKING:
    import numpy as np

#: Panels of one picture; and how many classes, from either end, a panel names if there are few panels, or many.
_PANELS = 12
_FEW_PANELS, _FEW_CLASSES, _MANY_CLASSES = 4, 10, 5
_GAP = "…"
_UNTESTED = "Single classes have few clips: no test was made, and some differ by chance."


@dataclass(frozen=True)
class ClassGain:
    """One class. `clips`: scored under every seed; `a`, `b`: top-1 in percent, and `gain` their difference, mean over
    seeds; `std`: of the gain, over seeds, None with one."""

    name: str
    clips: int
    a: float
    b: float
    gain: float
    std: float | None

    @property
    def range(self) -> tuple[float, float] | None:
        """One standard deviation below and above the gain."""
        return None if self.std is None else (self.gain - self.std, self.gain + self.std)


@dataclass(frozen=True)
class EvaluationGains:
    """All classes of one evaluation, the largest gain first. `a`, `b`: the labels of the two rows.

    `displays`: of the two rows, as readers see them; `methods`: theirs.
    """

    title: str
    a: str
    b: str
    displays: tuple[str, str]
    seeds: tuple[int, ...]
    classes: tuple[ClassGain, ...]
    trials: tuple[str, ...]
    methods: tuple[str, ...] = ()


def class_gains(sources: Sequence[TableSource], evidence: Evidence, a: str, b: str) -> list[EvaluationGains]:
    """The gains of a over b in every evaluation of classification in which both have seeds in common.

    Raises UsageError if there is none, or for a method that was run in several ways.
    """
    found: dict[tuple[str, tuple[str, ...]], EvaluationGains] = {}  # several tables may show the same
    assert evidence.outcomes is not None
    for source in sources:
        compared = compared_by(source, evidence.records)
        if compared is None:
            continue
        for one, other in pairs(compared, a, b):
            for place in _places(compared.columns):
                gains = _gains(compared.comparison, evidence.outcomes, place, one, other)
                if gains is not None:
                    found.setdefault((gains.title, gains.trials), gains)
    if not found:
        raise UsageError(f"{a} and {b} have no evaluation of classes with seeds in common here")
    return list(found.values())


def _places(columns: Sequence[MeasuredColumn]) -> Iterable[ScoredOn]:
    """Where columns score clips of classes."""
    measures = [column.measure for column in columns if column.measure is not None and not column.measure.of_ranks]
    places = [place for measure in measures for term in measure.terms for place in term]
    kinds = {(place.case, place.evaluation): place for place in places if not split_queries(place.evaluation)[1]}
    return kinds.values()


def _gains(
    comparison: Comparison, outcomes: OutcomeSource, place: ScoredOn, one: Configuration, other: Configuration
) -> EvaluationGains | None:
    """The gains of one row over another; None if they have no seed with predictions in common."""
    seeds, trials, by_seed = [], [], []
    runs = [{run.seed: run.trial for run in comparison.of(row, place.case)} for row in (one, other)]
    for seed in sorted(runs[0].keys() & runs[1].keys()):
        own = [outcomes.of(of_row[seed], place.evaluation) for of_row in runs]
        if own[0] is not None and own[1] is not None:
            seeds.append(seed)
            trials += [of_row[seed] for of_row in runs]
            by_seed.append(dict(_by_class(own[0], own[1])))
    if not seeds:
        return None
    common = [name for name in by_seed[0] if all(name in found for found in by_seed)]
    classes = [_over_seeds(name, [found[name] for found in by_seed]) for name in common]
    classes.sort(key=lambda each: (-each.gain, each.name))
    case = comparison.case_displays[place.case]
    named = "" if place.evaluation in ("test", "target") else f", {place.evaluation}"
    return EvaluationGains(
        title=f"{case}{named}: {host_display(one.backbone, one.weights)}",
        a=comparison.row_labels[one],
        b=comparison.row_labels[other],
        displays=(comparison.row_displays[one], comparison.row_displays[other]),
        seeds=tuple(seeds),
        classes=tuple(classes),
        trials=tuple(trials),
        methods=(one.method, other.method),
    )


def _by_class(one: ClipOutcomes, other: ClipOutcomes) -> Iterator[tuple[str, tuple[int, float, float]]]:
    """Class -> clips that both scored, and the top-1 of either on them, in percent."""
    import numpy as np

    _, here, there = np.intersect1d(one.clips, other.clips, return_indices=True)
    labels, right = one.labels[here], _right(one)[here]
    for label in np.unique(labels).tolist():
        chosen = labels == label
        shares = 100 * float(right[chosen].mean()), 100 * float(_right(other)[there][chosen].mean())
        yield str(one.classes[label]), (int(chosen.sum()), *shares)


def _right(outcome: ClipOutcomes) -> np.ndarray:
    """Which clips are right, bool [N]."""
    found: np.ndarray = outcome.ranks == 1
    return found


def _over_seeds(name: str, found: Sequence[tuple[int, float, float]]) -> ClassGain:
    gain = summarise([a - b for _, a, b in found])
    clips = min(count for count, _, _ in found)
    a, b = (summarise([each[place] for each in found]).mean for place in (1, 2))
    return ClassGain(name, clips, a, b, gain.mean, gain.std)


# Picture


def gains_figure(found: Sequence[EvaluationGains], notes: Sequence[str] = ()) -> Figure:
    """A bar for each class, sorted; of many classes those that gain and lose most."""
    shown = found[:_PANELS]
    ends = _FEW_CLASSES if len(shown) <= _FEW_PANELS else _MANY_CLASSES
    several = any(len(each.seeds) > 1 for each in shown)
    more = [f"{len(found) - _PANELS} more evaluations are not drawn: --table chooses."] if len(found) > _PANELS else []
    about = [
        "Gain: top-1 of the one less that of the other on the same clips, mean over seeds.",
        *([STD_NOTE] if several else []),
        *[_about(each, ends) for each in shown],
        _UNTESTED,
        *more,
        *notes,
    ]
    return joined([_panel(each, ends) for each in shown], about)


def _panel(found: EvaluationGains, ends: int) -> Figure:
    classes = found.classes
    rows: list[ClassGain | None] = list(classes)
    if len(classes) > 2 * ends + 1:
        rows = [*classes[:ends], None, *classes[-ends:]]
    points = tuple(
        Point(each.gain, float(place), each.name, trials=found.trials, x_range=each.range)
        for place, each in enumerate(rows)
        if each is not None
    )
    return Figure(
        name="gains",
        title=found.title,
        x=Axis(f"Gain of {' over '.join(found.displays)} (points)"),
        y=Axis("", names=tuple(_GAP if each is None else each.name for each in rows)),
        series=(Series(found.displays[0], points, bars=True, key=found.a),),
        methods=found.methods,
    )


def _about(found: EvaluationGains, ends: int) -> str:
    classes = found.classes
    clips = sorted(each.clips for each in classes)
    size = f"{clips[0]} to {clips[-1]}" if clips[0] < clips[-1] else str(clips[0])
    counts = [sum(each.gain > 0 for each in classes), sum(each.gain < 0 for each in classes)]
    drawn = f", of which {2 * ends} are drawn" if len(classes) > 2 * ends + 1 else ""
    return (
        f"{found.title}: {len(classes)} classes{drawn}, {counts[0]} gain and {counts[1]} lose; {size} clips each; "
        f"seeds {listed(found.seeds)}."
    )


# Table


def gains_table(found: Sequence[EvaluationGains], notes: Sequence[str] = ()) -> Table:
    """Every class of every evaluation, of one or more."""
    first = found[0]
    a, b = (Column(label, display=display) for label, display in zip((first.a, first.b), first.displays, strict=True))
    return Table(
        name="gains",
        title=f"Gain of {' over '.join(first.displays)} by class: top-1 in percent",
        corner="Class",
        columns=(Column("Clips", format=".0f"), a, b, Column("Gain", format="+.1f")),
        groups=tuple(RowGroup(each.title, tuple(map(_row, each.classes))) for each in found),
        footers=("Means over seeds, on the same clips; ± of the gain over seeds.", _UNTESTED, *notes),
    )


def _row(each: ClassGain) -> Row:
    cells = [Cell(float(each.clips)), Cell(each.a), Cell(each.b), Cell(each.gain, each.std)]
    return Row(each.name, tuple(cells))
