"""The formats with one row per configuration, Markdown and CSV, and tidy CSV."""

from __future__ import annotations

import csv
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from read_back import check_csv, check_markdown, check_tidy
from tables import table_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import METHODS, TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.render import format_of, markdown, render
from petl_bench.render.flat import distinct
from petl_bench.system.texts import clean, name

pytestmark = pytest.mark.slow

#: How docs/tables.md says that both forms of CSV are read.
AS_IT_IS = {"keep_default_na": False, "na_values": ""}


def _frame(table: Table, output_format: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(render(table, output_format)), **AS_IT_IS)


def _with_intervals(runs: Path) -> Table:
    source = TABLES.get("base2novel")()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    return table


def _small(text: str, number: float = 1.5) -> Table:
    """A table with a text in every place that can have one."""
    cells = (Cell(number, 0.25, 3, marks=(text,) if text.strip() else ()), Cell(text), Cell(origin="absent"))
    rows = (
        Row(text, cells, (text,) if text.strip() else (), text, (("method", text), ("backbone", text), (text, text))),
        Row(text, (Cell(number, origin="quoted", source=text), Cell(text), Cell(-number)), ("quoted",)),
    )
    columns = (Column(text, text), Column(text), Column("HM", text, display=text))
    return Table(text, text, text, columns, (RowGroup(text, rows, text), RowGroup("other", rows)), (text,), ())


# What stands there


def test_csv_has_one_row_per_configuration_with_what_it_is(example: Path) -> None:
    frame = _frame(_with_intervals(example), "csv")
    own = frame[frame["origin"] == "run"].set_index("row")
    assert list(own.index) == [
        "zero_shot",
        "lora",
        "msta (bottleneck_dim=16)",
        "msta (bottleneck_dim=32)",
        "full_finetune",
    ]
    assert set(own["setting"]) == {"base2novel"} and set(own["backbone"]) == {"viclip-tiny"}
    assert own.loc["msta (bottleneck_dim=32)", ["method", "msta.bottleneck_dim", "group"]].tolist() == [
        "msta",
        32,
        "parameter-efficient",
    ]
    assert own["msta.bottleneck_dim"].isna().sum() == 3
    lora = own.loc["lora"]
    assert lora["ucf101 Base"] == pytest.approx(90 + 1 / 3) and lora["ucf101 Base std"] == pytest.approx(1 / 3)
    assert lora["ucf101 Base runs"] == 3
    assert lora["ucf101 Base interval low"] < lora["ucf101 Base"] < lora["ucf101 Base interval high"]
    assert "motion HM delta" not in frame.columns and "motion HM origin" not in frame.columns, "no row has some"


def test_csv_says_of_quoted_rows_that_they_are(example: Path) -> None:
    frame = _frame(table_of(example, "base2novel", published=True), "csv")
    quoted = frame[frame["origin"] == "quoted"]
    assert len(quoted) == 13 + 9 and set(quoted["method"]) == set(quoted["row"])
    assert set(quoted["source"]) == {"MSTA (CVPR 2025), Table 2", "FROSTER (ICLR 2024), README Table 1"}
    assert set(quoted["marks"]) == {"quoted"} and quoted["backbone"].isna().all()


def test_tidy_has_one_number_per_line_with_its_origin(example: Path) -> None:
    lines = _frame(_with_intervals(example), "tidy")
    numbers = lines[(lines.column_group == "ucf101") & (lines.column == "Base")]
    (one,) = numbers[numbers.row == "lora"].to_dict("records")
    assert float(one["value"]) == pytest.approx(90 + 1 / 3) and one["standard_deviation"] == pytest.approx(1 / 3)
    assert (one["runs"], one["origin"], one["rank"] == one["rank"]) == (3, "run", False)
    assert len(one["trials"].split()) == 3
    assert one["interval_low"] < float(one["value"]) < one["interval_high"]
    quoted = lines[lines["origin"] == "quoted"]
    assert len(quoted) == (13 + 9) * 3
    assert set(quoted["source"]) == {"MSTA (CVPR 2025), Table 2", "FROSTER (ICLR 2024), README Table 1"}


def test_markdown_says_once_what_rows_share_and_has_columns_for_the_rest(example: Path) -> None:
    text = render(table_of(example, "base2novel", published=True), "markdown")
    assert "\nRows run here: backbone ViCLIP-Tiny, weights packaged, setting Base-to-novel generalisation.\n" in text
    header = next(line for line in text.splitlines() if line.startswith("|"))
    assert [each.strip() for each in header.split("|")[1:5]] == ["Method", "Bottleneck dim", "Group", "Trained M"]
    (row,) = (line for line in text.splitlines() if re.match(r"\| MSTA +\| 32 ", line))
    cells = [each.strip().replace("\u00a0", " ") for each in row.split("|")]
    assert (cells[3], cells[-2]) == ("Parameter-efficient", "Run here")
    (row,) = (line for line in text.splitlines() if re.match(r"\| MSTA \\\[Q\\\] +\| +\| efficient-transfer ", line))
    assert row.replace("\u00a0", " ").endswith("| Quoted: MSTA (CVPR 2025), Table 2           |")


def test_markdown_has_a_column_for_what_differs(example: Path, store: object) -> None:
    assert callable(store)
    store(50.0, 50.0, "lora", 0, backbone="viclip-b16", hyper_parameters={"rank": 4})
    text = render(table_of(example, "base2novel"), "markdown")
    assert re.search(r"\n\| Method +\| Bottleneck dim +\| Group +\| Backbone +\| +Trained M ", text)
    assert "\nAll rows: weights packaged, setting Base-to-novel generalisation, origin Run here.\n" in text


@pytest.mark.parametrize("kind", ["viclip-tiny (packaged weights), 4 x 3 views", "H200, bf16"])
def test_no_title_is_lost(kind: str) -> None:
    rows = (Row("lora", (Cell(1.0),), facts=(("method", "lora"),)), Row("other", (Cell(2.0),)))
    table = Table("t", "T", "Method", (Column("A"),), (RowGroup(kind, rows), RowGroup(f"{kind} again", rows)))
    check_markdown(table)


def test_a_heading_that_is_no_origin_is_not_called_one() -> None:
    """As a layout makes them: headings of the user's own, and rows and columns exchanged."""
    run = Row("lora", (Cell(1.0),), facts=(("method", "lora"),))
    quoted = Row("X", (Cell(2.0, origin="quoted", source="Smith (2025)"),), ("quoted",))
    columns = (Column("A"),)
    own = render(Table("t", "T", "Method", columns, (RowGroup("Efficient", (run, quoted)),)), "markdown")
    assert "All rows: group Efficient." in own
    (row,) = (line.replace("\u00a0", " ") for line in own.splitlines() if line.startswith("| X"))
    assert row.endswith("| Quoted: Smith (2025) |")
    (row,) = (line.replace("\u00a0", " ") for line in own.splitlines() if line.startswith("| LoRA"))
    assert row.endswith("| Run here             |")
    exchanged = render(Table("t", "T", "", columns, (RowGroup("HM", (Row("HMDB-51", (Cell(1.0),)),)),)), "markdown")
    assert "All rows: group HM." in exchanged and "origin" not in exchanged.lower()


def test_a_variant_has_the_name_that_it_has_elsewhere() -> None:
    rows = [
        Row(f"msta (rank={rank})", (Cell(50.0, rank=place),), (), shown, (("method", "msta"), ("msta.rank", rank)))
        for rank, place, shown in (("4", "best", "MSTA"), ("8", "second", "MSTA + L_CC (rank 8)"))
    ]
    text = render(Table("t", "T", "Method", (Column("HM"),), (RowGroup("Run here", tuple(rows)),)), "markdown")
    assert re.search(r"\n\| MSTA +\| 4 +\| +\*\*50.0\*\* \|", text)
    assert re.search(r"\n\| MSTA \+ L\\_CC +\| 8 +\| +<ins>50.0</ins> \|", text)


def test_a_label_that_is_not_of_the_method_has_a_column() -> None:
    facts = {rank: (("method", "lora"), ("lora.rank", rank)) for rank in ("4", "8")}
    rows = (Row("rank=4", (Cell(1.0),), facts=facts["4"]), Row("lora (rank=8)", (Cell(1.0),), facts=facts["8"]))
    text = render(Table("t", "T", "Value", (Column("A"),), (RowGroup("g", rows),)), "markdown")
    assert re.search(r"\n\| Method +\| Value +\| +A \| Rank +\|\n", text)
    assert "rank=4" in text and "rank=8" not in text


def test_without_rows_there_is_a_header() -> None:
    table = Table("t", "T", "Method", (Column("A"),), ())
    assert "| Method   | A   |" in render(table, "markdown")
    assert render(table, "csv") == "row,name,group,heading,origin,source,marks,A\n"
    assert render(table, "tidy").count("\n") == 1


def test_sixty_methods_on_twelve_data_sets() -> None:
    columns = tuple(Column(label, f"data{index}") for index in range(12) for label in ("Base", "Novel", "HM"))
    rows = tuple(Row(f"m{i}", tuple(Cell(i + j / 7, 0.1, 3) for j in range(36))) for i in range(60))
    table = Table("t", "T", "Method", columns, (RowGroup("g", rows),))
    for check in (check_markdown, check_csv, check_tidy):
        check(table)
    assert _frame(table, "csv").shape == (60, 7 + 36 * 3)


def test_the_ending_of_a_name_tells_the_two_forms_of_csv_apart() -> None:
    assert format_of(Path("a.csv")) == "csv"
    assert format_of(Path("a.tidy.csv")) == format_of(Path("A.Tidy.CSV")) == "tidy"


# Texts stay texts

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "＝1", "'=1", "plain", "a=1", ""]
FORMULAS += ["a;=1", "a; @SUM(1)", "a;;+1", "a;'b", "-2;=1"]


def _original(cell: str) -> str:
    """What docs/tables.md says of the apostrophes."""
    return re.sub(r"(^|;\s*)'", r"\1", cell)


@pytest.mark.parametrize("output_format", ["csv", "tidy"])
@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_a_csv_is_a_formula_and_every_text_can_be_had_back(text: str, output_format: str) -> None:
    rendered = render(_small(text, -1.5), output_format)
    for line in csv.reader(io.StringIO(rendered)):
        for cell in line:
            assert not re.match(r"[=+@\t\r＝]|-(?!1\.5$)", cell)
            assert not re.search(r";\s*[=+@＝-]", cell)
    for line in csv.DictReader(io.StringIO(rendered)):
        assert _original(line["row"]) == clean(text)
    assert "-1.5" in rendered  # numbers stay numbers


def test_a_negative_setting_is_a_number() -> None:
    row = Row("a", (Cell(1.0),), facts=(("method", "a"), ("a.shift", "-0.5"), ("a.other", "-1+1")))
    frame = _frame(Table("t", "T", "Method", (Column("A"),), (RowGroup("g", (row,)),)), "csv")
    assert frame["a.shift"].tolist() == [-0.5] and frame["a.other"].tolist() == ["'-1+1"]


@given(st.lists(st.sampled_from(["HM", "HM (2)", "", "column", "HM std"])))
def test_no_two_headers_are_the_same(headers: list[str]) -> None:
    found = distinct(headers)
    assert len(set(found)) == len(headers) == len(found) and all(found)
    assert found == headers or len(set(headers)) < len(headers) or "" in headers


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_csv_comes_back_as_it_was(text: str, number: float) -> None:
    table = _small(text, number)
    lines = list(csv.reader(io.StringIO(render(table, "csv"))))
    assert len({len(line) for line in lines}) == 1 and len(set(lines[0])) == len(lines[0])
    frame = _frame(table, "csv")
    assert list(frame.columns) == lines[0] and len(frame) == 4
    assert frame["origin"].tolist() == ["run", "quoted"] * 2
    for place, cell in enumerate(table.groups[0].rows[1].cells):
        column = lines[0].index("marks") + 1 + place
        got = frame.iloc[1, column]
        if isinstance(cell.value, str):
            assert _original(lines[2][column]) == clean(cell.value)
        else:
            assert got == cell.value


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_tidy_comes_back_as_it_was(text: str, number: float) -> None:
    table = _small(text, number)
    lines = list(csv.DictReader(io.StringIO(render(table, "tidy"))))
    cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
    for line, cell in zip(lines, cells, strict=True):
        assert _original(line["row"]) == clean(text)
        if isinstance(cell.value, str):
            assert _original(line["value"]) == clean(cell.value)
        else:
            assert line["value"] == ("" if cell.value is None else str(cell.value))


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _cells(text: str) -> list[list[Token]]:
    """What a reader of Markdown finds in the cells of the one table of a document, row by row."""
    tokens = MARKDOWN.parse(text)
    assert [token.type for token in tokens].count("table_open") == 1
    rows: list[list[Token]] = []
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            rows[-1].append(token)
    return rows


@given(st.text().filter(lambda text: text not in METHODS))  # the name of a method is written out for readers
@settings(deadline=None)
def test_no_text_breaks_a_row_of_markdown_or_becomes_more_than_text(text: str) -> None:
    table = _small(text)
    table = replace(table, groups=tuple(replace(each, rows=each.rows[::-1]) for each in table.groups))
    header, *rows = _cells(markdown.render(table))
    assert len(rows) == 4 and all(len(row) == len(header) for row in rows)
    for cell in (cell for row in [header, *rows] for cell in row):
        assert {child.type for child in cell.children or ()} <= {"text", "text_special"}
    for row in rows:
        shown = ["".join(child.content for child in cell.children or ()) for cell in row]
        assert shown[0].startswith(name(text)[:-1]) and name(text) in shown[1:]


ACTIVE = ["[a](javascript:e)", "<b>x</b>", "https://example.com", "www.example.com", "a\\|b", "`|`", "&lt;", "![i](x)"]


@pytest.mark.parametrize("text", ACTIVE)
def test_markdown_has_no_links_and_no_html_of_a_text(text: str) -> None:
    rendered = render(_small(text), "markdown")
    assert not re.search(r"<b>|(?<!\\)://|www\.|(?<!\\)\]\(", rendered)
    for cell in (cell for row in _cells(rendered) for cell in row):
        assert {child.type for child in cell.children or ()} <= {"text", "text_special"}
