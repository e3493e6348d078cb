"""Figures for papers, drawn by matplotlib as PDF, SVG or PNG. The same figure gives the same bytes; no display is used.

A figure is as wide as one column of a two-column paper, or as both if it has several panels, two or three in a row.
Points that were run here are filled, quoted ones hollow; series differ in colour (Okabe and Ito), marker and line
style, so that they can be told apart in grey too. Title and notes stand in the file's metadata: a paper has captions.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from petl_bench.api.figure import Axis, Figure, Point, Series
from petl_bench.render.figure_texts import FONT, Formulas, formulas_of, set_formulas, short_names, wrapped
from petl_bench.render.label_places import Box, Place, are_apart, place
from petl_bench.system.texts import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.text import Annotation

#: Of a column and of the text of two-column papers: CVPR 3.25 and 6.875, ICCV and IEEE a little more or less.
COLUMN_INCHES, TEXT_INCHES = 3.25, 6.75
_ASPECT, _LEAST_INCHES = 0.78, 2.2  #: of a panel: its height over its width, and its least height
_DPI = 300
_PAD_INCHES = 0.02
_POINTS_PER_PIXEL = 72 / _DPI
_TEXT_POINTS = 7.0
_LABEL_POINTS = 6.5
_LETTERS_PER_INCH, _HANDLE_LETTERS = 17, 7  #: the latter: what a legend's sample and its spaces take
_LABEL_LETTERS, _LINE_LETTERS = 28, 44  #: per line: beside a point; along an axis or in the legend
_HIGH_LETTERS = 34  #: per line of the label of y
_X_MARGIN = 0.08  #: of the width of a panel, left and right of its points
_BAR_INK = "#333333"  #: of error bars on bars
_INCHES_OF_NAMES, _INCHES_OF_TICKS = 1.3, 0.2  #: of width
_INCHES_PER_NAME, _INCHES_PER_NAME_LINE, _INCHES_BESIDE_NAMES = 0.125, 0.085, 0.75  #: of height
_MARKER_POINTS = 5.0
#: Of a panel; if there are more, markers and error bars are smaller.
_MOST_LINES = 8
_SMALL: dict[str, Any] = {"markersize": 3.2, "linewidth": 0.8}
_SMALL_BARS: dict[str, Any] = {"elinewidth": 0.4, "capsize": 1.0, "capthick": 0.4}
_SHIFT_POINTS, _SHIFTED_POINTS = 2.2, 16.0  #: between lines that stand side by side, and of all of them
#: Of one panel, whose names have room beside them; if there are more, points are numbered, and a legend has the names;
#: of still more, it names the series.
_MOST_NAMED, _MOST_NUMBERED = 20, 80
#: Of one panel, whose values find room beside them; if there are more, none is named.
_MOST_VALUES = 60
_LEGEND_LINES, _INCHES_PER_LINE = 1, 0.14  #: that panels leave room for; of each one more
#: What stands beside points: their names, numbers, or nothing, if a legend names the series.
_Naming = Literal["names", "numbers", "series"]
#: Of points with values along lines, whose names are short and many.
_RING: dict[str, Any] = {"marker": "o", "markersize": 8.5, "markerfacecolor": "none", "markeredgewidth": 0.8}
_HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.7}
_HOLLOW_BARS: dict[str, Any] = {"elinewidth": 0.3, "capsize": 0.0, "alpha": 0.6}
#: Black, blue, vermilion, bluish green, reddish purple, orange, sky blue. The eighth, yellow, is too faint on white.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Their numbers have no common divisor with that of the colours: it takes 35 series until a pair comes again.
_MARKERS = ("o", "s", "^", "D", "v")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_GREY = "#777777"
_GAIN = {"facecolor": _COLOURS[1], "edgecolor": _COLOURS[1]}
_LOSS = {"facecolor": "white", "edgecolor": _COLOURS[2], "hatch": "//////"}
_FRONT: dict[str, Any] = {"color": _GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 1}
_NO_LINE = {"linestyle": "none"}
_BARS: dict[str, Any] = {"fmt": "none", "elinewidth": 0.7, "capsize": 1.8, "capthick": 0.7, "zorder": 2}
#: On white, over the grid and the front, and below points and error bars.
_NAME: dict[str, Any] = {
    "fontsize": _LABEL_POINTS,
    "verticalalignment": "bottom",
    "linespacing": 1.05,
    "zorder": 1.5,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.3},
}
#: How each series looks, by its key and origin.
_Styles = dict[tuple[str, str], dict[str, Any]]
#: The number of each name of a point, by the name and the origin of the point.
_Numbers = dict[tuple[str, str], int]
_SETTINGS: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": _TEXT_POINTS,
    "axes.labelsize": _TEXT_POINTS,
    "axes.titlesize": _TEXT_POINTS,
    "legend.fontsize": _LABEL_POINTS,
    "xtick.labelsize": _LABEL_POINTS,
    "ytick.labelsize": _LABEL_POINTS,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.parse_math": False,  # names of methods are no formulas
    "text.usetex": False,
    "mathtext.fontset": "cm",  # these come with matplotlib too
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default, Type 3
    "svg.fonttype": "path",  # looks the same if the font is missing
    "svg.hashsalt": "petl-bench",  # else identifiers are drawn at random
}


def draw(figure: Figure, output_format: str) -> bytes:
    """The figure as a "pdf", "svg" or "png" file."""
    buffer = io.BytesIO()
    with _own_settings():
        canvas = _canvas(figure, _naming(figure))
        canvas.savefig(buffer, format=output_format, dpi=_DPI, metadata=_metadata(figure, output_format))
    return buffer.getvalue()


@contextmanager
def _own_settings() -> Iterator[None]:
    """matplotlib's defaults with ours, whatever a user's matplotlibrc says; as before at the end."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _metadata(figure: Figure, output_format: str) -> dict[str, str | None]:
    """Title and notes travel with the file; dates and versions do not, so that the bytes stay the same."""
    title, notes = clean(figure.title), " ".join(map(clean, figure.notes))
    if output_format == "pdf":
        return {"Title": title, "Subject": notes, "Creator": "petl-bench", "Producer": None, "CreationDate": None}
    if output_format == "svg":
        return {"Title": title, "Description": notes, "Creator": "petl-bench", "Date": None}
    return {"Title": title, "Description": notes, "Software": None}


def _canvas(figure: Figure, naming: _Naming) -> Canvas:
    """The drawn figure; with numbers instead of names if these do not find places of their own."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = figure.panels()
    names = max(map(_inches_of_names, panels))
    columns = len(panels) if len(panels) < 3 else 2 if len(panels) == 4 or names else 3
    rows, total = math.ceil(len(panels) / columns), COLUMN_INCHES if columns == 1 else TEXT_INCHES
    width = total / columns
    height = names + _INCHES_BESIDE_NAMES if names else max(_ASPECT * width, _LEAST_INCHES)
    styles = _styles(panels, figure.methods)
    numbers = _numbers(panels) if naming == "numbers" else {}
    legend = _Legend.of(_numbered(panels, styles, numbers) or _entries(figure, styles, naming), total)
    layout = ConstrainedLayoutEngine(h_pad=_PAD_INCHES, w_pad=2 * _PAD_INCHES)
    canvas = Canvas((total, height * rows + legend.more_inches), dpi=_DPI, layout=layout)
    drawn, formulas = [], formulas_of(figure.methods)
    for index, panel in enumerate(panels):
        axes = canvas.add_subplot(rows, columns, index + 1)
        drawn.append(_DrawnPanel(axes, panel, _set_x(axes, panel), formulas))
        _draw_panel(drawn[-1], styles)
        if len(panels) > 1:
            room = width - (_INCHES_OF_NAMES if panel.y.names else _INCHES_OF_TICKS)
            axes.set_title(wrapped(panel.title, int(room * _LETTERS_PER_INCH)))
    legend.add(canvas, "outside lower center" if numbers else "outside upper center")
    set_formulas(canvas.findobj(), formulas)
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")  # labels are placed for the axes as they lie now
    if naming == "series":
        return canvas
    apart = [_name_points(each, numbers) for each in drawn]
    if numbers or all(apart):
        return canvas
    return _canvas(figure, "series" if figure.names_series else "numbers")


def _has_many_lines(panel: Figure) -> bool:
    """Whether markers and error bars must be small: of many lines, or of values along lines."""
    return panel.names_series or sum(series.line for series in panel.series) > _MOST_LINES


# One panel


@dataclass(frozen=True)
class _DrawnPanel:
    """`zero`: where x = 0 is drawn; `formulas`: see `formulas_of`."""

    axes: Axes
    figure: Figure
    zero: float
    formulas: Formulas = ()

    def x(self, value: float) -> float:
        return value or self.zero

    def front(self) -> list[tuple[float, float]]:
        """The corners of the front, as steps: at any x, the best y that is to be had, up to the edge."""
        if not self.figure.front:
            return []
        points = [(self.x(x), y) for x, y in self.figure.front]
        low, high = self.axes.get_xlim()
        if self.figure.more_x_is_better:
            starts, ends = [low, *[x for x, _ in points[:-1]]], [x for x, _ in points]
        else:
            starts, ends = [x for x, _ in points], [*[x for x, _ in points[1:]], high]
        heights = [y for _, y in points]
        return [(x, y) for start, end, y in zip(starts, ends, heights, strict=True) for x, y in ((start, y), (end, y))]


def _draw_panel(panel: _DrawnPanel, styles: _Styles) -> None:
    axes, figure = panel.axes, panel.figure
    axes.set_xlabel(wrapped(figure.x.label, _LINE_LETTERS))
    axes.set_ylabel(wrapped(figure.y.label, _HIGH_LETTERS))
    axes.grid(axis="x" if figure.y.names else "y", linewidth=0.4, color="#DDDDDD")
    for series, shift in zip(figure.series, _shifts(figure), strict=True):
        look = {**styles[series.kind], **(_SMALL if _has_many_lines(figure) else {}), **_shifted(axes, shift)}
        _draw_series(panel, series, look)
        # What is shifted does not count by itself.
        axes.update_datalim([(panel.x(point.x), y) for point in series.points for y in point.y_range or (point.y,)])
    axes.margins(x=_X_MARGIN, y=0.14)
    axes.autoscale_view(scalex=not figure.x.logarithmic)
    axes.set_xlim(axes.get_xlim())  # the front runs to the edge
    _set_y(axes, figure.y)
    if figure.front:
        axes.plot(*zip(*panel.front(), strict=True), **_FRONT)


def _shifts(figure: Figure) -> list[float]:
    """How far each series is drawn from its place, in points along x: lines with error bars stand side by side."""
    ranged = [
        series.line and any(point.y_range and not point.x_range for point in series.points) for series in figure.series
    ]
    count = sum(ranged)
    step = min(_SHIFT_POINTS, _SHIFTED_POINTS / max(count, 1))
    places = iter(range(count))
    return [step * (next(places) - (count - 1) / 2) if each else 0.0 for each in ranged]


def _shifted(axes: Axes, points: float) -> dict[str, Any]:
    """The style of what is drawn so far from its place."""
    from matplotlib.transforms import offset_copy

    if not points or axes.figure is None:
        return {}
    return {"transform": offset_copy(axes.transData, axes.get_figure(root=True), x=points, units="points")}


def _draw_series(panel: _DrawnPanel, series: Series, style: dict[str, Any]) -> None:
    x, y = [panel.x(point.x) for point in series.points], [point.y for point in series.points]
    if series.bars:
        _draw_bars(panel.axes, x, y)
        style = {**style, "color": _BAR_INK}
    else:
        panel.axes.plot(x, y, **(style if series.line else {**style, **_NO_LINE}))
        _draw_over(panel, series, style)
    for hollow in (False, True):
        points = [point for point in series.points if point.hollow == hollow]
        look = _HOLLOW_BARS if hollow else {}
        _draw_ranges(panel, "xerr", [(point, panel.x(point.x), point.x_range) for point in points], style, look)
        _draw_ranges(panel, "yerr", [(point, point.y, point.y_range) for point in points], style, look)


def _draw_over(panel: _DrawnPanel, series: Series, style: dict[str, Any]) -> None:
    """What tells single points of a series apart: hollow ones, and rings."""
    for look, points in (
        (_HOLLOW, [point for point in series.points if point.hollow]),
        (_RING, [point for point in series.points if point.ringed]),
    ):
        if points:
            x, y = [panel.x(point.x) for point in points], [point.y for point in points]
            panel.axes.plot(x, y, **{**style, **look, **_NO_LINE, "zorder": style["zorder"] + 1})


def _draw_ranges(
    panel: _DrawnPanel,
    direction: Literal["xerr", "yerr"],
    ranges: Sequence[tuple[Point, float, tuple[float, float] | None]],
    style: dict[str, Any],
    look: dict[str, Any],
) -> None:
    """Error bars in one direction, of points with their value and their range along it."""
    found = [(*_distances(middle, ends), panel.x(point.x), point.y) for point, middle, ends in ranges if ends]
    if not found:
        return
    below, above, across, up = zip(*found, strict=True)
    moved = {name: style[name] for name in style if name == "transform"}
    thin = _SMALL_BARS if _has_many_lines(panel.figure) else {}
    bars: dict[str, Any] = {**_BARS, **thin, **look, **moved, direction: [below, above], "ecolor": style["color"]}
    panel.axes.errorbar(across, up, **bars)


def _distances(middle: float, ends: tuple[float, float]) -> tuple[float, float]:
    """How far the ends of an error bar are from its middle."""
    return max(middle - ends[0], 0), max(ends[1] - middle, 0)


def _draw_bars(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Horizontal bars from 0: full ones above it, hatched ones below."""
    for width, height in zip(x, y, strict=True):
        look: dict[str, Any] = _GAIN if width >= 0 else _LOSS
        axes.barh(height, width, height=0.7, linewidth=0.6, zorder=1.5, **look)


# Axes


def _set_x(axes: Axes, figure: Figure) -> float:
    """Set scale, limits and ticks along x; where zero is drawn."""
    ticks, values = figure.x.ticks, [point.x for series in figure.series for point in series.points]
    if not figure.x.logarithmic:
        if ticks:
            axes.set_xticks(ticks)
        return 0.0
    positive = [value for value in (*values, *ticks) if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    decades = max(math.log10(high / low), 0.5)
    zero, has_zero = low * 10 ** (-0.22 * decades), 0 in values
    left, right = (zero if has_zero else low) * 10 ** (-0.08 * decades), high * 10 ** (0.1 * decades)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    shown = {tick: f"{tick:g}" for tick in ticks or _ticks(low * 10 ** (-0.09 * decades), right)}
    if has_zero:
        shown[zero] = "0"
        _break_axis(axes, [low * 10 ** (place * decades) for place in (-0.13, -0.11)])
    axes.set_xticks(list(shown), labels=list(shown.values()))
    axes.set_xticks([], minor=True)
    return zero


def _set_y(axes: Axes, axis: Axis) -> None:
    if axis.logarithmic:
        axes.set_yscale("log")
    if axis.ticks:
        axes.set_yticks(axis.ticks)
    if axis.names:
        names = short_names(axis.names)
        axes.set_yticks(range(len(names)), labels=names, linespacing=1.0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color="black", linewidth=0.6)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: about five, at equal distances as far as round numbers have them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 7)):
        found = [float(f"{step}e{exponent}") for exponent in exponents for step in steps]
        inside = [tick for tick in found if low <= tick <= high]
        if len(inside) >= 4:
            break
    return inside


def _break_axis(axes: Axes, strokes: Sequence[float]) -> None:
    """Two strokes through the axis, at these x: what lies left of them is not to scale."""
    shared: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "linestyle": "none", "clip_on": False}
    axes.plot(strokes, [0, 0], marker="s", markersize=3, color="white", zorder=9, **shared)
    stroke = [(-0.4, -1.0), (0.4, 1.0)]
    axes.plot(strokes, [0, 0], marker=stroke, markersize=6, color="black", markeredgewidth=0.6, zorder=10, **shared)


def _inches_of_names(panel: Figure) -> float:
    """The height that the names along the y axis of a panel need; 0 if it has none."""
    lines = max((name.count("\n") for name in short_names(panel.y.names)), default=0)
    return len(panel.y.names) * (_INCHES_PER_NAME + lines * _INCHES_PER_NAME_LINE)


# Legend


def _styles(panels: Sequence[Figure], methods: Sequence[str] = ()) -> _Styles:
    """How each series looks, by key and origin; alike in all panels, and for these methods in all figures."""
    kinds = dict.fromkeys(series.kind for panel in panels for series in panel.series)
    places = {(method, "run"): place for place, method in enumerate(methods)}
    others = (place for place in itertools.count() if place not in {places.get(kind) for kind in kinds})
    return {kind: _style(places[kind] if kind in places else next(others), kind[1]) for kind in kinds}


def _style(index: int, origin: str) -> dict[str, Any]:
    colour = _COLOURS[index % len(_COLOURS)]
    quoted = origin == "quoted"
    return {
        "color": colour,
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": _MARKER_POINTS,
        "markerfacecolor": "white" if quoted else colour,
        "markeredgewidth": 0.8,
        "linestyle": _LINES[index % len(_LINES)],
        "linewidth": 0.7 if quoted else 1.0,
        "zorder": 3 if quoted else 4,
    }


@dataclass(frozen=True)
class _Legend:
    """What is explained, in so many columns; nothing if there is nothing to explain."""

    texts: tuple[str, ...]
    styles: tuple[dict[str, Any], ...]
    columns: int

    @staticmethod
    def of(entries: Sequence[tuple[str, dict[str, Any]]], inches: float) -> _Legend:
        """The legend of a figure of this width."""
        texts = tuple(wrapped(label, _LINE_LETTERS) for label, _ in entries)
        letters = max((len(line) for text in texts for line in text.splitlines()), default=0)
        room = int(inches * _LETTERS_PER_INCH * 1.2)
        columns = max(1, min(len(entries), room // (letters + _HANDLE_LETTERS)))
        return _Legend(texts, tuple(style for _, style in entries), columns)

    @property
    def more_inches(self) -> float:
        """What it needs above the height that panels leave to a legend."""
        lines = sum(
            max(text.count("\n") + 1 for text in self.texts[start : start + self.columns])
            for start in range(0, len(self.texts), self.columns)
        )
        return max(0, lines - _LEGEND_LINES) * _INCHES_PER_LINE

    def add(self, canvas: Canvas, where: Literal["outside lower center", "outside upper center"]) -> None:
        """Draw it."""
        from matplotlib.lines import Line2D

        if not self.texts:
            return
        legend = canvas.legend(
            [Line2D([], [], **style) for style in self.styles],
            [""] * len(self.texts),
            loc=where,
            ncols=self.columns,
            frameon=False,
            handlelength=2.4,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
        # Set afterwards: matplotlib leaves out entries whose label starts with "_".
        for entry, text in zip(legend.get_texts(), self.texts, strict=True):
            entry.set_text(text)


def _entries(figure: Figure, styles: _Styles, naming: _Naming) -> list[tuple[str, dict[str, Any]]]:
    """What the legend explains: the series if points have no names, else what is quoted; and the front."""
    front = [("Pareto front", _FRONT)] if any(panel.front for panel in figure.panels()) else []
    if naming == "series" or figure.names_series:
        shown = {series.kind: series for panel in figure.panels() for series in panel.series}
        return [
            (_entry(series), styles[kind] if series.line else {**styles[kind], **_NO_LINE})
            for kind, series in shown.items()
            if not series.bars
        ] + [*_looks(figure), *front]
    if "quoted" not in {origin for _, origin in styles}:
        return front
    plain = {**_style(0, "run"), **_NO_LINE, "color": _GREY}
    kinds = [(kind, {**plain, "markerfacecolor": face}) for kind, face in (("run here", _GREY), ("quoted", "white"))]
    return kinds + front


def _looks(figure: Figure) -> list[tuple[str, dict[str, Any]]]:
    """What a ring and a hollow point mean, if there is one."""
    points = [point for panel in figure.panels() for series in panel.series for point in series.points]
    plain = {**_style(0, "run"), **_NO_LINE, "color": _GREY, "markeredgecolor": _GREY}
    found = []
    if figure.ring and any(point.ringed for point in points):
        found.append((figure.ring, {**plain, **_RING}))
    if figure.hollow and any(point.hollow for point in points):
        found.append((figure.hollow, {**plain, **_HOLLOW}))
    return found


def _entry(series: Series) -> str:
    return f"{series.label} (quoted)" if series.origin == "quoted" else series.label


def _numbers(panels: Sequence[Figure]) -> _Numbers:
    """A number for every name of a point, apart for quoted points; the same in all panels."""
    every = [series for panel in panels for series in panel.series]
    names = dict.fromkeys((point.label, series.origin) for series in every for point in series.points)
    return {name: number for number, name in enumerate(names, 1)}


def _numbered(panels: Sequence[Figure], styles: _Styles, numbers: _Numbers) -> list[tuple[str, dict[str, Any]]]:
    """What the numbers mean; nothing without numbers."""
    if not numbers:
        return []
    front = [("Pareto front", _FRONT)] if any(panel.front for panel in panels) else []
    looks: dict[int, tuple[str, dict[str, Any]]] = {}
    for series in (series for panel in panels for series in panel.series):
        quoted = " (quoted)" if series.origin == "quoted" else ""
        for point in series.points:
            number = numbers[point.label, series.origin]
            looks.setdefault(number, (f"{number} {point.label}{quoted}", {**styles[series.kind], **_NO_LINE}))
    return [*looks.values(), *front]


# Labels of points


def _naming(figure: Figure) -> _Naming:
    """How points are named: in all panels alike."""
    points = [sum(len(series.points) for series in panel.series) for panel in figure.panels()]
    if not figure.name_points or len(_numbers(figure.panels())) > _MOST_NUMBERED:
        return "series"
    if figure.names_series:
        return "names" if max(points) <= _MOST_VALUES else "series"
    return "names" if max(points) <= _MOST_NAMED else "numbers"


def _name_points(panel: _DrawnPanel, numbers: _Numbers) -> bool:
    """Put the name of each point beside it, or its number if it has one, with a thin line to it if that is far.

    Returns whether no two of them touch.
    """
    found = [(point, series.origin) for series in panel.figure.series for point in series.points]
    labels = [_label(panel, point, numbers.get((point.label, origin))) for point, origin in found]
    set_formulas(labels, panel.formulas)
    points = [point for point, _ in found]
    anchors = [_on_paper(panel, panel.x(point.x), point.y) for point in points]
    extents = [label.get_window_extent() for label in labels]
    places = place(
        anchors,
        [(extent.width * _POINTS_PER_PIXEL, extent.height * _POINTS_PER_PIXEL) for extent in extents],
        _frame(panel),
        solid=[_box(anchor, anchor, _MARKER_POINTS / 2 + 0.5) for anchor in anchors],
        thin=_strokes(panel, points),
        gap=_MARKER_POINTS / 2 + (0.5 if numbers else 2),
    )
    for label, anchor, box in zip(labels, anchors, places, strict=True):
        label.set_position((box[0] - anchor[0], box[1] - anchor[1]))
        _lead(panel, label, anchor, box)
    return are_apart(places)


def _label(panel: _DrawnPanel, point: Point, number: int | None) -> Annotation:
    text = str(number) if number else wrapped(point.label, _LABEL_LETTERS)
    at = panel.x(point.x), point.y
    return panel.axes.annotate(text, at, (0, 0), textcoords="offset points", **_NAME)


def _lead(panel: _DrawnPanel, label: Annotation, anchor: Place, box: Box) -> None:
    """A line from the point to the nearest place of its label, if there is room for one."""
    nearest = min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3])
    if math.dist(nearest, anchor) > 2 * _MARKER_POINTS:
        offset = nearest[0] - anchor[0], nearest[1] - anchor[1]
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": _GREY, "shrinkA": 0, "shrinkB": _MARKER_POINTS / 2}
        panel.axes.annotate("", label.xy, offset, textcoords="offset points", arrowprops=line)


def _strokes(panel: _DrawnPanel, points: Sequence[Point]) -> list[Box]:
    """What error bars and the front cover, in points."""
    ends = [[(panel.x(point.x), y) for y in point.y_range] for point in points if point.y_range]
    ends += [[(panel.x(x), point.y) for x in point.x_range] for point in points if point.x_range]
    ends += [list(step) for step in itertools.pairwise(panel.front())]
    return [_box(_on_paper(panel, *one), _on_paper(panel, *other), 2.0) for one, other in ends]


def _frame(panel: _DrawnPanel) -> Box:
    """The axes, in points."""
    extent = panel.axes.get_window_extent()
    left, bottom, right, top = (float(edge) * _POINTS_PER_PIXEL for edge in extent.extents)
    return left, bottom + 2, right, top  # clear of the axis


def _on_paper(panel: _DrawnPanel, x: float, y: float) -> Place:
    """A place of the data, in points."""
    right, up = panel.axes.transData.transform((x, y))
    return float(right) * _POINTS_PER_PIXEL, float(up) * _POINTS_PER_PIXEL


def _box(one: Place, other: Place, margin: float) -> Box:
    (left, right), (bottom, top) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    return left - margin, bottom - margin, right + margin, top + margin
