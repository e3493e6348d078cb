from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petl_bench.api.registry import BACKBONES
from petl_bench.models.weights import resolve_weights
from tests.commands import petl_bench

Store = Any


@pytest.fixture
def store(exact_store: Any) -> Any:
    """The command compares metrics with predictions."""
    return exact_store


def _report(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return petl_bench("report", *arguments, cwd=cwd)


def test_the_table_goes_to_stdout_and_notes_to_stderr(example: Path) -> None:
    done = _report("--runs", str(example), "--table", "base2novel", "--format", "markdown")
    assert done.returncode == 0
    assert done.stdout.startswith("### Base-to-novel")
    assert "# no command makes full_finetune on motion split 1 16-shot, seeds 0,1,2: full_finetune ha" in done.stderr
    assert "--output" not in done.stderr, "a line that is no command is left as it is"
    assert "petl-bench run" not in done.stdout


def test_the_commands_fill_the_folder_that_was_read(store: Store, runs: Path) -> None:
    for method, seed in (("lora", 0), ("lora", 1), ("msta", 0)):
        weights = resolve_weights(BACKBONES.get("viclip-tiny"), "auto").sha256
        store(80.0, 45.0, method, seed, as_planned=True, weights_sha256=weights)
    command = [sys.executable, "-m", "petl_bench", "report", "--runs", str(runs), "--table", "base2novel"]
    # In a process of its own: fixtures of this folder put other weights in the place of those that ship.
    done = subprocess.run([*command, "--format", "markdown"], capture_output=True, text=True, timeout=120)
    (line,) = [line for line in done.stderr.splitlines() if "petl-bench run" in line]
    assert line.startswith("  petl-bench run --methods msta ") and line.endswith(f" --output {runs}")


def test_the_output_file_decides_the_format(example: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.tex"
    done = _report("--runs", str(example), "--table", "base2novel", "--output", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert "\\toprule" in target.read_text()
    assert "wrote" in done.stderr


def test_without_published_numbers(example: Path) -> None:
    done = _report("--runs", str(example), "--table", "base2novel", "--format", "csv", "--no-published")
    assert "quoted" not in done.stdout
    assert "run" in done.stdout


def test_a_damaged_record_is_named_and_the_rest_reported(store: Store, runs: Path) -> None:
    store(80.0, 45.0, seed=0)
    damaged = store(10.0, 45.0, seed=1)
    damaged.write_text('{"schema": 1')
    done = _report("--runs", str(runs), "--table", "base2novel", "--format", "json")
    assert done.returncode == 0
    assert f"left out: {damaged}" in done.stderr
    assert json.loads(done.stdout)["groups"][0]["rows"][0]["cells"][2]["value"] == 75.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "base2nove"], "did you mean base2novel"),
        (["--table", "base2novel", "--runs", "nowhere"], "no such folder of runs"),
        (["--table", "base2novel", "--runs", "."], "no record of a finished trial"),
        (["--table", "base2novel", "--output", "table.docx"], "--format"),
        (["--table", "base2novel", "--format", "pdf"], "--format"),
        ([], "--table"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _report(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", [[], ["--runs", "runs"], ["--runs=runs"]])
def test_runs_one_folder_below_are_named(store: Store, runs: Path, tmp_path: Path, given: list[str]) -> None:
    """As after `make demo`, which writes to runs/demo; trials without a record do not count."""
    store(80.0, 45.0, "msta", 0)
    store(70.0, 44.0, "lora", 0)
    (runs / "trials" / "unfinished").mkdir()
    for name in ("my demo", "unfinished/trials/a"):
        (tmp_path / "below" / name).mkdir(parents=True)
    (runs / "trials").rename(tmp_path / "below" / "my demo" / "trials")
    runs.rmdir()
    (tmp_path / "below").rename(runs)
    nothing = "petl-bench: no record of a finished trial under runs; runs/my demo has 2. Type: petl-bench"
    done = _report(*given, "--table", "base2novel", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"{nothing} report --runs 'runs/my demo' --table base2novel\n"
    done = petl_bench("compare", "msta", "lora", *given, cwd=tmp_path)
    assert done.stderr == f"{nothing} compare --runs 'runs/my demo' msta lora\n"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--table", "base2novel"], "petl-bench report --runs runs --table base2novel"),
        ([], "petl-bench report --runs runs --output runs/report/"),
        (["--runs", "runs"], "petl-bench report --runs runs --output runs/report/"),
        (["--runs", "runs", "--all"], "petl-bench report --runs runs --output runs/report/"),
    ],
)
def test_a_folder_of_runs_is_no_output(example: Path, tmp_path: Path, arguments: list[str], command: str) -> None:
    before = sorted(example.iterdir())
    done = _report(*arguments, "--output", "runs", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().endswith(f"Type: {command}")
    assert sorted(example.iterdir()) == before


def test_an_output_that_cannot_be_written_is_named(example: Path, tmp_path: Path) -> None:
    done = _report("--runs", str(example), "--table", "base2novel", "--output", str(tmp_path / "none" / "t.csv"))
    assert done.returncode == 2
    assert "t.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_from_a_plugin_file(example: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "count_table.py"
    plugin.write_text(
        "import petl_bench as pb\n"
        "from petl_bench.api.table import Cell, Column, Row, RowGroup, Table, TableSource\n"
        "@pb.register_table('count')\n"
        "class Count(TableSource):\n"
        '    """How many records."""\n'
        "    def build(self, evidence):\n"
        "        row = Row('records', (Cell(float(evidence.records['trial'].nunique())),))\n"
        "        return Table('count', 'Count', 'What', (Column('N', format='.0f'),), (RowGroup('All', (row,)),))\n"
    )
    done = _report("--runs", str(example), "--table", "count", "--plugin", str(plugin))
    assert done.returncode == 0
    assert "23" in done.stdout


def test_a_report_never_loads_torch(example: Path) -> None:
    script = (
        "import sys; from click.testing import CliRunner; from petl_bench.cli.report import command\n"
        f"result = CliRunner().invoke(command, ['--runs', {str(example)!r}, '--table', 'base2novel'])\n"
        "assert result.exit_code == 0, result.output\n"
        "assert not {'torch', 'torchvision', 'av', 'decord'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
