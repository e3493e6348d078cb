"""`petl-bench report --published-file FILE.csv`: rows of the user's own, quoted beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from petl_bench.api.evidence import Evidence
from petl_bench.api.published import PublishedNumber, PublishedTable
from petl_bench.api.registry import DATASETS, SETTINGS, TABLES
from petl_bench.api.table import TableSource
from petl_bench.cli.options import tell
from petl_bench.errors import PluginError, UsageError, unknown
from petl_bench.tables.compare_pair import compared_by
from petl_bench.tables.ledger import read_ledger
from petl_bench.tables.published_file import SEE
from petl_bench.tables.setting_table import SettingTable
from petl_bench.tables.unplaced import unplaced

_FLAG = "--published-file"


def read_own(files: Sequence[Path], *, published: bool) -> tuple[PublishedTable, ...]:
    """The published tables of these files, with registered names of data sets for those that readers see.

    Raises UsageError, which names file and line, for what cannot be quoted.
    """
    if files and not published:
        raise UsageError(f"{_FLAG} quotes published rows, and --no-published leaves them out: give one of them")
    tables = tuple(
        replace(table, numbers=tuple(map(_with_registered_dataset, table.numbers)))
        for file in dict.fromkeys(files)
        for table in read_ledger(file)
    )
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


def _with_registered_dataset(number: PublishedNumber) -> PublishedNumber:
    """A number whose data set has its registered name, if one alone is shown so."""
    names, wanted = DATASETS.names(), number.dataset.casefold()
    if not wanted or number.dataset in names:
        return number
    meant = [name for name in names if wanted in (name.casefold(), DATASETS.display(name).casefold())]
    return replace(number, dataset=meant[0]) if len(meant) == 1 else number


def refuse_unless_shown(tables: Sequence[PublishedTable], source: TableSource) -> None:
    """Raise UsageError if the one table that was asked for shows no rows of the user's own."""
    if tables and not source.shows_own_ledger:
        names = ", ".join(name for name in TABLES.names() if _shows(name))
        raise UsageError(f"{_FLAG}: the table {source.name} quotes no files; these do: {names}")


def tell_unplaced(evidence: Evidence, source: TableSource | None = None) -> None:
    """Say on stderr which numbers of the user's own a table does not show; without one, which no table shows."""
    if not evidence.ledger:
        return
    sources = [TABLES.get(name)() for name in TABLES.names() if _shows(name)] if source is None else [source]
    shown = [
        ((each.setting, each.name), compared.columns)
        for each in sources
        if isinstance(each, SettingTable) and (compared := compared_by(each, evidence.records))
    ]
    for line in unplaced(evidence.ledger, shown):
        tell(f"{_FLAG}: {line}")


def _shows(name: str) -> bool:
    try:
        return bool(TABLES.get(name).shows_own_ledger)
    except PluginError:
        return False
