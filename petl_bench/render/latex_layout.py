r"""How a table is laid out in LaTeX: environment, text size, space between columns, and the parts that fit the place.

No text is set below `\scriptsize`, and nothing is scaled: what is too wide at that size goes into parts below each
other, and what is too long goes on on further pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from petl_bench.api.marks import symbols
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, signs
from petl_bench.render.latex_text import width
from petl_bench.render.options import DocumentKind
from petl_bench.render.parts import grouped_columns, split_columns
from petl_bench.tables.text import notes, number

#: What stands for ranks.
RANKS = "Bold: best; underlined: second."
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
    "two-column": Document((("table", 8.4), ("table*", 17.4)), 580, _SIZES_OF_10),
    "one-column": Document((("table", 12.1),), 500, _SIZES_OF_10),
    "slides": Document((("table", 10.8),), 200, _SIZES_OF_11),
}
#: A page of its own, with margins of 2 cm.
ALONE = Document((("table", 17.4),), 620, _SIZES_OF_10)
#: Space between columns, on each side of one, that goes with each size; the first that has room counts.
_GAPS = ((6, 4), (4, 3), (3, 2))
#: A row's label goes over several lines if it is longer than this part of the place.
_LABEL_PART = 0.38
#: Lines that a group's title takes with its rule, and a part above its rows; rows that a page has at least.
_TITLE, _HEADER, _FEWEST = 2, 5, 6
#: Height of a caption, of one line of notes, and the width of a letter of notes, in points.
_CAPTION, _NOTE_LINE, _NOTE_LETTER = 30, 9.5, 3.7


@dataclass(frozen=True)
class Layout:
    """How a table is set.

    `gap`: on each side of a column, in points; `label`: width of the rows' labels if they go over several lines;
    `parts`: what stands below each other; `width`: of the place, in points.
    """

    document: Document
    environment: str
    width: float
    size: TextSize
    gap: int
    label: float | None
    parts: tuple[Table, ...]

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
        per_line = int(self.width / _NOTE_LETTER)
        below = sum(len(note) for note in notes(self.parts[-1], ranks=RANKS)) // per_line + 1
        height = self.document.height - _CAPTION
        lines = int(height / self.size.line)
        beside_notes = max(_FEWEST + _HEADER, int((height - below * _NOTE_LINE) / self.size.line))
        pages: list[list[Table]] = [[]]
        for part in self.parts:
            room = beside_notes if part is self.parts[-1] else lines
            if pages[-1] and _height(pages[-1]) + _height([part]) > room:
                pages.append([])
            left = room - _height(pages[-1]) - _HEADER
            first, *further = _slices(part.groups, left, room - _HEADER)
            pages[-1].append(replace(part, groups=tuple(first)))
            pages += [[replace(part, groups=tuple(groups))] for groups in further]
        return pages


def lay_out(table: Table, document: Document) -> Layout:
    """The largest text that fits the narrowest place; if none fits, the fewest parts that fit the widest."""
    for environment, cm in document.places:
        for size, gap in _steps(document):
            layout = _layout(table, document, (environment, cm), size, gap)
            if len(layout.parts) == 1 and _Measure(size, gap).fits(layout):
                return layout
    layouts = [_layout(table, document, document.places[-1], size, gap) for size, gap in _steps(document)]
    return min(layouts, key=lambda layout: (not all(map(layout.measure.fits, _each_part(layout))), len(layout.parts)))


def too_wide(layout: Layout) -> list[str]:
    """The columns that do not fit the place even by themselves."""
    return [
        column.full
        for part in layout.parts
        if layout.body(part) > layout.width
        for column, taken in zip(part.columns, layout.measure.columns(part), strict=True)
        if taken > (layout.width - (layout.label or layout.measure.label(part))) / 2
    ]


def _each_part(layout: Layout) -> Iterator[Layout]:
    return (replace(layout, parts=(part,)) for part in layout.parts)


def _steps(document: Document) -> Iterator[tuple[TextSize, int]]:
    return ((size, gap) for size, gaps in zip(document.sizes, _GAPS, strict=True) for gap in gaps)


def _layout(table: Table, document: Document, place: tuple[str, float], size: TextSize, gap: int) -> Layout:
    environment, room = place[0], place[1] * _POINTS_PER_CM
    measure = _Measure(size, gap)
    most = _LABEL_PART * room
    needed = measure.label(table)
    label = most if needed > most else None
    left = room - min(needed, most)
    parts = split_columns(table, measure.columns(table), left, left)
    return Layout(document, environment, room, size, gap, label, tuple(parts))


@dataclass(frozen=True)
class _Measure:
    """Widths of what a table has in it, in points."""

    size: TextSize
    gap: int

    def fits(self, layout: Layout) -> bool:
        """Whether the first part of a layout has room."""
        return layout.body(layout.parts[0]) <= layout.width

    def label(self, table: Table) -> float:
        """The rows' labels, with their signs."""
        labels = [self._marked(row.label, symbols(row.marks)) for group in table.groups for row in group.rows]
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
        cells = [self._cell(row.cells[index], column, table) for row in rows]
        return max([width(column.label, self.size.points), *cells]) + 2 * self.gap

    def _cell(self, cell: Cell, column: Column, table: Table) -> float:
        if cell.is_blank:
            return 0.0
        return self._marked(number(cell, column, table.spread), signs(cell), bold=cell.rank == "best")

    def _marked(self, text: str, raised: str, *, bold: bool = False) -> float:
        return width(text, self.size.points, bold=bold) + width(raised, self.size.raised)


def _height(parts: Sequence[Table]) -> int:
    """Lines of parts below each other."""
    return sum(_HEADER + sum(_TITLE + len(group.rows) for group in part.groups) for part in parts)


def _slices(groups: Sequence[RowGroup], left: int, lines: int) -> list[list[RowGroup]]:
    """Groups of rows, cut where a page ends. `left`: lines of the first page; `lines`: of each further one."""
    pages: list[list[RowGroup]] = [[]]
    for group in groups:
        rows = group.rows
        while rows:
            # Below a title, there are at least two rows.
            if left < min(len(rows), 2) + _TITLE:
                pages.append([])
                left = lines
            pages[-1].append(replace(group, rows=rows[: max(left - _TITLE, 1)]))
            left -= len(pages[-1][-1].rows) + _TITLE
            rows = rows[len(pages[-1][-1].rows) :]
    return pages
