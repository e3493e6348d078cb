"""The page in a real Chromium, as readers use it: mouse, keyboard, phone, dark, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import until
from synthetic_runs import HOSTILE, add_runs_of_hostile_class
from toy_table import ToyTable

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.page.build import build_page

pytestmark = [pytest.mark.drill, pytest.mark.ci]

_PLOTS = "#figure-toy-drawing, #curves-drawing, #classes-drawing, #confusion-drawing, #costs-drawing"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it, and a method, classes and clips of hostile names."""

    class Hostile(ToyTable):
        label = HOSTILE

    folder = tmp_path_factory.mktemp("site")
    runs = folder / "runs"
    add_runs_of_hostile_class(runs)
    evidence = Evidence(pb.load_records(runs))
    page = build_page([TABLES.get("base2novel")(), Hostile()], evidence, [runs], thumbnail=lambda values, clip: clip)
    (folder / "index.html").write_bytes(page)
    return folder / "index.html"


def test_headers_sort_within_groups(visit: Any) -> None:
    at = visit()
    names = "#table-toy tr[data-row] th"
    first = at.texts(names)
    header = at.page.locator("#table-toy thead tr:last-child th").nth(1)
    for expected, order in (
        (["zero_shot", "lora", "msta"], "ascending"),
        (["msta", "lora", "zero_shot"], "descending"),
    ):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == order
        assert at.texts(names)[:3] == expected
        assert at.texts(names)[3] == first[3], "the quoted row stays in its group"
    header.locator("button").click()
    assert at.texts(names) == first


def test_rows_are_filtered_and_quoted_ones_hidden(visit: Any) -> None:
    at = visit()
    section = at.page.locator("#table-toy")
    rows = section.locator("tr[data-row]:visible")
    section.locator("[data-quoted]").uncheck()
    assert rows.count() == 3
    section.locator("[data-filter]").fill("LOR")
    assert rows.count() == 1
    assert section.locator("output").inner_text() == "1 of 4 rows"
    section.locator("[data-filter]").fill("nothing like it")
    assert rows.count() == 0


def test_a_number_says_where_it_comes_from(visit: Any) -> None:
    at = visit()
    sheet = at.page.locator("#provenance")
    at.page.locator("#table-toy tr", has_text="lora").locator("td button").nth(1).click()
    text = sheet.inner_text()
    for expected in ("lora: All HM", "95 % interval: 40.25 to 60.75", "Difference from the baseline: +2.5", "seed 1"):
        assert expected in text
    assert "petl-bench report" in text
    sheet.get_by_text("Everything that decided it").first.click()
    assert "bottleneck_dim=16" in sheet.inner_text()
    sheet.get_by_role("button", name="Close").click()
    assert not sheet.is_visible()
    at.page.locator("#table-toy tr.quoted-rows, #table-toy .quoted-rows tr[data-row]").locator("td button").nth(
        1
    ).click()
    assert "Quoted, not run here. Source: Table 2" in sheet.inner_text()


def test_everything_works_without_a_mouse(visit: Any) -> None:
    at = visit()
    keys, focused = at.page.keyboard, "document.activeElement.innerText"
    keys.press("Tab")
    assert at.page.evaluate(focused) == "Skip to the results"
    at.page.locator("#table-toy td button").first.focus()
    first_row = at.page.evaluate("document.activeElement.closest('tr').dataset.row")
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    place = "[document.activeElement.closest('tr').dataset.row, document.activeElement.closest('td').cellIndex]"
    assert at.page.evaluate(place) == [str(int(first_row) + 1), 2]
    for key in ("Enter", "Space"):
        keys.press(key)
        assert at.page.locator("#provenance").is_visible()
        keys.press("Escape")
        assert not at.page.locator("#provenance").is_visible()
        assert at.page.evaluate(place) == [str(int(first_row) + 1), 2], "focus returns to the number"
    tab_stops = at.page.locator("#table-toy td button:not([tabindex='-1'])")
    assert tab_stops.count() == 1, "a table is one stop of the tab key"


def test_plots_are_drawn_and_follow_light_and_dark(visit: Any) -> None:
    at = visit(scheme="dark")
    _scroll_through(at.page)
    for drawing in at.page.locator(_PLOTS).all():
        drawing.locator("svg.main-svg").first.wait_for(state="attached")
        assert drawing.get_attribute("role") == "img"
        assert drawing.get_attribute("aria-label")
    buttons = at.page.locator(".modebar-btn").evaluate_all("found => found.map((each) => each.dataset.title)")
    assert set(buttons) == {"Zoom", "Pan", "Autoscale"}, "none that uploads a plot"
    colours = (
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        " document.querySelector('#curves-drawing .xtitle').style.fill]"
    )
    dark = at.page.evaluate(colours)
    assert at.page.locator("#theme").get_attribute("aria-pressed") == "true"
    at.page.locator("#theme").click()
    light = at.page.evaluate(colours)
    assert at.page.locator("#theme").get_attribute("aria-pressed") == "false"
    assert all(before != after for before, after in zip(dark, light, strict=True))


def test_plots_have_their_numbers_as_a_table(visit: Any) -> None:
    at = visit()
    for place, expected in (
        ("#figure-toy", "81.25"),
        ("#curves", "1.05"),
        ("#costs", "36,864"),
        ("#classes-numbers", "archery"),
    ):
        details = at.page.locator(f"{place} details.numbers, {place}:is(details)").first
        details.locator("summary").click()
        details.locator("td").first.wait_for()
        assert expected in details.inner_text(), place


def test_a_point_of_a_plot_says_where_it_comes_from(visit: Any) -> None:
    at = visit()
    at.page.locator("#figure-toy").scroll_into_view_if_needed()
    point = at.page.locator("#figure-toy-drawing .scatterlayer .trace .points path").first
    point.wait_for()
    names = at.page.locator("#figure-toy-drawing .textpoint").all_text_contents()
    assert any(name.startswith("_%&<script>alert(1)") for name in names), "plotly shows what it may not read as markup"
    box = point.bounding_box()
    at.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    at.page.locator("#figure-toy-drawing .hoverlayer .hovertext").first.wait_for()
    at.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    at.page.locator("#provenance").wait_for()
    assert "seed 0" in at.page.locator("#provenance").inner_text()


def test_no_script_runs_but_that_of_the_page(visit: Any) -> None:
    at, failed = visit(), []
    at.page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    blocked = at.page.evaluate("""() => {
      const blocked = [];
      addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "window.injected = 1";
      const holder = document.createElement("div");
      holder.innerHTML = '<img src="https://example.org/x.png"><img src="data:," onerror="window.injected = 2">';
      document.body.append(script, holder);
      const form = document.createElement("form");
      form.action = "https://example.org/";
      document.body.append(form);
      form.submit();
      return new Promise((done) => setTimeout(() => done(blocked), 500));
    }""")
    assert at.page.evaluate("window.injected") is None
    assert {"script-src-elem", "script-src-attr", "img-src", "form-action"} <= set(blocked)
    assert all("Content Security Policy" in error for error in at.errors)
    assert failed == [("https://example.org/x.png", "csp")]
    at.errors.clear()  # those of the injections: on any other page of these tests, none is allowed
    at.requests.clear()


def test_classes_are_compared_with_the_chosen_method(visit: Any) -> None:
    at = visit()
    _scroll_through(at.page)
    at.page.locator("#classes-method").select_option("MSTA")
    assert at.texts("#classes-verdict")[0].startswith("Against Zero-shot, MSTA gains on")
    at.page.locator("#classes-reference").select_option(index=3)
    assert at.texts("#classes-verdict")[0] == "MSTA: accuracy of 3 classes, over 2 runs."


def test_it_can_be_read_on_a_phone(visit: Any) -> None:
    at = visit(width=360)
    _scroll_through(at.page)
    at.page.wait_for_timeout(300)
    assert at.page.evaluate("document.documentElement.scrollWidth") == 360
    assert at.page.evaluate("[...document.querySelectorAll('main .card')].every((each) => each.scrollWidth <= 360)")


def test_it_can_be_printed(visit: Any) -> None:
    at = visit()
    until(at.page, "Boolean(window.Plotly)")
    at.page.locator("#table-toy [data-filter]").fill("lora")
    assert at.page.pdf().startswith(b"%PDF")
    at.page.emulate_media(media="print")
    kept = at.page.locator("#overview tr.line > *").evaluate_all(
        "(found) => found.map((each) => getComputedStyle(each).breakAfter)"
    )
    assert set(kept) == {"auto"}, "lines of the summary are not all kept on one page"
    assert not at.page.locator("header.top").is_visible()
    assert at.page.locator("#table-toy tr[data-row]:visible").count() == 4, "what a filter hides is printed"
    assert at.page.locator("#costs-drawing svg.main-svg").count() > 0, "plots are drawn before they came into view"


def _scroll_through(page: Any) -> None:
    for section in page.locator("main > section").all():
        section.evaluate("(element) => element.scrollIntoView({ behavior: 'instant' })")
        page.wait_for_timeout(50)
    until(page, "Boolean(window.Plotly)")
