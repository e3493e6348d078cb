"""CSV with one row per configuration: what it is, its numbers at full precision, and then what qualifies each of them.

Spreadsheets run a text that begins with =, +, - or @ as a formula, and some start a new cell at a semicolon. Such a
text, and one that begins with an apostrophe, gets an apostrophe in front, also behind a semicolon: remove one at each
of these places, if there is one, to get the original text. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from petl_bench.api.table import Cell, Row, RowGroup, Table
from petl_bench.render.flat import distinct, fact_names, facts_by_row, flat_rows, origin_of, sources_of
from petl_bench.system.texts import clean

#: What makes a formula of a text, also in the full width of East Asian writing; and what keeps it from being one.
_FORMULA = "=+@＝＋－＠"
_TEXT = "'"
_BEGINS_FORMULA = re.compile(f"(^|;\\s*)(?=[{_FORMULA}{_TEXT}-])")
_NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?(e[-+]?\d+)?", re.ASCII)

Value = str | float | None


def render(table: Table) -> str:
    """A header with registered names, and one line per row of the table. What is absent is empty."""
    rows = flat_rows(table)
    columns = _row_columns(table, rows)
    numbers = [(column, [row.cells[index] for _, row in rows]) for index, column in enumerate(table.columns)]
    columns += [(column.full, [value_of(cell) for cell in cells]) for column, cells in numbers]
    for column, cells in numbers:
        columns += [(f"{column.full} {what}".strip(), values) for what, values in _qualifiers(cells, rows)]
    headers = distinct(text(header) for header, _ in columns)
    return written([headers, *zip(*(values for _, values in columns), strict=True)])


def written(lines: Iterable[Sequence[Value]]) -> str:
    """Lines of cells as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def text(value: str) -> str:
    """A text as a cell, in one line, that no spreadsheet takes for a formula."""
    value = clean(value)
    return value if _NEGATIVE_NUMBER.fullmatch(value) else _BEGINS_FORMULA.sub(rf"\1{_TEXT}", value)


def _row_columns(table: Table, rows: Sequence[tuple[RowGroup, Row]]) -> list[tuple[str, list[Value]]]:
    """What a row is."""
    facts = facts_by_row(table)
    of_facts: list[tuple[str, list[Value]]] = [
        (name, [text(each.get(name, "")) for each in facts]) for name in fact_names(facts)
    ]
    return [
        ("row", [text(row.label) for _, row in rows]),
        ("name", [text(row.display or row.label) for _, row in rows]),
        *of_facts,
        ("group", [text(group.section) for group, _ in rows]),
        ("heading", [text(group.title) for group, _ in rows]),
        ("origin", [origin_of(row) for _, row in rows]),
        ("source", [text("; ".join(sources_of(row))) for _, row in rows]),
        ("marks", [text(" ".join(row.marks)) for _, row in rows]),
    ]


def value_of(cell: Cell) -> Value:
    """A number as it is, or a text that is no formula."""
    return text(cell.value) if isinstance(cell.value, str) else cell.value


def _qualifiers(cells: Sequence[Cell], rows: Sequence[tuple[RowGroup, Row]]) -> Iterator[tuple[str, list[Value]]]:
    """What stands behind the numbers of a column, as far as some row has it."""
    origins = ["" if cell.origin == "absent" else cell.origin for cell in cells]
    differ = any(origin not in ("", origin_of(row)) for origin, (_, row) in zip(origins, rows, strict=True))
    found: dict[str, list[Value]] = {
        "std": [cell.std for cell in cells],
        "runs": [cell.n for cell in cells],
        "interval low": [cell.interval[0] if cell.interval else None for cell in cells],
        "interval high": [cell.interval[1] if cell.interval else None for cell in cells],
        "delta": [cell.delta for cell in cells],
        "rank": [cell.rank for cell in cells],
        "like the best": ["yes" if cell.alike else "" for cell in cells],
        "marks": [text(" ".join(cell.marks)) for cell in cells],
        "reason": ["" if cell.is_blank or cell.value is not None else text(cell.source) for cell in cells],
        "origin": [*origins] if differ else [],
    }
    return ((what, values) for what, values in found.items() if any(value not in (None, "") for value in values))
