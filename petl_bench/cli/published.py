"""`petl-bench list published` and `petl-bench show published:NAME`: the ledger of published rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from petl_bench.api.published import NOT_STATED, SELECTION_WORDS, Protocol, PublishedNumber, PublishedTable
from petl_bench.errors import unknown
from petl_bench.tables.ledger import read_ledger, shipped_tables

SEE = "petl-bench list published"


def listed_tables() -> dict[str, str]:
    """Every published table by name, in one line: setting, data sets, rows, which epoch, seeds; and what is broken."""
    tables, faults = shipped_tables()
    return {table.name: _summary(table) for table in tables} | {
        name: f"BROKEN: {fault}" for name, fault in faults.items()
    }


def page(name: str) -> Iterator[str]:
    """All facts and rows of a published table, or of every table of a file of the user's own.

    Raises UsageError, with near names, if there is none.
    """
    if name.endswith(".csv"):
        found: Sequence[PublishedTable] = read_ledger(Path(name))
    else:
        tables = shipped_tables()[0]
        found = [table for table in tables if table.name == name]
        if not found:
            raise unknown("published table", name, [table.name for table in tables], SEE)
    for position, table in enumerate(found):
        if position:
            yield ""
        yield from _page(table)


def _summary(table: PublishedTable) -> str:
    epochs = table.by_fact("selection")
    words = [f"{SELECTION_WORDS[key]}{_of(methods, table)}" for key, methods in epochs.items()]
    seeds = [f"{value}{_of(methods, table)}" for value, methods in table.by_fact("seeds").items()]
    rows = len(table.rows())
    return "; ".join(
        (
            table.setting or NOT_STATED,
            ", ".join(table.datasets) or "no data set",
            f"{rows} row{'s' if rows > 1 else ''}",
            f"epoch: {', '.join(words)}",
            f"seeds: {', '.join(seeds)}",
        )
    )


def _of(methods: Sequence[str], table: PublishedTable) -> str:
    """Of how many rows a fact is, if not of all."""
    own = sum(row[1] in methods for row in table.rows())
    return "" if own == len(table.rows()) else f" ({own})"


def _page(table: PublishedTable) -> Iterator[str]:
    yield f"{table.name}  (published: {'; '.join(table.sources)})"
    yield ""
    yield f"Setting: {table.setting or NOT_STATED}"
    yield f"Data sets: {', '.join(table.datasets) or 'none'}"
    yield f"Where: {table.where}"
    yield ""
    yield "Protocol:"
    yield from (f"  {name}: {value}" for name, value in table.protocol.facts().items())
    for methods, protocol in _exceptions(table):
        yield f"  {', '.join(methods)}:"
        usual = table.protocol.facts()
        yield from (f"      {name}: {value}" for name, value in protocol.facts().items() if value != usual[name])
    if table.caveats:
        yield ""
        yield "Besides:"
        yield from (f"  {caveat}" for caveat in table.caveats)
    yield ""
    yield f"Rows ({len(table.rows())}), as printed:"
    for (group, method, venue, frames), numbers in table.rows().items():
        details = ", ".join(filter(None, (venue, group, f"{frames} frames" if frames else "")))
        yield f"  {method}{f'  ({details})' if details else ''}"
        yield from (f"      {line}" for line in _numbers(numbers))


def _exceptions(table: PublishedTable) -> Iterator[tuple[list[str], Protocol]]:
    """The methods whose rows have another protocol than the table, those of one protocol together."""
    found: dict[Protocol, list[str]] = {}
    for method, protocol in table.exceptions.items():
        found.setdefault(protocol, []).append(method)
    yield from ((methods, protocol) for protocol, methods in found.items())


def _numbers(numbers: Sequence[PublishedNumber]) -> Iterator[str]:
    """The numbers of a row, a line for each data set and number of shots."""
    lines: dict[str, list[str]] = {}
    for number in numbers:
        shots = f", {number.shots} shots" if number.shots else ""
        lines.setdefault(f"{number.dataset}{shots}", []).append(f"{number.metric} {number.printed}")
    yield from (f"{place}: {', '.join(some)}" if place else ", ".join(some) for place, some in lines.items())
