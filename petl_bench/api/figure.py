"""A picture of results, as data: renderers draw it, for paper or page, and know no particular figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

#: `run`: from records here; `quoted`: a published number.
PointOrigin = Literal["run", "quoted"]


@dataclass(frozen=True)
class Point:
    """One mark. `y_range` is a 95 % interval, or mean -+ standard deviation; `trials` are the records behind it."""

    x: float
    y: float
    label: str
    y_range: tuple[float, float] | None = None
    trials: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """Points of one kind, joined by a line if `line` is set; drawn in one colour and with one marker."""

    label: str
    points: tuple[Point, ...]
    origin: PointOrigin = "run"
    line: bool = False


@dataclass(frozen=True)
class Axis:
    """What is shown along one direction, with its unit. `ticks`: positions of ticks; () leaves that to the renderer.

    Zero has no place on a logarithmic axis: it gets one of its own, left of a break in the axis, with the tick "0".
    """

    label: str
    logarithmic: bool = False
    ticks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Figure:
    """Everything a renderer draws. `front`: the x, y of a Pareto front, drawn as steps; None if there is none.

    `name_points`: labels stand beside the points; else a legend names the series. `beside`: more panels of the same
    picture, each under its own title; series of one label look alike in all of them.
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

    def panels(self) -> tuple[Figure, ...]:
        """This figure and those beside it, in their order."""
        return (self, *self.beside)


def joined(panels: Sequence[Figure], notes: Sequence[str]) -> Figure:
    """The figure whose panels these are, at least one, with notes on all of them."""
    return replace(panels[0], beside=tuple(panels[1:]), notes=tuple(notes))


def pareto_front(points: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The points that no other one beats, by x: none has at most their x and at least their y, and one of them better.

    Equal points stand or fall together, and appear once.
    """
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return tuple(front)
