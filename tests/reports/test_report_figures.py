from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import petl_bench as pb
from petl_bench.api.evidence import Evidence
from petl_bench.api.registry import TABLES
from petl_bench.cli.report.figure import figure_of
from petl_bench.render import FIGURE_FORMATS, FORMATS
from tests.commands import petl_bench

Store = Any
#: How a file of a figure format begins.
BEGINS = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}


@pytest.fixture
def store(exact_store: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_store


@pytest.fixture
def keep(exact_keep: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_keep


def _report(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return petl_bench("report", *arguments, cwd=cwd)


@pytest.mark.parametrize("output_format", FIGURE_FORMATS)
def test_the_suffix_decides_and_notes_go_to_stderr(tradeoff_example: Path, tmp_path: Path, output_format: str) -> None:
    target = tmp_path / f"figure.{output_format}"
    done = _report("--runs", str(tradeoff_example), "--table", "tradeoff", "--output", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert target.read_bytes().startswith(BEGINS[output_format])
    assert f"wrote {target} ({output_format})" in done.stderr
    assert "Pareto front: of the runs here" in done.stderr


def test_axes_are_chosen_for_figure_table_and_page(tradeoff_example: Path, tmp_path: Path) -> None:
    chosen = ["--runs", str(tradeoff_example), "--table", "tradeoff", "--x", "base_top1", "--y", "novel_top1"]
    assert "more of 'Base top-1 (%)'" in _report(*chosen, "--output", str(tmp_path / "f.svg")).stderr
    assert "Base top-1 (%)" in _report(*chosen, "--format", "csv").stdout
    done = _report(*chosen, "--output", f"{tmp_path}/site/")
    assert done.returncode == 0, done.stderr
    assert "Trade-off: Base top-1 (%) against Novel top-1 (%)" in (tmp_path / "site" / "index.html").read_text()


def test_a_figure_goes_to_stdout_where_that_is_no_terminal(tradeoff_example: Path) -> None:
    done = _report("--runs", str(tradeoff_example), "--table", "tradeoff", "--format", "pdf")
    assert done.returncode == 0
    assert done.stdout.startswith("%PDF")
    assert done.stdout.rstrip().endswith("%%EOF")


@pytest.mark.parametrize(("output_format", "shown"), [("pdf", False), ("png", False), ("svg", True)])
def test_only_an_svg_goes_to_a_terminal(tradeoff_example: Path, output_format: str, shown: bool) -> None:
    leader, follower = pty.openpty()
    arguments = ["--runs", str(tradeoff_example), "--table", "tradeoff", "--format", output_format]
    command = [sys.executable, "-m", "petl_bench", "report", *arguments]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE) as process:
        os.close(follower)
        printed = b""
        while chunk := _read(leader):
            printed += chunk
        said = process.stderr.read().decode() if process.stderr else ""
    os.close(leader)
    assert process.returncode == (0 if shown else 2)
    assert printed.startswith(b"<?xml") == shown
    assert (f"--output tradeoff.{output_format}" in said) != shown


def _read(descriptor: int) -> bytes:
    """What stands on a terminal; nothing once the other side is closed."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_a_table_without_a_figure_names_those_with_one(tmp_path: Path) -> None:
    done = _report("--table", "base2novel", "--format", "pdf", "--runs", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    said = done.stderr
    assert "the table base2novel has no figure. These have one: few_shot, forgetting, frontier, retrieval, " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--all"], "--output DIR"),
        (["--all", "--output", "d", "--table", "tradeoff"], "leave out --table"),
        (["--all", "--output", "d", "--format", "csv"], "leave out --table and --format"),
        (["--all", "--output", "d", "--runs", "."], "no record of a finished trial"),
        (["--table", "tradeoff", "--output", ".", "--format", "csv"], "a folder holds the page"),
        (
            ["--table", "base2novel", "--x", "flops_g"],
            "the table base2novel has none to choose",
        ),
        (["--all", "--output", "d", "--y", "top1"], "the page and --all choose their own. Type: --table tradeoff"),
        (["--table", "tradeof", "--y", "top1"], "did you mean tradeoff"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _report(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_all_writes_every_table_and_figure_that_has_records(
    tradeoff_example: Path, few_shot_example: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "report"
    done = _report("--runs", str(tradeoff_example), "--all", "--output", str(folder))
    said = done.stderr
    assert done.returncode == 0, said
    tables, figures = ("ablation", "base2novel", "few_shot", "tradeoff"), ("few_shot", "tradeoff")
    expected = {"index.html"}
    expected |= {f"tables/{name}{suffixes[0]}" for name in tables for suffixes in FORMATS.values()}
    expected |= {f"tables/{name}.provenance.md" for name in tables}
    expected |= {f"figures/{name}{suffixes[0]}" for name in figures for suffixes in FIGURE_FORMATS.values()}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == expected
    assert "left out zero_shot: no zero_shot_transfer record here" in said
    one = _report("--runs", str(tradeoff_example), "--table", "tradeoff", "--format", "markdown")
    assert (folder / "tables" / "tradeoff.md").read_text() == one.stdout


def test_all_says_where_it_cannot_write(tradeoff_example: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _report("--runs", str(tradeoff_example), "--all", "--output", str(tmp_path / "file"))
    assert done.returncode == 2
    assert "the folder cannot be made" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--table", "tradeoff"], "matplotlib"),
        (["--table", "base2novel", "--format", "csv"], "matplotlib"),
        (["--table", "tradeoff", "--format", "pdf"], "torch"),
    ],
)
def test_a_table_never_loads_matplotlib_and_a_figure_never_torch(
    tradeoff_example: Path, arguments: list[str], never: str
) -> None:
    script = (
        "import sys; from click.testing import CliRunner; from petl_bench.cli.report import command\n"
        f"result = CliRunner().invoke(command, {['--runs', str(tradeoff_example), *arguments]!r})\n"
        "assert result.exit_code == 0, result.output\n"
        f"assert {never!r} not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_figure_has_the_methods_of_its_records_those_of_most_settings_first(
    store: Any, keep: Any, runs: Path
) -> None:
    for method in ("lora", "zero_shot", "msta"):
        store(80.0, 60.0, method)
    keep({"top1": 50.0, "top5": 90.0}, "msta", setting="few_shot", shots=4)
    figure = figure_of(TABLES.get("tradeoff")(), Evidence(pb.load_records(runs)))
    assert figure is not None and figure.methods == ("msta", "lora", "zero_shot")
