from __future__ import annotations

import html.parser
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_back import check_csv, check_markdown, check_terminal, check_tidy, in_html, in_latex, shown_in, shown_in_latex
from rich.console import Console

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.errors import UsageError
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.render import FORMATS, format_of, latex, markdown, render, terminal
from petl_bench.render.options import DocumentKind, LatexOptions
from petl_bench.render.parts import parts_of
from petl_bench.system import texts
from petl_bench.system.texts import clean

pytestmark = pytest.mark.slow

GOLDENS = Path(__file__).parents[1] / "goldens"
NASTY = r"""a|b_c $x^2$ \input{/etc/passwd} <script>alert("1")</script> {%} #&~ [x]* `y` --- ''q'' \\"""


def _example(runs: Path, name: str = "base2novel") -> Table:
    source = TABLES.get(name)()
    table: Table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    return table


def _nasty(label: str = NASTY) -> Table:
    columns = (Column("Base", label), Column("HM", label))
    rows = (
        Row(label, (Cell(81.25, 0.5, 3, rank="best", marks=("random-weights", label)), Cell("x" + label))),
        Row(
            "* starred",
            (Cell(None, origin="absent", source=label), Cell(1.0, origin="quoted", source=label)),
            ("quoted",),
        ),
        Row("[bracketed]", (Cell(2.0, rank="second"), Cell(3.0))),
    )
    return Table("nasty", label, label, columns, (RowGroup(label, rows),), (label, "日本 Łódź Ğ éèñçĳ ß → λ"))


#: table -> the fixture with its example records
EXAMPLES = {
    "base2novel": "example",
    "few_shot": "few_shot_example",
    "zero_shot": "zero_shot_example",
    "fully_supervised": "fully_supervised_example",
    "tradeoff": "tradeoff_example",
    "frontier": "frontier_example",
    "ablation": "ablation_example",
    "descriptions": "descriptions_example",
    "reproduction": "reproduction_example",
    "published_harmonic_means": "example",
}


#: A table with everything that a table may have: it stands for all of them in the golden file of each format.
EVERYTHING = Table(
    "everything",
    "Every kind of cell",
    "Method",
    (Column("M", "Trained", ".3g"), Column("Base", "motion"), Column("ms", "motion", ".2f", lower_is_better=True)),
    (
        RowGroup(
            "Run here: viclip-tiny (packaged weights)",
            (
                Row("zero_shot", (Cell(0.0), Cell(40.0, 0.0, 3, rank="second", trials=("a" * 64,)), Cell("yes"))),
                Row(
                    "msta (scale=0.01)",
                    (
                        Cell(0.054321),
                        Cell(81.25, 1.5, 3, rank="best", alike=True, delta=41.25, interval=(70.0, 90.0)),
                        Cell(12.3456, marks=("random-weights", "partial-seeds"), delta=-0.001),
                    ),
                    ("a mark of a plugin",),
                ),
            ),
            "parameter-efficient",
        ),
        RowGroup(
            "Quoted: A Paper (2025), Table 1",
            (
                Row(
                    "MSTA + L_CC",
                    (Cell(origin="absent", source="not in A Paper"), Cell(79.5, 0.25, origin="quoted"), Cell(7.0)),
                    ("quoted",),
                ),
            ),
        ),
    ),
    ("Numbers: mean ± sample standard deviation over seeds 0, 1, 2.", "Best and second: among complete rows."),
    ("petl-bench run --methods msta --seeds 3",),
)


def _is_golden(name: str, text: str) -> bool:
    """After a wanted change: PETL_BENCH_WRITE_GOLDENS=1 pytest tests/reports, and look at the difference."""
    golden = GOLDENS / name
    if os.environ.get("PETL_BENCH_WRITE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    return text == golden.read_text(encoding="utf-8")


def _by_row(table: Table) -> str:
    """The JSON of a table with one line for each column, row and mark."""
    document = json.loads(render(table, "json"))
    lines: list[str] = []

    def line(value: Any) -> str:
        lines.append(json.dumps(value, ensure_ascii=False))
        return f"<line {len(lines) - 1}>"

    document["columns"] = [line(column) for column in document["columns"]]
    document["groups"] = [{**group, "rows": [line(row) for row in group["rows"]]} for group in document["groups"]]
    document["marks"] = {word: line(mark) for word, mark in document["marks"].items()}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    return re.sub(r'"<line (\d+)>"', lambda found: lines[int(found[1])], text) + "\n"


@pytest.mark.parametrize("output_format", list(FORMATS))
def test_a_table_with_everything_is_byte_for_byte_the_golden_of_each_format(output_format: str) -> None:
    assert _is_golden(f"report_everything{FORMATS[output_format][0]}", render(EVERYTHING, output_format))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_table_is_its_golden_and_every_format_shows_all_of_it(name: str, request: pytest.FixtureRequest) -> None:
    table = _example(request.getfixturevalue(EXAMPLES[name]), name)
    assert _is_golden(f"report_{name}.json", _by_row(table))
    _check_formats(table)


CHECKS = (check_terminal, check_markdown, check_csv, check_tidy)


def _check_formats(table: Table) -> None:
    shown = shown_in(table)
    assert in_html(table) == shown
    assert in_latex(table) == shown_in_latex(table)
    for check in CHECKS:
        check(table)


def test_a_number_in_a_wrong_place_would_be_noticed() -> None:
    _check_formats(EVERYTHING)
    for wrong in _wrong(EVERYTHING):
        assert in_html(wrong) != shown_in(EVERYTHING)
        assert in_latex(wrong) != shown_in_latex(EVERYTHING)
        for check in CHECKS:
            with pytest.raises(AssertionError):
                check(EVERYTHING, wrong)


def _wrong(table: Table) -> Iterator[Table]:
    """The table with two cells exchanged, another digit, without a sign, a rank or a mark, and without a row."""
    first, *others = table.groups
    zero, (label, cells, marks) = first.rows[0], (first.rows[1].label, first.rows[1].cells, first.rows[1].marks)
    for row in (
        Row(label, (cells[0], cells[2], cells[1]), marks),
        Row(label, (cells[0], replace(cells[1], value=81.35), cells[2]), marks),
        Row(label, (cells[0], replace(cells[1], alike=False), cells[2]), marks),
        Row(label, (cells[0], replace(cells[1], rank=""), cells[2]), marks),
        Row(label, (*cells[:2], replace(cells[2], marks=("random-weights",))), marks),
    ):
        yield replace(table, groups=(replace(first, rows=(zero, row)), *others))
    yield replace(table, groups=(replace(first, rows=(zero,)), *others))


@pytest.mark.parametrize("output_format", list(FORMATS))
def test_hostile_text_stays_text(output_format: str) -> None:
    text = render(_nasty(), output_format)
    assert text.endswith("\n")
    assert "\x1b" not in render(_nasty("red \x1b[31m \x07 \r\n bell"), output_format).replace("\\u001b", "")


def test_markdown_keeps_its_columns(example: Path) -> None:
    for table in (_nasty(), _example(example)):
        lines = [line for line in markdown.render(table).splitlines() if line.startswith("|")]
        (bars,) = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines}
        assert bars >= len(table.columns) + 2


@given(st.text())
def test_markdown_escapes_every_bar(text: str) -> None:
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", markdown.escape(text))


@given(st.text())
def test_latex_is_ascii_and_every_special_character_is_escaped(text: str) -> None:
    escaped = latex.escape(text)
    assert escaped.isascii()
    allowed = re.sub(
        r"\\[{}$&#%_]|\\[a-zA-Z]+\{\}|\\char96|\\[a-zA-Z`'^~=.\"]\{\\?[a-zA-Z]\}|\\texttt\{U\+[0-9A-F]+\}", "", escaped
    )
    allowed = re.sub(r"\$(\\[a-zA-Z]+|\^[23]|\^\\circ|-)\$", "", allowed)
    assert not re.search(r"[\\$&#%_^~<>|\"`]", allowed)
    assert "--" not in escaped


@given(st.text())
def test_cleaned_text_is_one_line_without_control_characters(text: str) -> None:
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", clean(text))


def compiled(tmp_path: Path, text: str) -> str:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-base texlive-latex-recommended)")
    (tmp_path / "table.tex").write_text(text, encoding="ascii")
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000
    return done.stdout


#: What stands before the text of documents that take in fragments: as wide as those of CVPR, as LNCS, and as beamer's
#: slides of 4 : 3, which are set as an article here, since beamer is rarely installed.
PREAMBLES: dict[DocumentKind, str] = {
    "two-column": r"""\documentclass[10pt,twocolumn]{article}
\usepackage[textwidth=17.46cm,textheight=22.54cm,columnsep=.79cm]{geometry}""",
    "one-column": r"""\documentclass[10pt]{article}
\usepackage[textwidth=12.2cm,textheight=19.3cm]{geometry}""",
    "slides": r"""\documentclass[11pt]{article}
\usepackage[papersize={12.8cm,9.6cm},textwidth=10.8cm,textheight=7.9cm,noheadfoot]{geometry}
\renewcommand{\familydefault}{\sfdefault}""",
}


def document_of(kind: DocumentKind, fragments: Sequence[str]) -> str:
    """A document that takes in fragments of LaTeX."""
    between = "\nText.\n\\clearpage\n"
    start = f"{PREAMBLES[kind]}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n"
    return start + between.join(fragments) + between + "\\end{document}\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_latex_compiles_as_it_is_and_fits_the_page(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    table = _example(request.getfixturevalue(EXAMPLES[name]), name)
    log = compiled(tmp_path, latex.render(table, LatexOptions(standalone=True)))
    assert "Overfull" not in log and "Float too large" not in log


@pytest.mark.parametrize("kind", PREAMBLES)
def test_fragments_of_all_tables_fit_their_documents(
    kind: DocumentKind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tables = [_example(request.getfixturevalue(runs), name) for name, runs in EXAMPLES.items()]
    fragments = [latex.render(table, LatexOptions(document=kind)) for table in tables]
    log = compiled(tmp_path, document_of(kind, fragments))
    assert "Overfull" not in log and "Float too large" not in log and "multiply defined" not in log
    for text in fragments:
        assert not re.search(r"\\(tiny|resizebox|scalebox|documentclass|usepackage)\b", re.sub("(?m)^%.*", "", text))


@pytest.mark.parametrize("standalone", [True, False])
def test_latex_compiles_with_hostile_text(standalone: bool, tmp_path: Path) -> None:
    options = LatexOptions(standalone=standalone, caption=NASTY, label="tab:a_b")
    text = latex.render(replace(_nasty(), provenance=(NASTY, "日本 \r\n\\end{document}")), options)
    compiled(tmp_path, text if standalone else document_of("two-column", [text]))


def test_json_keeps_everything(example: Path) -> None:
    table = json.loads(render(_example(example), "json"))
    assert table["schema"] == 2
    rows = {row["label"]: row for group in table["groups"] for row in group["rows"]}
    cell = rows["lora"]["cells"][2]
    low, high = cell.pop("interval")
    assert 0 < low < 81.0 < high <= 100, "eight clips"
    assert len(cell.pop("trials")) == 3
    assert cell == {
        "value": 81.0,
        "std": 1.0,
        "n": 3,
        "origin": "run",
        "source": "",
        "rank": "second",
        "marks": [],
        "delta": None,
        "alike": True,
    }
    assert table["marks"]["quoted"]["symbol"] == "Q"
    assert len(table["commands"]) == 2


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attributes if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_is_self_contained_and_escaped(example: Path) -> None:
    page = _Page()
    page.feed(render(_nasty(), "html"))
    assert "script" not in page.tags
    assert clean(NASTY) in "".join(page.text)
    assert "http" not in render(_example(example), "html")


def _wide(groups: int, of: int) -> Table:
    """Rows of `groups` column groups with `of` long numbers each: "a" has all of them, "b" the last group, "c" none."""
    columns = [Column("M", "Trained"), *(Column(f"k{k}", f"set{g}") for g in range(groups) for k in range(of))]
    cell, blank = Cell(12345678901234.5), Cell(origin="absent")
    rows = {"a": [cell] * len(columns), "b": [cell, *[blank] * ((groups - 1) * of), *[cell] * of]}
    rows["c"] = [cell, *[blank] * (groups * of)]
    return Table(
        "t", "T", "", tuple(columns), (RowGroup("g", tuple(Row(k, tuple(cells)) for k, cells in rows.items())),)
    )


def test_a_wide_table_has_its_rows_in_the_parts_that_have_numbers_of_them() -> None:
    assert parts_of(_wide(2, 3)) == [_wide(2, 3)]
    parts = parts_of(_wide(5, 3))
    assert [[column.full for column in part.columns] for part in parts] == [
        ["Trained M", *(f"set{g} k{k}" for g in sets for k in range(3))] for sets in ((0, 1), (2, 3), (4,))
    ]
    assert [[row.label for group in part.groups for row in group.rows] for part in parts] == [
        ["a", "c"],
        ["a"],
        ["a", "b"],
    ]
    assert render(_wide(5, 3), "html").count("Trained") == 3
    assert render(_wide(5, 3), "latex").count("Trained") == 1, "again only if that takes no part more"
    assert render(_wide(5, 3), "markdown").count("Trained") == 1, "one row per configuration"


def test_a_column_group_that_is_too_wide_by_itself_is_broken() -> None:
    parts = parts_of(_wide(1, 12))
    assert [len(part.columns) for part in parts] == [1 + 6, 1 + 6]


def test_a_narrow_terminal_gets_parts_and_no_number_is_cut(example: Path) -> None:
    table = _example(example)
    text = terminal.render(table)
    for row in table.groups[0].rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            if isinstance(cell.value, float) and cell.std is not None:
                assert f"{column.text(cell.value)} ± {column.text(cell.std)}" in text
    assert text.count("Method") == 2
    assert "…" not in text


def test_a_wide_terminal_gets_one_part(example: Path) -> None:
    buffer = io.StringIO()
    terminal.show(_example(example), Console(file=buffer, width=200, color_system=None))
    assert buffer.getvalue().count("Method") == 1


def test_a_usual_table_fits_eighty_columns(store: Any, runs: Path) -> None:
    for method in ("zero_shot", "full_finetune", "lora", "adaptformer", "msta"):
        for seed in range(2):
            store(80.0 + seed, 45.0 - seed, method, seed)
    text = terminal.render(_example(runs))
    assert text.count("Method") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_styles_on_a_terminal_and_signs_elsewhere(example: Path) -> None:
    buffer = io.StringIO()
    terminal.show(_example(example), Console(file=buffer, width=200, force_terminal=True, no_color=True))
    assert re.search(r"\x1b\[1m=?83\.0 ± 1\.0", buffer.getvalue())
    assert re.search(r"\x1b\[4m=?81\.0 ± 1\.0", buffer.getvalue())
    assert "*=83.0 ± 1.0" in terminal.render(_example(example))
    assert "+=81.0 ± 1.0" in terminal.render(_example(example))


def test_markup_in_a_name_is_not_interpreted() -> None:
    assert "[bold]msta[/bold]" in terminal.render(_nasty("[bold]msta[/bold]"))


def test_the_suffix_decides_the_format() -> None:
    assert format_of(Path("table.TEX")) == "latex"
    assert format_of(Path("a.b.html")) == "html"
    with pytest.raises(UsageError, match="--format"):
        format_of(Path("table.docx"))


@pytest.mark.parametrize("output_format", list(FORMATS))
def test_a_long_name_is_shortened_for_people_and_whole_for_programs(output_format: str) -> None:
    long = "n" * 5_000
    rows = (Row(long, (Cell(1.0), Cell(long)), (long,)),)
    text = render(Table("t", "Title", long, (Column(long, long), Column("B")), (RowGroup(long, rows),)), output_format)
    assert (long in text) is (output_format in ("csv", "tidy", "json"))
    assert "n" * 100 in text or output_format == "terminal"  # which breaks it into lines


@given(st.text())
def test_what_is_shown_has_nothing_that_a_terminal_obeys(text: str) -> None:
    unsafe = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
    assert not re.search(unsafe, clean(text) + texts.lines(text) + texts.escaped_json(text))
    document = json.dumps([text], ensure_ascii=False)
    assert json.loads(texts.escaped_json(document)) == [text]


def test_a_document_of_any_text_can_be_written() -> None:
    rows = (Row("\ud800\x9b", (Cell(1.0),)),)
    for output_format in FORMATS:
        render(Table("t", "\ud800", "\udfff", (Column("\ud800"),), (RowGroup("g", rows),)), output_format).encode()
