"""What a layout may choose of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from petl_bench.api.table import DocumentKind, Spread
from petl_bench.api.values.fields import Limits
from petl_bench.errors import UsageError

#: Which numbers of a column are ranked together.
Bold = Literal["group", "column", "none"]
Decimals = Annotated[int, Limits(0, 6)]
Number = Annotated[float, Limits(-1e12, 1e12)]
Std = Annotated[float, Limits(0, 1e12)]


@dataclass(frozen=True)
class OwnGroup:
    """Rows under a heading of the user's own."""

    title: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class OwnRow:
    """A row of the user's own: numbers by column, quoted from a source; `group`: the title of an OwnGroup."""

    name: str
    source: str
    values: Mapping[str, Number]
    std: Mapping[str, Std] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class TableLayout:
    """What is chosen of a table; the defaults change nothing.

    Rows, columns and headings are named by patterns with `*` and `?`: their registered names, the names that readers
    see, and "HEADING / ROW". A pattern that fits nothing is an error, unless it is one of `without_columns`. Raises
    UsageError for choices that contradict each other.

    Args:
        file: where the layout is from, for messages.
        rows: the rows to show, in this order, under the headings that they have.
        groups: in place of `rows`: headings of the user's own, each with its rows.
        columns: the columns to show, in this order.
        without_columns: columns to leave out.
        own_rows: quoted rows, never ranked.
        row_names: names for rows, by pattern.
        column_names: names for columns.
        header_names: names for the headers above columns.
        group_names: names for the headings above rows.
        transpose: whether rows and columns are exchanged.
        decimals: of all columns with a fixed number of decimals.
        column_decimals: of single columns.
        bold: "group": best and second of each column and group, as the table has them; "column": of all families of
            methods on one backbone with one set of weights; "none".
        spread: beside each number.
        signs: whether marks and `=` are shown; if not, a note says what they would say.
        caption: in place of the table's title.
        label: of LaTeX.
        document: what LaTeX is for.
    """

    file: str = "layout"
    rows: tuple[str, ...] | None = None
    groups: tuple[OwnGroup, ...] = ()
    columns: tuple[str, ...] | None = None
    without_columns: tuple[str, ...] = ()
    own_rows: tuple[OwnRow, ...] = ()
    row_names: Mapping[str, str] = field(default_factory=dict)
    column_names: Mapping[str, str] = field(default_factory=dict)
    header_names: Mapping[str, str] = field(default_factory=dict)
    group_names: Mapping[str, str] = field(default_factory=dict)
    transpose: bool = False
    decimals: Decimals | None = None
    column_decimals: Mapping[str, Decimals] = field(default_factory=dict)
    bold: Bold = "group"
    spread: Spread | None = None
    signs: bool = True
    caption: str | None = None
    label: str | None = None
    document: DocumentKind | None = None

    def __post_init__(self) -> None:
        if self.groups and (self.rows is not None or self.group_names):
            raise UsageError(f"{self.file}: groups name their rows and have titles: leave out rows and group_names")
        titles = [group.title for group in self.groups]
        for title in titles:
            if titles.count(title) > 1:
                raise UsageError(f"{self.file}: groups: two of them have the title {title!r}")
        for row in self.own_rows:
            if row.group and row.group not in titles:
                raise UsageError(f"{self.file}: own_rows: {row.name}: no [[groups]] has the title {row.group!r}")
            if unknown := sorted(row.std.keys() - row.values.keys()):
                raise UsageError(f"{self.file}: own_rows: {row.name}: std of {unknown[0]!r} without a value")
