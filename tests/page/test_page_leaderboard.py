"""The page as a leaderboard, in a real Chromium: results first, one ranking, hidden columns, sections that open."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import until, visits_of
from synthetic_runs import HOSTILE, add_run
from toy_table import ToyTable

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.figure import Figure, Point, Series
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.page.build import build_page
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.tables.setting_table import SettingTable

pytestmark = pytest.mark.drill

_RESULTS = "#table-base2novel"
_ROWS = f"{_RESULTS} tr[data-row]:visible"
_BOXES = (
    "(found) => found.map((each) => each.getBoundingClientRect()).map((box) => "
    "[box.left, box.top, box.right, box.bottom])"
)


def _page(folder: Path, runs: Path, *sources: Any) -> Path:
    evidence = Evidence(pb.load_records(runs), outcomes=StoredOutcomes([runs]))
    (folder / "index.html").write_bytes(build_page(sources, evidence, [runs]))
    return folder / "index.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets, three families, one seed less of a method, and published numbers."""
    folder = tmp_path_factory.mktemp("leaderboard")
    for dataset, method, seed in itertools.product(("ucf101", "hmdb51"), ("zero_shot", "lora", "msta"), range(3)):
        add_run(folder / "runs", method, seed, dataset=dataset)
    for dataset in ("ucf101", "hmdb51"):
        add_run(folder / "runs", "adaptformer", 0, dataset=dataset)
    return _page(folder, folder / "runs", TABLES.get("base2novel")(), ToyTable())


def _names(at: Any) -> list[str]:
    return at.page.locator(f"{_ROWS} th span").evaluate_all(
        "(found) => found.map((each) => each.firstChild.textContent)"
    )


@pytest.mark.ci
def test_results_come_first_and_lead_to_their_tables(visit: Any) -> None:
    at = visit(folded=True)
    lines = at.texts("#overview tr.line")
    assert len(lines) == 2
    assert all("MSTA" in line and "not told apart from LoRA (3 seeds)" in line for line in lines)
    assert at.texts("#overview .sentence")[0].startswith("MSTA is best of the parameter-efficient rows in 2 of 2")
    at.page.locator(f"{_RESULTS} > details > summary").click()
    assert not at.page.locator(_ROWS).first.is_visible()
    at.page.locator("#overview .summary a").click()
    at.page.locator(_ROWS).first.wait_for()
    assert "fold=closed" not in at.page.url


@pytest.mark.ci
def test_one_ranking_has_places_within_one_group_alone(visit: Any) -> None:
    at = visit()
    groups = _names(at)
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    assert at.page.locator(f"{_RESULTS} tbody:visible").count() == 1
    assert _names(at) != groups
    places = at.page.locator(f"{_ROWS}:not(.unranked)")
    assert [(row.split()[0], row.split()[1]) for row in places.all_inner_texts()] == [("1", "MSTA"), ("2", "LoRA")]
    reasons = at.page.locator(f"{_ROWS}.unranked").evaluate_all(
        "(found) => found.map((each) => [each.cells[0].innerText, each.title])"
    )
    assert next(why for name, why in reasons if "Zero-shot" in name).startswith("Ranked apart: Run here:")
    assert any("fewer seeds" in why for name, why in reasons if "AdaptFormer" in name)
    assert any(why.startswith("Quoted, not run here") for _, why in reasons)
    assert "Group" in at.texts(f"{_RESULTS} thead th.fact")
    values = at.page.locator(_ROWS).evaluate_all("(found) => found.map((each) => each.cells[5].dataset.v)")
    assert [float(value) for value in values if value] == sorted((float(v) for v in values if v), reverse=True)
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    assert _names(at) == groups
    assert at.page.locator(f"{_RESULTS} .place, {_RESULTS} .fact").count() == 0


def test_a_ranking_is_sorted_filtered_and_shared(visit: Any) -> None:
    at = visit()
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    at.page.locator(f"{_RESULTS} thead tr:last-child th button").nth(1).click()
    trained = at.page.locator(_ROWS).evaluate_all("(found) => found.map((each) => each.cells[1].dataset.v)")
    numbers = [float(value) for value in trained if value]
    assert numbers == sorted(numbers, reverse=True)
    at.page.locator(f"{_RESULTS} [data-quoted]").uncheck()
    assert len(_names(at)) == 4
    at.page.locator(f"{_RESULTS} [data-filter]").fill("parameter-efficient lora")
    assert _names(at) == ["LoRA"]
    again = visit(address="#" + at.page.url.split("#")[1])
    assert again.page.locator(f"{_RESULTS} [data-ranking]").get_attribute("aria-pressed") == "true"
    assert _names(again) == ["LoRA"]


def test_a_ranking_is_sorted_by_group_and_then_by_number(visit: Any) -> None:
    at = visit()
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    at.page.locator(f"{_RESULTS} [data-quoted]").uncheck()
    header = at.page.locator(f"{_RESULTS} thead th.fact", has_text="Group")
    by_number = _names(at)
    sorted_names = []
    for order in ("ascending", "descending"):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == order
        sorted_names.append(_names(at))
    assert sorted_names == [["MSTA", "LoRA", "AdaptFormer", "Zero-shot"], ["Zero-shot", "MSTA", "LoRA", "AdaptFormer"]]
    assert at.texts(f"{_RESULTS} .place:visible") == ["1", "2"], "places stay those of the numbers"
    again = visit(address="#" + at.page.url.split("#")[1])
    assert _names(again) == sorted_names[1]
    header.locator("button").click()
    assert _names(at) == by_number
    header.locator("button").click()
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    assert _names(at)[0] == "Zero-shot", "groups as they were: they have no such column"


def test_a_number_of_a_ranking_says_where_it_comes_from(visit: Any) -> None:
    at = visit()
    at.page.locator(f"{_RESULTS} [data-ranking]").click()
    at.page.locator(f"{_ROWS}:not(.unranked)").first.locator("td button").nth(4).click()
    assert "MSTA: HMDB-51 HM" in at.page.locator("#provenance").inner_text()


@pytest.mark.ci
def test_columns_are_hidden_and_the_address_keeps_it(visit: Any) -> None:
    at = visit()
    at.page.locator(f"{_RESULTS} [data-columns] summary").click()
    for name in ("HMDB-51 Base", "HMDB-51 Novel", "HMDB-51 HM", "UCF-101 Base"):
        at.page.locator(f"{_RESULTS} [data-columns] label", has_text=name).locator("input").uncheck()
    again = visit(address="#" + at.page.url.split("#")[1])
    for each in (at, again):
        heads = each.page.locator(f"{_RESULTS} thead tr:first-child th:visible")
        assert [(head.inner_text(), head.get_attribute("colspan")) for head in heads.all()] == [
            ("Trained", "2"),
            ("UCF-101", "2"),
        ]
        first = each.page.locator(_ROWS).first
        assert first.locator("td:visible").count() == 4
    first.locator("td:visible button").nth(1).focus()
    again.page.keyboard.press("ArrowRight")
    assert again.page.evaluate("document.activeElement.closest('td').cellIndex") == 7, "past the hidden ones"


def test_sections_are_closed_until_they_are_wanted(visit: Any) -> None:
    at = visit(folded=True)
    opened = "main > section > details[open]"
    assert at.page.locator(opened).evaluate_all("(found) => found.map((each) => each.parentElement.id)") == [
        "table-base2novel"
    ]
    assert at.page.locator("#curves svg").count() == 0, "drawn when it is opened"
    at.page.locator(".top nav a[href='#curves']").click()
    at.page.locator("#curves-drawing svg.main-svg").first.wait_for()
    at.page.locator("#curves > details > summary").click()
    assert not at.page.locator("#curves-drawing").is_visible()
    named = visit(address="#classes", folded=True)
    named.page.locator("#classes-drawing svg.main-svg").first.wait_for()
    assert named.page.evaluate("document.documentElement.scrollHeight") < 6000


def test_printing_opens_every_section(visit: Any) -> None:
    at = visit(folded=True)
    until(at.page, "Boolean(window.Plotly)")
    at.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert at.page.locator("details.fold:not([open])").count() == 0
    assert at.page.locator("#costs-drawing svg.main-svg").count() > 0
    at.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert at.page.locator("details.fold[open]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_results_on_its_first_screen(visit: Any, scheme: str) -> None:
    at = visit(width=390, height=844, scheme=scheme, folded=True)
    bottoms = "(found) => found.map((each) => each.getBoundingClientRect().bottom)"
    assert max(at.page.locator("#overview tr.line:visible").evaluate_all(bottoms)) < 600
    assert sum(bottom < 844 for bottom in at.page.locator(_ROWS).evaluate_all(bottoms)) >= 2
    assert at.page.evaluate("document.documentElement.scrollWidth") == 390
    assert at.page.locator("header.top").bounding_box()["height"] <= 44


def test_a_phone_shows_that_a_table_goes_on(visit: Any) -> None:
    at = visit(width=390, height=844)
    scroll = at.page.locator(f"{_RESULTS} .scroll").first
    assert scroll.evaluate("(found) => found.scrollWidth > found.clientWidth")
    assert scroll.evaluate("(found) => getComputedStyle(found).backgroundAttachment") == "local, local, scroll, scroll"


@pytest.mark.parametrize("menu", ["details.take", "[data-columns]"])
def test_menus_close_as_readers_leave_them(visit: Any, menu: str) -> None:
    at = visit()
    found = at.page.locator(f"{_RESULTS} {menu}").first
    summary = found.locator("summary")
    for leave in (
        lambda: at.page.keyboard.press("Escape"),
        lambda: at.page.mouse.click(5, 400),
        lambda: (summary.focus(), at.page.keyboard.press("Shift+Tab")),
    ):
        summary.click()
        assert found.get_attribute("open") is not None
        found.locator("div :is(input, button)").first.focus()
        at.page.keyboard.press("Tab")
        assert found.get_attribute("open") is not None, "it is still in use"
        leave()
        assert found.get_attribute("open") is None


@pytest.mark.parametrize(
    ("address", "height"),
    [("#table-toy?sort=All+HM&dir=desc", 400), ("#table-toy", 400), ("#table-base2novel?view=ranking", 900)],
)
@pytest.mark.parametrize("width", [390, 1280])
def test_a_link_goes_to_its_section_however_it_is_folded(visit: Any, address: str, height: int, width: int) -> None:
    at = visit(address=address, folded=True, width=width, height=height)
    until(at.page, "document.querySelector('.top nav [aria-current]') !== null && window.Plotly !== undefined")
    section = address.split("?")[0]
    assert 0 <= at.page.locator(section).evaluate("(found) => found.getBoundingClientRect().top") < 100
    until(at.page, f"document.querySelector('.top nav [aria-current]').hash === '{section}'")


def test_sections_have_names_of_their_own(visit: Any) -> None:
    at = visit(folded=True)
    headings = at.texts("main h2")
    assert {"Toy results", "Toy results (figure)", "Costs of the runs (figure)"} <= set(headings)
    assert len(set(headings)) == len(headings)
    assert at.texts(".top nav a")[1:4] == ["Base-to-novel generalisation", "Toy results", "Toy results (figure)"]


def test_the_best_number_is_not_said_to_be_like_itself(visit: Any) -> None:
    at = visit()
    for name, said in (
        ("MSTA", "Others of its group with = are not told apart from it"),
        ("LoRA", "No paired test on the same clips and seeds tells it from the best"),
    ):
        row = at.page.locator(f"{_RESULTS} tbody:not(.quoted-rows) tr[data-row]", has_text=name)
        row.first.locator("td button").nth(4).click()
        lines = at.page.locator("#provenance li").all_inner_texts()
        assert next(line for line in lines if "tells it" in line or "told apart" in line).startswith(said)
        at.page.keyboard.press("Escape")


@pytest.mark.ci
def test_what_no_test_covers_is_not_in_bold_and_says_so(visit: Any) -> None:
    at = visit()
    assert "Over zero-shot\nnot tested" in at.texts("#overview thead th")
    weights = "(found) => found.map((each) => getComputedStyle(each).fontWeight)"
    assert set(at.page.locator("#overview .gain b").evaluate_all(weights)) == {"400"}
    ranks = "Bold: best of its column and group; underlined: second."
    assert ranks in at.texts(f"{_RESULTS} .notes li")
    phone = visit(width=390, height=844)
    after = "(found) => found.map((each) => getComputedStyle(each, '::after').content)"
    assert set(phone.page.locator("#overview .untested:not(:empty)").evaluate_all(after)) == {'" (not tested)"'}


def test_names_of_points_cover_neither_each_other_nor_points(visit: Any) -> None:
    at = visit()
    at.page.locator("#figure-toy").scroll_into_view_if_needed()
    at.page.locator("#figure-toy-drawing .textpoint").first.wait_for()
    boxes = [
        box
        for selector in (".textpoint", ".point", ".yerror")
        for box in at.page.locator(f"#figure-toy-drawing {selector}").evaluate_all(_BOXES)
    ]
    labels = boxes[: at.page.locator("#figure-toy-drawing .textpoint").count()]
    for place, label in enumerate(labels):
        for other in boxes[place + 1 :]:
            assert not _touch(label, other)


_COLOURS = """(found) => Object.fromEntries(found.data.filter((trace) => trace.meta && !trace.meta.quoted).map(
    (trace) => [trace.meta.method, [trace.marker.color, trace.marker.symbol]]))"""


def test_a_method_looks_alike_in_all_plots(visit: Any) -> None:
    at = visit()
    looks = []
    for plot in ("figure-toy", "curves"):
        at.page.locator(f"#{plot}").evaluate("(element) => element.scrollIntoView({ behavior: 'instant' })")
        at.page.locator(f"#{plot}-drawing .point").first.wait_for()
        looks.append(at.page.locator(f"#{plot}-drawing").evaluate(_COLOURS))
    assert len({tuple(look) for look in looks[0].values()}) == len(looks[0])
    assert "msta" in looks[1]
    assert all(looks[0][method] == look for method, look in looks[1].items())


_FRONT = """(drawing) => {
  const path = drawing.querySelector(".scatterlayer .trace .js-line");
  const matrix = path.getScreenCTM();
  return Array.from({ length: 200 }, (_, step) => {
    const at = path.getPointAtLength((step / 199) * path.getTotalLength()).matrixTransform(matrix);
    return [at.x, at.y];
  });
}"""


class _Front(ToyTable):
    """A front through points, whose names would stand on it if they stood to the right of them."""

    def figure(self, evidence: Evidence) -> Figure:
        at = ((1.0, 40.0), (100.0, 55.0), (10_000.0, 60.0))
        points = [Series(f"method {x}", (Point(x, y, f"method {x}"),)) for x, y in at]
        return replace(super().figure(evidence), series=tuple(points), front=at)


def test_a_front_runs_through_no_name(browser: Any, tmp_path: Path) -> None:
    add_run(tmp_path / "runs", "lora", 0)
    with visits_of(browser, _page(tmp_path, tmp_path / "runs", _Front())) as opened:
        at = opened()
        at.page.locator("#figure-toy").scroll_into_view_if_needed()
        names = at.page.locator("#figure-toy-drawing .textpoint")
        names.first.wait_for()
        drawing = at.page.locator("#figure-toy-drawing")
        assert drawing.evaluate("(drawing) => drawing.data[0].name") == "Pareto front", "names stand above it"
        boxes, line = names.evaluate_all(_BOXES), drawing.evaluate(_FRONT)
        assert len(boxes) == 3
        assert not [(x, y) for x, y in line for box in boxes if box[0] < x < box[2] and box[1] < y < box[3]]


class _Crowd(ToyTable):
    """26 points, all of whose names stand in a legend."""

    def figure(self, evidence: Evidence) -> Figure:
        points = [Series(f"method {n}", (Point(1.0 + n % 3, 50.0 + n % 4, f"a method {n}"),)) for n in range(26)]
        return replace(super().figure(evidence), series=tuple(points), front=None)


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_no_name_of_a_numbered_point_is_scrolled_out_of_sight(browser: Any, tmp_path: Path, width: int) -> None:
    add_run(tmp_path / "runs", "lora", 0)
    site = _page(tmp_path, tmp_path / "runs", _Crowd())
    with visits_of(browser, site) as opened:
        at = opened(width=width)
        at.page.locator("#figure-toy").scroll_into_view_if_needed()
        names = at.page.locator("#figure-toy-drawing .legendtext")
        names.last.wait_for()
        assert names.count() == 26
        assert at.page.locator("#figure-toy-drawing .legend .scrollbar").get_attribute("height") in {None, "0"}
        bottom = at.page.locator("#figure-toy-drawing").evaluate("(found) => found.getBoundingClientRect().bottom")
        assert max(box[3] for box in names.evaluate_all(_BOXES)) <= bottom


def _touch(a: list[float], b: list[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class _Many(SettingTable):
    """60 methods on 12 data sets, with hostile names."""

    name = "many"
    setting = "base2novel"

    def build(self, evidence: Evidence) -> Table:
        columns = tuple(Column("HM", f"data set {number} {HOSTILE}") for number in range(12))
        rows = [
            Row(
                f"{number:02d} {HOSTILE}",
                tuple(Cell(50 + number / 2, 0.5, 3, rank="best" if number == 59 else "") for _ in columns),
            )
            for number in range(60)
        ]
        return Table(
            "many",
            f"Many: {HOSTILE}",
            "Method",
            columns,
            (RowGroup("Run here: b", tuple(rows), "parameter-efficient"),),
        )


@pytest.mark.ci
def test_sixty_methods_on_twelve_data_sets_stay_usable(browser: Any, tmp_path: Path) -> None:
    add_run(tmp_path / "runs", "lora", 0)
    site = _page(tmp_path, tmp_path / "runs", _Many())
    with visits_of(browser, site) as opened:
        at = opened(folded=True)
        assert at.page.locator("#overview tr.line:visible").count() == 12
        assert at.texts("#overview tr.line .best")[0].startswith("59 _%&<script>alert(1)")
        at.page.locator("#table-many [data-ranking]").click()
        first = at.page.locator("#table-many tbody.ranking").first.locator("tr").first
        assert first.inner_text().split()[:2] == ["1", "59"]
        phone = opened(width=390, height=844, folded=True)
        assert phone.page.locator("#overview tr.line:visible").count() == 3
        phone.page.locator("#all-findings").click()
        assert phone.page.locator("#overview tr.line:visible").count() == 12
        assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
