"""The page of a search in a real Chromium: pictures are shown, nothing is asked for, no width is too small."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from petl_bench.page.found import found_page
from petl_bench.searching.rankings import Hit, Ranking, SearchResult

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

pytestmark = [pytest.mark.drill, pytest.mark.ci]

HOSTILE = "<script>alert(1)</script>\"'&" + "a_name_without_blanks" * 20
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (160, 90), "green").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_whole_and_alone(tmp_path: Path, width: int) -> None:
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip("no browser here: apt install chromium")
    hits = (Hit(1, 0.5, "a.mp4", 3.0), Hit(2, 0.25, HOSTILE, None))
    result = SearchResult(HOSTILE, "model", 2, {HOSTILE: "broken"}, (Ranking(HOSTILE, HOSTILE[:30], hits),))
    page_file = tmp_path / "found.html"
    page_file.write_bytes(found_page(result, lambda file: [picture()] * 3 if file == "a.mp4" else "no picture: broken"))
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        errors: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: errors.append(message.text))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        assert errors == []
        assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
        assert page.evaluate("[...document.images].filter(image => image.naturalWidth === 160).length") == 3
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert HOSTILE in page.inner_text("h2")
        browser.close()
