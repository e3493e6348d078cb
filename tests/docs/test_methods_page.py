"""docs/methods.md has every registered method, as its own file says it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import petl_bench as pb
from petl_bench.api.registry import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def script() -> ModuleType:
    """docs/generate_methods.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate_methods", DOCS / "generate_methods.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["generate_methods"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = script()


@pytest.mark.parametrize("name", METHODS.names())
def test_a_docstring_has_its_equation_behind_the_first_line(name: str) -> None:
    summary, equation = GENERATE.summary_and_equation(METHODS.get(name))
    assert summary.endswith(".")
    assert equation


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "methods.md").read_text(encoding="utf-8") == GENERATE.page(), "type: make methods"


def test_a_docstring_without_an_equation_is_named() -> None:
    class Wordy(pb.Method):
        """Does something.

        It is hard to say what.
        """

        name = "wordy"

    with pytest.raises(ValueError, match="wordy: the docstring has no equation"):
        GENERATE.summary_and_equation(Wordy)


def test_an_equation_behind_a_colon_is_taken_with_its_sentence() -> None:
    class Late(pb.Method):
        """Does something.

        Beside every block:

            y = x
        """

        name = "late"

    assert GENERATE.summary_and_equation(Late) == ("Does something.", "Beside every block:\n\n    y = x")
