"""Layout files: what they choose of a table, what they may not hide, and what is said of a bad one."""

from __future__ import annotations

import io
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_renderers import EXAMPLES, NASTY, _example, compiled, document_of

from petl_bench.api.table import Cell, Column, Row, RowGroup, Table
from petl_bench.errors import PetlBenchError, UsageError
from petl_bench.render import FORMATS, latex, render
from petl_bench.render.options import LatexOptions
from petl_bench.render.parts import split_columns
from petl_bench.tables import layout_file
from petl_bench.tables.layout import apply
from petl_bench.tables.layout_choices import OwnGroup, OwnRow, TableLayout
from petl_bench.tables.layout_file import layout_path, meaning, read_layout, shipped_layouts
from petl_bench.tables.notes import TRAINED
from petl_bench.tables.ranking import REFERENCE, ranked
from petl_bench.tables.text import notes, number
from tests.commands import petl_bench


@pytest.fixture
def store(exact_store: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_store


HERE, OTHER = "Run here: b16 (own weights)", "Run here: l14 (own weights)"
COLUMNS = (
    Column("M", "Trained", ".3g"),
    Column("Base", "motion", display="Base classes", group_display="Motion"),
    Column("HM", "motion", group_display="Motion"),
    Column("HM", "ucf101"),
)


def _group(title: str, section: str, *rows: Row) -> RowGroup:
    """Rows ranked as tables do, but in the first column."""
    across = zip(*(row.cells for row in rows), strict=True)
    ranks = [list(own) if not at else ranked(own, COLUMNS[at]) for at, own in enumerate(across)]
    by_row = zip(*ranks, strict=True)
    return RowGroup(title, tuple(replace(row, cells=own) for row, own in zip(rows, by_row, strict=True)), section)


def _row(label: str, *values: float, marks: tuple[str, ...] = (), alike: bool = False, **fields: Any) -> Row:
    cells = [Cell(value, 0.5, 3, marks=marks, alike=alike, trials=("a" * 64,)) for value in values]
    return Row(label, (Cell(1.25), *cells), **fields)


TABLE = Table(
    "t",
    "Title",
    "Method",
    COLUMNS,
    (
        _group(HERE, "zero-shot", _row("zero_shot", 50.0, 55.0, 60.0)),
        _group(
            HERE,
            "parameter-efficient",
            _row("lora", 70.04, 75.0, 80.0, alike=True),
            _row("lora (rank=4)", 70.01, 74.0, 79.0, marks=("partial-seeds",)),
            _row("bitfit", 68.0, 70.0, 70.0),
            _row("msta", 72.0, 76.0, 78.0, alike=True, display="MSTA"),
            _row("broken", 99.0, 99.0, 99.0, marks=("random-weights",)),
        ),
        _group(OTHER, "parameter-efficient", _row("lora", 80.0, 85.0, 90.0), _row("msta", 82.0, 86.0, 91.0)),
        RowGroup("Quoted: Paper", (Row("MSTA", (Cell(), Cell(), Cell(), Cell(99.0, origin="quoted")), ("quoted",)),)),
    ),
    ("A note.",),
)


def _apply(**choices: Any) -> Table:
    return apply(TABLE, TableLayout(**choices))


def _labels(table: Table) -> list[list[str]]:
    return [[row.label for row in group.rows] for group in table.groups]


def _column(table: Table, index: int) -> dict[str, tuple[Any, str, bool]]:
    return {row.label: (row.cells[index].value, row.cells[index].rank, row.cells[index].alike)
            for group in table.groups for row in group.rows}  # fmt: skip


def test_nothing_chosen_changes_nothing() -> None:
    assert _apply() == TABLE


def test_rows_stand_in_their_order_under_their_headings() -> None:
    table = _apply(rows=("MSTA", "lora*", "zero_shot"))
    assert _labels(table) == [["msta", "lora", "lora (rank=4)"], ["MSTA"], ["lora"], ["zero_shot"]]
    assert _labels(_apply(rows=("msta", "* / lora"))) == [["msta", "lora"], ["msta", "lora"]]
    assert _labels(_apply(rows=(f"{OTHER}* / msta",))) == [["msta"]]


def test_ranks_are_among_the_rows_that_are_shown() -> None:
    table = _apply(rows=(f"{HERE}* / lora*", "bitfit"), columns=("motion HM", "ucf101 HM"))
    ranks = {name: rank for name, (_, rank, _) in _column(table, 0).items()}
    assert ranks == {"lora": "best", "lora (rank=4)": "", "bitfit": "second"}  # of fewer seeds
    assert "Not shown, though best of their column and group: MSTA (Motion HM)." in table.footers
    assert table.footers[0] == "Shown: 3 of 9 rows; best and second are among these."
    assert _column(_apply(rows=("msta", "lora")), 2)["lora"] == (85.0, "second", False)


def test_the_sign_of_equality_needs_its_best() -> None:
    both = _apply(rows=(f"{HERE}, parameter* / lora", f"{HERE}, parameter* / msta"))
    assert _column(both, 2) == {"lora": (75.0, "second", True), "msta": (76.0, "best", True)}
    one = _apply(rows=(f"{HERE}, parameter* / lora",))
    assert not any(cell.alike for group in one.groups for row in group.rows for cell in row.cells)
    (note,) = (note for note in one.footers if note.startswith("Without ="))
    assert "Motion Base classes, Motion HM" in note and "ucf101" not in note


def test_figures_that_look_equal_share_their_rank() -> None:
    table = replace(TABLE, groups=(_group(HERE, "", _row("a", 70.04, 1.0, 1.0), _row("b", 70.01, 1.0, 1.0)),))
    assert [row.cells[1].rank for row in table.groups[0].rows] == ["best", "best"]
    assert [column.format for column in _apply(decimals=3).columns] == [".3g", ".3f", ".3f", ".3f"]


@pytest.mark.parametrize(
    ("choices", "values", "ranks"),
    [
        ({"decimals": 0}, (72.4, 71.6), ["best", "second"]),
        ({"column_decimals": {"motion Base": 2}}, (70.04, 70.01), ["best", "best"]),
    ],
)
def test_decimals_change_no_rank(choices: dict[str, Any], values: tuple[float, float], ranks: list[str]) -> None:
    rows = (_row("a", values[0], 60.0, 1.0), _row("b", values[1], 50.0, 2.0))
    table = replace(TABLE, groups=(_group(HERE, "", *rows),))
    laid_out = apply(table, TableLayout(**choices))
    assert [row.cells[1].rank for row in table.groups[0].rows] == ranks
    assert [row.cells[1].rank for row in laid_out.groups[0].rows] == ranks
    note = "Best and second: by the numbers with the table's own decimals, not with those shown here."
    assert note in laid_out.footers
    for harmless in ({"bold": "none"}, {"columns": ("motion HM",)}, {"decimals": 1, "column_decimals": {}}):
        assert note not in apply(table, TableLayout(**{**choices, **harmless})).footers


def test_a_spread_that_there_is_never_reads_as_none() -> None:
    column = Column("x", format=".0f")
    assert number(Cell(72.4, 0.5, 3), column) == "72 ± 0.5"
    assert number(Cell(72.4, 0.7, 3), column) == "72 ± 1" and number(Cell(72.4, 0.0, 3), column) == "72 ± 0"


def test_notes_and_provenance_agree_on_what_is_ranked_by_column() -> None:
    rule = "Best and second: among the complete rows of one group that carry no mark; equal figures share."
    table = replace(TABLE, provenance=(rule,))
    by_column = apply(table, TableLayout(bold="column"))
    assert by_column.provenance == (rule.replace("of one group", "of one backbone and one set of weights, whatever "
        "their family,"),)  # fmt: skip
    said = "= was tested within each family alone: without it, a number of another family was not tested."
    assert said in by_column.footers and said not in table.footers
    assert "Bold and underlined: best and second." in latex.render(by_column)
    assert "Bold and underlined: best and second of their column and group." in latex.render(table)
    assert "- Bold and underlined: best and second of their column and group" in render(table, "markdown")


def test_other_names_of_rows_are_in_the_provenance_and_notes_are_of_what_is_shown() -> None:
    table = replace(TABLE, footers=(TRAINED, "A note."))
    named = apply(table, TableLayout(row_names={"msta": "Ours"}, columns=("* HM",)))
    assert named.provenance[-1] == "Names of rows by the layout: Ours is MSTA, Ours is msta."
    assert named.footers == ("A note.",)
    assert "Trained: parameters in millions." in apply(table, TableLayout(columns=("Trained M",))).footers
    with_percent = replace(table, columns=(*COLUMNS[:3], Column("%", "Trained")))
    assert TRAINED in apply(with_percent, TableLayout()).footers


def test_other_names_of_rows_are_in_every_format() -> None:
    run = _row("lora (rank=4)", 1.0, 2.0, 3.0, display="LoRA (rank 4)", facts=(("method", "lora"), ("lora.rank", "4")))
    table = replace(TABLE, groups=(_group(HERE, "", run, _row("x", 1.0, 2.0, 3.0, facts=(("method", "x"),))),))
    named = apply(table, TableLayout(row_names={"lora*": "LoRA, ours"}))
    for output_format in FORMATS:
        assert "LoRA, ours" in render(named, output_format) or output_format == "tidy", output_format
    assert render(named, "csv").startswith("row,name,method,lora.rank,group,")
    assert re.search(r"\n\| Method +\| Rank +\|", render(named, "markdown"))


def test_own_rows_with_nothing_to_show_are_left_out() -> None:
    own = (OwnRow("X", "Smith (2024)", {"motion HM": 70}),)
    assert [group.title for group in _apply(own_rows=own, columns=("motion *",)).groups][-1] == "Quoted: Smith (2024)"
    assert not any("Smith" in group.title for group in _apply(own_rows=own, columns=("ucf101 *",)).groups)


def test_bold_by_column_joins_families_of_one_backbone_alone() -> None:
    assert _column(_apply(), 1)["zero_shot"][1] == ""
    table = _apply(bold="column", rows=("zero_shot", "lora", "msta"))
    (zero, efficient, other) = table.groups
    assert zero.rows[0].cells[2].rank == "" and efficient.rows[1].cells[2].rank == "best"
    assert other.rows[1].cells[2].rank == "best"  # of its own backbone
    few = _apply(bold="column", rows=("zero_shot", f"{HERE}* / lora"))
    assert [row.cells[2].rank for group in few.groups for row in group.rows] == ["second", "best"]
    assert any("whatever their family" in note for note in few.footers)
    hidden = _apply(bold="column", rows=("zero_shot",)).footers
    assert any("Not shown, though best" in note and "MSTA (Motion" in note for note in hidden)
    studies = replace(TABLE, groups=tuple(replace(group, section=f"study {group.section}") for group in TABLE.groups))
    apart = apply(studies, TableLayout(bold="column", rows=("zero_shot", f"{HERE}* / lora")))
    assert [row.cells[2].rank for group in apart.groups for row in group.rows] == ["", ""]
    assert not any(cell.rank for group in _apply(bold="none").groups for row in group.rows for cell in row.cells)


def test_references_and_barred_and_quoted_rows_are_never_ranked() -> None:
    reference = _row("full", 99.0, 99.0, 99.0, facts=(REFERENCE,))
    group = TABLE.groups[1]
    table = apply(
        replace(TABLE, groups=(replace(group, rows=(*group.rows, reference)),)),
        TableLayout(
            rows=("full", "broken", "lora", "msta"),
            own_rows=(OwnRow("own", "Paper", {"motion HM": 99.5}),),
        ),
    )
    ranks = {name: rank for name, (_, rank, _) in _column(table, 2).items()}
    assert ranks == {"full": "", "broken": "", "lora": "second", "msta": "best", "own": ""}


def test_own_groups_keep_what_is_ranked_apart_and_say_so() -> None:
    groups = (OwnGroup("Mine", (f"{OTHER}* / *", f"{HERE}* / lora")), OwnGroup("Rest", ("zero_shot",)))
    table = _apply(groups=groups, row_names={f"{HERE}* / lora": "LoRA, b16"})
    assert _labels(table) == [["lora", "msta", "lora"], ["zero_shot"]]
    assert [row.cells[2].rank for row in table.groups[0].rows] == ["second", "best", ""]
    note = next(note for note in table.footers if note.startswith("Mine: "))
    assert note == (
        f"Mine: {OTHER}, parameter-efficient (lora, msta); {HERE}, parameter-efficient (LoRA, b16); ranked apart."
    )
    assert f"Rest: {HERE}, zero-shot." in table.footers
    named = _apply(group_names={f"{OTHER}*": "Large"})
    assert [group.heading for group in named.groups][2] == "Large"
    assert f"Large: {OTHER}, parameter-efficient." in named.footers


def test_own_rows_are_quoted_with_their_source() -> None:
    own = (
        OwnRow("X", "Smith (2024)", {"motion HM": 70}, {"motion HM": 0.5}),
        OwnRow("Y", "Lee (2023)", {"ucf101 HM": 99.5}, group="Mine"),
    )
    table = _apply(groups=(OwnGroup("Mine", ("zero_shot", f"{HERE}* / lora")),), own_rows=own, columns=("* HM",))
    assert [group.heading for group in table.groups] == ["Mine", "Quoted: Smith (2024)"]
    x, y = table.groups[1].rows[0], table.groups[0].rows[2]
    assert x.marks == y.marks == ("quoted",)
    assert x.cells == (Cell(70.0, 0.5, origin="quoted", source="Smith (2024)"), replace(x.cells[1], value=None))
    assert y.cells[1].rank == "" and "Y: quoted from Lee (2023)." in table.footers
    assert "Q: quoted, not run here" in notes(table)


def test_signs_are_hidden_only_with_their_meaning_in_a_note() -> None:
    table = _apply(signs=False)
    cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
    assert not any(cell.marks or cell.alike for cell in cells)
    assert "Without signs (lora (rank=4)): fewer seeds than the complete rows of the column." in table.footers
    assert any(note.startswith("Without signs (broken): random weights") for note in table.footers)
    assert any("a paired test does not tell from the best" in note for note in table.footers)
    assert table.groups[3].rows[0].marks == ("quoted",)
    assert _column(table, 2)["broken"][1] == ""  # still barred


def test_names_are_for_readers_and_harmless(tmp_path: Path) -> None:
    table = _apply(
        row_names={"MSTA": NASTY},
        column_names={"motion HM": NASTY},
        header_names={"ucf*": NASTY},
        caption=NASTY,
        groups=(OwnGroup(NASTY, ("msta", "zero_shot")),),
    )
    assert _labels(table) == [["msta", "msta", "zero_shot"]]
    assert [column.label for column in table.columns] == [column.label for column in COLUMNS]
    compiled(tmp_path, document_of("two-column", [latex.render(table, LatexOptions())]))
    assert "<script>" not in render(table, "html")


def test_columns_in_their_order_and_those_left_out_are_named() -> None:
    table = _apply(columns=("ucf101 HM", "HM", "Base classes"), without_columns=("nothing like it",))
    assert [column.full for column in table.columns] == ["ucf101 HM", "motion HM", "motion Base"]
    assert table.provenance[-1] == "Columns left out: Trained M."
    assert [column.full for column in _apply(without_columns=("* HM",)).columns] == ["Trained M", "motion Base"]


def test_results_that_stand_first_are_not_repeated_in_every_part() -> None:
    for columns, count in ((("motion HM", "ucf101 HM"), 1), (("Trained M", "motion HM", "ucf101 HM"), 2)):
        parts = split_columns(_apply(columns=columns), [10.0] * len(columns), 20.0 if count > 1 else 10.0, 20.0)
        assert [len(part.columns) for part in parts] == [count, count]


def test_quoted_rows_with_nothing_to_show_are_left_out() -> None:
    assert len(_apply(columns=("ucf101 HM",)).groups) == 4
    assert len(_apply(columns=("motion HM",)).groups) == 3


def test_rows_and_columns_exchanged() -> None:
    table = _apply(transpose=True, columns=("* HM",))
    assert [(column.group, column.label) for column in table.columns][:2] == [
        (f"{HERE}, zero-shot", "zero_shot"),
        (f"{HERE}, parameter-efficient", "lora"),
    ]
    (group,) = table.groups
    assert group.title == "HM" and [(row.label, row.display) for row in group.rows] == [
        ("motion", "Motion"),
        ("ucf101", ""),
    ]
    assert [cell.rank for cell in group.rows[0].cells][:5] == ["", "second", "", "", "best"]
    assert group.rows[1].cells[-1].marks == ("quoted",) and group.rows[1].cells[2].marks == ("partial-seeds",)
    assert any("exchanged" in note for note in table.footers)
    both = _apply(transpose=True, without_columns=("Trained *",))
    assert [(each.title, [row.label for row in each.rows]) for each in both.groups] == [
        ("Motion", ["Base", "HM"]),
        ("ucf101", ["HM"]),
    ]
    with pytest.raises(UsageError, match=r"Trained M \(3 significant digits\) and .* \(1 decimal\) show"):
        _apply(transpose=True)
    for output_format in FORMATS:
        render(table, output_format)


BAD = [
    ('rows = ["mtsa"]', "rows: unknown row 'mtsa'; did you mean msta"),
    ("rows = []", "rows: expected 1 to 500 entries, not 0"),
    ('columns = ["* HN"]', "columns: unknown column"),
    ('column = ["* HM"]', "unknown field 'column'; did you mean columns"),
    ('file = "x"', "unknown field 'file'"),
    ('without_columns = ["*"]', "leaves no column of the table t"),
    ("decimals = 9", "decimals=9: must be at most 6"),
    ('decimals = "x"', "decimals=x: expected a whole number"),
    ('caption = "a\\nb"', "caption: expected one line of 1 to 500 letters"),
    ('label = "a b"', "label=a b: only letters a-z"),
    ('document = "poster"', "document=poster: expected one of two-column"),
    ('bold = "row"', "bold=row: expected one of group, column, none"),
    ("[row_names]\n'a\\u0007b' = 1", "row_names"),
    ('[row_names]\nnobody = "x"', "row_names: unknown row 'nobody'"),
    (
        '[row_names]\n"*" = "Same"',
        f'give them other names in row_names, as "{HERE}, parameter-efficient / lora (rank=4)" = "NAME"',
    ),
    ('[row_names]\nbitfit = "lora "', "are called 'lora ': give them other names in row_names"),
    ('[row_names]\nmsta = "lora"', "are called 'lora': give them other names in row_names"),
    ('[column_names]\n"motion Base" = "HM"', "motion Base and motion HM would both be called 'Motion HM'"),
    ('[header_names]\nucf = "U"', "header_names: unknown header 'ucf'; did you mean ucf101"),
    ('[group_names]\nx = "U"', "group_names: unknown heading 'x'"),
    ("groups = 3", "groups=3: expected a list"),
    ('[[groups]]\ntitle = "x"', "groups[0] lacks rows"),
    (
        '[[groups]]\ntitle = "x"\nrows = ["lora"]',
        f"two rows under 'x' are called 'lora': give them other names in row_names, as \"{OTHER}, parameter",
    ),
    ('rows = ["msta"]\n[[groups]]\ntitle = "x"\nrows = ["MSTA"]', "leave out rows and group_names"),
    ('[[groups]]\ntitle = "x"\nrows = ["broken"]\n[[groups]]\ntitle = "x"\nrows = ["MSTA"]', "have the title 'x'"),
    ('[[groups]]\ntitle = "x"\nrows = ["broken"]\n[[groups]]\ntitle = "y"\nrows = ["broken"]', "in 'x' and in 'y'"),
    ('[[own_rows]]\nname = "x"\nvalues = { "motion HM" = 1 }', "own_rows[0] lacks source"),
    ('[[own_rows]]\nname = "x"\nsource = " "\nvalues = { HM = 1 }', "own_rows[0].source: expected one line"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { HM = 1 }', "'HM' fits several columns"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { "motion HM" = inf }', "expected a finite number"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { "motion HM" = 1 }\nstd = { HM = 1 }', "std of 'HM'"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\ngroup = "z"\nvalues = { "motion HM" = 1 }', "has the title 'z'"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { "motion HM" = 1e300 }', "must be at most 1e+12"),
    ('[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { "motion HM" = 1 }\nstd = { "motion HM" = -1 }', "at least 0"),
    (
        '[[own_rows]]\nname = "x"\nsource = "y"\nvalues = { "motion HM" = 1, "Motion HM" = 2 }',
        "x: two values for the column motion HM",
    ),
    (
        'rows = ["bitfit"]\n[row_names]\nbitfit = "msta"',
        "bitfit would be called 'msta', as another one in the table is",
    ),
    ('[row_names]\nbitfit = "MSTA"\nmsta = "BitFit"', "bitfit would be called 'MSTA', as another one in the table is"),
    ('[column_names]\n"motion HM" = "All"\n"motion Base" = "HM"', "motion Base would be called 'Motion HM'"),
    (f'[group_names]\n"Quoted*" = "{HERE}"', f"group_names: '{HERE}' is another heading of the table"),
    ("x = [", "not valid TOML"),
    ("rows = [" + '"msta", ' * 501 + "]", "rows: expected 1 to 500 entries, not 501"),
    (f'caption = "{"x" * 501}"', "caption: expected one line"),
    ("[" * 5_000, "not valid TOML"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_bad_layout_is_one_clear_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        apply(TABLE, read_layout(path))
    assert str(raised.value).startswith(f"{path}") and said in str(raised.value)
    assert "\n" not in str(raised.value)


_NAMES = st.sampled_from(["title", "rows", "name", "msta", "source", "values"])
_TEXTS = st.text(max_size=8) | st.sampled_from(["msta", "* HM"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*TableLayout.__dataclass_fields__, "other"]), _VALUES, max_size=5))
def test_any_values_give_a_layout_or_an_error_for_people(values: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_file, "read_toml", lambda _: values)
        try:
            table = apply(TABLE, read_layout(Path("x.toml")))
        except PetlBenchError as error:
            assert "\n" not in str(error)
        else:
            render(table, "terminal")


# Shipped layouts


def test_the_shipped_layouts_are_found_by_name_or_path(tmp_path: Path) -> None:
    shipped = shipped_layouts()
    assert set(shipped) == {"cvpr", "one_column", "slides", "supplement"}
    for name, path in shipped.items():
        assert layout_path(name) == path and meaning(path)
        assert "rows" not in tomllib.loads(path.read_text())  # they fit every table
    own = tmp_path / "cvpr.toml"
    own.write_text("decimals = 2")
    assert layout_path(str(own)) == own
    with pytest.raises(UsageError, match="did you mean cvpr"):
        layout_path("cvrp")
    with pytest.raises(UsageError, match="no such file"):
        layout_path(str(tmp_path / "none.toml"))


def test_base_and_novel_stand_beside_their_mean_in_a_paper_but_not_on_slides() -> None:
    shipped = {name: apply(TABLE, read_layout(path)) for name, path in shipped_layouts().items()}
    of = {name: [column.label for column in table.columns] for name, table in shipped.items()}
    assert of["cvpr"] == ["M", "Base", "HM", "HM"] and of["slides"] == ["M", "HM", "HM"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_shipped_layouts_fit_every_table_and_ranks_follow_one_rule(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = _example(request.getfixturevalue(EXAMPLES[name]), name)
    assert apply(table, TableLayout()) == table
    for layout in map(read_layout, shipped_layouts().values()):
        laid_out = apply(table, layout)
        options = LatexOptions(document=layout.document or "two-column")
        log = compiled(tmp_path, document_of(options.document, [latex.render(laid_out, options)]))
        assert "Overfull" not in log and "Float too large" not in log
        for output_format in FORMATS:
            render(laid_out, output_format)


# The command


@pytest.mark.slow
def test_the_command_applies_a_layout_and_its_flags_win(example: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'caption = "Ours & theirs"\nlabel = "tab:mine"\ndocument = "slides"\nspread = "none"\nsigns = false\n'
        'columns = ["* HM"]\n[row_names]\nlora = "Ours_1"\n'
    )
    target = tmp_path / "table.tex"
    command = ["report", "--runs", str(example), "--table", "base2novel", "--layout", str(own)]
    done = petl_bench(*command, "--output", str(target))
    assert done.returncode == 0, done.stderr
    text = target.read_text()
    assert "\\caption{Ours \\& theirs (1 of" in text and "\\label{tab:mine}\n" in text
    assert "Ours\\_1" in text and "for slides" in text
    assert "$\\pm$" not in text.partition("\\bottomrule")[0].partition("\\midrule")[2]
    flags = ["--caption", "Mine", "--label", "tab:x", "--spread", "std", "--document", "one-column"]
    text = petl_bench(*command, "--format", "latex", *flags).stdout
    assert "\\caption{Mine" in text and "\\label{tab:x}\n" in text and "for one-column" in text
    assert "$\\pm$" in text.partition("\\bottomrule")[0].partition("\\midrule")[2]
    data = petl_bench(*command, "--format", "csv").stdout
    assert "\nlora,Ours_1,lora," in data and "motion HM" in data and "motion Base" not in data
    marks = pd.read_csv(io.StringIO(petl_bench(*command, "--format", "tidy").stdout))["marks"]
    assert marks.notna().any(), "signs are data there"
    shown = petl_bench(*command)
    assert shown.returncode == 0 and "Ours_1" in shown.stdout and "Ours & theirs" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "base2novel", "--layout", "cvrp"], "did you mean cvpr"),
        (["--table", "tradeoff", "--layout", "cvpr", "--format", "pdf"], "--layout is for tables"),
        (["--explain", "base2novel", "msta", "motion HM", "--layout", "cvpr"], "leave out --layout"),
        (["--all", "--output", "x", "--layout", "cvpr"], "--layout is for a single one"),
        (["--output", "x/", "--layout", "cvpr"], "--layout is for a single one"),
    ],
)
def test_a_layout_for_what_is_no_table_is_refused(arguments: list[str], said: str, runs: Path) -> None:
    done = petl_bench("report", "--runs", str(runs), *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_list_and_show_know_them() -> None:
    listed = petl_bench("list", "layouts")
    assert listed.returncode == 0 and "cvpr        A two-column paper" in listed.stdout
    shown = petl_bench("show", "layouts:cvpr")
    assert shown.stdout == shipped_layouts()["cvpr"].read_text()
    assert "did you mean cvpr" in petl_bench("show", "layouts:cvrp").stderr
