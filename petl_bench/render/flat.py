"""What the rows of a table are, as columns of their own: shared by the formats with one row per configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from petl_bench.api.table import Row, RowGroup, Table
from petl_bench.tables.layout_names import NAMED

METHOD = "method"


def flat_rows(table: Table) -> list[tuple[RowGroup, Row]]:
    """Every row with its group."""
    return [(group, row) for group in table.groups for row in group.rows]


def facts_by_row(table: Table) -> list[Mapping[str, str]]:
    """The facts of every row; a row without some, such as a quoted one, has its label as method if others have one."""
    rows = [row for _, row in flat_rows(table)]
    has_methods = any(name == METHOD for row in rows for name, _ in row.facts)
    facts = [row.facts or ([(METHOD, row.label)] if has_methods else []) for row in rows]
    return [dict(fact for fact in each if fact != NAMED) for each in facts]


def fact_names(facts: Iterable[Mapping[str, str]]) -> list[str]:
    """The names of all facts of some rows, in their order."""
    return list(dict.fromkeys(name for each in facts for name in each))


def origin_of(row: Row) -> str:
    """`quoted` if a row says so or all of its numbers were quoted, else `run`."""
    origins = {cell.origin for cell in row.cells if cell.origin != "absent"}
    return "quoted" if "quoted" in row.marks or origins == {"quoted"} else "run"


def sources_of(row: Row) -> list[str]:
    """The sources of the quoted numbers of a row."""
    return list(dict.fromkeys(cell.source for cell in row.cells if cell.origin == "quoted" and cell.source))


def distinct(headers: Iterable[str]) -> list[str]:
    """Headers, of which no two are the same: a second "HM" is "HM (2)"; none is empty."""
    found: dict[str, None] = {}
    for header in headers:
        unique, count = header or "column", 1
        while unique in found:
            count += 1
            unique = f"{header or 'column'} ({count})"
        found[unique] = None
    return list(found)
