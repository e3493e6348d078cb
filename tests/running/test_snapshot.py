"""The copy of the source that jobs run from."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from petl_bench.errors import StoreError, UsageError
from petl_bench.running.attempts import snapshot
from petl_bench.running.attempts.snapshot import PARTS, command_in, take_snapshot
from petl_bench.system.environment import SNAPSHOT, git_state

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]

WHERE = """
import importlib, json, multiprocessing
from petl_bench.system import environment
from petl_bench.api.registry import METHODS
names = ("petl_bench", "petl_bench.methods", "petl_bench.reports", "petl_bench.benchmarks.settings.base2novel")

def files(_=0):
    return [importlib.import_module(name).__file__ for name in names]

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = files() + pool.map(files, [0])[0]
    print(json.dumps({"files": found, "git": environment.git_state(), "methods": METHODS.names()}))
"""


def where(source: Path, tmp_path: Path, cwd: Path) -> dict:
    """Where a job, and a process that it starts, find the package: a module says so, started as submitit's is."""
    modules = tmp_path / "modules"
    modules.mkdir(exist_ok=True)
    modules.joinpath("where_am_i.py").write_text(WHERE)
    done = subprocess.run(
        [*command_in(source), "where_am_i"],
        env={**os.environ, "PYTHONPATH": str(modules)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def packaged(package: str) -> set[str]:
    """The files of one package as pyproject.toml puts them into a wheel."""
    top = ".".join(package.split(".")[:2])
    folder = CHECKOUT / PROJECT["package-dir"].get(top, "petl_bench")
    if top in PROJECT["package-dir"]:
        folder = folder.joinpath(*package.split(".")[2:])
    else:
        folder = folder.joinpath(*package.split(".")[1:])
    patterns = ["*.py", *PROJECT["package-data"].get(package, [])]
    name = package.replace(".", "/")
    return {f"{name}/{path.relative_to(folder)}" for pattern in patterns for path in folder.glob(pattern)}


def test_a_snapshot_holds_what_a_wheel_holds(tmp_path: Path) -> None:
    assert {f"petl_bench.{part}" for part in PARTS} == PROJECT["package-dir"].keys() - {"petl_bench"}
    taken = take_snapshot(tmp_path)
    found = {str(path.relative_to(taken.path)) for path in (taken.path / "petl_bench").rglob("*") if path.is_file()}
    assert found == {name for package in PROJECT["packages"] for name in packaged(package)}


@pytest.mark.parametrize(
    ("cwd", "runs"), [("checkout", "runs"), ("elsewhere", "a:b"), ("elsewhere", "it's 5 o'clock; $HOME")]
)
def test_a_job_runs_from_the_snapshot_and_not_from_the_installation(tmp_path: Path, cwd: str, runs: str) -> None:
    taken = take_snapshot(tmp_path / runs)
    found = where(taken.path, tmp_path, CHECKOUT if cwd == "checkout" else tmp_path)
    assert [file for file in found["files"] if not file.startswith(f"{taken.path}/petl_bench/")] == []
    assert "msta" in found["methods"]
    assert found["git"] == json.loads((taken.path / SNAPSHOT).read_text())["git"]


def copy_of_the_package(folder: Path) -> None:
    """An installation of the package whose source a test may edit."""
    parts = {"petl_bench": "petl_bench", **{f"petl_bench/{part}": part for part in PARTS}}
    for target, source in parts.items():
        shutil.copytree(
            CHECKOUT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "perf", "statistics")
        )


def test_edits_after_submission_reach_neither_the_snapshot_nor_its_name(tmp_path: Path) -> None:
    copy_of_the_package(tmp_path / "installed")
    program = tmp_path / "take.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom petl_bench.running.attempts.snapshot import take_snapshot\n"
        "print(take_snapshot(Path(sys.argv[1])).path)\n"
    )

    def taken() -> Path:
        done = subprocess.run(
            [sys.executable, "-P", str(program), str(tmp_path / "runs")],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            text=True,
            check=True,
        )
        return Path(done.stdout.strip())

    first = taken()
    method = tmp_path / "installed" / "petl_bench" / "methods" / "msta.py"
    before = method.read_text()
    method.write_text(before + "\nEDITED = True\n")
    second = taken()
    assert first != second
    assert "EDITED" not in (first / "petl_bench" / "methods" / "msta.py").read_text()
    assert "EDITED" in (second / "petl_bench" / "methods" / "msta.py").read_text()
    method.write_text(before)
    assert taken() == first
    assert where(first, tmp_path, tmp_path)["files"][0].startswith(str(first))


def test_the_same_source_is_kept_once_and_read_only(tmp_path: Path) -> None:
    first = take_snapshot(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in first.path.rglob("*.py")}
    again = take_snapshot(tmp_path)
    assert again == first
    assert first.path.name == first.sha256[:16]
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*.py")} == written
    assert {path.stat().st_mode & 0o222 for path in written} == {0}
    shutil.rmtree(tmp_path / "sources")  # a user can still remove it


def test_two_commands_at_once_make_one_snapshot(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        taken = pool.map(take_snapshot, [tmp_path] * 8)
    assert len({each.path for each in taken}) == 1
    assert [path.name for path in (tmp_path / "sources").iterdir()] == [taken[0].path.name]


def test_plugin_files_are_copied_in_their_order(tmp_path: Path) -> None:
    plugins = [tmp_path / "one" / "mine.py", tmp_path / "two" / "mine.py"]
    for number, plugin in enumerate(plugins):
        plugin.parent.mkdir()
        plugin.write_text(f"NUMBER = {number}\n")
    taken = take_snapshot(tmp_path / "runs", plugins)
    plugins[0].write_text("edited\n")
    assert [path.read_text() for path in taken.plugins] == ["NUMBER = 0\n", "NUMBER = 1\n"]
    assert take_snapshot(tmp_path / "runs", plugins).path != taken.path


def test_the_git_state_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "petl_bench").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        "petl_bench.system.environment.__file__", str(tmp_path / "petl_bench" / "system" / "environment.py")
    )
    assert git_state() is None

    def git(*arguments: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", "-C", tmp_path, *named, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "file")
    git("commit", "-qm", "first")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("changed")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": True}
    (tmp_path / SNAPSHOT).write_text(json.dumps({"git": {"commit": "abc", "dirty": True}}))
    assert git_state() == {"commit": "abc", "dirty": True}


def test_a_commit_after_a_dirty_submission_is_another_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"commit": "a", "dirty": True}, {"commit": "b", "dirty": False}])
    monkeypatch.setattr(snapshot, "git_state", lambda: next(states))
    dirty, clean = take_snapshot(tmp_path), take_snapshot(tmp_path)
    assert json.loads((dirty.path / SNAPSHOT).read_text())["git"] == {"commit": "a", "dirty": True}
    assert json.loads((clean.path / SNAPSHOT).read_text())["git"] == {"commit": "b", "dirty": False}


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--plugin .*nothing\.py: No such file"):
        take_snapshot(tmp_path, [tmp_path / "nothing.py"])
    (tmp_path / "sources").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"cannot write .*sources"):
        take_snapshot(tmp_path)
