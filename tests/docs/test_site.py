"""The site builds without a warning, needs no network to be read, and shows every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import petl_bench as pb

from .pages import ROOT

pytest.importorskip("mkdocs", reason="make docs: pip install -e '.[docs]'")

#: Named in a sentence of the page, since they do what `register_method` does.
_KINDS = ("dataset", "setting", "backbone", "table", "launcher", "tracker")
_IN_A_SENTENCE = {"TOP1", *(f"register_{kind}" for kind in _KINDS)}
_LOADED = re.compile(r'<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)="((?:https?:)?//[^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a broken link or a name that does not exist is an error."""
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_pages_are_whole_and_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    assert not [page.name for page in pages if "```" in page.read_text(encoding="utf-8")], "a block is not read as one"
    loaded = {address for page in pages for address in _LOADED.findall(page.read_text(encoding="utf-8"))}
    assert not loaded
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//", styles)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html"))
    names = [name for name in pb.__all__ if name not in _IN_A_SENTENCE | {"__version__"}]
    missing = [name for name in names if f"petl_bench.{name}" not in text]
    assert not missing, f"say them in docs/api: {', '.join(missing)}"
