"""Texts in the cells of CSV files that people open in a spreadsheet."""

from __future__ import annotations

from typing import Any

from petl_bench.render import clean

#: A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@")


def cell(value: Any) -> Any:
    """A value for a cell: a text in one line, and never a formula (an apostrophe is put before it); others as is."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
