"""A page in a real Chromium, with everything that must not happen on it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


@dataclass
class Visit:
    """A page in the browser, with everything that must not happen on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.page.locator(selector).all_inner_texts()
        return [text.strip() for text in found]


def until(page: Any, condition: str) -> None:
    """Wait until an expression holds. Playwright's own wait evaluates texts in the page, which its policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


@contextmanager
def launched() -> Iterator[Any]:
    """The browser; without one, the test is skipped."""
    reason = "playwright is not installed: pip install -e '.[dev]'"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here (looked for {', '.join(_BROWSERS)}): apt install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=_QUIET)
        yield opened
        opened.close()


@contextmanager
def visits_of(browser: Any, site: Path) -> Iterator[Callable[..., Visit]]:
    """What opens the page; whatever it logs, asks for or overflows with fails the test."""
    visits: list[Visit] = []

    def opened(
        width: int = 1280,
        scheme: str = "light",
        address: str = "",
        height: int = 800,
        *,
        folded: bool = False,
        **context: Any,
    ) -> Visit:
        """`folded`: sections stay as they are at first; else all of them are opened."""
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **context)
        found = Visit(page)
        page.on("console", lambda message: found.errors.append(message.text))
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("dialog", lambda dialog: (found.errors.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(site.as_uri() + address)
        if not folded:
            page.evaluate("document.querySelectorAll('details.fold').forEach((fold) => { fold.open = true; })")
        visits.append(found)
        return found

    yield opened
    for each in visits:
        assert each.errors == []
        assert [url for url in each.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        each.page.close()
