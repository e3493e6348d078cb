"""`petl-bench status` over 10,000 planned trials, 5,000 of them done, after 500 submissions. To reach: 3 s."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petl_bench.managing.status import survey
from petl_bench.records.layout import LOG, RECORD
from petl_bench.running.attempts.submissions import save_submission
from tests.running.fake_scheduler import minimal_record

TRIALS, DONE, FAILED, SUBMISSIONS = 10_000, 5_000, 500, 500

#: A launcher whose scheduler knows every task, as at the worst moment.
KNOWING = """
import petl_bench as pb
from petl_bench.api.launcher import Launcher

@pb.register_launcher("knowing")
class Knowing(Launcher):
    "Knows every task."

    def explain(self, tasks):
        return {task: f"KNOWING {task}: pending (Priority)" for task in tasks}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs in the middle of a large comparison."""
    folder: Path = tmp_path_factory.mktemp("status") / "runs"
    keys = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(TRIALS)]
    titles = {key: f"msta ucf101 split 1 16-shot seed {number} ({key[:8]})" for number, key in enumerate(keys)}
    for number, key in enumerate(keys[: DONE + FAILED]):
        attempts = folder / "trials" / key / "attempts"
        attempts.mkdir(parents=True)
        outcome = "done" if number < DONE else "failed"
        attempt = {"number": 1, "title": titles[key], "host": "n1", "pid": 1, "ended_at": 1.0, "outcome": outcome}
        (attempts / "0001.json").write_text(json.dumps(attempt, indent=1))
        (attempts.parent / LOG).write_text("what happened\n")
        if number < DONE:
            (attempts.parent / RECORD).write_text(json.dumps(minimal_record(key)))
    (folder / "plans").mkdir()
    plan = {"command": "petl-bench run --methods msta", "started_at": 1.0, "trials": titles}
    (folder / "plans" / "plan.json").write_text(json.dumps(plan, indent=1))
    size = TRIALS // SUBMISSIONS
    for job in range(SUBMISSIONS):
        tasks = {f"{job}_{index}": [keys[job * size + index]] for index in range(size)}
        save_submission(folder, "knowing", str(job), tasks, folder)
    (folder.parent / "knowing.py").write_text(KNOWING)
    return folder


def test_survey_10000_trials(benchmark: Any, runs: Path) -> None:
    from petl_bench.api.registry import load_plugin_file

    load_plugin_file(runs.parent / "knowing.py")
    found = benchmark.pedantic(survey, args=(runs,), rounds=3, warmup_rounds=1)
    assert found.counts["done"] == DONE
    assert found.counts["queued"] == TRIALS - DONE


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_status_command_over_10000_trials(benchmark: Any, runs: Path, options: list[str]) -> None:
    """The whole process; here no plugin is loaded, so that the launcher is not known and its trials are not queued."""
    command = [sys.executable, "-m", "petl_bench", "status", "--runs", str(runs), *options]
    done = benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"capture_output": True, "text": True, "check": True}, rounds=3
    )
    assert done.stdout.count("msta ucf101") >= TRIALS - DONE
