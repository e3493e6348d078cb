"""Tables on terminals of several widths: parts, alignment, what is said once, notes and provenance."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.render import render, terminal
from petl_bench.render.parts import column_parts
from petl_bench.tables.text import notes


def _cell(place: int, *marks: str) -> Cell:
    return Cell(50 + place % 70, place % 11 + 0.25, 3, alike=place % 3 == 0, marks=("synthetic", *marks))


def _rows(count: int, columns: int) -> tuple[Row, ...]:
    trained = Cell(1.25)
    return tuple(
        Row(f"method_{row:02d}", (trained, *(_cell(7 * row + place) for place in range(columns - 1))))
        for row in range(count)
    )


def _table(rows: int, sets: int) -> Table:
    columns = [Column("M", "Trained", ".3g")]
    columns += [Column(label, f"set{number}") for number in range(sets) for label in ("Base", "Novel", "HM")]
    quoted = Row("other", tuple(Cell(60.0, origin="quoted") for _ in columns), ("quoted",))
    groups = (
        RowGroup("Run here: a-backbone with a long name (weights)", _rows(rows, len(columns)), "parameter-efficient"),
        RowGroup("Quoted: A Paper (2025), Table 1", (quoted,), "adapting"),
        RowGroup("Quoted: A Paper (2025), Table 1", (quoted,), "tuning"),
    )
    footers = ("Numbers: mean ± sample standard deviation over seeds 0, 1, 2.", "HM: harmonic mean; ± over seeds.")
    footers += ("UCF-101: 1 of 2 splits (2), ± over seeds [Seq. Transf., MSTA].",)
    return Table("t", "T", "Method", tuple(columns), groups, footers, provenance=("Budget: 5", "Device: cpu"))


def _shown(table: Table, width: int, **chosen: bool) -> list[str]:
    buffer = io.StringIO()
    terminal.show(table, Console(file=buffer, width=width, color_system=None), **chosen)
    return buffer.getvalue().splitlines()


@pytest.mark.parametrize(("width", "parts"), [(80, 12), (120, 6), (200, 3)])
def test_many_methods_on_many_data_sets_fit_and_parts_are_of_like_widths(width: int, parts: int) -> None:
    lines = _shown(_table(60, 12), width)
    rules = [len(line) for line in lines if line.startswith("─")]
    assert max(map(len, lines)) <= width
    assert len(rules) == parts
    assert min(rules) > 0.6 * max(rules)
    assert sum(line.startswith("  method_") for line in lines) == 60 * parts


def test_parts_are_as_few_as_fit_and_none_is_left_with_a_rest() -> None:
    groups = [[place] for place in range(7)]
    assert column_parts(groups, [10] * 7, 60) == [[0, 1, 2, 3], [4, 5, 6]]
    assert column_parts(groups, [10] * 7, 5) == groups, "each is too wide, and uncut"
    assert column_parts([[0, 1, 2, 3, 4], [5]], [10] * 6, 30) == [[0, 1, 2], [3, 4, 5]], "a large group is broken"
    assert column_parts([], [], 30) == []


def test_decimal_points_and_signs_stand_below_each_other() -> None:
    cells = (Cell(9.5, 0.5), Cell(81.25, 10.25, rank="best", alike=True), Cell(70.0, marks=("partial-seeds",)))
    rows = tuple(Row(name, (cell,)) for name, cell in zip("abc", cells, strict=True))
    lines = render(Table("t", "T", "Method", (Column("Top-1"),), (RowGroup("g", rows),)), "terminal").splitlines()
    assert lines[5:8] == ["  a        9.5  ± 0.5", "  b     *=81.2 ± 10.2", "  c       70.0 [S]"]


def test_headings_go_over_the_whole_line_and_marks_of_all_rows_are_said_once() -> None:
    lines = _shown(_table(2, 1), 80)
    assert "Run here: a-backbone with a long name (weights), parameter-efficient" in lines
    assert [line for line in lines if "A Paper" in line] == ["Quoted: A Paper (2025), Table 1 [Q]"]
    assert lines[lines.index("adapting") + 2] == "tuning"
    assert "All rows run here (Y): made by a script, not measured" in lines
    assert not any("[Y]" in line for line in lines)


def test_provenance_is_shown_or_named() -> None:
    table = _table(2, 1)
    assert "Budget: 5" in _shown(table, 80)
    without = _shown(table, 80, with_provenance=False)
    assert without[-1] == "Provenance: 3 lines more with --provenance." and "Budget: 5" not in without
    assert "Budget: 5" in render(table, "terminal")


@pytest.mark.parametrize("spread", ["interval", "none"])
def test_notes_say_nothing_of_a_spread_that_is_not_shown(spread: str) -> None:
    assert not any("±" in note for note in notes(replace(_table(1, 1), spread=spread)))
    assert "Numbers: mean over seeds 0, 1, 2." in notes(replace(_table(1, 1), spread=spread))
    assert "HM: harmonic mean." in notes(replace(_table(1, 1), spread=spread))
    assert "UCF-101: 1 of 2 splits (2) [Seq. Transf., MSTA]." in notes(replace(_table(1, 1), spread=spread))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_long_names_leave_room_for_numbers_and_wide_letters_are_counted(width: int) -> None:
    table = _table(2, 3)
    names = (
        "a rather long name of a method with values",
        "視頻適配器" * 4,
        "視頻 適配器 (rank 8, 視頻適配器視頻適配器)",
    )
    rows = tuple(replace(table.groups[0].rows[0], label=name) for name in names)
    group = replace(table.groups[0], rows=rows)
    lines = _shown(replace(table, groups=(group,)), width, with_provenance=False)
    assert max(map(cell_len, lines)) <= width
    assert sum("適配器" in line for line in lines) > len(names) - 1
