"""A directory of runs for the page, and a table plugin with a figure and every kind of cell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browsing import launched, visits_of
from synthetic_runs import Build, add_run
from toy_table import ToyTable

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import TableSource
from petl_bench.page.build import build_page


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three methods, three seeds, on one data set."""
    folder = tmp_path / "runs"
    for method in ("zero_shot", "lora", "msta"):
        for seed in range(3):
            add_run(folder, method, seed)
    return folder


@pytest.fixture
def build() -> Build:
    """The page of some runs as text; takes tables, and the keywords of `build_page`."""

    def page(folder: Path, *sources: TableSource, **keywords: object) -> str:
        tables = sources or (TABLES.get("base2novel")(), ToyTable())
        return build_page(tables, Evidence(pb.load_records(folder)), [folder], **keywords).decode()

    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of one file: while it is open, no other file of this process can start one."""
    with launched() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Any]:
    """What opens `site`, the page that a test file makes."""
    with visits_of(browser, site) as opened:
        yield opened
