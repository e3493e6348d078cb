"""What stands behind one cell of a table: its records, their files, and the commands that made them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from petl_bench.analysis.commands import commands_of
from petl_bench.api.marks import mark_of
from petl_bench.api.table import ALIKE_MEANING, Cell, Column, Row, Table
from petl_bench.errors import StoreError, unknown
from petl_bench.records.optional import variants_of
from petl_bench.records.read import read_record
from petl_bench.system.texts import clean
from petl_bench.tables.text import number


def explain(table: Table, row: str, column: str, folders: Sequence[Path]) -> Iterator[str]:
    """Lines about the cell of a row and a column, each named as the table shows them.

    A column is named by its label, or by the header above it and its label ("motion HM"). Raises UsageError for an
    unknown row or column, with near names.
    """
    for title, found, cell, header in _cells(table, row, column):
        yield f"{clean(title)} / {clean(found.label)} / {clean(header.full)}"
        yield from (f"  {line}" for line in _about(cell, header, found))
        yield from (f"  {line}" for line in _about_trials(cell.trials, folders))


def _cells(table: Table, row: str, column: str) -> list[tuple[str, Row, Cell, Column]]:
    """Every cell that fits, with the title of its group: rows of several groups may have one name.

    A quoted row may be called by its label what a row that was run here is called for readers; then both fit.
    """
    index = _column(table, column)
    every = [(group.title, each) for group in table.groups for each in group.rows]
    rows = [(title, each) for title, each in every if row in (each.label, each.display)]
    rows = rows or [
        (title, each) for title, each in every if row.casefold() in (each.label.casefold(), each.display.casefold())
    ]
    if not rows:
        labels = {each.label for group in table.groups for each in group.rows}
        raise unknown("row", row, labels, f"petl-bench report --table {table.name}")
    return [(title, each, each.cells[index], table.columns[index]) for title, each in rows]


def _column(table: Table, name: str) -> int:
    wanted = name.casefold()
    full = [column.full.casefold() for column in table.columns]
    if wanted in full:
        return full.index(wanted)
    for names in (
        [column.label.casefold() for column in table.columns],
        [column.full_display.casefold() for column in table.columns],
        [column.display.casefold() for column in table.columns],
    ):
        if names.count(wanted) == 1:
            return names.index(wanted)
    raise unknown("column", name, (column.full for column in table.columns), f"petl-bench report --table {table.name}")


def _about(cell: Cell, column: Column, row: Row) -> Iterator[str]:
    if cell.value is None:
        yield f"nothing here: {clean(cell.source)}"
        return
    yield f"shown: {number(cell, column)}"
    if isinstance(cell.value, float):
        yield f"value: {cell.value!r}"
    if cell.std is not None:
        yield f"sample standard deviation: {cell.std!r}, over {cell.n}"
    if cell.interval is not None:
        yield f"95 % interval: {column.text(cell.interval[0])} to {column.text(cell.interval[1])}"
    if cell.origin == "quoted":
        yield f"quoted from {clean(cell.source)}; not run here"
    if cell.alike:
        yield ALIKE_MEANING
    for word in (*row.marks, *cell.marks):
        yield f"mark: {clean(mark_of(word).meaning)}"
    if cell.origin == "run" and not cell.trials:
        yield "counted or worked out from the row's records, not from single ones"


def _about_trials(trials: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    found = []
    for trial in trials:
        yield f"trial {trial}"
        folder = next((each / "trials" / trial for each in folders if (each / "trials" / trial).is_dir()), None)
        if folder is None:
            yield "  its folder is gone"
            continue
        try:
            record = read_record(folder)
        except StoreError as error:
            yield f"  {clean(str(error))}"
            continue
        found.append(record["trial"])
        yield f"  seed {record['trial']['seed']}, made {clean(record['created'])}, {clean(_device(record))}"
        yield f"  metrics: {_numbers(record['metrics'])}"
        for name, values in variants_of(record).items():
            epoch = record.get("best_epochs", {}).get(name)
            called = f"{clean(name)}, epoch {epoch}" if epoch else clean(name)
            yield f"  metrics of {called}: {_numbers(values)}"
        yield f"  folder: {clean(str(folder))}"
        yield f"  files: {clean(', '.join(sorted(file.name for file in folder.iterdir() if file.is_file())))}"
    for command in commands_of(found, _sources(found, folders)):
        yield f"command: {command}"


def _sources(trials: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """The trials whose adapters these start from, by their keys, as far as their records can be read."""
    found: dict[str, Mapping[str, Any]] = {}
    for key in {trial.get("start_from", "") for trial in trials} - {""}:
        for folder in folders:
            with contextlib.suppress(StoreError):
                found.setdefault(key, read_record(folder / "trials" / key)["trial"])
    return found


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{clean(name)} {value:.6g}" for name, value in metrics.items())


def _device(record: Mapping[str, Any]) -> str:
    return f"device {record['environment'].get('device', 'not recorded')}"
