r"""How a table is laid out in LaTeX: environment, text size, space between columns, and the parts that fit the place.

No text is set below `\scriptsize`, and nothing is scaled: what is too wide at that size goes into parts below each
other, and what is too long goes on on further pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from petl_bench.api.marks import symbols
from petl_bench.api.table import Cell, Column, DocumentKind, Row, RowGroup, Table, signs
from petl_bench.render.latex_text import tight, width
from petl_bench.render.parts import grouped_columns, split_columns
from petl_bench.tables.text import alone

_POINTS_PER_CM = 28.45
#: Rows are higher than lines of text by this, so that no underline touches the row below.
ROW_HEIGHT = 1.07


@dataclass(frozen=True)
class TextSize:
    """A size: its command, the size of its letters, its line height and the size of its superscripts, in points."""

    command: str
    points: int
    line: float
    raised: int


@dataclass(frozen=True)
class Document:
    """What a table is for: the width of each environment in cm, the height that a table may take, and its sizes."""

    places: tuple[tuple[str, float], ...]
    height: float
    sizes: tuple[TextSize, ...]


_SIZES_OF_10 = (
    TextSize(r"\small", 9, 11, 6),
    TextSize(r"\footnotesize", 8, 9.5, 6),
    TextSize(r"\scriptsize", 7, 8, 5),
)
_SIZES_OF_11 = (
    TextSize(r"\small", 10, 12, 7),
    TextSize(r"\footnotesize", 9, 11, 6),
    TextSize(r"\scriptsize", 8, 9.5, 6),
)
#: CVPR, ICCV and the like; LNCS and `article`, the narrowest of their kind; beamer, of both shapes.
DOCUMENTS: dict[DocumentKind, Document] = {
    "two-column": Document((("table", 8.25), ("table*", 17.4)), 600, _SIZES_OF_10),
    "one-column": Document((("table", 12.1),), 520, _SIZES_OF_10),
    "slides": Document((("table", 10.8),), 200, _SIZES_OF_11),
}
#: A page of its own, with margins of 2 cm.
ALONE = Document((("table", 17.4),), 620, _SIZES_OF_10)
#: Space between columns, on each side of one, that goes with each size; the first that has room counts.
_GAPS = ((6, 5), (5, 4), (4, 3))
#: By how much small italics are wider.
_ITALIC = 1.05
#: A row's label goes over several lines if it is longer than this part of the place; and from this width on, in ems, if
#: the table has fewer parts then.
_LABEL_PART, _NARROW_EMS = 0.38, 11
#: What the beginning of a part that is cut takes at least: lines, and points besides.
_BEGINNING = (10, 30.0)
#: Points of the rule above a group; what a part takes above its rows: lines, and points besides.
_RULE, _HEADER = 5.7, (2, 17.0)
#: Height around a caption in points, and the width of a letter of notes in ems.
_CAPTION, _NOTE_EMS = 22.0, 0.515
_MORE_NOTES = "Further notes: in the comments of this file."
#: What is lost at the end of a line that is broken between words.
_RAGGED = 1.25


@dataclass(frozen=True)
class TextsAround:
    """The caption of a table, the notes below it, and how LaTeX writes parts of names (see `escape`)."""

    caption: str
    notes: tuple[str, ...]
    forms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    `gap`: on each side of a column, in points; `label`: width of the rows' labels if they go over several lines;
    `parts`: what stands below each other; `texts`: around them; `width`: of the place, in points.
    """

    document: Document
    environment: str
    width: float
    size: TextSize
    gap: int
    label: float | None
    parts: tuple[Table, ...]
    texts: TextsAround

    @cached_property
    def measure(self) -> _Measure:
        """Widths at its size."""
        return _Measure(self.size, self.gap)

    def is_wider(self, title: str, part: Table) -> bool:
        """Whether the title of a group, which is in italics, is wider than the rows."""
        return _ITALIC * width(title, self.size.points) > self.body(part)

    def body(self, part: Table) -> float:
        """Width of the rows of a part."""
        return (self.label or self.measure.label(part)) + sum(self.measure.columns(part))

    @property
    def spare(self) -> float:
        """Points that stay free beside a column of labels of several lines, which is as wide as it is said to be."""
        return 0.0 if self.label is None else 6.0

    @property
    def _whole(self) -> float:
        """Height of a page without its caption."""
        large = self.document.sizes[0]
        caption = width(f"Table 10: {self.texts.caption}", large.points + 1)
        return self.document.height - _CAPTION - (large.line + 1) * math.ceil(caption / self.width)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The notes, as many as a page has room for."""
        notes = self.texts.notes
        shown = notes
        while self._height_of_notes(shown) > self._whole and len(notes) > 1:
            notes = notes[:-1]
            shown = (*notes, _MORE_NOTES)
        return shown

    def _height_of_notes(self, notes: Sequence[str]) -> float:
        small = self.document.sizes[-1]
        letters = _NOTE_EMS * small.points * sum(len(note) + 1 for note in notes)
        return small.line * (1 + math.ceil(letters / self.width))

    def pages(self) -> list[list[Table]]:
        """The parts page by page; what does not fit goes on on the next page, a group of rows under its title.

        The last page has room for the notes, and nothing else if few rows would fit beside them.
        """
        whole, below = self._whole, self._height_of_notes(self.notes)
        pages: list[list[Table]] = [[]]
        for part in self.parts:
            self._add(part, pages, whole)

        def has_room(page: Sequence[Table]) -> bool:
            return sum(map(self._height_of, page)) + below <= whole

        if has_room(pages[-1]):
            return pages
        cut = [*pages[:-1], pages[-1][:-1]]
        self._add(pages[-1][-1], cut, whole - below)
        return cut if has_room(cut[-1]) and len(cut) <= len(pages) + 1 else [*pages, []]

    def _add(self, part: Table, pages: list[list[Table]], room: float) -> None:
        """Add a part behind others, on the last page if it has room, else on further ones of this height.

        What is longer than a page anyway begins where the others end, if some of its rows have room there.
        """
        taken, header, own = sum(map(self._height_of, pages[-1])), self._height(_HEADER), self._height_of(part)
        least = own if own <= room else self._height(_BEGINNING)
        if pages[-1] and taken + least > room:
            pages.append([])
            taken = 0.0
        first, *further = self._slices(part, room - taken - header, room - header)
        pages[-1].append(replace(part, groups=tuple(first)))
        pages += [[replace(part, groups=tuple(groups))] for groups in further]

    def _height(self, lines_and_points: tuple[int, float]) -> float:
        lines, points = lines_and_points
        return ROW_HEIGHT * lines * self.size.line + points

    def _height_of(self, part: Table) -> float:
        body = self.body(part)
        titles = [self._title(part.groups, place, body, is_first=not place) for place in range(len(part.groups))]
        return self._height(_HEADER) + sum(titles) + sum(self._row(row) for group in part.groups for row in group.rows)

    def _title(self, groups: Sequence[RowGroup], place: int, room: float, *, is_first: bool) -> float:
        """`is_first`: on its page; its title stands there then, whatever is above it on the page before."""
        texts = heading_lines(groups, place)
        lines = sum(self._lines(text, room) for text in texts)
        if is_first:
            lines = max(lines, self._lines(groups[place].heading, room), len(heading_lines(groups[place:], 0)))
        return self._height((lines, _RULE))

    def _row(self, row: Row) -> float:
        """A row's label may go over several lines."""
        lines = 1 if self.label is None else self._lines(row.label + symbols(row.marks), self.label)
        return self._height((lines, 0))

    def _lines(self, text: str, room: float) -> int:
        taken = width(text, self.size.points)
        return 1 if taken <= room else math.ceil(_RAGGED * taken / room)

    def _slices(self, part: Table, left: float, room: float) -> list[list[RowGroup]]:
        """Groups of rows, cut where a page ends. `left`: height of the first page; `room`: of each further one."""
        pages: list[list[RowGroup]] = [[]]
        body = self.body(part)
        for at, group in enumerate(part.groups):
            rows: list[Row] = []
            title = self._title(part.groups, at, body, is_first=not pages[-1])
            for place, row in enumerate(group.rows):
                # Below a title, there are at least two rows.
                needed = self._row(row) if rows else title + sum(map(self._row, group.rows[place : place + 2]))
                if needed > left and (rows or pages[-1]):
                    pages[-1] += [replace(group, rows=tuple(rows))] if rows else []
                    pages.append([])
                    left, rows = room, []
                    title = self._title(part.groups, at, body, is_first=True)
                left -= self._row(row) + (0 if rows else title)
                rows.append(row)
            pages[-1].append(replace(group, rows=tuple(rows)))
        return pages


def heading_lines(groups: Sequence[RowGroup], place: int) -> list[str]:
    """The lines above the rows of a group: the title that several groups share once, then the section of each."""
    group = groups[place]
    if not group.section:
        return [group.heading]
    if place and groups[place - 1].title == group.title:
        return [alone(group)]
    has_further = place + 1 < len(groups) and groups[place + 1].title == group.title
    return [group.title, alone(group)] if has_further else [group.heading]


def lay_out(table: Table, document: Document, texts: TextsAround) -> Layout:
    """The largest text that fits one page of the narrowest place; if none fits, that of the fewest pages.

    Labels of rows are broken into lines before the table is broken into parts.
    """
    steps = [(place, size, gap) for place in document.places for size, gap in _steps(document)]
    layouts: list[Layout] = []
    for narrow in (False, True):
        found = [_layout(table, document, *step, texts, narrow=narrow) for step in steps]
        whole = [each for each in found if len(each.parts) == 1 and each.body(each.parts[0]) <= each.width - each.spare]
        if whole:
            return min(whole, key=lambda layout: len(layout.pages()))
        layouts += [each for each in found if each.environment == document.places[-1][0]]
    return min(layouts, key=lambda layout: (len(too_wide(layout)), len(layout.pages()), len(layout.parts)))


def too_wide(layout: Layout) -> list[str]:
    """The columns that do not fit the place even by themselves, or none that fits in part of it."""
    return [
        column.full
        for part in layout.parts
        if (excess := layout.body(part) - layout.width) > 0
        for column, taken in zip(part.columns, layout.measure.columns(part), strict=True)
        if taken >= max(excess, max(layout.measure.columns(part)) / 2)
    ]


def _steps(document: Document) -> Iterator[tuple[TextSize, int]]:
    return ((size, gap) for size, gaps in zip(document.sizes, _GAPS, strict=True) for gap in gaps)


def _layout(
    table: Table,
    document: Document,
    place: tuple[str, float],
    size: TextSize,
    gap: int,
    texts: TextsAround,
    *,
    narrow: bool,
) -> Layout:
    """`narrow`: whether long labels of rows leave as much room to numbers as they can."""
    environment, room = place[0], place[1] * _POINTS_PER_CM
    measure = _Measure(size, gap)
    most = _LABEL_PART * room
    if narrow:
        most = min(most, _NARROW_EMS * size.points)
    needed = measure.label(table)
    label = most if needed > most else None
    # In a narrower place than the last one, a table counts only as a whole.
    parts = _parts(table, measure, room - min(needed, most)) if place == document.places[-1] else [table]
    return Layout(document, environment, room, size, gap, label, tuple(parts), texts)


def _parts(table: Table, measure: _Measure, room: float) -> list[Table]:
    """The table in the fewest parts, the first column group repeated in each if that makes no more of them.

    A column group of a few columns is broken only if it does not fit otherwise.
    """
    widths, parts = measure.columns(table), [table]
    for together in (4, 1):
        found = [_split(table, widths, room, repeat=repeat, together=together) for repeat in (True, False)]
        fitting = [parts for parts in found if all(sum(measure.columns(part)) <= room for part in parts)]
        if fitting:
            return min(fitting, key=len)
        parts = found[-1]
    return parts


def _split(table: Table, widths: Sequence[float], room: float, *, repeat: bool, together: int) -> list[Table]:
    parts = split_columns(table, widths, room, room, repeat=repeat, together=together)
    return [part for part in parts if part.groups] or parts[:1]


@dataclass(frozen=True)
class _Measure:
    """Widths of what a table has in it, in points."""

    size: TextSize
    gap: int

    def label(self, table: Table) -> float:
        """The rows' labels, with their signs."""
        labels = [
            width(row.label, self.size.points) + self._raised(symbols(row.marks))
            for group in table.groups
            for row in group.rows
        ]
        return max([width(table.corner, self.size.points), *labels])

    def columns(self, table: Table) -> list[float]:
        """Each column, with the space beside it; the last of a group is as much wider as the group's header needs."""
        rows = [row for group in table.groups for row in group.rows]
        found = [self._column(column, index, rows, table) for index, column in enumerate(table.columns)]
        for (header, _), indices in zip(table.column_groups(), grouped_columns(table), strict=True):
            lacking = width(header, self.size.points) + 2 * self.gap - sum(found[index] for index in indices)
            found[indices[-1]] += max(lacking, 0)
        return found

    def _column(self, column: Column, index: int, rows: Sequence[Row], table: Table) -> float:
        texts = [self._text(row.cells[index], column, table) for row in rows]
        return max([width(column.label, self.size.points), *texts]) + self.gap + max(self.gap, self.signs(table, index))

    def _text(self, cell: Cell, column: Column, table: Table) -> float:
        return width(tight(cell, column, table.spread), self.size.points, bold=cell.rank == "best")

    def signs(self, table: Table, index: int) -> float:
        """The widest signs of a column, which hang in the space behind its numbers."""
        cells = [row.cells[index] for group in table.groups for row in group.rows]
        return max((self._raised(signs(cell)) for cell in cells if not cell.is_blank), default=0.0)

    def _raised(self, text: str) -> float:
        return width(text, self.size.raised)
