"""What readers copy or download from the page: texts as the command line writes them, and pictures of plots."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import until, visits_of
from synthetic_runs import HOSTILE, Build, add_run
from toy_table import ToyTable

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.page import downloads
from petl_bench.page.build import build_page
from petl_bench.page.downloads import downloads_data, texts_of
from petl_bench.page.tables import table_view
from petl_bench.render import render
from tests.commands import petl_bench

_TABLE = "base2novel"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as the command writes it."""
    folder = tmp_path_factory.mktemp("site")
    for method in ("zero_shot", "lora", "msta"):
        for seed in range(2):
            add_run(folder / "runs", method, seed)
    done = petl_bench("report", "--runs", "runs", "--output", "site/", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "site" / "index.html"


def _open(at: Any, section: str) -> Any:
    """The opened menu of a section."""
    menu = at.page.locator(f"{section} details.take").first
    menu.locator("summary").click()
    return menu


def _downloaded(at: Any, button: Any) -> tuple[str, bytes]:
    with at.page.expect_download() as waiting:
        button.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


# Without a browser


def _table(rows: int = 3) -> Table:
    some = tuple(Row(f"method {i}", (Cell(i / 7, 0.5, 3),)) for i in range(rows))
    return Table("a_name", "Title", "Method", (Column("HM", "All"),), (RowGroup("All", some),))


def test_texts_are_those_of_the_renderers() -> None:
    table = replace(_table(), spread="none")
    view = table_view(table, 100, [Path("my runs")])
    texts = texts_of([table], [view])
    assert [(text.kind, text.file) for text in texts[view.id]] == [
        ("csv", "a-name.csv"),
        ("latex", "a-name.tex"),
        ("markdown", "a-name.md"),
    ]
    assert all(text.content == render(table, text.kind) for text in texts[view.id])
    assert downloads_data(texts)["table-a-name"]["csv"] == ["a-name.csv", render(table, "csv")]


def test_what_has_no_room_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = _table(), replace(_table(10), name="large")
    views = [table_view(each, 100, [Path("my runs")]) for each in (small, large)]
    monkeypatch.setattr(downloads, "_CELLS", 5)
    texts = texts_of([large, small], views[::-1])
    assert all(text.content is not None for text in texts["table-a-name"])
    assert [text.content for text in texts["table-large"]] == [None] * 3
    assert texts["table-large"][1].command == "petl-bench report --runs 'my runs' --table large --format latex"
    monkeypatch.setattr(downloads, "_CELLS", 1_000)
    monkeypatch.setattr(downloads, "_CHARACTERS", 10)
    assert downloads_data(texts_of([small], views[:1])) == {"table-a-name": {}}


def test_the_page_says_the_command_of_what_has_no_room(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(tmp_path / "runs", "msta", 0)
    monkeypatch.setattr(downloads, "_CELLS", 0)
    page = build(tmp_path / "runs", ToyTable())
    assert f"<code>petl-bench report --runs {tmp_path / 'runs'} --table toy --format latex</code>" in page


# In a browser


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize(("name", "kind"), [("CSV", "csv"), ("LaTeX", "latex"), ("Markdown", "markdown")])
def test_what_is_downloaded_or_copied_is_what_the_command_writes(visit: Any, site: Path, name: str, kind: str) -> None:
    command = ("report", "--runs", "runs", "--table", _TABLE, "--format", kind)
    expected = petl_bench(*command, cwd=site.parent.parent).stdout
    assert len(expected) > 100
    at = visit(permissions=["clipboard-read", "clipboard-write"])
    menu = _open(at, f"#table-{_TABLE}")
    file, content = _downloaded(at, menu.get_by_role("button", name=f"Download {name}"))
    assert Path(file).stem == _TABLE
    assert content.decode() == expected
    assert menu.get_by_role("status").inner_text() == f"Saved as {file}"
    menu.get_by_role("button", name=f"Copy {name}").click()
    menu.get_by_text("Copied").wait_for()
    assert at.page.evaluate("navigator.clipboard.readText()") == expected


@pytest.mark.drill
@pytest.mark.ci
def test_what_may_not_use_the_clipboard_copies_from_a_selection(visit: Any) -> None:
    at = visit(permissions=["clipboard-read"])
    at.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    menu = _open(at, f"#table-{_TABLE}")
    menu.get_by_role("button", name="Copy CSV").click()
    menu.get_by_text("Copied").wait_for()
    assert at.page.evaluate("navigator.clipboard.readText()").startswith("row,name,")
    at.page.evaluate("() => { document.execCommand = () => false; }")
    menu.get_by_role("button", name="Copy CSV").click()
    menu.get_by_text("This browser does not allow copying").wait_for()


@pytest.mark.drill
@pytest.mark.ci
def test_a_link_leads_to_this_view(visit: Any) -> None:
    at = visit(permissions=["clipboard-read", "clipboard-write"])
    at.page.locator(f"#table-{_TABLE} [data-filter]").fill("lora")
    menu = _open(at, "#curves")
    menu.get_by_role("button", name="Copy link").click()
    menu.get_by_text("Copied").wait_for()
    link = at.page.evaluate("navigator.clipboard.readText()")
    assert link.endswith(f"index.html#curves?table-{_TABLE}.q=lora")


@pytest.mark.drill
@pytest.mark.ci
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_plots_are_on_white(visit: Any, scheme: str) -> None:
    from PIL import Image

    at = visit(scheme=scheme)
    menu = _open(at, "#curves")
    file, content = _downloaded(at, menu.get_by_role("button", name="Download PNG"))
    assert file == "curves-base-to-novel-generalisation-ucf-101-training-loss.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.width == 1920
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    assert min(picture.convert("L").crop((0, picture.height - 90, 1920, picture.height)).getextrema()) < 80, "dark text"
    file, content = _downloaded(at, menu.get_by_role("button", name="Download SVG"))
    assert file.endswith(".svg")
    assert content.startswith(b"<svg")
    assert b"rgb(255, 255, 255)" in content
    assert b"<script" not in content


@pytest.mark.drill
@pytest.mark.ci
def test_a_picture_has_the_series_that_are_shown(visit: Any) -> None:
    at = visit()
    menu = _open(at, "#curves")
    at.page.keyboard.press("Escape")
    at.page.locator("#curves-drawing .legendtoggle").first.click()
    until(at.page, "document.querySelector('#curves-drawing').data.some((each) => each.visible === 'legendonly')")
    menu = _open(at, "#curves")
    _, content = _downloaded(at, menu.get_by_role("button", name="Download SVG"))
    assert b">msta<" in content or b">MSTA<" in content
    assert b">lora<" not in content
    assert b">LoRA<" not in content


@pytest.mark.drill
@pytest.mark.ci
def test_pictures_can_be_copied(visit: Any) -> None:
    at = visit(permissions=["clipboard-read", "clipboard-write"])
    menu = _open(at, "#costs")
    menu.get_by_role("button", name="Copy SVG").click()
    menu.get_by_text("Copied").wait_for()
    assert at.page.evaluate("navigator.clipboard.readText()").startswith("<svg")
    menu.get_by_role("button", name="Copy PNG").click()
    until(at.page, "navigator.clipboard.read().then((found) => found[0].types.includes('image/png'))")


@pytest.mark.drill
@pytest.mark.ci
def test_a_hostile_name_is_only_text_in_what_is_taken(browser: Any, tmp_path: Path) -> None:
    class Hostile(ToyTable):
        label = f"=cmd|' /C calc'!A0 {HOSTILE}"

    add_run(tmp_path / "runs", "msta", 0)
    page = build_page([Hostile()], Evidence(pb.load_records(tmp_path / "runs")), [tmp_path / "runs"])
    (tmp_path / "index.html").write_bytes(page)
    with visits_of(browser, tmp_path / "index.html") as visit:
        at = visit()
        _, content = _downloaded(at, _open(at, "#table-toy").get_by_role("button", name="Download CSV"))
        assert "'=cmd" in content.decode()
        menu = _open(at, "#figure-toy")
        _, content = _downloaded(at, menu.get_by_role("button", name="Download SVG"))
        assert b"<script" not in content


@pytest.mark.drill
@pytest.mark.ci
def test_the_menu_closes_with_escape_and_a_click_elsewhere(visit: Any) -> None:
    at = visit()
    menu = _open(at, f"#table-{_TABLE}")
    buttons = menu.get_by_role("button", name="Download CSV")
    buttons.focus()
    at.page.keyboard.press("Escape")
    assert not buttons.is_visible()
    assert at.page.evaluate("document.activeElement.innerText") == "Copy or download"
    menu.locator("summary").click()
    assert buttons.is_visible()
    at.page.mouse.click(5, 400)
    assert not buttons.is_visible()


@pytest.mark.drill
@pytest.mark.ci
def test_tables_can_be_taken_on_a_phone(visit: Any) -> None:
    at = visit(width=390, height=844, has_touch=True, is_mobile=True)
    menu = _open(at, f"#table-{_TABLE}")
    assert at.page.evaluate("document.documentElement.scrollWidth") == 390
    file, content = _downloaded(at, menu.get_by_role("button", name="Download LaTeX"))
    assert file == f"{_TABLE}.tex"
    assert b"\\toprule" in content
