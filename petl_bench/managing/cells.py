"""Texts in the cells of CSV files that people open in a spreadsheet."""

from __future__ import annotations

from typing import Any

from petl_bench.render.csv import text


def cell(value: Any) -> Any:
    """A value for a cell: a text in one line, and never a formula (an apostrophe is put before it); others as is."""
    return text(value) if isinstance(value, str) else value
