"""Makes the pictures of the README from the records of `make demo`. Nothing in them is drawn or typed by hand.

    python docs/pictures/make_pictures.py [RUNS] [--only NAME ...]          RUNS: by default runs/demo

Each picture says on stdout how it was made. `page` needs Chromium (apt install chromium).
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent
#: Columns of the terminal that is shown.
TERMINAL_WIDTH = 100
#: Of the page, in CSS pixels; the picture has twice as many each way.
PAGE_SIZE = {"width": 1280, "height": 900}


def tradeoff(runs: Path) -> None:
    """The figure of the table `tradeoff`, for the README (SVG), and for where SVG is not shown (PNG)."""
    for suffix in ("svg", "png"):
        _report(runs, "--table", "tradeoff", "--output", str(FOLDER / f"tradeoff.{suffix}"))


def terminal(runs: Path) -> None:
    """What `petl-bench report --table base2novel` prints on a terminal, as rich exports it."""
    from rich.console import Console

    from petl_bench.api.registry import TABLES
    from petl_bench.cli.gather import gather
    from petl_bench.render.terminal import show

    with Path("/dev/null").open("w") as nowhere:
        console = Console(file=nowhere, record=True, width=TERMINAL_WIDTH, force_terminal=True, highlight=False)
        source = TABLES.get("base2novel")()
        show(source.build(gather((runs,), quoted=source.published())), console)
    command = "petl-bench report --table base2novel"
    target = FOLDER / "terminal.svg"
    target.write_text(console.export_svg(title=command, code_format=_without_web_fonts()))
    print(f"{target}: {command} --runs {runs}, {TERMINAL_WIDTH} columns, exported by rich")


def _without_web_fonts() -> str:
    """rich's form of an SVG, which loads nothing from elsewhere: whoever looks has a monospaced font."""
    from rich._export_format import CONSOLE_SVG_FORMAT

    return re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def page(runs: Path) -> None:
    """The upper part of the page that `petl-bench report --format html --output DIR` writes, in headless Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        _report(runs, "--format", "html", "--output", f"{folder}/site")
        _screenshot(Path(folder) / "site" / "index.html", FOLDER / "page.png")


def _screenshot(source: Path, target: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on this machine: apt install chromium, or leave the page out with --only")
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


PICTURES: dict[str, Callable[[Path], None]] = {"tradeoff": tradeoff, "terminal": terminal, "page": page}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs/demo"), help="output folder of petl-bench run")
    parser.add_argument("--only", nargs="+", choices=list(PICTURES), default=list(PICTURES), help="these pictures")
    chosen = parser.parse_args()
    for name in chosen.only:
        PICTURES[name](chosen.runs)


if __name__ == "__main__":
    main()
