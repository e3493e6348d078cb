"""`petl-bench report --layout cvpr`: a table as a layout file has it."""

from __future__ import annotations

from dataclasses import replace

from petl_bench.api.table import DocumentKind, Spread, Table
from petl_bench.errors import UsageError
from petl_bench.render import FIGURE_FORMATS
from petl_bench.render.options import LatexOptions
from petl_bench.tables.layout import apply
from petl_bench.tables.layout_choices import TableLayout
from petl_bench.tables.layout_file import layout_path, read_layout

#: Formats that programs read: signs are data there, and no note could stand in their place.
_DATA = ("csv", "tidy", "json")


def read_layout_of(text: str | None, output_format: str, *, explain: bool) -> TableLayout | None:
    """The layout that `--layout` means. Raises UsageError if no table is asked for that it could be for."""
    if text is None:
        return None
    if explain:
        raise UsageError("--explain reads the table as it is: leave out --layout")
    if output_format in FIGURE_FORMATS:
        raise UsageError(f"--layout is for tables, and --format {output_format} is the figure: leave one of them out")
    return read_layout(layout_path(text))


def refuse_layout(text: str | None) -> None:
    """Raise UsageError if there is a layout for the page, or for every table."""
    if text is not None:
        raise UsageError("the page and --all write every table as it is: --layout is for a single one, with --table")


def laid_out(table: Table, layout: TableLayout, spread: Spread | None, output_format: str) -> Table:
    """The table as the layout has it in this format. `spread`: of a flag, in place of the layout's own; CSV and JSON
    keep the signs."""
    return apply(table, replace(layout, spread=spread or layout.spread, signs=layout.signs or output_format in _DATA))


def latex_of(layout: TableLayout, flags: LatexOptions | None, document: DocumentKind | None) -> LatexOptions:
    """What is chosen of LaTeX: by flags, of which `document` is one, else by the layout, whose caption is the title of
    its table."""
    flags = flags or LatexOptions()
    return replace(flags, label=flags.label or layout.label, document=document or layout.document or flags.document)
