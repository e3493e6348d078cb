"""The view in the address of the page: kept, restored, and read as data."""

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

pytestmark = pytest.mark.drill

_ROWS = "#table-toy tr[data-row]:visible th"


class Hostile(ToyTable):
    label = HOSTILE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    add_runs_of_hostile_class(folder / "runs")
    sources = [TABLES.get("base2novel")(), Hostile()]
    page = build_page(sources, Evidence(pb.load_records(folder / "runs")), [folder / "runs"])
    (folder / "index.html").write_bytes(page)
    return folder / "index.html"


def _hash(at: Any) -> str:
    found: str = at.page.evaluate("location.hash")
    return found


def _sorted(at: Any) -> list[str]:
    found: list[str] = at.page.locator("#table-toy thead tr:last-child th").evaluate_all(
        "found => found.map((each) => each.getAttribute('aria-sort'))"
    )
    return found


@pytest.mark.ci
def test_what_is_sorted_and_filtered_stands_in_the_address(visit: Any) -> None:
    at = visit()
    assert _hash(at) == ""
    header = at.page.locator("#table-toy thead tr:last-child th").nth(2).locator("button")
    header.click()
    assert _hash(at) == "#table-toy?sort=All+HM&dir=desc"
    header.click()
    assert _hash(at) == "#table-toy?sort=All+HM&dir=asc"
    at.page.locator("#table-toy [data-filter]").fill("lora & co=50%")
    at.page.locator("#table-toy [data-quoted]").uncheck()
    assert _hash(at) == "#table-toy?sort=All+HM&dir=asc&q=lora+%26+co%3D50%25&quoted=no"
    again = visit(address=_hash(at))
    assert _sorted(again) == ["none", "none", "ascending"]
    assert again.page.locator("#table-toy [data-filter]").input_value() == "lora & co=50%"
    assert not again.page.locator("#table-toy [data-quoted]").is_checked()
    assert again.texts("#table-toy output") == ["0 of 4 rows"]
    header.click()
    at.page.locator("#table-toy [data-filter]").fill("")
    at.page.locator("#table-toy [data-quoted]").check()
    assert _hash(at) == "#table-toy", "what is shown at first is not said"


def test_registered_names_of_older_addresses_are_known(visit: Any) -> None:
    at = visit(address="#classes?method=lora&against=zero_shot")
    chosen = at.page.locator("#classes-method, #classes-reference").evaluate_all(
        "(found) => found.map((each) => each.selectedOptions[0].text)"
    )
    assert chosen == ["LoRA", "Zero-shot"]
    unknown = visit(address="#classes?method=lo&against=---")
    assert unknown.page.locator("#classes-method").evaluate("(each) => each.selectedOptions[0].text") == "MSTA"


@pytest.mark.ci
def test_the_back_button_goes_back_one_step(visit: Any) -> None:
    at = visit()
    before = at.texts(_ROWS)
    at.page.locator("#table-toy thead tr:last-child th").nth(2).locator("button").click()
    sorted_ = at.texts(_ROWS)
    assert sorted_ != before
    at.page.locator("#table-toy [data-filter]").press_sequentially("lora")
    assert len(at.texts(_ROWS)) == 1
    at.page.go_back()
    assert at.texts(_ROWS) == sorted_, "letters of a filter are one step"
    at.page.go_back()
    assert at.texts(_ROWS) == before
    assert _sorted(at) == ["none"] * 3
    at.page.go_forward()
    assert at.texts(_ROWS) == sorted_


def test_links_of_the_page_leave_the_view_as_it_is(visit: Any) -> None:
    at = visit()
    at.page.locator("#table-toy [data-filter]").fill("lora")
    at.page.locator(".top nav a[href='#classes']").click()
    until(at.page, "location.hash.includes('q=lora')")
    assert _hash(at) == "#classes?table-toy.q=lora"
    assert len(at.texts(_ROWS)) == 1
    again = visit(address=_hash(at))
    assert again.page.locator("#table-toy [data-filter]").input_value() == "lora"


def test_plain_anchors_work_as_ever(visit: Any) -> None:
    at = visit(address="#classes", folded=True)
    assert _hash(at) == "#classes"
    until(at.page, "document.querySelector('#classes').getBoundingClientRect().top < 400")


def test_an_address_with_a_view_leads_to_its_section(visit: Any) -> None:
    at = visit(address="#classes?method=LoRA&against=MSTA&numbers=open", height=500, folded=True)
    assert at.page.evaluate("document.querySelector('#classes').getBoundingClientRect().top") < 250
    at.page.locator("#classes-numbers td").first.wait_for()
    assert at.texts("#classes-verdict")[0].startswith("Against MSTA, LoRA gains on")
    at.page.locator("#classes-numbers summary").click()
    assert _hash(at) == "#classes?method=LoRA&against=MSTA"


def test_what_is_chosen_of_plots_and_classes_is_kept(visit: Any) -> None:
    at = visit()
    at.page.locator("#costs [data-facet]").nth(1).select_option(index=1)
    assert _hash(at) == "#costs?cost=Duration:+total+(s)".replace(":", "%3A").replace("(", "%28").replace(")", "%29")
    at.page.locator("#classes-reference").select_option(label="nothing (the accuracy itself)")
    again = visit(address=_hash(at))
    assert again.page.locator("#costs [data-facet]").nth(1).evaluate("(each) => each.selectedIndex") == 1
    assert again.page.locator("#classes-reference").evaluate("(each) => each.selectedIndex") == 3
    again.page.goto(again.page.url.split("#")[0] + "#costs")
    assert again.page.locator("#costs [data-facet]").nth(1).evaluate("(each) => each.selectedIndex") == 0


@pytest.mark.parametrize(
    "address",
    [
        "#<img src=x onerror=alert(1)>",
        pytest.param(
            "#table-toy?sort=<img src=x onerror=alert(1)>&dir=javascript:alert(1)&q=", marks=pytest.mark.ci, id="markup"
        ),
        "#table-toy?q=" + "a" * 201,
        "#table-toy?q=" + "a" * 1_000_000,
        "#" + "table-toy?sort=All+HM&" * 50_000,
        "#%E0%A4%A?%=%&%ZZ=%00&sort=%FF%FE&table-toy.q=%00" + "%41" * 300,
        "#table-toy?__proto__=1&constructor=2&table-toy.__proto__=3&toString.x=1&.=.&..=&sort=constructor",
        "#unknown?sort=All+HM&dir=desc&q=lora",
        "#table-unknown?q=lora&classes.method=nobody&costs.cost=nothing&table-toy.quoted=yes&table-toy.hide=%00",
        "#provenance?open=open",
        "#table-toy?view=flat&among=nobody&hide=nothing,All+HM&fold=wide&costs.fold=<b>&.q=lora",
        "#?",
        "#?????#####",
        "#&&&===",
    ],
)
def test_an_address_that_says_nothing_sensible_changes_nothing(visit: Any, address: str) -> None:
    at = visit(address=address)
    assert len(at.texts(_ROWS)) == 4
    assert _sorted(at) == ["none"] * 3
    assert at.page.locator("#table-toy [data-filter]").input_value() == ""
    assert at.page.locator("img[src=x]").count() == 0
    at.page.locator("#table-toy [data-filter]").fill("lora")
    assert _hash(at) == "#table-toy?q=lora", "it works on"


@pytest.mark.ci
def test_the_filter_of_an_address_is_text(visit: Any) -> None:
    text = "<img src=x onerror=alert(1)>"
    at = visit(address=f"#table-toy?q={text}")
    assert at.page.locator("#table-toy [data-filter]").input_value() == text
    assert at.page.locator("img[src=x]").count() == 0


@pytest.mark.ci
def test_a_hostile_name_can_be_chosen_and_is_restored(visit: Any) -> None:
    class_ = "_%&<script>"
    at = visit(address="#table-base2novel")
    at.page.locator("#table-toy [data-filter]").fill(class_)
    assert len(at.texts(_ROWS)) == 1
    assert len(visit(address=_hash(at)).texts(_ROWS)) == 1


def test_the_back_button_works_on_a_phone(visit: Any) -> None:
    at = visit(width=390, height=844, has_touch=True, is_mobile=True)
    at.page.locator("#table-toy [data-quoted]").tap()
    assert _hash(at) == "#table-toy?quoted=no"
    assert len(at.texts(_ROWS)) == 3
    at.page.go_back()
    assert len(at.texts(_ROWS)) == 4
    assert at.page.locator("#table-toy [data-quoted]").is_checked()
