r"""What a paper takes in by `\input`: options, bad input, and everything behind the table."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_renderers import EVERYTHING, NASTY, compiled, document_of

from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.errors import UsageError
from petl_bench.render import FORMATS, latex, render, render_provenance
from petl_bench.render.latex_text import SPECIAL, escape
from petl_bench.render.options import LatexOptions
from tests.commands import petl_bench

pytestmark = pytest.mark.slow
KEYS = ("a" * 64, "b" * 64)


@pytest.fixture
def store(exact_store: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_store


def _large(methods: int, datasets: int) -> Table:
    draw = random.Random(0)
    columns = [Column("M", "Trained", ".3g")]
    columns += [Column(label, f"set {index}") for index in range(datasets) for label in ("Base", "Novel", "HM")]

    def cell(rank: int) -> Cell:
        return Cell(100 * draw.random(), draw.random(), 3, rank="best" if rank == 0 else "", trials=KEYS)

    rows = [
        Row(f"method {index}, rank={index}, scale=0.{index}", (Cell(1.5), *map(cell, [index] * (3 * datasets))))
        for index in range(methods)
    ]
    return Table("large", "Title", "Method", tuple(columns), (RowGroup("Run here", tuple(rows)),), ("A note.",))


def test_sixty_methods_on_twelve_data_sets_still_work(tmp_path: Path) -> None:
    table = _large(60, 12)
    text = render(table, "latex")
    log = compiled(tmp_path, document_of("two-column", [text]))
    assert "Overfull" not in log and "Float too large" not in log
    assert sum(len(part.groups[0].rows) for part in latex.parts(table)) == 60 * len(latex.parts(table))
    parts, pages = latex.remarks(table)
    assert "leave out columns (--layout), or the spread (--no-spread)" in parts and "longer than a page" in pages
    assert len(latex.parts(table, LatexOptions(spread=False))) < len(latex.parts(table))


def test_a_title_of_neighbouring_groups_is_said_once_and_again_on_a_further_page() -> None:
    table = _large(60, 1)
    rows = table.groups[0].rows
    table = replace(table, groups=(RowGroup("Run here", rows[:2], "frozen"), RowGroup("Run here", rows[2:], "adapted")))
    text = render(table, "latex")
    title, *sections = (
        rf"\multicolumn{{5}}{{@{{}}l@{{}}}}{{\textit{{{each}}}}} \\" for each in ("Run here", "frozen", "adapted")
    )
    assert f"\\midrule\n{title}\n{sections[0]}\n" in text and f"\\addlinespace\n{sections[1]}\n" in text
    assert text.count(title) == 1
    slides = latex.render(table, LatexOptions(document="slides"))
    pages = slides.count(r"\begin{table}")
    assert pages > 2 and slides.count(r"\ifdefined\framebreak\framebreak\fi") == pages - 1
    assert "\nTable, continued (2 of" in slides and slides.count("{\\textit{Run here, adapted}}") >= pages - 2


def test_families_stand_with_a_capital_and_quoted_sections_as_their_source_has_them() -> None:
    rows = _large(2, 1).groups[0].rows
    quoted = tuple(replace(row, marks=("quoted",)) for row in rows)
    groups = [
        RowGroup(title, some, section)
        for title, some in (("Run here", rows), ("Quoted: X", quoted))
        for section in ("zero-shot", "parameter-efficient")
    ]
    table = replace(_large(2, 1), groups=tuple(groups))
    text = render(table, "latex")
    assert "\n\\addlinespace\n" in text and text.count("{\\textit{Parameter-efficient}") == 1
    assert text.count("{\\textit{Zero-shot}") == 1 and text.count("{\\textit{zero-shot}") == 1
    for output_format in ("terminal", "markdown"):
        lines = render(table, output_format).splitlines()
        assert any("Parameter-efficient" in line for line in lines), output_format
        assert any("parameter-efficient" in line for line in lines), output_format


def test_fewer_columns_never_make_more_slides() -> None:
    table = replace(_large(9, 2), title="Base-to-novel generalisation: top-1 accuracy in percent, 16 shots")
    rows = table.groups[0].rows
    families = (("zero-shot", rows[:1]), ("training-free", rows[1:2]), ("parameter-efficient", rows[2:]))
    title = "Run here: ViCLIP-Tiny, packaged weights of a long name"
    table = replace(table, groups=tuple(RowGroup(title, some, family) for family, some in families))
    few = replace(
        table,
        columns=table.columns[:2],
        groups=tuple(
            replace(group, rows=tuple(replace(row, cells=row.cells[:2]) for row in group.rows))
            for group in table.groups
        ),
    )
    slides = [latex.render(each, LatexOptions(document="slides")).count(r"\begin{table}") for each in (few, table)]
    assert slides[0] <= slides[1] and slides[0] <= 2
    (remark,) = [each for each in latex.remarks(table, LatexOptions(document="slides")) if "longer than" in each]
    assert remark.startswith(f"longer than a slide: it is set on {slides[1]} slides;")


def test_rows_are_a_little_higher_than_their_lines() -> None:
    assert r"\renewcommand{\arraystretch}{1.07}" in render(_large(2, 1), "latex")


def test_long_labels_of_rows_are_broken_before_the_table_is() -> None:
    rows = [
        Row(f"a method with quite a long name, its number is {index}", (Cell(50.0, 1.0),) * 10) for index in range(3)
    ]
    columns = [Column(label, f"set {index}") for index in range(5) for label in ("Base", "HM")]
    table = Table("t", "T", "Method", tuple(columns), (RowGroup("g", tuple(rows)),))
    assert len(latex.parts(table)) == 1 and r"\hangindent" in render(table, "latex")


@pytest.mark.parametrize(
    "table",
    [
        Table("empty", "Title", "Method", (), ()),
        Table("empty", "Title", "Method", (Column("Base", "motion"), Column("HM", "motion")), ()),
        Table("empty", "Title", "Method", (Column("Base"),), (RowGroup("Run here", ()),)),
        Table("", "", "", (Column("Base"),), (RowGroup("", (Row("", (Cell(),)),)),)),
    ],
)
def test_a_table_without_rows_or_columns_compiles(table: Table, tmp_path: Path) -> None:
    texts = [latex.render(replace(table, name=f"{table.name}{kind}"), LatexOptions()) for kind in "ab"]
    compiled(tmp_path, document_of("two-column", texts))
    for output_format in FORMATS:
        render(table, output_format)


@pytest.mark.parametrize(
    ("text", "latex_form"),
    [
        ("“Ours”†", r"\textquotedblleft{}Ours\textquotedblright{}\dag{}"),
        ("R@1 ↑ ≥ Δ", r"R@1 $\uparrow$ $\geq$ $\Delta$"),
        ("Mu\u0308ller", r"M\"{u}ller"),
        ("a,,b", "a,{},b"),
        ("北", r"\texttt{U+5317}"),
    ],
)
def test_what_people_type_is_set_as_they_typed_it(text: str, latex_form: str, tmp_path: Path) -> None:
    assert escape(text) == latex_form
    compiled(tmp_path, rf"\documentclass{{article}}\begin{{document}}{latex_form}\end{{document}}")


def test_every_special_sign_is_known_to_plain_latex(tmp_path: Path) -> None:
    text = " ".join(map(escape, SPECIAL))
    compiled(tmp_path, rf"\documentclass{{article}}\begin{{document}}{text}\end{{document}}")


def test_a_method_is_written_alike_on_every_page_and_in_the_notes() -> None:
    name = "MSTA + L_CC"
    run = Row("msta", (Cell(1.0),), display=name, facts=(("method", "msta"),))
    quoted = tuple(
        Row(f"{name} {index}", (Cell(2.0, origin="quoted", source="S"),), ("quoted",)) for index in range(40)
    )
    groups = (RowGroup("Run here", (run,)), RowGroup("Quoted: S", quoted))
    table = Table("t", "T", "Method", (Column("HM"),), groups, (f"Quoted from S: {name}.",))
    text = latex.render(table, LatexOptions(document="slides"))
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert shown.count("framebreak") >= 2 and shown.count(r"$\mathcal{L}_{CC}$") == 42 and r"L\_CC" not in shown


def test_without_notes_nothing_stands_below() -> None:
    table = Table("t", "T", "Method", (Column("HM"),), (RowGroup("g", (Row("a", (Cell(1.0),)),)),))
    assert "minipage" not in latex.render(table)
    assert "minipage" in latex.render(replace(table, footers=("A note.",)))


def test_a_column_that_is_too_wide_is_named() -> None:
    row = Row("msta", (Cell("long " * 39), Cell(1.0)))
    table = Table("t", "T", "Method", (Column("Text"), Column("HM")), (RowGroup("g", (row,)),))
    assert latex.remarks(table)[-1] == "wider than 17.4 cm by themselves, leave them out (--layout): Text"
    assert "leave them out (--layout): Text" in render(table, "latex")


def test_caption_and_label_are_the_users_and_harmless() -> None:
    text = latex.render(EVERYTHING, LatexOptions(caption=r"\input{x} 50 %", label="tab:mine"))
    assert "\\caption{\\textbackslash{}input\\{x\\} 50 \\%}\n\\label{tab:mine}\n" in text
    assert "\\caption{Every kind of cell}\n\\label{tab:everything}\n" in render(EVERYTHING, "latex")
    assert r"\label{tab:everything}: other files of this table have the same one" in render(EVERYTHING, "latex")
    for label in ("", "a b", "a}b", "a\\b", "a%b", "ä"):
        with pytest.raises(UsageError, match="--label"):
            LatexOptions(label=label)


def test_hostile_text_stays_in_comments() -> None:
    table = replace(
        EVERYTHING, footers=(NASTY,), provenance=("one\n\\input{x}", "two\r\u2028\\end{document}"), name=NASTY
    )
    text = render(table, "latex")
    assert text.isascii()
    before = text.partition("\\begin{table")[0]
    assert all(line.startswith("%") for line in before.splitlines())
    assert re.search(r"^%   one \\input\{x\}$", before, re.MULTILINE)


def test_a_mark_of_all_numbers_is_said_once() -> None:
    cells = (Cell(0.5), Cell(80.0, marks=("demonstration",)), Cell(81.0, marks=("demonstration", "fewer-shots")))
    columns = (Column("M", "Trained"), Column("Base", "motion"), Column("Novel", "motion"))
    table = Table("t", "T", "Method", columns, (RowGroup("g", (Row("a", cells), Row("b", cells))),))
    text = render(table, "latex")
    assert "a & 0.5 & 80.0 & 81.0\\rlap{\\textsuperscript{F}} \\\\" in text
    assert "\nAll rows run here (D): a demonstration: " in text and "\nD: " not in text
    other = replace(table, groups=(RowGroup("g", (Row("a", cells), Row("b", (*cells[:2], Cell(1.0))))),))
    assert "80.0\\rlap{\\textsuperscript{D}}" in render(other, "latex")


@pytest.mark.parametrize("output_format", ["terminal", "markdown", "html", "latex"])
def test_without_spread(output_format: str) -> None:
    with_spread, without = (render(replace(EVERYTHING, spread=spread), output_format) for spread in ("std", "none"))
    number = r"81.2$\pm$1.5" if output_format == "latex" else "81.2 ± 1.5"
    assert number in with_spread and number not in without
    assert "The standard deviations are left out." in without


def test_provenance_is_behind_the_notes_and_trials_beside() -> None:
    table = replace(EVERYTHING, provenance=("Device: cpu", "weights *sha256* 0123"))
    for output_format in ("terminal", "markdown", "html"):
        text = render(table, output_format)
        assert text.index("Best and second") < text.index("Provenance") < text.index("Device: cpu")
    text = render_provenance(table)
    assert text.index("## How the numbers were made\n") < text.index("- Device: cpu\n- weights \\*sha256\\* 0123\n")
    assert f"- zero\\_shot\n  - motion Base: `{'a' * 64}`\n" in text


def test_the_command_writes_a_fragment_and_its_provenance(example: Path, tmp_path: Path) -> None:
    target = tmp_path / "table2.tex"
    command = ["report", "--runs", str(example), "--table", "base2novel"]
    done = petl_bench(
        *command, "--output", str(target), "--caption", "Ours & theirs", "--label", "tab:two", "--no-spread"
    )
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert "\\caption{Ours \\& theirs}\n\\label{tab:two}\n" in text and "documentclass" not in text
    assert "$\\pm$1.0" not in text
    assert (tmp_path / "table2.provenance.md").read_text().startswith("# Provenance: Base-to-novel")
    assert f"wrote {tmp_path / 'table2.provenance.md'}" in done.stderr
    whole = petl_bench(*command, "--format", "latex", "--standalone")
    assert "\n\\documentclass{article}\n" in f"\n{whole.stdout}" and whole.stdout.endswith("\\end{document}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label", "tab:x"], "are for LaTeX: add --format latex"),
        (["--format", "latex", "--label", "a b"], "--label a b: only letters a-z"),
        (["--format", "latex", "--standalone", "--document", "slides"], "leave out --document"),
        (["--format", "latex", "--document", "poster"], "poster"),
        (["--output", "site/", "--caption", "x"], "the page and --all write every table"),
    ],
)
def test_wrong_use_of_latex_is_one_clear_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = petl_bench("report", "--table", "base2novel", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr
