"""A plugin that is edited while its trials run: no trial runs in two codes, and no cell averages two."""

from __future__ import annotations

from typing import Any

HELPER = "SCALE = 1\n"


def with_helper(toy: Any) -> Any:
    """The toy plugin, importing a module beside it."""
    helper = toy.folder / "scale_of_toy.py"
    helper.write_text(HELPER)
    toy.plugin.write_text(toy.plugin.read_text().replace("import json\n", "import json\nimport scale_of_toy\n", 1))
    return helper


def test_an_edit_of_an_imported_module_gives_new_trials(toy: Any) -> None:
    helper = with_helper(toy)
    assert toy.run("--methods", "other", "--seeds", "0,1").returncode == 0
    assert len(toy.records()) == 2
    helper.write_text("SCALE = 2\n")
    done = toy.run("--methods", "other", "--seeds", "0,1,2")
    assert done.returncode == 0, done.stderr
    assert "3 trials: 0 done, 3 to run" in done.stderr
    assert len(toy.records()) == 5


def test_trials_after_an_edit_are_refused_in_this_process_and_in_workers(toy: Any) -> None:
    helper = with_helper(toy)
    for workers in ("1", "2"):
        helper.write_text(HELPER)
        before = len(toy.executions("start"))
        seeds = f"{workers}0,{workers}1,{workers}2"
        slow = ("--methods", "other", "--set", "other.steps=100")
        run = toy.start_run(*slow, "--seeds", seeds, "--workers", workers)
        toy.wait_until(lambda: len(toy.executions("start")) > before)
        helper.write_text("SCALE = 2\n")
        done = toy.finish(run)
        assert done.returncode == 1, done.stderr
        expected = f"{helper} changed since this trial was planned; run the command again to plan anew"
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
        again = toy.run("--methods", "other", "--set", "other.steps=1", "--seeds", f"{workers}0")
        assert again.returncode == 0, again.stderr
