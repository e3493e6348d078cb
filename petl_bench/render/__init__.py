"""One renderer per output format; none of them knows a table by name. The same table gives the same bytes."""

from __future__ import annotations

import importlib
from pathlib import Path

from petl_bench.api.table import Table
from petl_bench.errors import UsageError

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
