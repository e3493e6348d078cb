"""A picture of results, as data: renderers draw it, for paper or page; they know no particular figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: `run`: from records here; `quoted`: somebody else's number.
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
    """Points of one kind, joined by a line where `line` says so; drawn in one colour and with one marker."""

    label: str
    points: tuple[Point, ...]
    origin: PointOrigin = "run"
    line: bool = False


@dataclass(frozen=True)
class Axis:
    """What is shown along one direction, with its unit."""

    label: str
    logarithmic: bool = False


@dataclass(frozen=True)
class Figure:
    """Everything a renderer draws. `front`: the x, y of a Pareto front, drawn as steps; None where there is none.

    `name_points`: labels stand beside the points; else a legend names the series.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    front: tuple[tuple[float, float], ...] | None = None
    name_points: bool = False
    notes: tuple[str, ...] = ()
