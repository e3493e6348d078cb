"""Plots as plain data, which the script draws: every number of a plot stands in its data table too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petl_bench.api.figure import Figure, Point, Series
from petl_bench.system.texts import clean, name

#: The numbers of the trials with these keys, as the page counts them.
NumberTrials = Callable[[Iterable[str]], list[int]]
#: Letters of a title that the navigation has room for, and what tells a figure from the table of the same title.
_SHORT_TITLE, _FIGURE = 30, " (figure)"


@dataclass(frozen=True)
class PlotBlock:
    """A plot with its heading, and one choice of it for each combination of the values of its facets.

    `facets`: (what is chosen, its values); `plots`: positions of the values, as "0,2", to a plot.
    """

    id: str
    title: str
    about: str
    facets: tuple[tuple[str, tuple[str, ...]], ...]
    plots: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    @property
    def short_title(self) -> str:
        """What the navigation calls a figure."""
        return short_title(self.title.removesuffix(_FIGURE), self.id.removeprefix("figure-")) + _FIGURE

    def data(self) -> dict[str, Any]:
        """What the script reads."""
        return {
            "title": clean(self.title),
            "facets": [{"label": label, "values": [name(value) for value in values]} for label, values in self.facets],
            "plots": self.plots,
        }


def short_title(title: str, registered: str) -> str:
    """A title up to its colon, or the registered name if that is long."""
    first = title.partition(":")[0]
    return first if len(first) <= _SHORT_TITLE else registered.replace("_", " ").capitalize()


def short(number: float) -> float:
    """A number with the digits that a plot can show."""
    return float(f"{number:.5g}")


def figure_block(figure: Figure, title: str, number_trials: NumberTrials) -> PlotBlock:
    """A table's figure under the table's title, with a choice of its panels if there are several."""
    panels = figure.panels()
    facets = (("Panel", tuple(panel.title for panel in panels)),) if len(panels) > 1 else ()
    plots = {str(place) if facets else "": _plot(panel, number_trials) for place, panel in enumerate(panels)}
    about = "" if facets else clean(figure.title)
    return PlotBlock(
        f"figure-{figure.name}", clean(title) + _FIGURE, about, facets, plots, tuple(map(clean, figure.notes))
    )


def _plot(panel: Figure, number_trials: NumberTrials) -> dict[str, Any]:
    series = [
        {
            "label": name(each.label),
            "quoted": each.origin == "quoted",
            "line": each.line,
            **({"method": _method(each)} if each.origin == "run" and each.key else {}),
            **_columns(each.points, number_trials),
        }
        for each in panel.series
    ]
    return {
        "kind": "points",
        "x": axis(panel.x.label, logarithmic=panel.x.logarithmic, ticks=panel.x.ticks),
        "y": axis(panel.y.label, logarithmic=panel.y.logarithmic, ticks=panel.y.ticks),
        "names": panel.name_points,
        **({"legend": True, "ring": panel.ring, "hollow": panel.hollow} if panel.names_series else {}),
        "series": series,
        **({"front": [list(point) for point in panel.front]} if panel.front else {}),
        **({"frontShape": "vh"} if panel.more_x_is_better else {}),
    }


def _method(series: Series) -> str:
    """The registered name of its method, without the values that tell a row apart."""
    return clean(series.key.partition(" (")[0])


def _columns(points: Sequence[Point], number_trials: NumberTrials) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "x": [short(point.x) for point in points],
        "y": [short(point.y) for point in points],
        "text": [name(point.label) for point in points],
    }
    if any(point.y_range for point in points):
        columns["low"] = [short(point.y_range[0]) if point.y_range else None for point in points]
        columns["high"] = [short(point.y_range[1]) if point.y_range else None for point in points]
    if any(point.x_range for point in points):
        columns["left"] = [short(point.x_range[0]) if point.x_range else None for point in points]
        columns["right"] = [short(point.x_range[1]) if point.x_range else None for point in points]
    if any(point.ringed for point in points):
        columns["ringed"] = [point.ringed for point in points]
    if any(point.hollow for point in points):
        columns["hollow"] = [point.hollow for point in points]
    if any(point.trials for point in points):
        columns["trials"] = [number_trials(point.trials) for point in points]
    return columns


def axis(label: str, *, logarithmic: bool = False, ticks: Sequence[float] = ()) -> dict[str, Any]:
    """One axis of a plot; if `ticks` is empty, the script chooses them."""
    return {
        "label": clean(label),
        **({"log": True} if logarithmic else {}),
        **({"ticks": list(ticks)} if ticks else {}),
    }


def facet_values(found: Iterable[str]) -> tuple[str, ...]:
    """Distinct values in the order in which they were found."""
    return tuple(dict.fromkeys(found))


def faceted(
    plots: Mapping[tuple[str, str], Mapping[str, Any]],
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Mapping[str, Any]]]:
    """Plots by two choices: the values of either, and the plots by the positions of these values."""
    first, second = facet_values(one for one, _ in plots), facet_values(two for _, two in plots)
    return first, second, {f"{first.index(one)},{second.index(two)}": plot for (one, two), plot in plots.items()}
