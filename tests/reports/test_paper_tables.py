"""The tables of the MSTA paper, from records that hold its published numbers: the same cells, the same bold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from synthetic_paper import published, write_paper
from tables import table_of
from test_renderers import compiled, document_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.api.table import RowGroup, Table
from petl_bench.records.outcomes import StoredOutcomes
from petl_bench.render import latex, markdown, render

#: our table -> the paper's, its metrics as columns here, and the paper's groups as headings here
METHODS = {"base2novel": "2", "few_shot": "3", "zero_shot": "4", "fully_supervised": "5"}
LABELS = {"base_top1": "Base", "novel_top1": "Novel", "harmonic_mean": "HM", "top1": "Top-1", "top5": "Top-5"}
HEADINGS = {
    "zero-shot": "CLIP-B/16, synthetic weights, zero-shot",
    "adapting": "clip-b16, adapted, synthetic weights, full fine-tuning",
    "tuning": "b16, tuned, synthetic weights, full fine-tuning",
    "efficient-transfer": "ViCLIP-B/16, synthetic weights, parameter-efficient",
    "": "ViCLIP-B/16, synthetic weights, parameter-efficient",
}
Place = tuple[str, str]
#: method -> column -> mean and standard deviation as printed
Printed = dict[str, dict[Place, tuple[str, str]]]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    write_paper(folder)
    return folder


def printed(table: str) -> dict[str, Printed]:
    """The paper's cells: heading of the group -> its rows."""
    found: dict[str, Printed] = {}
    for line in published(table):
        if line["metric"] == "tunable_params_m":
            continue
        label = f"K={line['shots']}" if table == "3" else LABELS[line["metric"]]
        rows = found.setdefault(HEADINGS[line["group"]], {})
        rows.setdefault(line["method"], {})[line["dataset"], label] = (line["value"], line["std"])
    return found


def ranks_of(rows: Printed, place: Place) -> dict[str, str]:
    """The best and the second of a column among the printed values, equal ones alike."""
    values = {method: float(cells[place][0]) for method, cells in rows.items() if place in cells}
    if len(values) < 2:
        return {}
    ladder = sorted(set(values.values()), reverse=True)
    names = dict(zip(ladder[:2], ("best", "second"), strict=False))
    return {method: names[value] for method, value in values.items() if value in names}


def in_markdown(value: str, std: str, rank: str) -> str:
    text = (f"{value} ± {std}" if std else value) + r" \[Y\]"
    return {"best": f"**{text}**", "second": f"<ins>{text}</ins>", "": text}[rank]


def in_latex(value: str, std: str, rank: str) -> str:
    """The mark of all rows, "Y", stands in the notes alone."""
    text = rf"{value}$\pm${std}" if std else value
    return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[rank]


def group_of(table: Table, heading: str) -> RowGroup:
    return next(group for group in table.groups if group.heading == f"Run here: {heading}")


def lines_of(text: str, start: str, separator: str) -> list[list[str]]:
    """The cells of the lines that start with a row's label, which may be set in several lines."""
    text = text.replace(r"\raggedright\hangindent=1em ", "").replace(r"\allowbreak ", "")
    lines = [line.strip().removeprefix("| ").removesuffix(r" \\").removesuffix(" |") for line in text.splitlines()]
    parts = [[part.strip() for part in re.split(rf"(?<!\\){re.escape(separator)}", line)] for line in lines]
    return [part[1:] for part in parts if part[0] == start]


@pytest.mark.parametrize("name", METHODS)
def test_a_table_of_methods_has_the_papers_layout_cells_bold_and_underline(name: str, paper: Path) -> None:
    table = table_of(paper / "methods", name)
    in_text = {"|": markdown.render(table), "&": latex.render(table)}
    places = [(column.group, column.label) for column in table.columns]
    expected = printed(METHODS[name])
    assert {group.heading for group in table.groups} == {f"Run here: {heading}" for heading in expected}
    for heading, rows in expected.items():
        group = group_of(table, heading)
        assert {row.label for row in group.rows} == rows.keys()
        for row in group.rows:
            shown = {place: cell for place, cell in zip(places, row.cells, strict=True) if cell.value is not None}
            assert {place for place in shown if place[0] != "Trained"} == rows[row.label].keys()
            ranks = {place: ranks_of(rows, place).get(row.label, "") for place in rows[row.label]}
            assert {place: shown[place].rank for place in ranks} == ranks
            for separator, text in in_text.items():
                form = in_markdown if separator == "|" else in_latex
                escape = markdown.escape if separator == "|" else latex.escape
                cells = [form(*rows[row.label][place], ranks[place]) if place in ranks else "" for place in places[2:]]
                found = lines_of(text, escape(row.label), separator)
                assert any(cells == line[at : at + len(cells)] for line in found for at in range(len(line)))


def test_the_fully_supervised_table_has_the_papers_parameters(paper: Path) -> None:
    table = table_of(paper / "methods", "fully_supervised")
    column = table.columns[0]
    shown = {row.label: float(column.text(row.cells[0].value)) for row in table.groups[0].rows}  # type: ignore[arg-type]
    wanted = {line["method"]: float(line["value"]) for line in published("5") if line["metric"] == "tunable_params_m"}
    assert shown == wanted


def _means(lines: Sequence[dict[str, str]]) -> Printed:
    rows: Printed = {}
    for line in lines:
        rows.setdefault(line["method"], {})["Mean", LABELS[line["metric"]]] = (line["value"], "")
    return rows


@pytest.mark.parametrize("which", ["6a", "6b", "6c", "6d", "6e", "6f"])
def test_an_ablation_has_the_papers_rows_bold_and_underline(which: str, paper: Path) -> None:
    table = table_of(paper / "ablations", "ablation")
    group = next(group for group in table.groups if f"Table {which})" in group.section)
    rows = _means(published(which))
    if which == "6d":  # the paper's Table 7 has the row without constraint, which is alpha = 0 here
        without = _means([line for line in published("7") if "without_descriptions" in line["method"]])
        rows |= {method: {**cells, ("Mean", "HM"): ("59.8", "")} for method, cells in without.items()}
    places = [("Mean", label) for label in ("Base", "Novel", "HM")]
    wanted = [
        [in_latex(*cells[place], ranks_of(rows, place).get(method, "")) for place in places]
        for method, cells in rows.items()
    ]
    text = latex.render(table)
    shown = [lines_of(text, latex.escape(row.display), "&") for row in group.rows]
    assert all(found for found in shown)
    ours = [[cell_text(row.cells[index], table, index) for index in (2, 3, 4)] for row in group.rows]
    assert sorted(ours) == sorted(wanted)
    assert all(any(line[2:] == cells for line in found) for found, cells in zip(shown, ours, strict=True))


def cell_text(cell: object, table: Table, index: int) -> str:
    return in_latex(table.columns[index].text(cell.value), "", cell.rank)  # type: ignore[attr-defined]


def test_the_descriptions_have_the_papers_rows_bold_and_underline_in_its_order(paper: Path) -> None:
    table = table_of(paper / "ablations", "descriptions")
    rows = _means(published("7"))
    places = [("Mean", label) for label in ("Base", "Novel", "HM")]
    (group,) = table.groups
    assert [row.label for row in group.rows] == [
        "without descriptions",
        "temporal only",
        "spatial only",
        "spatial and temporal",
    ]
    text = markdown.render(table)
    for row, (method, cells) in zip(group.rows, rows.items(), strict=True):
        wanted = [in_markdown(*cells[place], ranks_of(rows, place).get(method, "")) for place in places]
        (line,) = (line for line in text.splitlines() if f"| {row.label} " in line)
        shown = [cell.strip() for cell in line.split("|")]
        assert any(wanted == shown[at : at + 3] for at in range(len(shown)))


def test_the_quoted_rows_stand_right_behind_ours(paper: Path) -> None:
    table = table_of(paper / "ablations", "ablation", published=True)
    assert [group.title for group in table.groups][:4] == [
        "Run here: ViCLIP-B/16, synthetic weights",
        "Quoted: MSTA (CVPR 2025), Table 6a",
        "Run here: ViCLIP-B/16, synthetic weights",
        "Quoted: MSTA (CVPR 2025), Table 6b",
    ]
    assert {row.marks for group in table.groups if group.title.startswith("Quoted") for row in group.rows} == {
        ("quoted",)
    }


@pytest.mark.parametrize("folder", ["run_here", "ablations"])
def test_published_numbers_as_records_reproduce_the_paper(folder: str, paper: Path) -> None:
    runs = paper / folder
    source = TABLES.get("reproduction")()
    table = source.build(Evidence(pb.load_records(runs), source.published(), StoredOutcomes([runs])))
    # Every configuration of MSTA has its row beside those of Table 2, the varied ones of Table 6 too.
    rows = {
        group.title: [row for other in table.groups if other.title == group.title for row in other.rows]
        for group in table.groups
        if folder == "run_here" or group.title != "Table 2"
    }
    counts = {"Table 2": 6 * 12, "Table 3": 6 * 12, "Table 4": 6 * 3, "Table 5": 5 * 3, "Table 6d": 3, "Table 8": 2}
    if folder == "ablations":
        values = {"6a": 4, "6b": 4, "6c": 4, "6d": 3, "6e": 3, "6f": 5, "7": 4}
        counts = {f"Table {number}": 3 * count for number, count in values.items()}
    assert {title: len(some) for title, some in rows.items()} == counts
    for row in [row for some in rows.values() for row in some]:
        assert row.cells[2].value < 0.051, f"{row.label}: more than a digit of the paper"  # type: ignore[operator]
        assert row.cells[5].value == f"not known: {'a count' if row.label == 'Trained M' else 'one seed'}"


def test_synthetic_numbers_say_what_they_are(paper: Path) -> None:
    for name in METHODS:
        table = table_of(paper / "methods", name)
        assert "made by a script, not measured" in render(table, "markdown")
        assert "\nAll rows run here (Y): made by a script, not measured.\n" in render(table, "latex")


def test_all_tables_of_the_paper_compile_and_fit_their_pages(paper: Path, tmp_path: Path) -> None:
    folders = {**dict.fromkeys(METHODS, "methods"), "ablation": "ablations", "descriptions": "ablations"}
    folders |= {"reproduction": "run_here", "published_harmonic_means": "methods"}
    texts = [latex.render(table_of(paper / folder, name, published=True)) for name, folder in folders.items()]
    log = compiled(tmp_path, document_of("two-column", texts))
    assert "Overfull" not in log and "Float too large" not in log


@pytest.mark.parametrize("name", METHODS)
def test_a_table_of_methods_has_a_few_lines_of_notes_and_its_hashes_in_comments(name: str, paper: Path) -> None:
    text = latex.render(table_of(paper / "methods", name))
    comments = "\n".join(line for line in text.splitlines() if line.startswith("%"))
    notes = text.partition(r"\scriptsize\raggedright")[2].partition(r"\end{minipage}")[0]
    assert len(" ".join(notes.split())) < 600, "four lines of both columns"
    for said in ("sha256", "Budget", "Device", "files 0000"):
        assert said in comments and said not in notes
    assert "seed 0" in notes and ("shots" in notes or "all clips" in notes)
