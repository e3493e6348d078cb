"""Notes under a table that quotes: of each source, the facts of its protocol that change how its numbers read."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from petl_bench.api.published import NOT_STATED, Protocol, PublishedTable
from petl_bench.errors import PluginError, UsageError
from petl_bench.tables.columns import PublishedKey
from petl_bench.tables.ledger import protocol_file, read_ledger
from petl_bench.tables.notes import listed

#: As many methods are named in a fact.
_MOST = 4
#: The rows that a fact is of, "" for all of a table; the fact.
_Fact = tuple[str, str]


@functools.cache
def _of_plugin(file: Path) -> tuple[PublishedTable, ...]:
    """The tables of a file that a table plugin names, if their protocol is stated; read once, for all tables.

    Raises PluginError if they cannot be read.
    """
    try:
        return read_ledger(file) if protocol_file(file).exists() else ()
    except UsageError as error:
        raise PluginError(f"published_csv: {error}") from error


def reading_notes(
    files: Iterable[Path], tables: Iterable[str], keys: Collection[PublishedKey] | None = None
) -> list[str]:
    """One line for each source of these tables, or for several tables of one paper that have facts in common.

    Args:
        files: of published numbers.
        tables: the published tables whose rows are quoted.
        keys: of the numbers that are shown; None for all.
    """
    return notes_of(stated_tables(files, tables), keys)


def stated_tables(files: Iterable[Path], tables: Iterable[str]) -> list[PublishedTable]:
    """Those of these tables whose protocol is stated; `files` and `tables` as in `reading_notes`."""
    stated = {table.table: table for file in files for table in _of_plugin(file)}
    return [stated[name] for name in dict.fromkeys(tables) if name in stated]


def selected_on_test(tables: Iterable[PublishedTable], keys: Collection[PublishedKey] | None = None) -> tuple[str, ...]:
    """The sources whose epochs were selected on the test clips, with the rows if it is not all; `keys`: as above."""
    places: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for source in table.sources:
            methods = _methods(table, source, keys)
            selected = [each for each in methods if table.protocol_of(each).selection == "best-on-test"]
            if selected:
                rows = f" ({listed(selected, _MOST)})" if len(selected) < len(methods) else ""
                places.setdefault((_paper(source), rows), []).append(source)
    return tuple(f"{_together(tuple(dict.fromkeys(sources)))}{rows}" for (_, rows), sources in places.items())


def with_selected(note: str, sources: Iterable[str]) -> str:
    """A note on quoted rows, and the sources whose epochs were selected on the test clips, if there are any."""
    found = "; ".join(dict.fromkeys(sources))
    return f"{note} Epochs selected on the test clips: {found}." if found else note


def notes_of(tables: Iterable[PublishedTable], keys: Collection[PublishedKey] | None = None) -> list[str]:
    """As `reading_notes`, of tables that were read."""
    places: dict[tuple[str, _Fact], list[str]] = {}
    for table in tables:
        for source in table.sources:
            methods = _methods(table, source, keys)
            for fact in _facts(table, methods) if methods else ():
                places.setdefault((_paper(source), fact), []).append(source)
    by_sources: dict[tuple[str, ...], list[_Fact]] = {}
    for (_, fact), sources in places.items():
        by_sources.setdefault(tuple(dict.fromkeys(sources)), []).append(fact)
    return [f"{_together(sources)}: {_joined(facts)}." for sources, facts in by_sources.items()]


def _paper(source: str) -> str:
    """A source without its table: "MSTA (CVPR 2025)" of "MSTA (CVPR 2025), Table 2"."""
    return source.partition(", ")[0]


def _methods(table: PublishedTable, source: str, keys: Collection[PublishedKey] | None) -> list[str]:
    shown = (
        number.method
        for number in table.numbers
        if number.source == source and (keys is None or (number.dataset, number.shots, number.metric) in keys)
    )
    return list(dict.fromkeys(shown))


def _facts(table: PublishedTable, methods: list[str]) -> Iterator[_Fact]:
    """What changes how the rows of these methods read: backbone, epochs, views, seeds, who ran them, caveats."""
    protocols = {method: table.protocol_of(method) for method in methods}
    backbones = {protocol.backbone for protocol in protocols.values()}
    if len(backbones) == 1 and NOT_STATED not in backbones:
        yield "", backbones.pop()
    for meaning in (_selection, _views, _seeds, _rerun):
        values: dict[str, list[str]] = {}
        for method, protocol in protocols.items():
            values.setdefault(meaning(protocol), []).append(method)
        usual = meaning(table.protocol)
        for value, some in values.items():
            if value:
                yield "" if value == usual or len(some) == len(methods) else listed(some, _MOST), value
        if meaning is _selection and any(values) and any(each.selection == NOT_STATED for each in protocols.values()):
            yield "Other rows", "epochs not stated"
    yield from (("", caveat) for caveat in table.caveats)


def _selection(protocol: Protocol) -> str:
    if protocol.selection != "best-on-test":
        return ""
    by = _stated(protocol.selection_evidence)
    return "epochs selected on the test clips" + (f", by the {by}" if by else "")


def _views(protocol: Protocol) -> str:
    return f"views {protocol.views}" if _stated(protocol.views) else ""


def _seeds(protocol: Protocol) -> str:
    """What a number is over, and what its spread is over if seeds are not stated."""
    if seeds := _stated(protocol.seeds):
        return f"seeds: {seeds}"
    return "" if protocol.spread in (NOT_STATED, "none") else f"spread over {protocol.spread}"


def _rerun(protocol: Protocol) -> str:
    by = _stated(protocol.rerun_by)
    return "" if by in ("", "no") else f"run again by {by}"


def _stated(value: str) -> str:
    return "" if value == NOT_STATED else value


def _joined(facts: Sequence[_Fact]) -> str:
    """Facts in sentences, one for all rows, and one for each of those that some rows have."""
    by_rows: dict[str, list[str]] = {}
    for of, fact in facts:
        by_rows.setdefault(of, []).append(fact)
    first, *others = [f"{of}: {'; '.join(some)}" if of else "; ".join(some) for of, some in by_rows.items()]
    return ". ".join([first, *(f"{each[0].upper()}{each[1:]}" for each in others)])


def _together(sources: tuple[str, ...]) -> str:
    """Several tables of one paper as "PAPER, Tables 1, 2"."""
    if len(sources) == 1:
        return sources[0]
    places = [source.partition(", ")[2] for source in sources]
    if all(place.startswith("Table ") for place in places):
        return f"{_paper(sources[0])}, Tables {', '.join(place.removeprefix('Table ') for place in places)}"
    return f"{_paper(sources[0])}, {', '.join(places)}"
