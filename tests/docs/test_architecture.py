"""ARCHITECTURE.md is one page, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
#: A hop of one of the four ways: `file.py: name` below petl_bench/, methods/, benchmarks/ or reports/.
HOP = re.compile(r"`([\w/]+\.py)(?:: ([\w.]+))?")


def file_of(name: str) -> Path:
    return next((path for path in (ROOT / "petl_bench" / name, ROOT / name) if path.is_file()), ROOT / name)


def test_it_is_one_page() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert [line for line in lines if len(line) >= 120] == []


def test_each_way_has_at_most_eight_hops() -> None:
    ways = PAGE.read_text(encoding="utf-8").partition("## Four ways")[2].split("\n**")[1:]
    assert len(ways) == 4
    for way in ways:
        assert 2 <= len(re.findall(r"^\d\. ", way, re.MULTILINE)) <= 8


@pytest.mark.parametrize("hop", sorted(set(HOP.findall(PAGE.read_text(encoding="utf-8")))), ids=": ".join)
def test_what_a_hop_names_is_there(hop: tuple[str, str]) -> None:
    name, within = hop
    if "/" not in name:  # beside the file before it
        assert list((ROOT / "petl_bench").rglob(name))
        return
    text = file_of(name).read_text(encoding="utf-8")
    for part in within.split(".") if within else ():
        assert re.search(rf"\b(?:def|class) {part}\b|^\s*{part}: ", text, re.MULTILINE), f"{part} is not in {name}"


def test_the_tree_names_every_folder_of_the_engine() -> None:
    tree = PAGE.read_text(encoding="utf-8").partition("## The tree")[2].partition("## Layers")[0]
    for folder in (ROOT / "petl_bench").iterdir():
        if (folder / "__init__.py").is_file():
            assert f" {folder.name}/" in tree


@pytest.mark.parametrize("page", ["docs/internals.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    folders = ("petl_bench", "methods", "benchmarks", "reports", "docs", "tests", "slurm")
    here = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    named = re.findall(r"(\w+\.py)\b", (ROOT / page).read_text(encoding="utf-8"))
    written = {"FILE.py", "my_adapter.py"}  # what a reader writes
    assert sorted(set(named) - here - written) == []
