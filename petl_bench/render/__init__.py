"""One renderer per output format; none of them knows a table by name. The same table gives the same bytes."""

from __future__ import annotations

import importlib
from pathlib import Path

from petl_bench.api.table import Table
from petl_bench.errors import UsageError
from petl_bench.render.options import LatexOptions

#: format -> endings of a file's name that imply it, a longer one before its own ending. `csv`, `tidy` and `json` keep
#: full precision and the origin of every number.
FORMATS: dict[str, tuple[str, ...]] = {
    "terminal": (".txt",),
    "markdown": (".md", ".markdown"),
    "latex": (".tex",),
    "tidy": (".tidy.csv",),
    "csv": (".csv",),
    "html": (".html", ".htm"),
    "json": (".json",),
}
#: In place of the suffix of a file of LaTeX: the file with what is behind the table.
PROVENANCE_SUFFIX = ".provenance.md"
#: Formats of figures, as in FORMATS; see `petl_bench.render.figures`.
FIGURE_FORMATS: dict[str, tuple[str, ...]] = {"pdf": (".pdf",), "svg": (".svg",), "png": (".png",)}


def render(table: Table, output_format: str, options: LatexOptions | None = None) -> str:
    """The table as text in one of FORMATS; plain text without colours for `terminal`. `options`: for `latex` alone."""
    if output_format not in FORMATS:
        raise UsageError(f"--format {output_format}: expected one of {', '.join(FORMATS)}")
    if output_format == "latex":
        from petl_bench.render import latex

        return latex.render(table, options)
    module = importlib.import_module(f"petl_bench.render.{output_format}")
    text: str = module.render(table)
    return text


def render_provenance(table: Table) -> str:
    """Everything behind a table, its trials too, as Markdown; written beside a file of LaTeX."""
    from petl_bench.render import provenance

    return provenance.render_provenance(table)


def format_of(path: Path) -> str:
    """The format of tables or figures that a file's suffix implies. Raises UsageError for any other suffix."""
    formats = {**FORMATS, **FIGURE_FORMATS}
    for output_format, suffixes in formats.items():
        if path.name.lower().endswith(suffixes):
            return output_format
    known = ", ".join(suffix for suffixes in formats.values() for suffix in suffixes)
    raise UsageError(f"--output {path}: no format has this suffix (known: {known}); say which one with --format")
