"""A picture of results, as data: renderers draw it, for paper or page, and know no particular figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

#: `run`: from records here; `quoted`: a published number.
PointOrigin = Literal["run", "quoted"]


@dataclass(frozen=True)
class Point:
    """One mark. `x_range` and `y_range` are 95 % intervals, or mean -+ standard deviation; `trials` are the records
    behind it. `ringed`, `hollow`: see `Figure.ring` and `Figure.hollow`."""

    x: float
    y: float
    label: str
    y_range: tuple[float, float] | None = None
    trials: tuple[str, ...] = ()
    x_range: tuple[float, float] | None = None
    ringed: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one kind, drawn in one colour and with one marker.

    `label`: as readers see it; `line`: the points are joined; `bars`: each is a horizontal bar that begins at x = 0.
    `key`: series of one key and origin look alike in all panels, such as the registered name of a method; if it is "",
    the label.
    """

    label: str
    points: tuple[Point, ...]
    origin: PointOrigin = "run"
    line: bool = False
    bars: bool = False
    key: str = ""

    @property
    def kind(self) -> tuple[str, PointOrigin]:
        """What decides its look."""
        return self.key or self.label, self.origin


@dataclass(frozen=True)
class Axis:
    """What is shown along one direction, with its unit. `ticks`: positions of ticks; () leaves that to the renderer.

    `names`: what stands at 0, 1, 2 and so on, from the top, if y has names and no numbers.
    Zero has no place on a logarithmic x axis: it gets one of its own, left of a break in the axis, with the tick "0".
    """

    label: str
    logarithmic: bool = False
    ticks: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Everything a renderer draws. `front`: the x, y of a Pareto front, drawn as steps; None if there is none.

    `more_x_is_better`: the front runs from the left edge, and else to the right one.
    `name_points`: labels stand beside the points; else a legend names the series. `beside`: more panels of the same
    picture, each under its own title; series of one key look alike in all of them. `methods`: keys that look alike in
    all figures that have these. `names_series`: a legend names the series although labels stand beside points.
    `ring`, `hollow`: what a ring around a point, and a hollow point, mean; in the legend if some point has one.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    front: tuple[tuple[float, float], ...] | None = None
    name_points: bool = False
    notes: tuple[str, ...] = ()
    beside: tuple[Figure, ...] = ()
    more_x_is_better: bool = False
    methods: tuple[str, ...] = ()
    names_series: bool = False
    ring: str = ""
    hollow: str = ""

    def panels(self) -> tuple[Figure, ...]:
        """This figure and those beside it, in their order."""
        return (self, *self.beside)


def joined(panels: Sequence[Figure], notes: Sequence[str]) -> Figure:
    """The figure whose panels these are, at least one, with notes on all of them."""
    return replace(panels[0], beside=tuple(panels[1:]), notes=tuple(notes))


def pareto_front(
    points: Iterable[tuple[float, float]], *, more_x_is_better: bool = False, less_y_is_better: bool = False
) -> tuple[tuple[float, float], ...]:
    """The points that no other one beats, by x: none is at least as good in both, and better in one of them.

    Less x and more y are better if nothing else is said. Equal points stand or fall together, and appear once.
    """
    across, up = -1.0 if more_x_is_better else 1.0, -1.0 if less_y_is_better else 1.0
    turned = sorted({(across * x, up * y) for x, y in points}, key=lambda point: (point[0], -point[1]))
    front: list[tuple[float, float]] = []
    for x, y in turned:
        if not front or y > front[-1][1]:
            front.append((x, y))
    return tuple(sorted((across * x, up * y) for x, y in front))
