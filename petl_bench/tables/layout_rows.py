"""The rows that a layout shows, their headings, and rows of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from petl_bench.api.table import Cell, Row, RowGroup, Table
from petl_bench.errors import UsageError
from petl_bench.system.texts import clean
from petl_bench.tables.layout_choices import OwnRow, TableLayout
from petl_bench.tables.layout_names import NAMED, Place, Selection, row_name
from petl_bench.tables.notes import listed

QUOTED = "quoted"


@dataclass(frozen=True)
class ShownRow:
    """A row that is shown; `place`: in the table, None for one of the user's own."""

    row: Row
    place: Place | None = None


@dataclass(frozen=True)
class Heading:
    """A heading, and the rows below it."""

    title: str
    section: str
    rows: tuple[ShownRow, ...]

    def with_rows(self, rows: Mapping[Place, Row]) -> Heading:
        """The same with other rows at the places."""
        return replace(self, rows=tuple(replace(each, row=rows[each.place]) for each in self.rows if each.place))

    def group(self) -> RowGroup:
        """What a renderer prints."""
        return RowGroup(self.title, tuple(each.row for each in self.rows), self.section)


def headings_of(table: Table, layout: TableLayout, selection: Selection) -> list[Heading]:
    """The headings with the rows of the table, under the names that the layout gives them."""
    names: dict[Place, str] = {}
    for pattern, name in layout.row_names.items():
        names |= dict.fromkeys(selection.rows(pattern, "row_names"), name)

    def shown(place: Place) -> ShownRow:
        row = table.groups[place[0]].rows[place[1]]
        if place not in names:
            return ShownRow(row, place)
        return ShownRow(replace(row, display=names[place], facts=(*row.facts, *([NAMED] if row.facts else []))), place)

    if layout.groups:
        return [Heading(title, "", tuple(map(shown, places))) for title, places in _own_groups(layout, selection)]
    titles = _titles(table, layout, selection)
    return [Heading(*titles[at], tuple(map(shown, own))) for at, own in _chosen(table, layout, selection).items()]


def without_blank(heading: Heading, columns: Sequence[int]) -> Heading:
    """The heading without quoted rows that have nothing in the columns that are shown."""
    return replace(heading, rows=tuple(each for each in heading.rows if _has_something(each.row, columns)))


def _has_something(row: Row, columns: Sequence[int]) -> bool:
    return QUOTED not in row.marks or not all(row.cells[index].is_blank for index in columns)


def _own_groups(layout: TableLayout, selection: Selection) -> list[tuple[str, list[Place]]]:
    """Titles with the places of their rows."""
    groups: list[tuple[str, list[Place]]] = []
    seen: dict[Place, str] = {}
    for group in layout.groups:
        found = dict.fromkeys(place for each in group.rows for place in selection.rows(each, "groups.rows"))
        for place in found:
            if (first := seen.setdefault(place, group.title)) != group.title:
                row = selection.table.groups[place[0]].rows[place[1]]
                raise UsageError(f"{layout.file}: groups: {row.label} stands in {first!r} and in {group.title!r}")
        groups.append((group.title, list(found)))
    return groups


def _chosen(table: Table, layout: TableLayout, selection: Selection) -> dict[int, list[Place]]:
    """The places of the rows, in their order, by group."""
    every = [(at, row) for at, group in enumerate(table.groups) for row in range(len(group.rows))]
    if layout.rows is not None:
        every = list(dict.fromkeys(place for each in layout.rows for place in selection.rows(each, "rows")))
    found: dict[int, list[Place]] = {}
    for place in every:
        found.setdefault(place[0], []).append(place)
    return found


def _titles(table: Table, layout: TableLayout, selection: Selection) -> list[tuple[str, str]]:
    """Title and section of each group; a name for its whole heading or its title alone, or for its section."""
    titles = [(group.title, group.section) for group in table.groups]
    for pattern, name in layout.group_names.items():
        for at in selection.groups(pattern):
            others = (each for each in table.groups if each.title != table.groups[at].title)
            if any(clean(name) in (each.title, each.heading) for each in others):
                raise UsageError(f"{layout.file}: group_names: {name!r} is another heading of the table")
            titles[at] = (name, "")
    return titles


def heading_notes(table: Table, headings: Sequence[Heading], pools: Sequence[Sequence[int]]) -> list[str]:
    """What stood above the rows whose heading is the user's own; if they are ranked apart, which ones."""
    notes = []
    for heading in headings:
        before: dict[int, list[str]] = {}
        for each in heading.rows:
            if each.place:
                before.setdefault(each.place[0], []).append(row_name(each.row))
        run = [at for at in before if not table.groups[at].is_quoted]
        is_apart = sum(any(at in pool for at in run) for pool in pools) > 1
        if before and [table.groups[at].heading for at in before] != [heading.group().heading]:
            texts = _headings_before(table, before, with_rows=is_apart)
            notes.append(f"{heading.title}: {'; '.join(texts)}{'; ranked apart' if is_apart else ''}.")
    return notes


def _headings_before(table: Table, before: Mapping[int, Sequence[str]], *, with_rows: bool) -> list[str]:
    """Headings of groups, a title that several of them have once; `before`: the index of each, and its rows' names."""
    texts, title = [], ""
    for at, names in before.items():
        group = table.groups[at]
        text = group.section if group.section and group.title == title else group.heading
        texts.append(text + (f" ({listed(names)})" if with_rows else ""))
        title = group.title
    return texts


def with_own_rows(
    headings: Sequence[Heading], layout: TableLayout, selection: Selection, columns: Sequence[int]
) -> tuple[list[Heading], list[str]]:
    """The headings with the user's own rows that have something in the columns that are shown, and what a note says of
    those that do not stand under their source."""
    found, notes = list(headings), []
    titles = [heading.title for heading in headings]
    for own in layout.own_rows:
        row = ShownRow(_own_row(own, selection))
        if not _has_something(row.row, columns):
            continue
        title = own.group or f"Quoted: {own.source}"
        if title not in titles:
            titles.append(title)
            found.append(Heading(title, "", (row,)))
            continue
        at = titles.index(title)
        found[at] = replace(found[at], rows=(*found[at].rows, row))
        if own.group:
            notes.append(f"{own.name}: quoted from {own.source}.")
    return found, notes


def _own_row(own: OwnRow, selection: Selection) -> Row:
    """A row with its numbers in the columns of the table."""
    cells = [Cell(origin="absent", source=f"not in {own.source}")] * len(selection.table.columns)
    for pattern, value in own.values.items():
        found = selection.columns(pattern, f"own_rows: {own.name}")
        if len(found) > 1:
            names = " or ".join(selection.table.columns[index].full for index in found[:3])
            raise UsageError(f"{selection.file}: own_rows: {own.name}: {pattern!r} fits several columns: {names}")
        if cells[found[0]].value is not None:
            name = selection.table.columns[found[0]].full
            raise UsageError(f"{selection.file}: own_rows: {own.name}: two values for the column {name}")
        std = own.std.get(pattern)
        cells[found[0]] = Cell(float(value), None if std is None else float(std), origin="quoted", source=own.source)
    return Row(own.name, tuple(cells), marks=(QUOTED,))


def refuse_same_names(headings: Sequence[Heading], layout: TableLayout, table: Table) -> None:
    """Raise UsageError if the layout gives two rows under one heading one name. `table`: without the layout."""
    for heading in headings if layout.row_names or layout.groups or layout.own_rows else ():
        seen: dict[str, ShownRow] = {}
        for each in heading.rows:
            other = seen.setdefault(clean(row_name(each.row)), each)
            if other is not each and not _are_of_one_group(each, other):
                raise UsageError(
                    f"{layout.file}: two rows under {heading.title!r} are called {row_name(each.row)!r}: give them "
                    f'other names in row_names, as "{_full_name(table, each.place or other.place)}" = "NAME"'
                )


def _full_name(table: Table, place: Place | None) -> str:
    if place is None:
        return "HEADING / ROW"
    group = table.groups[place[0]]
    return f"{group.heading} / {row_name(group.rows[place[1]])}"


def _are_of_one_group(one: ShownRow, other: ShownRow) -> bool:
    """Whether two rows of one name have it from the table, which tells them apart otherwise."""
    return (
        one.place is not None
        and other.place is not None
        and one.place[0] == other.place[0]
        and one.row.label == other.row.label
    )
