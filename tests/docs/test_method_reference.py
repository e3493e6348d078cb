"""docs/method_reference.md lists what there is: every hook, declaration, field of a step, and check of a method."""

from __future__ import annotations

import dataclasses
import re

import pytest

import petl_bench as pb
from petl_bench.api.method import HOOKS
from petl_bench.cli.show import _DECLARED
from petl_bench.testing.methods import CHECKS

from .pages import PAGES

PAGE = PAGES["docs/method_reference.md"].read_text(encoding="utf-8")


def first_cells(section: str) -> set[str]:
    """The names in the first column of the table of a section, without arguments."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {name for cell in cells for name in re.findall(r"`(\w+)[^`]*`", cell)}


@pytest.mark.parametrize(
    ("section", "there"),
    [
        ("Hooks", {*HOOKS, "load_extra_state"}),
        ("Declarations", {*_DECLARED, "settings", "backbones", "recipes", "space", "version"}),
        ("What a step holds", {field.name for field in dataclasses.fields(pb.Step)}),
    ],
)
def test_a_table_names_all_there_is(section: str, there: set[str]) -> None:
    named = first_cells(section)
    assert not there - named, "missing in the page"
    assert not named - there - {"description_count", "description_kinds_read"}, "in the page alone"


def test_the_table_of_checks_names_all_of_them() -> None:
    assert not {check.__name__ for check in CHECKS} - first_cells("Checks")
