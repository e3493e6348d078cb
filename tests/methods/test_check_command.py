"""`petl-bench check` and `petl-bench new-method`, as users type them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import petl_bench as pb
from petl_bench.cli import check, new_method
from petl_bench.errors import PluginError, StoreError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_check(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(check.command, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.return_value, result.output


def test_check_prints_every_check_and_exits_with_zero() -> None:
    status, output = run_check("zero_shot")
    assert status == 0
    assert "zero_shot: 14 passed, 0 failed, 4 skipped" in output
    assert "nothing trains" in output


def test_check_of_a_failing_file_says_why_and_exits_with_one(tmp_path: Path) -> None:
    text = new_method.render("my_adapter").replace("width for width in", "1 for width in")
    (tmp_path / "my_adapter.py").write_text(text)
    status, output = run_check("my_adapter.py")
    assert status == 1
    assert "formula equals count" in output
    assert "1 failed" in output


def test_check_locates_a_mistake_in_the_users_own_file(tmp_path: Path) -> None:
    text = new_method.render("mistaken").replace("block.width", "block.widht")
    (tmp_path / "mistaken.py").write_text(text)
    line = next(number for number, text in enumerate(text.splitlines(), start=1) if "widht" in text)
    with pytest.raises(AssertionError, match=rf"no attribute 'widht' .*mistaken\.py, line {line}"):
        pb.testing.check_method("mistaken.py")


def test_check_of_a_broken_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import petl_bench as pb\n\nraise ValueError('no')\n")
    with pytest.raises(PluginError, match=r"broken\.py, line 3"):
        run_check("broken.py")


def test_check_of_an_unknown_name_offers_near_ones() -> None:
    with pytest.raises(pb.UsageError, match="did you mean adaptformer"):
        run_check("adaptfromer")


def test_new_method_passes_its_check_as_it_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(new_method.command, ["my_first_adapter"], standalone_mode=False)
    assert result.exception is None
    path = tmp_path / "my_first_adapter.py"
    assert 30 <= len(path.read_text().splitlines()) <= 60
    assert "petl-bench check my_first_adapter.py" in result.output
    assert pb.testing.check_method(path)
    method = pb.create_method("my_first_adapter", bottleneck_dim=4)
    assert method.expected_trainable(pb.ViCLIPConfig()) == 12 * ((2 * 768 + 1) * 4 + 768 + (2 * 512 + 1) * 4 + 512)


def test_new_method_keeps_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious")
    result = CliRunner().invoke(new_method.command, ["mine"], standalone_mode=False)
    assert isinstance(result.exception, pb.UsageError)
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["class", "2fast", "my-adapter", "../up", "_hidden", "Upper", "lora", "é", ""])
def test_new_method_refuses_names_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(new_method.command, [name], standalone_mode=False)
    assert isinstance(result.exception, pb.UsageError)
    assert not list(tmp_path.iterdir())


def test_new_method_says_where_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = CliRunner().invoke(new_method.command, ["mine"], standalone_mode=False)
    assert isinstance(result.exception, StoreError)


def test_methods_are_listed_without_torch() -> None:
    code = (
        "import sys, petl_bench.cli.check, petl_bench.cli.new_method\n"
        "from petl_bench.api.registry import METHODS\n"
        "[METHODS.get(name) for name in METHODS.names()]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
