"""Tables 1 to 5 of the MV-Adapter paper, from records that hold its published numbers: the same cells and bold."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd
import pytest
import read_back
from read_back import shown_in
from rich.console import Console
from synthetic_retrieval import RUN_HERE, published, rows_of, write_paper
from tables import cell_of, figure_of, points_of, table_of
from tables import rows_of as rows_of_table
from test_paper_tables import in_latex, in_markdown, lines_of, ranks_of
from test_renderers import compiled, document_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, RowGroup, Table
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.records.verify import verify_trial
from petl_bench.render import latex, markdown, render, terminal
from petl_bench.render.parts import parts_of
from petl_bench.tables.text import for_people

TABLES_OF_PAPER = "12345"
LABELS = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "rsum": "Sum"}
FULL = "Full Fine-tuning"
#: What README files and abstracts print of MSR-VTT, beside the rows of the paper.
FIELD = ("Quoted: CLIP4Clip in mmaction2 (README)", "Quoted: DiscoVLA (CVPR 2025), abstract")
ONE_RUN = {FULL, "CLIP4Clip seqTransf (frozen CLIP)"}


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval_paper")
    write_paper(folder)
    return folder


def place_of(line: dict[str, str]) -> tuple[str, str]:
    direction, _, metric = line["metric"].partition("_")
    return f"{line['dataset']} {direction.upper()}", LABELS[metric]


def printed(table: str) -> dict[str, dict[tuple[str, str], tuple[str, str]]]:
    """Method -> column -> mean and standard deviation as printed."""
    rows: dict[str, dict[tuple[str, str], tuple[str, str]]] = {}
    for line in published(table):
        if line["dataset"]:
            rows.setdefault(line["method"], {})[place_of(line)] = (line["value"], line["std"])
    return rows


def place_of_column(column: Column) -> tuple[str, str]:
    return column.group, column.label


def groups_here(table: Table) -> dict[str, RowGroup]:
    return {group.section: group for group in table.groups if not group.is_quoted}


@pytest.mark.parametrize("number", TABLES_OF_PAPER)
def test_a_table_has_the_papers_cells_bold_and_underline(number: str, paper: Path) -> None:
    table = table_of(paper / f"table{number}", "retrieval")
    expected = printed(number)
    efficient = {method: cells for method, cells in expected.items() if method != FULL}
    groups = groups_here(table)
    assert {row.label for row in groups["parameter-efficient"].rows} == efficient.keys()
    assert [row.label for row in groups["full fine-tuning"].rows] == [FULL]
    places = list(map(place_of_column, table.columns))
    in_text = {"|": markdown.render(table), "&": latex.render(table)}
    registered = {
        (column.group_display or column.group, column.label): place_of_column(column) for column in table.columns
    }
    recalls = [place for place in places if place[1].startswith("R@")]
    for row in groups["parameter-efficient"].rows:
        own = expected[row.label]
        ranks = {place: ranks_of(efficient, place).get(row.label, "") for place in recalls}
        shown = dict(zip(places, row.cells, strict=True))
        assert {place: shown[place].rank for place in recalls} == ranks
        if row.label in ONE_RUN:  # fewer seeds than the others: marked, and not ranked
            assert {shown[place].marks for place in recalls} == {("partial-seeds", "synthetic")}
            continue
        for separator, text in in_text.items():
            form = in_markdown if separator == "|" else in_latex
            escape = markdown.escape if separator == "|" else latex.escape
            lines = lines_of(text, escape(row.label), separator)
            for part in parts_of(for_people(table)):
                in_part = [registered[column.group, column.label] for column in part.columns]
                cells = {place: form(*own[place], ranks[place]) for place in recalls if place in in_part}
                kept = [dict(zip(in_part, line, strict=True)) for line in lines]
                assert cells and any(cells.items() <= line.items() for line in kept)


@pytest.mark.parametrize("number", TABLES_OF_PAPER)
def test_sums_and_percentages_are_the_papers(number: str, paper: Path) -> None:
    """The paper adds before it rounds: its sums are off by up to 0.1 from those of its own printed recalls."""
    table = table_of(paper / f"table{number}", "retrieval")
    for method, own in printed(number).items():
        for (group, label), (value, _) in own.items():
            cell = cell_of(table, method, group, label)
            assert isinstance(cell.value, float)
            assert math.isclose(cell.value, float(value), abs_tol=0.11 if label == "Sum" else 1e-6)
    percents = {row: f"{cells['tunable_percent'][0]:.2f}" for row, cells in rows_of(number).items()}
    column = table.columns[1]
    shown = {label: column.text(float(row.cells[1].value or 0)) for label, row in rows_of_table(table).items()}
    assert shown == percents


def test_quoted_rows_stand_beside_and_have_no_ranks_of_queries(paper: Path) -> None:
    table = table_of(paper / "table4", "retrieval", published=True)
    quoted = [group for group in table.groups if group.is_quoted]
    assert [group.heading for group in quoted] == [
        "Quoted: MV-Adapter (CVPR 2024), Table 4, full fine-tuning",
        "Quoted: MV-Adapter (CVPR 2024), Table 4, parameter-efficient",
    ]
    (row,) = [row for group in quoted for row in group.rows if row.label == "MV-Adapter"]
    cells = {column.full: cell for column, cell in zip(table.columns, row.cells, strict=True)}
    assert (cells["didemo V2T R@1"].value, cells["didemo V2T R@1"].std) == (42.7, 1.0)
    assert (cells["didemo T2V Sum"].value, cells["Trained %"].value) == (196.8, 2.42)
    assert cells["didemo T2V MdR"] == Cell(origin="absent", source="not in MV-Adapter (CVPR 2024), Table 4")
    assert "the released code separately for T2V and V2T" in table.footers[-1]
    assert "seeds: three (0, 42, 123)" in table.footers[-1] and "median and mean ranks" in table.footers[-1]


def test_several_data_sets_have_the_quoted_rows_of_each_table(paper: Path) -> None:
    records = [pb.load_records(paper / f"table{number}") for number in "12"]
    source = TABLES.get("retrieval")()
    table = source.build(Evidence(pd.concat(records, ignore_index=True), source.published()))
    titles = dict.fromkeys(group.title for group in table.groups if group.is_quoted)
    papers = ["Quoted: MV-Adapter (CVPR 2024), Table 1", "Quoted: MV-Adapter (CVPR 2024), Table 2"]
    assert list(titles) == [*papers, *FIELD]


def test_another_protocol_of_a_data_set_has_no_quoted_rows(paper: Path) -> None:
    records = pb.load_records(paper / "table1")
    records["dataset_options"] = '{"protocol":"1k-A-7k"}'
    source = TABLES.get("retrieval")()
    table = source.build(Evidence(records, source.published()))
    assert not any(group.is_quoted for group in table.groups)


def test_published_numbers_as_records_reproduce_the_paper(paper: Path) -> None:
    runs = paper / "run_here"
    source = TABLES.get("reproduction")()
    table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    assert table.title == "Reproduction: numbers of the MV-Adapter paper, and the same run here"
    sections: dict[str, set[str]] = {}
    for group in table.groups:
        sections.setdefault(group.title, set()).add(group.section)
        for row in group.rows:
            difference = row.cells[2].value
            assert isinstance(difference, float) and difference < (0.11 if row.label.endswith("Sum") else 0.005)
            if group.title == "MV-Adapter, Table 1" and group.section not in ONE_RUN and "Trained" not in row.label:
                assert row.cells[5].value == "yes"
    assert sections == {f"MV-Adapter, Table {number}": set(RUN_HERE) for number in TABLES_OF_PAPER}


def test_the_picture_shows_rows_run_here_and_quoted_at_their_parameters(paper: Path) -> None:
    figure = figure_of(paper / "table1", "retrieval", published=True)
    (panel,) = figure.panels()
    assert (panel.title, panel.y.label) == ("msrvtt: clip-b16 (synthetic weights)", "T2V R@1 (%)")
    points = points_of(panel)
    here, quoted = points["MV-Adapter [Y]"], points["MV-Adapter"]
    assert (here.y, quoted.y) == (pytest.approx(46.2), 46.2)
    assert here.x == pytest.approx(quoted.x) == pytest.approx(3.576, abs=0.001)
    assert "Drawn at the printed percentage of the backbone" in figure.notes[-1]


def test_the_tables_compile_and_fit_their_pages(paper: Path, tmp_path: Path) -> None:
    text = latex.render(table_of(paper / "table1", "retrieval", published=True))
    log = compiled(tmp_path, document_of("two-column", [text]))
    assert "Overfull" not in log and "Float too large" not in log


def test_five_data_sets_are_parts_below_each_other_in_every_format(paper: Path, tmp_path: Path) -> None:
    table = table_of(paper / "run_here", "retrieval", published=True)
    parts = parts_of(for_people(table))
    assert [[label for label, _ in part.column_groups()] for part in parts] == [
        ["Trained", f"{dataset} {direction}"]
        for dataset in ("ActivityNet Captions", "DiDeMo", "LSMDC", "MSR-VTT", "MSVD")
        for direction in ("T2V", "V2T")
    ]
    for part, number in zip(parts, (5, 5, 4, 4, 3, 3, 1, 1, 2, 2), strict=True):
        quoted = {group.title for group in part.groups if group.is_quoted}
        field = FIELD if part.column_groups()[1][0] == "MSR-VTT T2V" else ()
        assert quoted == {f"Quoted: MV-Adapter (CVPR 2024), Table {number}", *field}
        assert all(any(not cell.is_blank for cell in row.cells[2:]) for group in part.groups for row in group.rows)
    assert sum(map(_numbers, parts)) == _numbers(table), "every number is in one part"
    shown = shown_in(table)
    assert read_back.in_html(table) == read_back.in_markdown(table) == shown
    assert read_back.in_latex(table) == read_back.shown_in_latex(table)
    assert sum(map(_numbers, latex.parts(table))) == _numbers(table)
    text = latex.render(table)
    assert (text.count("\n\\caption{"), text.count("\n\\label{")) == (1, 1)
    log = compiled(tmp_path, document_of("two-column", [text]))
    assert "Overfull" not in log and "Float too large" not in log


def _numbers(table: Table) -> int:
    """Numbers besides trained parameters, which stand in every part."""
    return sum(not cell.is_blank for group in table.groups for row in group.rows for cell in row.cells[2:])


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_lines_that_it_has_room_for(width: int, paper: Path) -> None:
    buffer = io.StringIO()
    table = table_of(paper / "table1", "retrieval", published=True)
    terminal.show(table, Console(file=buffer, width=width, color_system=None))
    lines = buffer.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("Method") for line in lines) == {80: 7, 120: 5}[width]


def test_the_records_are_sound_and_say_what_they_are(paper: Path) -> None:
    folder = next((paper / "table1" / "trials").iterdir())
    assert verify_trial(folder).problems == ()
    assert "made by a script, not measured" in render(table_of(paper / "table1", "retrieval"), "markdown")
