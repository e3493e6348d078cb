"""A folder of planned trials, and a scheduler that knows what a test says it knows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from petl_bench.api.launcher import Launcher
from petl_bench.api.registry import register_launcher
from petl_bench.api.trial import Trial
from petl_bench.cli import cli
from petl_bench.errors import UsageError
from petl_bench.running.attempts.submissions import Submission, save_submission


class Scheduler:
    """What the launcher `fake` finds: `known` are the tasks it knows with its words about them; `asked` and
    `cancelled` what it was asked; `refuses` what it says to a cancellation; `late` are tasks that end just then."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.asked: list[list[str]] = []
        self.cancelled: list[str] = []
        self.refuses = ""
        self.late: set[str] = set()


def start_scheduler() -> Scheduler:
    """A scheduler, with a launcher `fake` for it."""
    scheduler = Scheduler()

    @register_launcher("fake")
    class Fake(Launcher):
        """Hands nothing over."""

        def run(self, jobs, store, watch):
            raise AssertionError("its trials are handed over by the tests")

        def explain(self, tasks):
            scheduler.asked.append(list(tasks))
            return {task: f"FAKE {task}: {scheduler.known[task]}" for task in tasks if task in scheduler.known}

        def cancel(self, tasks):
            if scheduler.refuses:
                raise UsageError(f"fcancel: {scheduler.refuses}")
            scheduler.cancelled += tasks
            return [task for task in tasks if task not in scheduler.late and scheduler.known.pop(task, None)]

    return scheduler


def petl_bench(*arguments: str) -> Result:
    """A command in this process, where the launcher is known; errors for people are raised."""
    result = CliRunner().invoke(cli, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def minimal_record(key: str) -> dict[str, Any]:
    """What a scan of records takes for the record of the trial in this folder: nothing was evaluated."""
    required = [each.name for each in fields(Trial) if each.default is MISSING and each.default_factory is MISSING]
    mappings = ("hyper_parameters", "setting_options", "dataset_options", "training")
    trial = {**dict.fromkeys(required, ""), **{name: {} for name in mappings}, "seed": 0, "shots": None}
    empty: dict[str, Any] = {"metrics": {}, "coverage": {}, "durations_s": {}, "environment": {}}
    counts = {"trainable_params": 0, "backbone_params": 0, "attempts": 1, "train_clips": {"expected": 0, "used": 0}}
    texts = {"schema": 1, "key": key, "status": "done", "created": "", "petl_bench": ""}
    return {**texts, **empty, **counts, "marks": [], "notes": [], "trial": trial}


class Folder:
    """A folder of runs with `count` planned trials, none of them started."""

    def __init__(self, runs: Path, count: int) -> None:
        self.runs = runs
        self.keys = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(count)]
        self.titles = {key: f"msta toys seed {number} ({key[:8]})" for number, key in enumerate(self.keys)}
        (runs / "plans").mkdir(parents=True)
        plan = {"command": "petl-bench run --methods msta", "started_at": 1.0, "trials": self.titles}
        (runs / "plans" / "plan.json").write_text(json.dumps(plan))

    def trial(self, number: int) -> Path:
        """The folder of a trial, made where it is not there."""
        folder = self.runs / "trials" / self.keys[number]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def record(self, number: int) -> None:
        """Let a trial be done."""
        (self.trial(number) / "record.json").write_text(json.dumps(minimal_record(self.keys[number])))

    def submit(self, job: str, *groups: list[int], launcher: str = "fake") -> Submission:
        """Remember an array with a task for each group of trials."""
        tasks = {f"{job}_{index}": [self.keys[number] for number in group] for index, group in enumerate(groups)}
        out = self.runs / "submissions" / job
        out.mkdir(parents=True, exist_ok=True)
        return save_submission(self.runs, launcher, job, tasks, out)
