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
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, signs
from petl_bench.render.latex_text import width
from petl_bench.render.options import DocumentKind
from petl_bench.render.parts import grouped_columns, split_columns
from petl_bench.tables.text import number

_POINTS_PER_CM = 28.45


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
    "two-column": Document((("table", 8.4), ("table*", 17.4)), 600, _SIZES_OF_10),
    "one-column": Document((("table", 12.1),), 500, _SIZES_OF_10),
    "slides": Document((("table", 10.8),), 200, _SIZES_OF_11),
}
#: A page of its own, with margins of 2 cm.
ALONE = Document((("table", 17.4),), 620, _SIZES_OF_10)
#: Space between columns, on each side of one, that goes with each size; the first that has room counts.
_GAPS = ((6, 4), (4, 3), (3, 2))
#: A row's label goes over several lines if it is longer than this part of the place.
_LABEL_PART = 0.38
#: What the title of a group takes with its rule, and a part above its rows: lines, and points besides.
_TITLE, _HEADER = (1, 6.0), (2, 22.0)
#: Height of a caption in points, and the width of a letter of notes in ems.
_CAPTION, _NOTE_EMS = 34.0, 0.515


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    `gap`: on each side of a column, in points; `label`: width of the rows' labels if they go over several lines;
    `parts`: what stands below each other; `notes`: under the last one; `width`: of the place, in points.
    """

    document: Document
    environment: str
    width: float
    size: TextSize
    gap: int
    label: float | None
    parts: tuple[Table, ...]
    notes: tuple[str, ...]

    @cached_property
    def measure(self) -> _Measure:
        """Widths at its size."""
        return _Measure(self.size, self.gap)

    def is_wider(self, title: str, part: Table) -> bool:
        """Whether the title of a group is wider than the rows."""
        return width(title, self.size.points) > self.body(part)

    def body(self, part: Table) -> float:
        """Width of the rows of a part."""
        return (self.label or self.measure.label(part)) + sum(self.measure.columns(part))

    def pages(self) -> list[list[Table]]:
        """The parts page by page; what does not fit goes on on the next page, a group of rows under its title.

        Every page with rows of the last part has room for the notes, which stand on the last page.
        """
        small = self.document.sizes[-1]
        letters = _NOTE_EMS * small.points * sum(len(note) + 1 for note in self.notes)
        below = small.line * (1 + math.ceil(letters / self.width))
        whole = self.document.height - _CAPTION
        least = self._height(_HEADER) + self._height(_TITLE) + 2 * self.size.line
        pages: list[list[Table]] = [[]]
        for part in self.parts:
            room = max(whole - below, least) if part is self.parts[-1] else whole
            taken = sum(map(self._height_of, pages[-1]))
            if pages[-1] and taken + self._height_of(part) > room:
                pages.append([])
                taken = 0.0
            header = self._height(_HEADER)
            first, *further = self._slices(part.groups, room - taken - header, room - header)
            pages[-1].append(replace(part, groups=tuple(first)))
            pages += [[replace(part, groups=tuple(groups))] for groups in further]
        return pages

    def _height(self, lines_and_points: tuple[int, float]) -> float:
        lines, points = lines_and_points
        return lines * self.size.line + points

    def _height_of(self, part: Table) -> float:
        rows = sum(len(group.rows) for group in part.groups) * self.size.line
        return self._height(_HEADER) + len(part.groups) * self._height(_TITLE) + rows

    def _slices(self, groups: Sequence[RowGroup], left: float, room: float) -> list[list[RowGroup]]:
        """Groups of rows, cut where a page ends. `left`: height of the first page; `room`: of each further one."""
        pages: list[list[RowGroup]] = [[]]
        for group in groups:
            rows = group.rows
            while rows:
                # Below a title, there are at least two rows.
                if left < self._height(_TITLE) + min(len(rows), 2) * self.size.line:
                    pages.append([])
                    left = room
                count = max(1, int((left - self._height(_TITLE)) / self.size.line))
                pages[-1].append(replace(group, rows=rows[:count]))
                left -= self._height(_TITLE) + min(count, len(rows)) * self.size.line
                rows = rows[count:]
        return pages


def lay_out(table: Table, document: Document, notes: Sequence[str]) -> Layout:
    """The largest text that fits the narrowest place; if none fits, the fewest parts that fit the widest."""
    for environment, cm in document.places:
        for size, gap in _steps(document):
            layout = _layout(table, document, (environment, cm), size, gap, notes)
            if len(layout.parts) == 1 and layout.body(layout.parts[0]) <= layout.width:
                return layout
    layouts = [_layout(table, document, document.places[-1], size, gap, notes) for size, gap in _steps(document)]
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
    table: Table, document: Document, place: tuple[str, float], size: TextSize, gap: int, notes: Sequence[str]
) -> Layout:
    environment, room = place[0], place[1] * _POINTS_PER_CM
    measure = _Measure(size, gap)
    most = _LABEL_PART * room
    needed = measure.label(table)
    label = most if needed > most else None
    left = room - min(needed, most)
    parts = split_columns(table, measure.columns(table), left, left)
    return Layout(document, environment, room, size, gap, label, tuple(parts), tuple(notes))


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
        return max([width(column.label, self.size.points), *texts]) + self.signs(table, index) + 2 * self.gap

    def _text(self, cell: Cell, column: Column, table: Table) -> float:
        return width(number(cell, column, table.spread), self.size.points, bold=cell.rank == "best")

    def signs(self, table: Table, index: int) -> float:
        """The widest signs of a column, which hang in the space behind its numbers."""
        cells = [row.cells[index] for group in table.groups for row in group.rows]
        return max((self._raised(signs(cell)) for cell in cells if not cell.is_blank), default=0.0)

    def _raised(self, text: str) -> float:
        return width(text, self.size.raised)
