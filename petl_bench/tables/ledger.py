"""The ledger of published rows: files of published numbers, each with the protocol of its tables in a file beside it.

`rows.csv` holds the numbers, `rows.toml` how they were obtained; without the second file every fact is "not stated".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from petl_bench.api.published import NOT_STATED, Protocol, PublishedNumber, PublishedTable
from petl_bench.api.registry import TABLES
from petl_bench.api.values.fields import convert, field_types
from petl_bench.errors import PetlBenchError, UsageError, unknown
from petl_bench.system.texts import is_shown
from petl_bench.tables.published_file import SEE, read_numbers, read_toml

_LONGEST = 500


@dataclass(frozen=True)
class _TableFields:
    """What `[[table]]` may have besides the fields of a protocol."""

    table: str
    name: str = ""
    where: str = NOT_STATED
    caveats: tuple[str, ...] = ()
    rows: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _RowsFields:
    """What `[[table.rows]]` may have besides the fields of a protocol."""

    methods: tuple[str, ...]


def shipped_tables() -> tuple[list[PublishedTable], dict[str, str]]:
    """The published tables that registered tables may quote; of tables whose files cannot be read, name and reason."""
    found: dict[Path, list[PublishedTable]] = {}
    faults: dict[str, str] = {}
    for name in TABLES.names():
        try:
            for path in TABLES.get(name).published_csv:
                found[path] = list(read_ledger(path))
        except PetlBenchError as error:
            faults[name] = str(error)
    return [table for path in sorted(found) for table in found[path]], faults


def read_ledger(path: Path) -> tuple[PublishedTable, ...]:
    """The tables of a file of published numbers, in its order, with what the file beside it states of them.

    Raises UsageError if one of the files cannot be read, or states something of a table or row that is not there.
    """
    numbers: dict[str, list[PublishedNumber]] = {}
    for number in read_numbers(path):
        numbers.setdefault(number.table, []).append(number)
    return _with_protocols(path, numbers)


def _with_protocols(path: Path, numbers: dict[str, list[PublishedNumber]]) -> tuple[PublishedTable, ...]:
    file = protocol_file(path)
    stated = read_toml(file) if file.exists() else {}
    _check_names(stated, ("name", "defaults", "table"), str(file))
    prefix = _text(stated.get("name", path.stem), f"{file}: name")
    defaults = _protocol(Protocol(), stated.get("defaults", {}), f"{file}: defaults")
    tables: dict[str, PublishedTable] = {}
    for place, entry in enumerate(_list(stated.get("table", []), f"{file}: table")):
        label = f"{file}: table[{place}]"
        own = _fields(_TableFields, entry, label)
        if own.table not in numbers:
            raise UsageError(f"{label}: {unknown('table', own.table, numbers, str(path))}")
        if own.table in tables:
            raise UsageError(f"{label}: the table {own.table} stands there twice")
        protocol = _protocol(defaults, entry, label, besides=_TableFields)
        tables[own.table] = _table(own, prefix, protocol, numbers[own.table], label, path)
    return tuple(
        tables.get(name) or _table(_TableFields(name), prefix, defaults, some, "", path)
        for name, some in numbers.items()
    )


def _table(
    own: _TableFields, prefix: str, protocol: Protocol, numbers: Sequence[PublishedNumber], label: str, path: Path
) -> PublishedTable:
    methods = {number.method for number in numbers}
    exceptions: dict[str, Protocol] = {}
    for place, entry in enumerate(own.rows):
        row_label = f"{label}.rows[{place}]"
        rows = _fields(_RowsFields, entry, row_label)
        for method in rows.methods:
            if method not in methods:
                raise UsageError(f"{row_label}: {unknown('method', method, methods, SEE)}")
            before = exceptions.get(method, protocol)
            exceptions[method] = _protocol(before, entry, row_label, besides=_RowsFields)
    return PublishedTable(
        name=f"{prefix}-{own.name or slug(own.table)}",
        table=own.table,
        sources=tuple(dict.fromkeys(number.source for number in numbers)),
        where=own.where,
        protocol=protocol,
        exceptions=exceptions,
        caveats=own.caveats,
        numbers=tuple(numbers),
        file=path,
    )


def protocol_file(path: Path) -> Path:
    """The file that states the protocol of a file of published numbers; it need not be there."""
    return path.with_suffix(".toml")


def slug(text: str) -> str:
    """A text as part of a name that is typed."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


# TOML


def _protocol(base: Protocol, entry: Any, label: str, besides: type | None = None) -> Protocol:
    """A protocol with the fields of an entry in place of its own; `besides`: further fields that it may have."""
    kinds = field_types(Protocol)
    others = field_types(besides) if besides else {}
    _check_names(entry, [*others, *kinds], label)
    values = {name: _checked(kinds[name], value, f"{label}.{name}") for name, value in entry.items() if name in kinds}
    return Protocol(**{**asdict(base), **values})


def _fields(cls: type, entry: Any, label: str) -> Any:
    kinds = field_types(cls)
    _check_names(entry, [*kinds, *field_types(Protocol)], label)
    values = {name: _checked(kinds[name], value, f"{label}.{name}") for name, value in entry.items() if name in kinds}
    try:
        return cls(**values)
    except TypeError as error:
        lacking = sorted(
            field_name for field_name in ("table", "methods") if field_name in kinds.keys() - values.keys()
        )
        raise UsageError(f"{label} lacks {', '.join(lacking)}. See: {SEE}") from error


def _checked(kind: Any, value: Any, label: str) -> Any:
    """A value of its declared type, its texts such as can be shown in one line."""
    found = convert(kind, value, label)
    for text in found if isinstance(found, tuple) else [found]:
        if isinstance(text, str):
            _text(text, label)
    return found


def _text(value: Any, label: str) -> str:
    text: str = convert(str, value, label)
    if not is_shown(text) or not text.strip() or len(text) > _LONGEST:
        raise UsageError(f"{label}: expected one line of 1 to {_LONGEST} letters")
    return text


def _list(value: Any, label: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{label}: expected [[table]]. See: {SEE}")
    return value


def _check_names(entry: Any, known: Iterable[str], label: str) -> None:
    """Raise UsageError unless an entry is a table of TOML that has known names alone."""
    if not isinstance(entry, dict):
        raise UsageError(f"{label}: expected a table of TOML. See: {SEE}")
    known = list(known)
    for name in entry:
        if name not in known:
            raise UsageError(f"{label}: {unknown('field', name, known, SEE)}")
