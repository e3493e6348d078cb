"""`petl-bench report --published-file FILE.csv`: rows of the user's own, quoted beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from petl_bench.api.published import PublishedTable
from petl_bench.api.registry import SETTINGS, TABLES
from petl_bench.api.table import TableSource
from petl_bench.errors import PluginError, UsageError, unknown
from petl_bench.tables.ledger import read_ledger
from petl_bench.tables.published_file import SEE

_FLAG = "--published-file"


def read_own(files: Sequence[Path], *, published: bool) -> tuple[PublishedTable, ...]:
    """The published tables of these files. Raises UsageError, which names file and line, for what cannot be quoted."""
    if files and not published:
        raise UsageError(f"{_FLAG} quotes published rows, and --no-published leaves them out: give one of them")
    tables = tuple(table for file in dict.fromkeys(files) for table in read_ledger(file))
    known = {*SETTINGS.names(), *TABLES.names()}
    places: dict[tuple[object, ...], str] = {}
    for table in tables:
        for number in table.numbers:
            place = f"{table.file}, line {number.line}"
            if (first := places.setdefault(number.key, place)) != place:
                raise UsageError(f"{place}: the number of {first} again: same row, data set and metric")
            if number.setting not in known:
                error = unknown("setting", number.setting, SETTINGS.names(), SEE)
                raise UsageError(f"{place}: {error}")
    return tables


def refuse_unless_shown(tables: Sequence[PublishedTable], source: TableSource) -> None:
    """Raise UsageError if the one table that was asked for shows no rows of the user's own."""
    if tables and not source.shows_own_ledger:
        names = ", ".join(name for name in TABLES.names() if _shows(name))
        raise UsageError(f"{_FLAG}: the table {source.name} quotes no files; these do: {names}")


def _shows(name: str) -> bool:
    try:
        return bool(TABLES.get(name).shows_own_ledger)
    except PluginError:
        return False
