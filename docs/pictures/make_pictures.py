"""Makes the pictures of the README from records. Nothing in them is drawn or typed by hand.

    python docs/pictures/make_pictures.py page runs/demo             after `make demo`
    python docs/pictures/make_pictures.py frontier runs/frontier     after the command in docs/demo.md

Each picture says on stdout how it was made. `page` needs Chromium (apt install chromium).
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent
#: Of the page, in CSS pixels; the picture has twice as many each way.
PAGE_SIZE = {"width": 1280, "height": 900}


def frontier(runs: Path) -> None:
    """The figure of the table `frontier`."""
    _report(runs, "--table", "frontier", "--output", str(FOLDER / "frontier.png"))


def page(runs: Path) -> None:
    """The upper part of the page that `petl-bench report --format html --output DIR` writes, in headless Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        _report(runs, "--format", "html", "--output", f"{folder}/site")
        _screenshot(Path(folder) / "site" / "index.html", FOLDER / "page.png")


def _screenshot(source: Path, target: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on this machine: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        tab = browser.new_page(viewport=PAGE_SIZE, device_scale_factor=2)
        tab.goto(source.resolve().as_uri())
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=target)
        browser.close()
    print(f"{target}: {source} in headless {chromium}, {PAGE_SIZE['width']} x {PAGE_SIZE['height']}")


def _report(runs: Path, *arguments: str) -> None:
    command = ["report", "--runs", str(runs), *arguments]
    print(shlex.join(["petl-bench", *command]))
    subprocess.run([sys.executable, "-m", "petl_bench", *command], check=True)


PICTURES: dict[str, Callable[[Path], None]] = {"frontier": frontier, "page": page}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(PICTURES), help="which picture")
    parser.add_argument("runs", type=Path, help="output folder of petl-bench run")
    chosen = parser.parse_args()
    PICTURES[chosen.name](chosen.runs)


if __name__ == "__main__":
    main()
