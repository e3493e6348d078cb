from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from petl_bench.api.figure import Axis, Figure, Point, Series, joined, pareto_front
from petl_bench.render import FIGURE_FORMATS, figure_texts, figures
from petl_bench.render.figures import draw

NASTY = r"""_a|b_c $x^2$ \input{/etc/passwd} <script>alert("1")</script> {%} #&~ `y` \frac{"""


def _figure(label: str = "my_method", *, origin: str = "run", name_points: bool = True) -> Figure:
    points = (Point(0.0, 60.0, label), Point(0.03, 70.0, label, (69.0, 72.0)), Point(1.5, 75.0, label, (74.0, 75.5)))
    series = [
        Series(label, points, line=not name_points),
        Series("other", (Point(0.5, 71.0, "other"),), origin="quoted" if origin == "quoted" else "run"),
    ]
    return Figure(
        name="example",
        title=f"Title {label}",
        x=Axis(f"Trained {label}", logarithmic=True),
        y=Axis(f"Accuracy {label}"),
        series=tuple(series),
        front=((0.0, 60.0), (0.03, 70.0), (1.5, 75.0)),
        name_points=name_points,
        notes=(f"Note {label}",),
    )


def _texts(monkeypatch: pytest.MonkeyPatch, figure: Figure) -> str:
    """What the SVG says: with its letters as text, not as outlines."""
    monkeypatch.setitem(figures._SETTINGS, "svg.fonttype", "none")
    root = ElementTree.fromstring(draw(figure, "svg"))
    return " ".join(text for element in root.iter() if element.tag.endswith("text") for text in element.itertext())


# Files


@pytest.mark.parametrize("output_format", FIGURE_FORMATS)
def test_the_same_figure_gives_the_same_bytes_in_every_process(output_format: str, tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from test_figures import _figure\n"
        "from petl_bench.render.figures import draw\n"
        "pathlib.Path(sys.argv[3]).write_bytes(draw(_figure(), sys.argv[2]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'it opens displays'\n"
    )
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 20\nlines.linewidth: 9\nsvg.hashsalt: other\n")
    for seed, rc in (("1", "/nowhere"), ("2", str(settings))):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "MATPLOTLIBRC": rc}
        command = [sys.executable, "-c", script, str(Path(__file__).parent), output_format, str(tmp_path / seed)]
        subprocess.run(command, check=True, env=environment, timeout=120)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == draw(_figure(), output_format)


def test_a_users_settings_are_left_alone() -> None:
    def settings() -> dict[str, object]:
        return {str(name): matplotlib.rcParams[name] for name in matplotlib.rcParams if not name.startswith("backend")}

    before = settings()
    draw(_figure(), "png")
    assert settings() == before


def test_the_pdf_holds_its_fonts_as_outlines_and_no_dates(tmp_path: Path) -> None:
    content = draw(_figure(), "pdf")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    if shutil.which("pdffonts"):
        path = tmp_path / "figure.pdf"
        path.write_bytes(content)
        listed = subprocess.run(["pdffonts", str(path)], capture_output=True, text=True, check=True).stdout
        fonts = listed.splitlines()[2:]
        assert fonts
        assert all(re.search(r"DejaVuSans +CID TrueType +Identity-H +yes yes yes", font) for font in fonts)


def test_a_panel_is_as_wide_as_a_column_and_several_as_two() -> None:
    def inches(figure: Figure) -> tuple[float, float]:
        image = Image.open(io.BytesIO(draw(figure, "png")))
        return image.width / 300, image.height / 300

    assert inches(_figure()) == pytest.approx((3.25, 2.533), abs=0.01)
    assert inches(joined([_figure()] * 2, ())) == pytest.approx((6.75, 2.633), abs=0.01)
    assert inches(joined([_figure()] * 3, ())) == pytest.approx((6.75, 2.2), abs=0.01)
    assert inches(joined([_figure()] * 4, ())) == pytest.approx((6.75, 5.265), abs=0.01)


def test_the_svg_needs_no_font_and_nothing_from_elsewhere() -> None:
    content = draw(_figure(), "svg").decode()
    assert "<text" not in content
    assert "font-family" not in content
    assert not re.search(r'(?:xlink:)?href="(?!#)', content)
    assert "<dc:date>" not in content


def test_title_and_notes_travel_with_the_file() -> None:
    assert b"Title my_method" in draw(_figure(), "pdf")
    assert b"Note my_method" in draw(_figure(), "svg")
    assert Image.open(io.BytesIO(draw(_figure(), "png"))).info["Description"] == "Note my_method"


# Texts


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("output_format", FIGURE_FORMATS)
@pytest.mark.parametrize("label", [NASTY, "日本\x00\x1b[31m語", "", "$", "m" * 300, "\\", "e\u0301 \u202e abc"])
def test_any_name_is_drawn_without_complaint(label: str, output_format: str) -> None:
    assert draw(_figure(label), output_format)
    assert draw(_figure(label, name_points=False), output_format)


@pytest.mark.parametrize("name_points", [True, False])
def test_names_come_out_letter_by_letter(monkeypatch: pytest.MonkeyPatch, name_points: bool) -> None:
    texts = _texts(monkeypatch, _figure(NASTY, name_points=name_points))
    for part in NASTY.split():
        assert texts.count(part) >= (5 if name_points else 3), "points or legend, and both axes"


def test_a_letter_that_the_font_lacks_is_its_code_point(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "aU+65E5b" in _texts(monkeypatch, _figure("a日b"))


# What is drawn


def test_zero_has_a_place_of_its_own_on_a_logarithmic_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _texts(monkeypatch, _figure()).split()
    ticks = texts[: texts.index("Trained")]
    assert ticks[-1] == "0"
    assert [float(tick) for tick in ticks[:-1]] == sorted(float(tick) for tick in ticks[:-1])


def test_a_front_of_zero_alone_is_drawn() -> None:
    series = (Series("zero_shot", (Point(0.0, 60.0, "zero_shot"),)),)
    assert draw(Figure("f", "T", Axis("x", True), Axis("y"), series, ((0.0, 60.0),), True), "svg")


def test_quoted_points_are_hollow_and_the_legend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "quoted" not in _texts(monkeypatch, _figure())
    quoted = _figure(origin="quoted")
    assert "run here quoted Pareto front" in _texts(monkeypatch, quoted)
    styles = figures._styles(quoted.panels())
    assert styles["other", "quoted"]["markerfacecolor"] == "white"
    assert styles["my_method", "run"]["markerfacecolor"] == styles["my_method", "run"]["color"]


def _crowd(count: int) -> Figure:
    places = [(1.0 + index % 9, 60.0 + index // 9) for index in range(count)]
    points = tuple(Point(x, y, f"variant {index}") for index, (x, y) in enumerate(places))
    return Figure("f", "T", Axis("x"), Axis("y"), (Series("lora", points),), name_points=True)


def test_many_points_are_numbered_and_the_legend_has_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _texts(monkeypatch, _crowd(20))
    assert "variant 19" in texts and "20 variant 19" not in texts
    texts = _texts(monkeypatch, _crowd(60))
    assert texts.count("variant") == 60
    assert "60 variant 59" in texts
    assert " 60 " in texts.split("1 variant 0")[0], "beside the point"


def test_a_quoted_point_has_a_number_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = _crowd(21)
    quoted = Series("variant 3", (Point(5.0, 61.0, "variant 3"),), origin="quoted")
    texts = _texts(monkeypatch, replace(crowd, series=(*crowd.series, quoted)))
    assert "4 variant 3" in texts and "22 variant 3 (quoted)" in texts


def test_where_there_is_no_room_for_names_a_legend_names_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _texts(monkeypatch, _crowd(81))
    assert "variant" not in texts
    assert "lora" in texts


def test_a_legend_of_many_lines_makes_the_figure_higher() -> None:
    few, many = (Image.open(io.BytesIO(draw(_crowd(count), "png"))) for count in (20, 60))
    assert few.width == many.width
    assert many.height > few.height + 15 * 0.13 * 300


def test_names_that_find_no_place_of_their_own_become_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tuple(Point(1.0, 60.0, f"{'long name ' * 8}{index}") for index in range(20))
    figure = Figure("f", "T", Axis("x"), Axis("y"), (Series("lora", points),), name_points=True)
    assert "20 long name" in _texts(monkeypatch, figure)


def test_lines_with_error_bars_stand_side_by_side_and_inside() -> None:
    lines = [
        Series(f"m{n}", tuple(Point(x, 60.0 + n, f"m{n}", (50.0, 90.0)) for x in (2.0, 4.0)), line=True)
        for n in range(3)
    ]
    figure = Figure("f", "T", Axis("K", True, ticks=(2.0, 4.0)), Axis("y"), tuple(lines))
    assert figures._shifts(figure) == [-2.2, 0.0, 2.2]
    assert figures._shifts(_figure()) == [0.0, 0.0]
    with figures._own_settings():
        (axes,) = figures._canvas(figure, "series").axes
    low, high = axes.get_ylim()
    assert low < 50 and high > 90


def test_bars_have_names_and_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (Point(3.0, 0.0, "a", x_range=(2.0, 4.0)), Point(-1.0, 2.0, "b"))
    figure = Figure(
        "f", "T", Axis("Gain"), Axis("", names=("archery", "…", NASTY)), (Series("msta", points, bars=True),)
    )
    texts = _texts(monkeypatch, figure)
    assert "archery" in texts and "msta" not in texts
    assert NASTY[:20] in texts
    for output_format in FIGURE_FORMATS:
        assert draw(figure, output_format)


def test_long_names_along_an_axis_stay_apart() -> None:
    def cut(*names: str) -> list[str]:
        return [name.replace("\n", " ") for name in figure_texts.short_names(names)]

    both = ("moving diagonally down and left", "moving diagonally down and right")
    assert cut(*both) == list(both)
    long = "trying to pour something into something, but missing so it spills next to it"
    assert cut(long) == ["trying to pour somet … spills next to it"]
    alike = (long, long.replace("missing", "failing"))
    assert cut(*alike) == list(alike)
    assert all(len(line) <= 24 for name in figure_texts.short_names((long, *both)) for line in name.splitlines())


def test_a_formula_of_a_method_stands_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = replace(_figure("MSTA + L_CC $x^2$"), methods=("msta",))
    texts = _texts(monkeypatch, figure)
    assert "L_CC" not in texts
    assert "$x^2$" in "".join(texts.split()), "what else is in the name is no formula"
    assert "L_CC" in _texts(monkeypatch, replace(figure, methods=()))
    for output_format in FIGURE_FORMATS:
        assert draw(figure, output_format)


@pytest.mark.parametrize("form", ["", "$", "$$", r"\textsc{x}", r"$\unknown{x}$", "$a$ and $b$", r"$\frac{a$"])
def test_what_is_no_formula_of_matplotlib_is_left_out(form: str) -> None:
    assert not figure_texts._is_formula(form)
    assert figure_texts._is_formula(r"$\mathcal{L}_{CC}$")


def test_many_series_differ_in_colour_marker_or_line() -> None:
    looks = [figures._style(index, "run") for index in range(35)]
    assert len({(look["color"], look["marker"], str(look["linestyle"])) for look in looks}) == 35
    for one, other in itertools.pairwise(looks):
        assert one["color"] != other["color"]
        assert one["marker"] != other["marker"]
        assert one["linestyle"] != other["linestyle"]


def test_a_series_looks_the_same_in_every_panel() -> None:
    one, other = _figure("a"), _figure("b")
    styles = figures._styles(joined([one, other], ()).panels())
    assert list(styles) == [("a", "run"), ("other", "run"), ("b", "run")]


def test_a_method_looks_the_same_in_every_figure_of_its_records() -> None:
    methods = ("lora", "msta", "vpt")

    def styles(*series: Series) -> dict[tuple[str, str], str]:
        figure = Figure("f", "T", Axis("x"), Axis("y"), series)
        return {kind: style["color"] for kind, style in figures._styles([figure], methods).items()}

    points = (Point(1.0, 60.0, "p"),)
    vpt, msta = (Series(name.upper(), points, key=name) for name in ("vpt", "msta"))
    quoted = Series("LoRA", points, origin="quoted")
    together = styles(msta, quoted, vpt)
    assert styles(vpt) | styles(msta) == styles(vpt, msta) == {kind: together[kind] for kind in (vpt.kind, msta.kind)}
    assert len(set(styles(quoted, msta, vpt, Series("lora (rank=8)", points)).values())) == 4


def test_a_front_with_more_x_better_runs_from_the_left_edge() -> None:
    series = (Series("lora", (Point(2.0, 3.0, "a"), Point(4.0, 1.0, "b"))),)
    figure = Figure("f", "T", Axis("x"), Axis("y"), series, ((2.0, 3.0), (4.0, 1.0)), more_x_is_better=True)
    with figures._own_settings():
        from matplotlib.figure import Figure as Canvas

        axes = Canvas().add_subplot()
        axes.set_xlim(0.0, 10.0)
        assert figures._DrawnPanel(axes, figure, 0.0).front() == [(0.0, 3.0), (2.0, 3.0), (2.0, 1.0), (4.0, 1.0)]
        left = replace(figure, more_x_is_better=False)
        assert figures._DrawnPanel(axes, left, 0.0).front() == [(2.0, 3.0), (4.0, 3.0), (4.0, 1.0), (10.0, 1.0)]


def test_looks_are_tied_to_keys_and_the_legend_to_labels() -> None:
    def panel(*names: tuple[str, str]) -> Figure:
        series = tuple(Series(label, (Point(1.0, 2.0, label),), line=True, key=key) for key, label in names)
        return Figure("f", "T", Axis("x"), Axis("y"), series)

    one, other = panel(("zero_shot", "Zero-shot"), ("lora", "LoRA")), panel(("lora", "LoRA"), ("own", "LoRA"))
    styles = figures._styles((one, other))
    assert list(styles) == [("zero_shot", "run"), ("lora", "run"), ("own", "run")]
    assert len({style["color"] for style in styles.values()}) == 3
    entries = figures._entries(replace(one, beside=(other,)), styles, "series")
    assert [label for label, _ in entries] == ["Zero-shot", "LoRA", "LoRA"]


# Pareto front

_POINTS = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)))


@given(_POINTS)
def test_the_front_is_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    def beaten(point: tuple[float, float]) -> bool:
        return any(x <= point[0] and y >= point[1] and (x, y) != point for x, y in points)

    front = pareto_front(points)
    assert set(front) == {point for point in points if not beaten(point)}
    assert list(front) == sorted(set(front))
    assert [y for _, y in front] == sorted(y for _, y in front)
    assert pareto_front(reversed(points)) == front


@given(_POINTS, st.booleans(), st.booleans())
def test_a_front_turned_round_is_that_of_the_points_turned_round(
    points: list[tuple[float, float]], more_x: bool, less_y: bool
) -> None:
    across, up = -1 if more_x else 1, -1 if less_y else 1
    turned = pareto_front([(across * x, up * y) for x, y in points])
    front = pareto_front(points, more_x_is_better=more_x, less_y_is_better=less_y)
    assert sorted((across * x, up * y) for x, y in turned) == list(front)
