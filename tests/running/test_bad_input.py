"""Wrong use of `petl-bench run` and `status`: one clear line, exit status 2, and nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from petl_bench.errors import UsageError
from tests.running.fake_scheduler import petl_bench


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "wating"], "unknown method 'wating'; did you mean waiting"),
        (["--methods", ","], "--methods a,b"),
        (["--methods", "waiting", "--seeds", "0,x"], "--seeds 0,x: expected whole numbers"),
        (["--methods", "waiting", "--seeds", str(2**53)], f"a seed is a whole number from 0 to {2**53 - 1}"),
        (["--methods", "waiting", "--output", ""], "for this folder itself: --output ."),
        (["--methods", "waiting", "--runs", "a"], "and --runs a mean the same folder: give one of them"),
        (["--methods", "waiting", "--set", "waiting.stepps=3"], "did you mean steps"),
        (["--methods", "waiting", "--set", "waiting.steps=many"], "waiting.steps=many"),
        (["--methods", "waiting", "--launcher", "locl"], "did you mean local"),
        (["--methods", "waiting", "--data-root", "/nonexistent"], "--data-root /nonexistent: no such folder"),
        (["--methods", "waiting", "--spec", "none.toml"], "none.toml"),
        (["--methods", "waiting", "--profile", "none.toml"], "none.toml"),
        (["--methods", "waiting", "--plugin", "none.py"], "none.py"),
        (["--methods", "picky"], "picky does not work with the setting 'toy_setting'"),
    ],
)
def test_wrong_use_is_told_in_one_line(toy_here: Any, arguments: list[str], says: str) -> None:
    done = toy_here.here("run", *toy_here.flags, *arguments)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not toy_here.runs.exists()


LONG = "n" * 300


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["run", "--output", LONG], "--output"),
        (["run", "--output", f"{LONG}/below"], "--output"),
        (["run", "--data-root", LONG], "--data-root"),
        (["run", "--plugin", LONG], "--plugin"),
        (["run", "--spec", LONG], "--spec"),
        (["run", "--profile", LONG], "--profile"),
        (["run", "--profile", LONG, "--launcher", "slurm"], "--profile"),
        (["run", "--weights", LONG], "--weights"),
        (["status", "--runs", LONG], "--runs"),
        (["cancel", "--runs", LONG], "--runs"),
        (["logs", "seed 0", "--runs", LONG], "--runs"),
        (["report", "--table", "base2novel", "--runs", LONG], "--runs"),
    ],
)
def test_a_name_that_no_file_system_takes_is_told_in_one_line(
    toy_here: Any,
    arguments: list[str],
    option: str,
) -> None:
    flags = [*toy_here.flags, "--methods", "waiting"] if arguments[0] == "run" else []
    done = toy_here.here(arguments[0], *flags, *arguments[1:])
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert option in said and LONG[:40] in said and "too long" in said
    assert not toy_here.runs.exists()


@pytest.mark.parametrize("letter", ["\n", "\x1b", "\u2028", "\udcff"])
def test_an_output_that_no_line_of_text_can_name_is_refused(toy_here: Any, letter: str) -> None:
    flags = [*toy_here.flags[:-1], f"{toy_here.folder}/a{letter}b", "--methods", "waiting"]
    for more in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match=r"--output '.*a\\.*b': "):
            petl_bench("run", *flags, *more)
    assert [path.name for path in toy_here.folder.iterdir() if path.name.startswith("a")] == []


def test_a_profile_with_an_unknown_key_is_refused(toy_here: Any) -> None:
    (toy_here.folder / "profile.toml").write_text("atempts = 3\n")
    done = toy_here.here("run", *toy_here.flags, "--methods", "waiting", "--profile", "profile.toml")
    assert done.returncode == 2
    assert "did you mean attempts" in done.stderr.splitlines()[-1]


def test_an_output_that_cannot_be_written_is_refused(toy_here: Any) -> None:
    toy = toy_here
    toy.runs.write_text("a file where the folder should be")
    done = toy.here("run", *toy.flags, "--methods", "waiting")
    assert done.returncode == 2
    assert f"--output {toy.runs}: cannot be written" in done.stderr.splitlines()[-1]
    assert toy.runs.read_text() == "a file where the folder should be"
    assert toy.executions("start") == []


def test_a_damaged_record_is_told_and_left_as_it_is(toy: Any) -> None:
    assert toy.run("--methods", "waiting", "--seeds", "0", "--workers", "1").returncode == 0
    (record,) = toy.records()
    record.write_text('{"schema": 1')
    done = toy.run("--methods", "waiting", "--seeds", "0", "--workers", "1")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert f"mv {record.parent} {toy.runs / 'replaced' / record.parent.name}-1" in done.stderr
    assert record.read_text() == '{"schema": 1'
    again = toy.run("--methods", "waiting", "--seeds", "0", "--workers", "1", "--force")
    assert again.returncode == 0, again.stderr
    assert len(toy.executions()) == 2


def test_status_of_no_folder_is_refused(toy_here: Any) -> None:
    done = toy_here.here("status", "--runs", "nowhere")
    assert done.returncode == 2
    assert "nowhere: no such folder of runs" in done.stderr


def test_status_of_an_empty_folder_is_not_an_error(toy_here: Any) -> None:
    done = toy_here.here("status", "--runs", str(toy_here.data))
    assert done.returncode == 0
    assert "0 trials: 0 done" in done.stdout


LEAVES = """
import petl_bench as pb
from petl_bench.api.launcher import Launcher
from petl_bench.api.registry import register_launcher

@register_launcher("forgetful")
class Forgetful(Launcher):
    def run(self, jobs, store, watch):
        return []
"""


def test_a_launcher_that_forgets_trials_is_told(toy: Any) -> None:
    plugin = toy.folder / "forgetful.py"
    plugin.write_text(LEAVES)
    done = toy.run("--methods", "waiting", "--plugin", str(plugin), "--launcher", "forgetful", "--seeds", "0,1")
    assert done.returncode == 2
    assert "Forgetful.run() returned 0 outcomes for 2 jobs; it must return one for each" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_code_of_a_plugin_that_leaves_fails_its_trial_alone(toy: Any, workers: str) -> None:
    arguments = ("--methods", "waiting,other", "--set", "waiting.mishap=leave", "--seeds", "0", "--workers", workers)
    done = toy.run(*arguments)
    assert done.returncode == 1, done.stderr
    assert "SystemExit: 0" in done.stderr and len(toy.records()) == 1
