"""One renderer per output format; none of them knows a table by name. The same table gives the same bytes."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

from petl_bench.errors import UsageError
from petl_bench.table import Cell, Column, Table, symbols

#: format -> suffixes of a file that imply it; `json` and `csv` keep full precision and the origin of every number.
FORMATS: dict[str, tuple[str, ...]] = {
    "terminal": (".txt",),
    "markdown": (".md", ".markdown"),
    "latex": (".tex",),
    "csv": (".csv",),
    "html": (".html", ".htm"),
    "json": (".json",),
}
#: The same for figures; see `petl_bench.render.figures`.
FIGURE_FORMATS: dict[str, tuple[str, ...]] = {"pdf": (".pdf",), "svg": (".svg",), "png": (".png",)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def render(table: Table, output_format: str) -> str:
    """The table as text in one of FORMATS; plain text without colours for `terminal`."""
    if output_format not in FORMATS:
        raise UsageError(f"--format {output_format}: expected one of {', '.join(FORMATS)}")
    module = importlib.import_module(f"petl_bench.render.{output_format}")
    text: str = module.render(table)
    return text


def format_of(path: Path) -> str:
    """The format of tables or figures that a file's suffix implies. Raises UsageError for any other suffix."""
    formats = {**FORMATS, **FIGURE_FORMATS}
    for output_format, suffixes in formats.items():
        if path.suffix.lower() in suffixes:
            return output_format
    known = ", ".join(suffix for suffixes in formats.values() for suffix in suffixes)
    raise UsageError(f"--output {path}: no format has this suffix (known: {known}); say which one with --format")


@functools.lru_cache(maxsize=10_000)
def clean(text: str) -> str:
    """One line without control characters: names come from plugin files and records, and may hold anything."""
    return " ".join(_CONTROL.sub(" ", text).split())


def number(cell: Cell, column: Column, plus_minus: str = "±") -> str:
    """A cell's number as its column shows it, with its standard deviation; empty where it is absent."""
    if cell.value is None:
        return ""
    if isinstance(cell.value, str):
        return clean(cell.value)
    spread = f" {plus_minus} {column.text(cell.std)}" if cell.std is not None else ""
    return column.text(cell.value) + spread


def notes(table: Table) -> list[str]:
    """The lines under a table: what its marks mean, then its footers."""
    legend = [f"{mark.symbol}: {clean(mark.meaning)}" for mark in table.marks() if mark.symbol != mark.meaning]
    return [*legend, *map(clean, table.footers)]


def marked(text: str, marks: tuple[str, ...]) -> str:
    """A text followed by the symbols of its marks in brackets."""
    signs = clean(symbols(marks))
    return f"{text} [{signs}]" if text and signs else text
