"""The ledger: files of published numbers, the protocols beside them, and rows of the user's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from tables import rows_of

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.published import NOT_STATED
from petl_bench.api.registry import SETTINGS, TABLES
from petl_bench.cli.report.own_ledger import read_own
from petl_bench.errors import UsageError
from petl_bench.render import FORMATS, render
from petl_bench.tables.ledger import protocol_file, read_ledger, shipped_tables
from petl_bench.tables.quoted_notes import notes_of
from tests.commands import petl_bench

SHIPPED = Path(__file__).parents[2] / "reports" / "published"
HEADER = "source,table,setting,group,method,venue,dataset,shots,frames,metric,value,std\n"
LINE = '"Doe (2026), Table 1",1,base2novel,ours,Adapter,CVPR 2026,ucf101,16,8,base_top1,91.5,0.3\n'


@pytest.fixture
def store(exact_store: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_store


def _file(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "own.csv"
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


def _change(old: str, new: str) -> str:
    assert old in LINE
    return LINE.replace(old, new)


# What ships


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.csv")), ids=lambda path: path.stem)
def test_every_shipped_number_has_a_stated_protocol(path: Path) -> None:
    tables = read_ledger(path)
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    numbers = sorted((number for table in tables for number in table.numbers), key=lambda number: number.line)
    printed = [f"{line['value']} ± {line['std']}" if line["std"] else line["value"] for line in lines]
    assert [number.printed for number in numbers] == printed
    for table in tables:
        assert (table.where, table.protocol.backbone, table.protocol.data) != (NOT_STATED,) * 3, table.name
    facts = [
        fact for table in tables for method in table.methods for fact in table.protocol_of(method).facts().values()
    ]
    assert all(facts), "a fact that is not known is said to be not stated"


def test_the_ledger_knows_what_the_sources_say() -> None:
    tables, faults = shipped_tables()
    assert faults == {}
    by_name = {table.name: table for table in tables}
    assert len(by_name) == len(tables), "names are unique"
    assert {table.setting for table in tables} <= set(SETTINGS.names()), "one word for a setting"
    few_shot = by_name["msta-3"]
    assert few_shot.protocol_of("MSTA + L_CC").selection == "best-on-test"
    assert few_shot.protocol_of("OST").selection == NOT_STATED
    assert by_name["froster-1"].protocol_of("AIM").rerun_by == "FROSTER's authors"
    assert by_name["froster-1"].protocol_of("Open-VCLIP").rerun_by == NOT_STATED
    retrieval = by_name["mv_adapter-1"]
    assert retrieval.protocol_of("Full Fine-tuning").seeds == "one run"
    assert retrieval.protocol_of("CM").rerun_by == "MV-Adapter's authors"
    assert {table.protocol.selection for name, table in by_name.items() if name.startswith("mv_")} == {"best-on-test"}
    field = by_name["retrieval-field"]
    values = {(number.method, number.metric): number.value for number in field.numbers}
    assert (values["DiscoVLA", "t2v_r1"], values["CLIP4Clip meanP (B/32)", "t2v_mean_rank"]) == (50.5, 16.8)


def test_notes_say_what_changes_the_reading_once_for_each_source() -> None:
    msta = {table.table: table for table in read_ledger(SHIPPED / "msta_tables.csv")}
    (line,) = notes_of([msta["3"]])
    assert line.startswith("MSTA (CVPR 2025), Table 3: ")
    assert "MSTA, MSTA + L_CC: epochs selected on the test clips, by the authors' logs" in line
    assert "Other rows: epochs not stated" in line
    shared, one = notes_of([msta["6a"], msta["6b"]])
    assert shared.startswith("MSTA (CVPR 2025), Tables 6a, 6b: ViCLIP-B/16; epochs selected on the test clips")
    assert one.startswith("MSTA (CVPR 2025), Table 6b: ")
    field = read_ledger(SHIPPED / "retrieval_field.csv")
    assert not any("TempMe" in line for line in notes_of(field, {("msrvtt", 0, "t2v_r1")})), "it has no row there"


def test_list_and_show() -> None:
    listed = petl_bench("list", "published")
    line = next(line for line in listed.stdout.splitlines() if line.startswith("mv_adapter-2 "))
    assert line.split(None, 1)[1] == (
        "retrieval; msvd; 9 rows; epoch: best on the test clips; seeds: one run (2), three (0, 42, 123) (7)"
    )
    shown = petl_bench("show", "published:froster-1").stdout
    assert "resolution: not stated" in shown and "ucf101: base_top1 95.3, novel_top1 80.0, harmonic_mean 87.0" in shown
    assert "  AIM, ST-Adapter:\n      run again by: FROSTER's authors\n" in shown
    unknown = petl_bench("show", "published:froster-2")
    assert (unknown.returncode, "did you mean froster-1" in unknown.stderr) == (2, True)


# Files of one's own


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((_change("91.5", "nan"),), "line 2: value=nan: expected a finite number"),
        ((_change("91.5", "1e999"),), "expected a finite number"),
        ((_change("91.5", "1_0"),), "expected a finite number"),
        ((_change("91.5", "915"),), "value=915: base_top1 is 0 to 100"),
        ((_change("91.5", "-1"),), "value=-1: base_top1 is 0 to 100"),
        ((_change("base_top1,91.5", "t2v_median_rank,0"),), "t2v_median_rank is at least 1"),
        ((_change("0.3", "inf"),), "std=inf: expected a finite number"),
        ((_change("0.3", "-0.3"),), "std=-0.3"),
        ((_change(",16,", ",sixteen,"),), "shots=sixteen: expected a whole number"),
        ((LINE, _change("91.5", "92.5")), "line 3: the number of line 2 again"),
        ((_change("Adapter", "Ad\x1b[31mapter"),), "line 2: method has characters that are not shown"),
        ((_change("Adapter", '"Ad\napter"'),), "method has characters that are not shown"),
        ((_change("Adapter", "\u202eretpadA"),), "method has characters that are not shown"),
        ((_change("Adapter", "A" * 201),), "method is longer than 200 letters"),
        ((_change("Adapter", ""),), "method is empty"),
        ((_change("Adapter", "Ours, large"),), "13 values for 12 columns"),
        ((_change("Adapter", '"Adapter'),), "not valid CSV"),
        ((), "no numbers in it"),
    ],
)
def test_a_number_that_cannot_be_quoted_is_refused_with_its_line(
    lines: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        read_ledger(_file(tmp_path, *lines))
    assert words in str(error.value) and str(tmp_path / "own.csv") in str(error.value)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER.replace("std", "stdev").encode() + LINE.encode(), "lacks the column std"),
        (HEADER.replace("venue", "value").encode() + LINE.encode(), "the column value stands there twice"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"", "lacks the column"),
        (HEADER.encode() + LINE.encode() * 100_000, "larger than 5,000,000 bytes"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_ledger(path)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("[defaults]\nvews = '1 x 1'", "unknown field 'vews'; did you mean views"),
        ("[defaults]\nselection = 'best'", "selection=best: expected one of last, val, best-on-test, not stated"),
        ("[defaults]\nseeds = [0, 1]", "seeds"),
        ('[defaults]\nviews = "1\\u001b[31m"', "expected one line"),
        ("[[table]]\ntable = '9'", "unknown table '9'"),
        ("[[table]]\nviews = '1 x 1'", "lacks table"),
        ("[[table]]\ntable = '1'\n[[table]]\ntable = '1'", "stands there twice"),
        ("[[table]]\ntable = '1'\nrows = [{methods = ['Adaptr']}]", "unknown method 'Adaptr'; did you mean Adapter"),
        ("[[table]]\ntable = '1'\nrows = [{views = '1 x 1'}]", "lacks methods"),
        ("[[table]]\ntable = '1'\nrows = ['Adapter']", "expected a table of TOML"),
        ("table = 'one'", "expected \\[\\[table\\]\\]"),
        ("[[table]", "not valid TOML"),
    ],
)
def test_a_protocol_that_cannot_be_read_is_refused_in_one_line(protocol: str, words: str, tmp_path: Path) -> None:
    path = _file(tmp_path, LINE)
    protocol_file(path).write_text(protocol)
    with pytest.raises(UsageError, match=words) as error:
        read_ledger(path)
    assert "\n" not in str(error.value) and "own.toml" in str(error.value)


def test_without_a_protocol_nothing_is_stated(tmp_path: Path) -> None:
    (table,) = read_ledger(_file(tmp_path, LINE))
    assert (table.name, set(table.protocol.facts().values())) == ("own-1", {NOT_STATED})
    assert notes_of([table]) == []


def test_rows_of_ones_own_stand_beside_and_are_never_ranked(example: Path, tmp_path: Path) -> None:
    best = [
        _change("91.5", "99.9"),
        _change("base_top1,91.5", "novel_top1,99.9"),
        _change("16,8", ",8").replace("base_top1", "harmonic_mean"),
    ]
    path = _file(tmp_path, *best)
    protocol_file(path).write_text("[defaults]\nselection = 'best-on-test'\nviews = '4 x 3'")
    source = TABLES.get("base2novel")()
    records = pb.load_records(example)
    without = source.build(Evidence(records))
    table = source.build(Evidence(records, ledger=read_ledger(path)))
    assert table.groups[: len(without.groups)] == without.groups, "runs are ranked as without the rows"
    (own,) = table.groups[len(without.groups) :]
    assert (own.heading, own.is_quoted) == ("Quoted: Doe (2026), Table 1, ours", True)
    cells = {column.full: cell for column, cell in zip(table.columns, own.rows[0].cells, strict=True)}
    base, mean = cells["ucf101 Base"], cells["ucf101 HM"]
    assert (base.value, base.std, base.origin, base.rank, base.source) == (
        99.9,
        0.3,
        "quoted",
        "",
        "Doe (2026), Table 1",
    )
    assert (mean.value, cells["motion Base"].origin) == (91.5, "absent")
    assert table.footers[-1].endswith("Epochs selected on the test clips: Doe (2026), Table 1.")
    assert "Doe (2026), Table 1: epochs selected on the test clips; views 4 x 3." in table.provenance
    assert "Given by --published-file own.csv: Doe (2026), Table 1." in table.provenance


def test_numbers_without_a_column_are_named(example: Path, tmp_path: Path) -> None:
    path = _file(
        tmp_path, LINE, _change("ucf101,16", "ucf101,4"), _change("base_top1", "base_top2"), _change("ucf101", "ufc101")
    )
    table = TABLES.get("base2novel")().build(Evidence(pb.load_records(example), ledger=read_ledger(path)))
    assert table.provenance[-1] == (
        "Of --published-file, without a column here: Adapter: base_top1 on ucf101, 4 shots, "
        "Adapter: base_top2 on ucf101, 16 shots, Adapter: base_top1 on ufc101, 16 shots."
    )
    elsewhere = _file(tmp_path, _change("base2novel", "few_shot"))
    table = TABLES.get("base2novel")().build(Evidence(pb.load_records(example), ledger=read_ledger(elsewhere)))
    assert "own.csv" not in " ".join(table.provenance) and "Adapter" not in rows_of(table)


def test_what_is_not_shown_is_said_with_near_names(example: Path, tmp_path: Path) -> None:
    """Not in the provenance alone, which a terminal and a LaTeX fragment do not print."""
    path = _file(
        tmp_path,
        LINE,
        _change("ucf101", "Motion"),
        _change("ucf101", "Motoin"),
        _change("ucf101", "Motoin").replace("Adapter", "Other"),
        _change("base_top1", "base"),
        _change("ucf101,16", "ucf101,4"),
        _change("ucf101", "k400"),
        _change("base2novel", "zero_shot_transfer"),
    )
    report = ["report", "--runs", example, "--published-file", path]
    done = petl_bench(*report, "--table", "base2novel", "--format", "csv")
    said = [line for line in done.stderr.splitlines() if line.startswith("--published-file")]
    assert said == [
        "--published-file: without a column here, 5 of 8 numbers: dataset 'Motoin' (did you mean motion?) [2]; "
        "metric 'base' (did you mean base_top1?); 4 shots on ucf101 (here: 16); no run on k400 here",
        "--published-file: of settings that are not shown here, 1 of 8 numbers: zero_shot_transfer (shown: base2novel)",
    ]
    page = petl_bench(*report, "--output", f"{tmp_path / 'site'}/")
    assert [line for line in page.stderr.splitlines() if line.startswith("--published-file")] == said
    whole = petl_bench("report", "--runs", example, "--table", "base2novel", "--published-file", _file(tmp_path, LINE))
    assert "--published-file" not in whole.stderr, "all stand in the table"


def test_a_data_set_may_have_the_name_that_readers_see(tmp_path: Path) -> None:
    """In any case of letters; the same number under both names stands there twice."""
    (table,) = read_own([_file(tmp_path, _change("ucf101", "ucf-101"), _change("ucf101", "UCF101 v2"))], published=True)
    assert [number.dataset for number in table.numbers] == ["ucf101", "UCF101 v2"]
    with pytest.raises(UsageError, match=r"line 3: the number of .*line 2 again"):
        read_own([_file(tmp_path, LINE, _change("ucf101", "UCF-101"))], published=True)


def test_shots_are_not_guessed(few_shot_example: Path, tmp_path: Path) -> None:
    line = _change("base2novel", "few_shot").replace("base_top1", "top1").replace("ucf101", "hmdb51")
    path = _file(tmp_path, line.replace(",16,", ",2,"), line.replace(",16,", ",,").replace("Adapter", "Other"))
    table = TABLES.get("few_shot")().build(Evidence(pb.load_records(few_shot_example), ledger=read_ledger(path)))
    assert "Adapter" in rows_of(table) and "Other" not in rows_of(table)
    assert table.provenance[-1] == "Of --published-file, without a column here: Other: top1 on hmdb51."


NASTY = r"=HYPERLINK(x) <script>alert(1)</script> \input{x} $x^2$ |a| `b` **c** [d](javascript:e)"


@pytest.mark.parametrize("output_format", FORMATS)
def test_texts_of_the_file_stay_texts_in_every_format(output_format: str, example: Path, tmp_path: Path) -> None:
    line = LINE.replace("Adapter", NASTY).replace("Doe (2026)", NASTY).replace("ours", NASTY)
    path = _file(tmp_path, line)
    table = TABLES.get("base2novel")().build(Evidence(pb.load_records(example), ledger=read_ledger(path)))
    text = render(table, output_format)
    if output_format == "html":
        assert "<script>" not in text
    if output_format == "latex":
        outside_comments = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert "\\input{x}" not in outside_comments and "$x^2$" not in outside_comments
    if output_format in ("csv", "tidy"):
        assert not any(cell.startswith("=") for row in csv.reader(text.splitlines()) for cell in row)
    if output_format == "markdown":
        assert "<script>" not in text and "[d](javascript" not in text


def test_the_command(example: Path, tmp_path: Path) -> None:
    path = _file(tmp_path, LINE)
    copy = path.with_name("copy.csv")
    copy.write_text(path.read_text())
    report = ["report", "--runs", example, "--published-file", path]
    done = petl_bench(*report, "--table", "base2novel", "--format", "csv")
    assert done.returncode == 0 and "Doe (2026), Table 1" in done.stdout and "FROSTER" in done.stdout
    page = petl_bench(*report, "--output", f"{tmp_path / 'site'}/")
    assert page.returncode == 0 and "Doe (2026), Table 1" in (tmp_path / "site" / "index.html").read_text()
    shown = petl_bench("show", f"published:{path}")
    assert "own-1  (published: Doe (2026), Table 1)" in shown.stdout and "base_top1 91.5 ± 0.3" in shown.stdout
    for arguments, words in (
        (["--table", "tradeoff"], "the table tradeoff quotes no files; these do: base2novel, "),
        (["--table", "base2novel", "--no-published"], "give one of them"),
        (["--table", "base2novel", "--published-file", tmp_path / "none.csv"], "No such file"),
        (["--table", "base2novel", "--published-file", tmp_path], "Is a directory"),
        (["--table", "base2novel", "--published-file", copy], f"copy.csv, line 2: the number of {path}, line 2 again"),
    ):
        refused = petl_bench(*report, *arguments)
        assert refused.returncode == 2 and words in refused.stderr and refused.stderr.count("\n") == 1


def test_a_setting_that_is_not_there_is_refused(example: Path, tmp_path: Path) -> None:
    path = _file(tmp_path, _change("base2novel", "base2nvel"))
    done = petl_bench("report", "--runs", example, "--table", "base2novel", "--published-file", path)
    assert (
        done.returncode == 2 and "own.csv, line 2: unknown setting 'base2nvel'; did you mean base2novel" in done.stderr
    )


PLUGIN = '''
from pathlib import Path
import petl_bench as pb


@pb.register_table("mine")
class Mine(pb.SettingTable):
    """A table that quotes a file."""

    setting, title = "base2novel", "Mine"
    published_csv = (Path(__file__).with_name("own.csv"),)
    quoted_tables = ("1",)
'''


def test_a_plugins_protocol_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    _file(tmp_path, LINE)
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    listed = petl_bench("list", "published", "--plugin", plugin).stdout
    assert any(line.split()[:3] == ["own-1", "base2novel;", "ucf101;"] for line in listed.splitlines())
    (tmp_path / "own.toml").write_text("[defaults]\nvews = '1 x 1'")
    listed = petl_bench("list", "published", "--plugin", plugin).stdout
    broken = next(line for line in listed.splitlines() if line.startswith("mine "))
    assert "BROKEN: " in broken and "unknown field 'vews'" in broken and "msta-2 " in listed
    checked = petl_bench("check", "tables:mine", "--plugin", plugin)
    failed = next(line for line in checked.stdout.splitlines() if "published numbers can be quoted" in line)
    assert checked.returncode == 1 and "FAIL" in failed.upper()
