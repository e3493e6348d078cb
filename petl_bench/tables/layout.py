"""A table as a layout has it: rows, columns, their order, names and headings, decimals, ranks.

It is made of the table that was built, before any renderer. Only ranks are computed anew, by the table's own rule; what
is left out and changes how the numbers read stands in the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from petl_bench.api.table import Column, RowGroup, Table
from petl_bench.errors import UsageError
from petl_bench.system.texts import clean
from petl_bench.tables.layout_choices import TableLayout
from petl_bench.tables.layout_names import Selection
from petl_bench.tables.layout_ranks import ranked_among
from petl_bench.tables.layout_renamed import refuse_names_of_others, renamed_rows
from petl_bench.tables.layout_rows import heading_notes, headings_of, refuse_same_names, with_own_rows, without_blank
from petl_bench.tables.layout_signs import without_signs
from petl_bench.tables.layout_transposed import transposed
from petl_bench.tables.notes import TRAINED, in_all_families, listed, trained_note


def apply(table: Table, layout: TableLayout) -> Table:
    """The table as the layout has it.

    Raises UsageError for a row, column or heading that the table does not have, for two that would have one name, and
    if nothing is left.
    """
    selection = Selection(table, layout.file)
    table = replace(table, columns=_named_columns(layout, selection))
    columns = _chosen_columns(table, layout, selection)
    headings = [without_blank(each, columns) for each in headings_of(table, layout, selection)]
    shown = {each.place: each.row for heading in headings for each in heading.rows if each.place}
    ranks = ranked_among(table, shown, columns, layout.bold, selection.table.columns)
    headings = [heading.with_rows(ranks.rows) for heading in headings]
    notes = [*ranks.notes, *heading_notes(table, headings, ranks.pools)]
    headings, own_notes = with_own_rows(headings, layout, selection, columns)
    refuse_same_names(headings, layout, selection.table)
    refuse_names_of_others(selection.table, table.columns, headings, layout.file)
    headings = [heading for heading in headings if heading.rows]
    if not headings and any(group.rows for group in table.groups):
        raise UsageError(f"{layout.file}: leaves no row of the table {table.name}")
    laid_out = replace(
        table,
        title=table.title if layout.caption is None else layout.caption,
        columns=tuple(table.columns[index] for index in columns),
        groups=tuple(_of_columns(heading.group(), columns) for heading in headings),
        spread=layout.spread or table.spread,
        footers=(*notes, *own_notes, *_ranked_as(layout, _footers(table, columns))),
        provenance=(
            *_ranked_as(layout, table.provenance),
            *_left_out(table, columns),
            *renamed_rows(selection.table, headings),
        ),
    )
    if not layout.signs:
        laid_out = without_signs(laid_out)
    return transposed(laid_out, layout.file) if layout.transpose else laid_out


def _named_columns(layout: TableLayout, selection: Selection) -> tuple[Column, ...]:
    """All columns, with their decimals and their names."""
    columns = list(selection.table.columns)
    if layout.decimals is not None:
        fixed = f".{layout.decimals}f"
        columns = [replace(each, format=fixed) if each.format.endswith("f") else each for each in columns]
    for pattern, count in layout.column_decimals.items():
        for index in selection.columns(pattern, "column_decimals"):
            columns[index] = replace(columns[index], format=f".{count}f")
    for pattern, name in layout.column_names.items():
        for index in selection.columns(pattern, "column_names"):
            columns[index] = replace(columns[index], display=name)
    for pattern, name in layout.header_names.items():
        for index in selection.headers(pattern):
            columns[index] = replace(columns[index], group_display=name)
    return tuple(columns)


def _chosen_columns(table: Table, layout: TableLayout, selection: Selection) -> list[int]:
    """The indices of the columns that are shown, in their order."""
    chosen = list(range(len(table.columns)))
    if layout.columns is not None:
        found = [index for pattern in layout.columns for index in selection.columns(pattern, "columns")]
        chosen = list(dict.fromkeys(found))
    without = {index for pattern in layout.without_columns for index in selection.columns_if_any(pattern)}
    chosen = [index for index in chosen if index not in without]
    if table.columns and not chosen:
        raise UsageError(f"{layout.file}: leaves no column of the table {table.name}")
    _refuse_same_columns([table.columns[index] for index in chosen], layout)
    return chosen


def _refuse_same_columns(columns: Sequence[Column], layout: TableLayout) -> None:
    """Raise UsageError if the layout gives two columns one name."""
    seen: dict[str, Column] = {}
    for column in columns if layout.column_names or layout.header_names else ():
        other = seen.setdefault(clean(column.full_display), column)
        if other.full != column.full:
            name = repr(column.full_display)
            raise UsageError(f"{layout.file}: the columns {other.full} and {column.full} would both be called {name}")


def _left_out(table: Table, columns: Sequence[int]) -> list[str]:
    names = [each.full_display for index, each in enumerate(table.columns) if index not in columns]
    return [f"Columns left out: {listed(names)}."] if names else []


def _ranked_as(layout: TableLayout, notes: Sequence[str]) -> list[str]:
    """Notes of the table, with what is ranked together by the layout."""
    return [in_all_families(note) if layout.bold == "column" else note for note in notes]


def _footers(table: Table, columns: Sequence[int]) -> list[str]:
    """The table's own; what is said of trained parameters only of those that are shown."""
    labels = {table.columns[index].label for index in columns if table.columns[index].group == "Trained"}
    note = trained_note(labels)
    return [note if each == TRAINED else each for each in table.footers if each != TRAINED or note]


def _of_columns(group: RowGroup, columns: Sequence[int]) -> RowGroup:
    rows = (replace(row, cells=tuple(row.cells[index] for index in columns)) for row in group.rows)
    return replace(group, rows=tuple(rows))
