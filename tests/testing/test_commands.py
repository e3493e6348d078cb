"""`petl-bench check` and `petl-bench new`, as users type them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.cli import check, cli, new, new_method
from petl_bench.errors import PluginError, StoreError

NEW = list(new.NEXT)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(command: click.Command, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.return_value, result.output


def test_check_prints_every_check_and_exits_with_zero() -> None:
    status, output = invoke(check.command, "methods:zero_shot")
    assert status == 0
    assert "zero_shot: 24 passed, 0 failed, 13 skipped" in output
    assert "nothing trains" in output


def test_a_name_of_several_kinds_means_all_of_them() -> None:
    status, output = invoke(check.command, "fully_supervised")
    assert status == 0
    assert "fully_supervised (setting): " in output
    assert "fully_supervised (table): " in output


def test_check_of_a_failing_file_says_why_and_exits_with_one(tmp_path: Path) -> None:
    text = new.render("method", "my_adapter").replace("width for width in", "1 for width in")
    (tmp_path / "my_adapter.py").write_text(text)
    status, output = invoke(check.command, "my_adapter.py")
    assert status == 1
    assert "formula equals count" in output
    assert "2 failed" in output  # its composition has the wrong count, too


def test_check_locates_a_mistake_in_the_users_own_file(tmp_path: Path) -> None:
    text = new.render("method", "mistaken").replace("block.width", "block.widht")
    (tmp_path / "mistaken.py").write_text(text)
    line = next(number for number, text in enumerate(text.splitlines(), start=1) if "widht" in text)
    with pytest.raises(AssertionError, match=rf"no attribute 'widht' .*mistaken\.py, line {line}"):
        pb.testing.check_method("mistaken.py")


def test_check_of_a_broken_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import petl_bench as pb\n\nraise ValueError('no')\n")
    with pytest.raises(PluginError, match=r"broken\.py, line 3"):
        invoke(check.command, "broken.py")


def test_check_of_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(pb.UsageError, match="did you mean adaptformer"):
        invoke(check.command, "adaptfromer")


@pytest.mark.parametrize("kind", NEW)
def test_a_new_plugin_passes_its_checks_and_lint_as_it_is(kind: str, tmp_path: Path) -> None:
    _, output = invoke(new.command, kind, f"my_first_{kind}")
    path = tmp_path / f"my_first_{kind}.py"
    assert 25 <= len(path.read_text().splitlines()) <= 65
    assert not {"Template", "template_"} & set(re.findall("[Tt]emplate_?", path.read_text()))
    assert f"petl-bench check {path.name}" in output
    results = pb.testing.check_plugin(path)
    assert sum(result.status == "pass" for result in results) > len(results) / 2
    for tool in ("check", "format --check"):
        config = Path(__file__).parents[2] / "pyproject.toml"
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *tool.split(), "--config", config, path], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_new_plugins_of_all_kinds_run_together(tmp_path: Path) -> None:
    names = {kind: f"own_{kind}" for kind in NEW}
    for kind, name in names.items():
        invoke(new.command, kind, name)
    table = tmp_path / "own_table.py"
    table.write_text(table.read_text().replace('setting = "few_shot"', 'setting = "own_setting"'))
    plugins = [argument for name in names.values() for argument in ("--plugin", f"{name}.py")]
    chosen = ["--methods", "own_method", "--datasets", "own_dataset", "--setting", "own_setting"]
    chosen += ["--backbone", "own_backbone", "--weights", "random", "--launcher", "own_launcher"]
    status, output = invoke(cli, "run", *plugins, *chosen, "--seeds", "0", "--epochs", "1", "--device", "cpu")
    assert (status or 0) == 0, output
    _, output = invoke(cli, "report", *plugins, "--table", "own_table")
    assert "Own method" in output
    assert "Own dataset" in output and "Top-5" in output


def test_a_long_name_of_a_new_plugin_is_cut_for_readers() -> None:
    text = new.render("method", "a_" + "b" * 60)
    assert f'display = "A {"b" * 38}"' in text


@pytest.mark.parametrize("kind", NEW)
def test_what_is_printed_to_type_next_can_be_run(kind: str) -> None:
    _, output = invoke(new.command, kind, f"next_{kind}")
    lines = [line.partition("petl-bench ")[2].split() for line in output.splitlines() if "petl-bench " in line]
    assert [line[0] for line in lines] == ["check", "run", *(["report"] if kind == "table" else [])]
    invoke(cli, *lines[1], "--dry-run")


def test_a_new_method_counts_its_parameters() -> None:
    invoke(new_method.command, "counted")
    pb.load_plugin_file("counted.py")
    method = pb.create_method("counted", bottleneck_dim=4)
    assert method.expected_trainable(pb.ViCLIPConfig()) == 12 * ((2 * 768 + 1) * 4 + 768 + (2 * 512 + 1) * 4 + 512)


def test_new_keeps_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious")
    with pytest.raises(pb.UsageError, match="exists and is kept"):
        invoke(new.command, "method", "mine")
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["class", "2fast", "my-adapter", "../up", "_hidden", "Upper", "lora", "é", "", "training"]
)
def test_new_refuses_names_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    with pytest.raises(pb.UsageError):
        invoke(new.command, "method", name)
    assert not list(tmp_path.iterdir())


def test_new_says_where_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StoreError):
        invoke(new.command, "table", "mine")


def test_plugins_are_listed_and_written_without_torch() -> None:
    code = (
        "import sys, petl_bench.cli.check, petl_bench.cli.new as new\n"
        "from petl_bench.api.registry import KINDS\n"
        "[registry.get(name) for registry in KINDS.values() for name in registry.names()]\n"
        "[new.render(kind, 'mine') for kind in new.NEXT]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
