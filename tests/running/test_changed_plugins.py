"""A plugin that is edited while its trials run: no trial runs in two codes, and no cell averages two."""

from __future__ import annotations

import re
from typing import Any

import pytest

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


#: A process that has the plugin already names the file; one that loads it after the edit, or meanwhile, knows the
#: plugin alone, or sees it change.
REFUSED = r"changed since this trial was planned; run|was edited (while|after) it was loaded; run"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_trials_after_an_edit_are_refused_in_this_process_and_in_workers(toy: Any, workers: str) -> None:
    helper = with_helper(toy)
    slow = ("--methods", "other", "--set", "other.steps=100")
    run = toy.start_run(*slow, "--seeds", "0,1,2", "--workers", workers)
    toy.wait_until(lambda: toy.executions("start"))
    helper.write_text("SCALE = 2\n")
    done = toy.finish(run)
    assert done.returncode == 1, done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert failed
    assert all(re.search(REFUSED, line) for line in failed), done.stderr
    assert all(str(helper) in line or "the plugin other" in line for line in failed), done.stderr
    assert "Traceback" not in done.stderr
    again = toy.run("--methods", "other", "--set", "other.steps=1", "--seeds", "0")
    assert again.returncode == 0, again.stderr
